// What this node holds of other nodes' containers: their newest generations, in memory, beyond a budget on disk.
//
// A generation is received whole, decoded against the base it names, verified to the last byte, and only then held; only what
// is held is acknowledged. Per container the highest term seen counts: whatever carries a lower one is refused (kFenced) and
// counted. Thread-safe; receive() and fetch() compute and may block on the disk (pool threads), the rest only looks.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"
#include "capsule/format/capsule.h"
#include "capsule/format/slab.h"
#include "replica/capsule_store.h"

namespace perdure::replica {

struct Holding {
  Generation generation;
  capsule::Digest digest;  // of the form it was received in: what the next delta names as its parent
  auto operator<=>(const Holding&) const = default;
};

struct ReceivedCapsule {
  ContainerName container;
  Term term;                            // of the sender's ownership
  Generation generation;
  std::optional<Holding> base;          // absent: full
  std::optional<Generation> committed;  // the newest committed one
  bool provisional = false;
  capsule::SlabRef bytes;               // exactly one encoded capsule
};

struct HoldReceipt {
  Holding holding;
  Bytes held;            // of this container, pages that generations share counted once
  bool on_disk = false;
};

struct HeldContainer {
  ContainerName container;
  Term term;
  std::optional<Holding> newest;
  std::optional<Generation> newest_committed;  // newest that may be restored: committed, not provisional, not discarded
  std::size_t generations = 0;
  Bytes memory;
  Bytes disk;
};

enum class Spill { kToDisk, kRefuse };

struct StandbyTableOptions {
  Bytes memory_budget{std::uint64_t{4} << 30};   // of all containers together
  Spill spill = Spill::kToDisk;
  // A store for a container's generations on disk, made when it is needed (spilled); its directory is removed with the container.
  std::function<Result<std::unique_ptr<CapsuleStore>>(const ContainerName&)> open_store;
  std::function<Status(const ContainerName&)> remove_store;
  Bytes content_limit{std::uint64_t{64} << 30};
};

class StandbyTable {
 public:
  explicit StandbyTable(StandbyTableOptions options);
  ~StandbyTable();

  // kFenced: a lower term than known (counted). kNotFound: the base is not held (send it full). kCorrupt: does not verify; what was held
  // stays. kNoSpace: names what it needs, the budget and what is held, and the containers that hold most. kExists: held already with another digest.
  Result<HoldReceipt> receive(const ReceivedCapsule& received);

  // From a record or a message: the sender of anything lower is fenced from now on. Never falls.
  void raise_term(const ContainerName& container, Term term);
  Term term_of(const ContainerName& container) const;
  std::uint64_t fenced() const;  // messages refused since the start

  // kFenced; kNotFound: not held. Keeps the two newest committed ones and whatever is newer.
  Status commit(const ContainerName& container, Term term, const Generation& generation);
  Status discard(const ContainerName& container, Term term, const std::vector<Generation>& generations);
  // Everything of the container goes, memory and disk. Its term stays known.
  Status drop(const ContainerName& container, Term term);

  std::optional<HeldContainer> find(const ContainerName& container) const;
  std::vector<HeldContainer> all() const;  // by name
  // For a restore here, or for another node: the complete capsule. Absent generation: the newest that may be restored; one that does not load is passed over for the
  // one before, but never below the newest committed one the holder was told of (kCorrupt then).
  Result<capsule::CapsuleRef> fetch(const ContainerName& container, std::optional<Generation> generation);
  Bytes memory() const;

 private:
  struct Container;
  std::shared_ptr<Container> at(const ContainerName& container);
  StandbyTableOptions options_;
  mutable std::mutex mutex_;
  std::map<ContainerName, std::shared_ptr<Container>> containers_;
  std::uint64_t fenced_ = 0;
};

}  // namespace perdure::replica
