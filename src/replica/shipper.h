// The owner's side: brings each new generation of one container to its destinations (standbys,
// learners, the durable directory), each at its own pace. One generation is under way per
// destination; how many wait is bounded.
//
// A destination is sent a delta against the newest generation that it is known to hold, if that one
// is still in memory, else a full capsule. Destinations with the same base share one encoding. What
// is in use as a base, under way or waiting is kept by reference; the owner's table accounts for it
// (bases()). Loop thread only; encoding runs on the pool; sending is the destination's business and
// is asynchronous.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "capsule/format/capsule.h"
#include "capsule/format/codec.h"
#include "io/loop.h"
#include "io/patience.h"
#include "io/pool.h"
#include "replica/standby_table.h"

namespace perdure::replica {

struct Shipment {
  Generation generation;
  std::optional<Holding> base;  // absent: full
  std::shared_ptr<const capsule::EncodedCapsule> encoded;
  io::Patience::Wanted patience = io::Patience::Wanted::kNo;  // kYes: no commit waits for it (Pace)
};

// Where generations go.
class Destination {
 public:
  virtual ~Destination() = default;
  // Calls `done` exactly once, on the loop's thread, unless it is destroyed before; also from
  // within ship(). The receipt is of the shipment's generation, with the digest that the next delta
  // is to name. kNotFound: the base is not there (what is sent next is complete). kFenced:
  // ownership is lost; nothing is sent any more. kTransient: not reachable; tried again after
  // reconnected(). kInvalid: another try is useless; the next generation is. Anything else: tried
  // again after a pause.
  using Done = std::function<void(Result<HoldReceipt>)>;
  virtual void ship(const Shipment& shipment, Done done) = 0;
  virtual bool compresses() const { return false; }
  virtual double bytes_per_second() const { return 0; }  // measured; 0: not known
  // Whether the next one is to be complete although `base` is there (a chain of files at its
  // bound).
  virtual bool wants_full(const Holding& base) const;
};

// kEveryGeneration: none is skipped, for the acknowledgement is needed for a commit. kNewestOnly: a
// newer one takes the place of the one that waits.
enum class Pace { kEveryGeneration, kNewestOnly };

// Waiting for one destination. The policy stops capturing long before (backlog()); beyond it the
// oldest one is given up, and on_failed says so: the owner's memory stays bounded whatever happens.
inline constexpr std::size_t kMaxWaitingShipments = 8;
// Between tries after an error, doubling: the first is short of an interval, the longest short of a
// person's patience.
struct ShipPauses {
  Duration first = std::chrono::milliseconds(100);
  Duration longest = std::chrono::seconds(10);
};

struct DestinationStatus {
  std::optional<Holding> held;  // newest acknowledged
  std::optional<Generation> under_way;
  std::optional<Generation> waiting;  // the next one
  std::size_t waiting_count = 0;
  std::uint64_t shipped_bytes = 0;  // acknowledged
  std::uint64_t full_shipments = 0;
  std::uint64_t delta_shipments = 0;
  std::uint64_t failures = 0;
  bool fenced = false;
  bool disconnected = false;    // waits for reconnected()
  Duration last_round_trip{};   // from ship() to the acknowledgement
  Duration last_since_thaw{};   // to the acknowledgement: with comparing, encoding and waiting
  Duration last_holder_time{};  // of that, the holder's own: decoding, verifying, storing
  std::string last_error;
};

// Called on the loop's thread. They may call the shipper, remove() too.
struct ShipperHandlers {
  // A destination holds it: stands also for what was offered before it.
  std::function<void(const std::string& destination, const HoldReceipt&)> on_held;
  std::function<void(const std::string& destination, const Error&)> on_failed;
  // The owner's memory: a capsule that a destination may still hold, to be a base; nullptr: not in
  // memory. Must not block.
  std::function<capsule::CapsuleRef(const Generation&)> find_capsule;
};

class Shipper {
 public:
  Shipper(io::Loop& loop, io::Pool& pool, ContainerName container, ShipperHandlers handlers,
          ShipPauses pauses = {});
  Shipper(const Shipper&) = delete;
  Shipper& operator=(const Shipper&) = delete;
  ~Shipper();

  // `held`: what it holds already (a returning standby): a base if it is still in memory here. The
  // newest generation offered is sent at once. A destination of the same name is replaced.
  void add(const std::string& name, std::unique_ptr<Destination> destination, Pace pace,
           std::optional<Holding> held);
  void set_pace(const std::string& name, Pace pace);
  void remove(const std::string& name);
  // What was under way is sent again unless it arrived; an answer to the former try is not waited
  // for any more. `held`: what the destination says that it holds now; absent: nothing, it has lost
  // its memory, and so does what the container has gone back from.
  void reconnected(const std::string& name, std::optional<Holding> held);

  // A new generation; `capsule` is complete and immutable. Returns at once; encoding and sending
  // follow. `thawed`: when the container ran again, from which last_since_thaw counts.
  void offer(capsule::CapsuleRef capsule, Instant thawed);
  // The same generation in other memory takes the place of what was offered: the former is let go.
  void replace(const capsule::CapsuleRef& capsule);
  // The newest generation of an earlier life: for destinations that are added from now on. Nothing if one was offered.
  void begin_with(capsule::CapsuleRef capsule);
  // The container was rolled back to it, what is newer is discarded: destinations other than `holders` get it anew and in full,
  // for what they have kept of that age is not known.
  void go_back_to(const capsule::CapsuleRef& capsule, const std::set<std::string>& holders);
  // It will never be restored: not sent, not used as a base.
  void discard(const Generation& generation);

  std::optional<DestinationStatus> status(const std::string& name) const;
  // The longest line, what is under way included, before a destination that must get every
  // generation.
  std::size_t backlog() const;
  // What must stay in the owner's memory for the next deltas.
  std::set<Generation> bases() const;
  std::vector<std::string> names() const;  // of the destinations

 private:
  struct Item;
  struct Route;
  struct Encoding;
  struct BaseChoice;
  // With the class of the bandwidth for which it is compressed.
  using EncodingKey = std::tuple<Generation, std::optional<Holding>, int>;
  bool gone_back_from(const Generation& generation) const;
  Route* route_of(const std::string& name, std::uint64_t attempt);
  capsule::CapsuleRef find_capsule(const Generation& generation) const;
  std::optional<BaseChoice> choose_base(const Route& route) const;
  void enqueue(const std::string& name, Route& route, Item item);
  void put_back(Route& route);
  void advance(const std::string& name);
  Status begin_encoding(const std::string& name, Route& route);
  void on_encoded(const std::shared_ptr<Encoding>& encoding);
  void send(const std::string& name, Route& route);
  void on_answer(const std::string& name, std::uint64_t attempt, Result<HoldReceipt> answer);
  void on_success(const std::string& name, Route& route, HoldReceipt receipt);
  void on_error(const std::string& name, Route& route, const Error& error);
  void pause(const std::string& name, Route& route);
  void tell_held_later(const std::string& name, const Holding& holding);
  void tell_failed(const std::string& name, const Error& error);

  io::Loop& loop_;
  io::Pool& pool_;
  const ContainerName container_;
  const ShipperHandlers handlers_;
  const ShipPauses pauses_;
  std::map<std::string, std::unique_ptr<Route>> routes_;
  std::map<EncodingKey, std::weak_ptr<Encoding>> encodings_;
  capsule::CapsuleRef newest_;
  std::optional<Generation> gone_back_to_;
  std::optional<Generation> first_since_;  // offered since
  std::uint64_t next_attempt_ = 1;
  io::Lifetime lifetime_;
};

}  // namespace perdure::replica
