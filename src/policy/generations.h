// What the policy knows of a container's capsules, and which of them may be deleted
// (docs/recovery.md, "What is kept").
//
// Pure values and functions; nothing here touches a store.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"

namespace perdure::policy {

// kProvisional: captured, not yet acknowledged by all that have to hold it. kCommitted:
// acknowledged.
enum class CommitState { kProvisional, kCommitted };

// Why a generation is passed over. Marks are kept with the capsule, so that they outlive the
// daemon.
enum class Mark {
  kNone,
  kSuspect,    // its restore failed, or the container died soon after it; an operator may still ask
               // for it
  kCorrupt,    // does not verify; never restored, whoever asks
  kAbandoned,  // of a life that was left behind: not committed when it ended, or an operator went
               // back past it
};
std::string_view to_string(CommitState state);
std::string_view to_string(Mark mark);

struct GenerationInfo {
  Generation id;
  // What its delta in the durable directory builds on; absent: complete in itself. In memory every
  // capsule is complete.
  std::optional<Generation> parent;
  CommitState state = CommitState::kProvisional;
  Mark mark = Mark::kNone;
  bool durable = false;   // in the durable directory
  Instant captured_at{};  // when the processes were frozen, on this host's boot clock
  bool operator==(const GenerationInfo&) const = default;
};

const GenerationInfo* find(std::span<const GenerationInfo> generations, const Generation& id);

// A generation together with the bases it builds on. A base is there when it is committed or
// durable.
enum class Chain {
  kComplete,  // committed, all bases there, none corrupt
  kAwaited,   // it or a base may still be committed
  kLost,      // one is corrupt, missing, or was left behind uncommitted: it can never be restored
};
Chain chain_of(std::span<const GenerationInfo> generations, const Generation& id);

// Its chain is complete. Says nothing about a mark of its own unless that is kCorrupt.
bool restorable(std::span<const GenerationInfo> generations, const Generation& id);

// The newest restorable generation without a mark; nullptr if there is none.
const GenerationInfo* newest_good(std::span<const GenerationInfo> generations);

struct RetentionRules {
  Term term;                      // of the owner that deletes
  Incarnation incarnation;        // the same
  std::uint32_t keep = 3;         // unmarked committed ones, at least 2
  std::uint32_t keep_marked = 3;  // marked ones, kept for inspection
  // The generation restored last, while the container is on probation: it and its `keep` - 1 good
  // predecessors stay, for they are what a second failure goes back to.
  std::optional<Generation> on_probation;
};

// What may be deleted, newest first, so that a crash half-way leaves no delta without its base.
// A good generation (restorable, no mark) goes only when two good ones of this very owner are
// newer: whoever lost the container unnoticed deletes nothing of its successor's. Bases of what is
// kept and unmarked provisional ones stay. So do the newest durable one, for what is being written
// there may build on it, and the newest durable one without a mark: a power cut leaves nothing
// else. With fewer than two good ones, restorable marked ones stay in their place. Any order of
// input; no duplicates in it.
std::vector<Generation> generations_to_delete(std::span<const GenerationInfo> generations,
                                              const RetentionRules& rules);

}  // namespace perdure::policy
