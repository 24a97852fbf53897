// What this node holds of other nodes' containers: their newest generations, in memory, beyond a
// budget on disk.
//
// A generation is received whole, decoded against the base it names, verified to the last byte, and
// only then held; only what is held is acknowledged. Per container the highest term seen counts:
// whatever carries a lower one is refused (kFenced) and counted. Thread-safe; receive() and fetch()
// compute and may block on the disk (pool threads), the rest only looks where nothing else is said.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"
#include "capsule/format/capsule.h"
#include "capsule/format/slab.h"
#include "replica/capsule_store.h"

namespace perdure::replica {

struct Holding {
  Generation generation;
  capsule::Digest
      digest;  // what the next delta names as its parent: of the form that the holder got first
  auto operator<=>(const Holding&) const = default;
};

struct ReceivedCapsule {
  ContainerName container;
  Term term;  // of the sender's ownership
  Generation generation;
  std::optional<Holding> base;          // absent: full
  std::optional<Generation> committed;  // the newest committed one
  bool provisional = false;
  capsule::SlabRef bytes;  // exactly one encoded capsule
};

// `holding` is what the sender names as the base of its next delta. Of a generation that was held
// already, under whatever digest, it is what is held: the new bytes are not looked at. A repetition
// after a lost answer is therefore answered like the first one.
struct HoldReceipt {
  Holding holding;
  Bytes held;  // of this container, pages that generations share counted once
  bool on_disk = false;
  Duration took{};  // at the holder: from the bytes to the promise
};

struct HeldContainer {
  ContainerName container;
  Term term;
  std::optional<Holding> newest;
  std::optional<Generation>
      newest_committed;  // newest that may be restored: committed, not provisional, not discarded
  std::size_t generations = 0;
  Bytes memory;
  Bytes disk;
};

enum class Spill { kToDisk, kRefuse };

// Of one container: waiting for their turn, beyond it they are refused (kTimeout).
inline constexpr std::size_t kMaxWaitingReceives = 8;

struct StandbyTableOptions {
  Bytes memory_budget{std::uint64_t{4} << 30};  // of all containers together
  Spill spill = Spill::kToDisk;
  // A store for a container's generations on disk, opened when it is needed. What is found there
  // and was not adopted goes.
  std::function<Result<std::unique_ptr<CapsuleStore>>(const ContainerName&)> open_store;
  // Removes its directory with everything in it; kNotFound: there is none. Called after the store
  // is closed.
  std::function<Status(const ContainerName&)> remove_store;
  // Of the uncompressed content of one capsule.
  Bytes content_limit{std::uint64_t{64} << 30};
  // Of one container: more than an owner leaves uncommitted is a fault of the owner.
  std::size_t max_generations = 256;
};

class HeldGenerations;

class StandbyTable {
 public:
  explicit StandbyTable(StandbyTableOptions options);
  ~StandbyTable();

  // Held when it succeeds: in memory, or on disk if the budget is exhausted. A container that went
  // to disk comes back with the first generation that fits again. Two of the same container are
  // taken in the order of the calls. kFenced: a lower term than known (counted). kNotFound: the
  // base is not held (send it full). kCorrupt: does not verify; what was held stays. kInvalid:
  // discarded, superseded, or older than what is committed, or the message and the capsule
  // disagree; another try is useless. kNoSpace: names what it needs, the budget and what is held,
  // and the containers that hold most. kTimeout: too many wait, or too long. Never kTransient.
  Result<HoldReceipt> receive(const ReceivedCapsule& received);

  // What is little used of earlier slabs is copied together (capsule/format/sharing.h), or a few pages would pin all of
  // them. After each receive(), when it has been acknowledged. Computes (pool threads). kNoSpace, kTimeout: it stays as it is.
  Status compact(const ContainerName& container);

  // This node was the owner until now: its last generation, which the new owner has as `holding`, is held as if it had been
  // received and committed. Computes (pool threads). kFenced; kNoSpace: it does not fit into memory beside what is held.
  Status hold(const ContainerName& container, Term term, const Holding& holding, capsule::CapsuleRef capsule);

