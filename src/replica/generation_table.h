// The newest generations of one container as its owner knows them: the capsules in memory, how far
// each has come, and what they cost. Decides nothing; keeps two promises: the newest
// committed generation is never let go, and the memory is bounded.
//
// Committed and durable are two things: with standbys a generation is committed when they hold it,
// and may become durable later, or never. What is in memory only goes when a newer one is
// committed, and last.
//
// Thread-safe. load() may block on the store (pool threads); everything else only computes.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"
#include "capsule/format/capsule.h"
#include "capsule/format/sharing.h"
#include "replica/capsule_store.h"

namespace perdure::replica {

enum class GenerationState {
  kCaptured,     // in memory, nowhere else
  kProvisional,  // waits for its health probe; never restored from
  kDurable,      // in the store, not yet committed
  kCommitted,    // acknowledged by all who must hold it: what a recovery may count on
  kBad,          // did not verify, or did not run after a restore
};
std::string_view to_string(GenerationState state);

struct GenerationRecord {
  Generation generation;
  capsule::Digest digest;       // of the encoded form that children name as their parent
  capsule::CapsuleRef capsule;  // nullptr: only in the store
  capsule::Footprint footprint;  // of `capsule`
  capsule::Manifest manifest;
  Bytes stored_size;  // 0: not stored
  bool provisional = false;
  bool durable = false;
  bool committed = false;
  std::string bad;  // why; empty: good
  GenerationState state()
      const;  // the word that matters most: bad, provisional, committed, durable
};

struct GenerationTableOptions {
  // Of the owner's memory for all generations of this container, shared pages counted once. What is
  // bad goes first, then what is durable (its record stays), then what was never committed and is
  // older than the newest committed one, then committed ones before it; oldest first each. The
  // newest committed one and all after it that are not durable, and the bases of deltas, stay.
  Bytes memory_budget{std::uint64_t{1} << 30};
  // Records, in memory or not. Older ones are forgotten here; the store keeps its own.
  std::size_t max_generations = 64;
};

class GenerationTable {
 public:
  explicit GenerationTable(GenerationTableOptions options) : options_(options) {}

  // A new generation, captured a moment ago; `digest` of its encoded form (zero while there is
  // none: mark_durable() brings it). Generations that a lower term or incarnation put above its
  // parent are discarded: it has superseded them. kExists. kInvalid: older than the newest one.
  // kNoSpace: does not fit beside the newest committed one; names both sizes and the budget.
  enum class Probe { kNone, kPending };  // kPending: provisional until confirm()
  Status add(capsule::CapsuleRef capsule, const capsule::Digest& digest, Probe probe);

  // A verified capsule that somebody else has kept: committed, whatever is newer, and whatever was known of it. kNoSpace.
  Status supply(capsule::CapsuleRef capsule);

  // What is little used of earlier slabs is copied together (capsule/format/sharing.h), or a few pages would pin all of
  // them. The same state in other memory, for whoever refers to the former; nullptr: not in memory. Computes.
  Result<capsule::CapsuleRef> compact(const Generation& generation);

  // All: kNotFound when the generation is not in the table.
  Status confirm(const Generation& generation);  // its health probe succeeded
  // `digest`: of the form in the store, if add() did not know it.
  Status mark_durable(const Generation& generation, Bytes stored_size,
                      std::optional<capsule::Digest> digest = std::nullopt);
  Status mark_committed(const Generation& generation);  // kInvalid while it is provisional or bad
  Status mark_bad(const Generation& generation, std::string why);
  // The generations that deltas to come build on (Shipper::bases()): not dropped from memory.
  // Replaces those named before; others than those in the table are ignored.
  void keep_in_memory(std::set<Generation> bases);
  // The capsule if it is in memory, without a copy of the record.
  capsule::CapsuleRef in_memory(const Generation& generation) const;
  // Drops the record and the capsule. kConflict: it is the newest committed one.
  Status forget(const Generation& generation);

  std::optional<GenerationRecord> find(const Generation& generation) const;
  std::optional<GenerationRecord> newest()
      const;  // whatever its state: the parent of the next delta
  std::optional<GenerationRecord> newest_committed() const;  // not bad, not provisional
  std::optional<GenerationRecord> newest_durable() const;    // not bad, not provisional
  std::vector<GenerationRecord> all() const;                 // oldest first
  Bytes memory() const;

  // After a restart of the daemon: what the store lists, capsules to be loaded when they are
  // needed. Generations already in the table stay. `as` is what being stored means for this
  // container: kCommitted where the store alone commits (no standbys), else kDurable. Damaged ones
  // are listed as bad.
  void rebuild(const std::vector<StoredGeneration>& stored, GenerationState as);
  // From memory, or from the store and then kept in memory if the budget allows it. kNotFound,
  // kCorrupt (the record is marked bad), and what the store says.
  Result<capsule::CapsuleRef> load(const Generation& generation, CapsuleStore& store);

 private:
  using Records = std::map<Generation, GenerationRecord>;
  Records::iterator newest_committed_locked();
  Records::iterator victim_locked(const Generation& newcomer);
  Status fit(const Generation& newcomer);
  void discard_superseded(const capsule::Manifest& newcomer);
  Bytes memory_locked() const;
  void bound_records();
  template <typename Wanted>
  std::optional<GenerationRecord> newest_where(Wanted&& wanted) const;
  Result<Records::iterator> at(const Generation& generation);

  const GenerationTableOptions options_;
  mutable std::mutex mutex_;
  Records records_;
  std::set<Generation> bases_;
};

}  // namespace perdure::replica
