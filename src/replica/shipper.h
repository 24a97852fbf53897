// The owner's side: brings each new generation of one container to its destinations (standbys, learners, the durable
// directory), each at its own pace, and never holds more than one that is under way and one that waits per destination.
//
// A destination is sent a delta against the newest generation that it is known to hold, if that one is still in memory, else a full
// capsule. Destinations with the same base share one encoding. Loop thread only; encoding runs on the pool; sending is the
// destination's business and is asynchronous.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"
#include "capsule/format/codec.h"
#include "io/loop.h"
#include "io/pool.h"
#include "replica/standby_table.h"

namespace perdure::replica {

struct Shipment {
  Generation generation;
  std::optional<Holding> base;          // absent: full
  std::shared_ptr<const capsule::EncodedCapsule> encoded;
};

// Where generations go. Calls `done` exactly once, on the loop's thread, unless it is destroyed before. kNotFound: the base is not there
// (what is said next is a full one). kFenced: ownership is lost. kTransient: not reachable; the shipper tries again when it is told
// reconnected(). Anything else: counted, tried again after a pause.
class Destination {
 public:
  virtual ~Destination() = default;
  using Done = std::function<void(Result<HoldReceipt>)>;
  virtual void ship(const Shipment& shipment, Done done) = 0;
  virtual bool compresses() const { return false; }
  virtual double bytes_per_second() const { return 0; }  // measured; 0: not known
};

// counts: a generation is skipped never (its acknowledgement is needed for a commit); skips: a newer one takes the place of one that waits.
enum class Pace { kEveryGeneration, kNewestOnly };

struct DestinationStatus {
  std::optional<Holding> held;              // newest acknowledged
  std::optional<Generation> under_way;
  std::optional<Generation> waiting;
  std::uint64_t shipped_bytes = 0;
  std::uint64_t full_shipments = 0;
  std::uint64_t delta_shipments = 0;
  Duration last_round_trip{};
  std::string last_error;
};

struct ShipperHandlers {
  std::function<void(const std::string& destination, const HoldReceipt&)> on_held;
  std::function<void(const std::string& destination, const Error&)> on_failed;
};

class Shipper {
 public:
  Shipper(io::Loop& loop, io::Pool& pool, ContainerName container, ShipperHandlers handlers);
  ~Shipper();

  // `held`: what it holds already (a returning standby), if this owner still has it in memory it is a base.
  void add(const std::string& name, std::unique_ptr<Destination> destination, Pace pace, std::optional<Holding> held);
  void set_pace(const std::string& name, Pace pace);
  void remove(const std::string& name);
  void reconnected(const std::string& name, std::optional<Holding> held);

  // A new generation; `capsule` is complete and immutable. At once; encoding and sending follow.
  void offer(capsule::CapsuleRef capsule);
  // It will never be restored: not sent, not used as a base.
  void discard(const Generation& generation);

  std::optional<DestinationStatus> status(const std::string& name) const;

 private:
  struct Route;
  io::Loop& loop_;
  io::Pool& pool_;
  const ContainerName container_;
  const ShipperHandlers handlers_;
  std::map<std::string, std::unique_ptr<Route>> routes_;
  io::Lifetime lifetime_;
};

}  // namespace perdure::replica