  // From a record or a message: the sender of anything lower is fenced from now on. Never falls.
  void raise_term(const ContainerName& container, Term term);
  Term term_of(const ContainerName& container) const;
  std::uint64_t fenced() const;  // messages refused since the start
  void count_fenced();           // one that never came to receive(), commit(), …

  // kFenced; kNotFound: not held. Keeps the two newest committed ones and whatever is newer; a
  // provisional one is that no more. Files of what goes are removed by the next receive() or tidy()
  // of the container.
  Status commit(const ContainerName& container, Term term, const Generation& generation);
  // They will never be held again either: one may be under way, or just being decoded.
  Status discard(const ContainerName& container, Term term,
                 const std::vector<Generation>& generations);
  Status tidy(const ContainerName& container);  // blocks on the disk (pool threads)
  // Everything of the container goes, memory and disk. Its term stays known. Blocks on the disk
  // (pool threads).
  Status drop(const ContainerName& container, Term term);

  // After a restart: what lies on this container's disk is held again, none of it committed.
  // Nothing if it holds something already. Pool threads.
  Status adopt(const ContainerName& container);

  // Absent: nothing is held.
  std::optional<HeldContainer> find(const ContainerName& container) const;
  std::vector<HeldContainer> all() const;  // by name
  // What may be restored: complete, neither provisional nor discarded, none older than the newest committed; the best last.
  std::vector<Generation> restorable(const ContainerName& container) const;
  // For a restore here, or for another node: the complete capsule. Absent generation: the newest
  // that may be restored; one that does not load is passed over for the one before, but never below
  // the newest committed one the holder was told of (kCorrupt then).
  Result<capsule::CapsuleRef> fetch(const ContainerName& container,
                                    std::optional<Generation> generation);
  // Whether a generation is in memory as it was received. kCorrupt: it is not, the message names the part; from now on it is not
  // held, or only on disk if it is there too. Success: it is, or is not in memory. Reads all of it (pool threads): beside a restore,
  // and no receive() waits for it.
  Status check(const ContainerName& container, const Generation& generation);
  // As fetch(), and check()ed: for another node, which could not find out.
  Result<capsule::CapsuleRef> fetch_checked(const ContainerName& container, std::optional<Generation> generation);
  // All that are held and in order, also behind what is committed, the best first: for when nothing newer is to be had anywhere.
  // None: the error says why.
  Result<std::vector<capsule::CapsuleRef>> fetch_any(const ContainerName& container);
  Bytes memory() const;

 private:
  struct Container;
  struct Newcomer;
  class Turn;
  std::shared_ptr<Container> at(const ContainerName& container);
  Status check_term(const ContainerName& container, Container& known, Term term);
  Result<HoldReceipt> receive_in_turn(const ReceivedCapsule& received, Container& container);
  Result<std::optional<HoldReceipt>> look_up(const ReceivedCapsule& received, Container& container,
                                             Newcomer& newcomer);
  Status decode(const ReceivedCapsule& received, Container& container, Newcomer& newcomer);
  Result<bool> hold_in_memory(const ReceivedCapsule& received, Container& container,
                              Newcomer& newcomer);
  Status hold_on_disk(const ReceivedCapsule& received, Container& container, Newcomer& newcomer);
  void take_in(const ReceivedCapsule& received, Container& container, const Newcomer& newcomer);
  Bytes room_for(const Container& container) const;
  Error no_space(const ReceivedCapsule& received, Bytes needed) const;
  Result<capsule::CapsuleRef> load(const ContainerName& name, Container& container,
                                   const Generation& generation);
  void keep_if_it_fits(Container& container, const Generation& generation,
                       const capsule::CapsuleRef& capsule);
  Status open_spill(const ContainerName& name, Container& container);
  Status tidy_in_turn(Container& container);
  // After each change of what is held, with the lock held.
  void note_changes(Container& container, const HeldGenerations& before);

  const StandbyTableOptions options_;
  mutable std::mutex mutex_;  // what the containers hold; never while computing or blocking
  std::map<ContainerName, std::shared_ptr<Container>> containers_;
  Bytes memory_;
  std::uint64_t fenced_ = 0;
};

}  // namespace perdure::replica
