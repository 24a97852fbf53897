// The generations that this node holds of one container of another node, as values: what is kept,
// what a commit, a discard or a newcomer lets go of, what may be restored, and what they cost. No
// I/O, no lock, no thread of its own.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"
#include "capsule/format/capsule.h"
#include "capsule/format/seal.h"
#include "capsule/format/sharing.h"
#include "replica/standby_table.h"

namespace perdure::replica {

struct HeldGeneration {
  Holding holding;
  capsule::CapsuleRef capsule;            // nullptr: only on disk
  capsule::SealRef seal;                  // of `capsule`, from when it was verified
  capsule::Footprint footprint;                    // of `capsule`
  std::optional<capsule::Digest> stored;  // of the form on disk; absent: only in memory
  Bytes stored_size;
  bool committed = false;
  bool provisional = false;

  void out_of_memory() {
    capsule.reset();
    seal.reset();
    footprint = {};
  }
};

class HeldGenerations {
 public:
  using Table = std::map<Generation, HeldGeneration>;

  const Table& all() const { return table_; }  // oldest first
  bool empty() const { return table_.empty(); }
  const HeldGeneration* find(const Generation& generation) const;
  const HeldGeneration* find(const Holding& holding) const;  // with that very digest
  const HeldGeneration* newest() const;
  const HeldGeneration* newest_committed() const;
  // The newest committed one that the owner spoke of, held or not: nothing below it is restored.
  const std::optional<Generation>& floor() const { return floor_; }
  // Newest first: neither provisional nor below the floor.
  std::vector<HeldGeneration> restorable() const;
  Bytes memory() const;  // slabs that generations share counted once
  Bytes disk() const;

  // Whether a generation that is not held has a place here. One below the floor has if it is the
  // newest: a learner that catches up is always behind, and its next delta builds on it. kInvalid:
  // of a lower term or incarnation than the newest one, or below the floor and older than it.
  // kNoSpace: too many are held.
  Status admit(const Generation& generation, std::size_t max_generations) const;
  // Takes it in and discards what it supersedes: of a lower term or incarnation, those with a
  // number above its base's, for it was built past them; if it is complete and names no base, those
  // whose number is not below its own, for its owner does not know of them. Its commit may have come first.
  void add(HeldGeneration newcomer, const std::optional<Holding>& base);
  // It is on disk from now on, and its memory is free. Nothing if it is not held any more.
  // Nothing if it is gone or on disk meanwhile.
  void in_other_memory(const Holding& holding, capsule::CapsuleRef capsule);
  void moved_to_disk(const Generation& generation, const capsule::Digest& stored, Bytes size);
  void loaded(const Generation& generation, capsule::CapsuleRef capsule, capsule::SealRef seal);
  // What is in memory is damaged: it is loaded from the disk again, or, if it is not there, not held any more. The floor stays:
  // what is older is restored only when nobody has this one. Nothing if other memory has taken its place.
  void spoilt(const Holding& holding, const capsule::CapsuleRef& capsule);
  void drop_clean_memory();                    // of what is on disk as well
  void confirm(const Generation& generation);  // not provisional any more
  // False: not held; the floor rises all the same. Lets go of what is below the two newest
  // committed ones, and of what is not committed below the floor; the newest stays in any case: the
  // owner's next delta may build on it.
  bool commit(const Generation& generation);
  void discard(const std::vector<Generation>& generations);  // admit() refuses them from now on

 private:
  void retain();
  template <typename Gone>
  void erase_where(Gone&& gone);

  Table table_;
  std::optional<Generation> floor_;
  std::set<Generation> discarded_;  // the newest of them
};

}  // namespace perdure::replica
