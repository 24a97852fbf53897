#include "policy/generations.h"

#include <algorithm>
#include <set>

namespace perdure::policy {

std::string_view to_string(CommitState state) {
  return state == CommitState::kCommitted ? "committed" : "provisional";
}

std::string_view to_string(Mark mark) {
  switch (mark) {
    case Mark::kNone:
      return "none";
    case Mark::kSuspect:
      return "suspect";
    case Mark::kCorrupt:
      return "corrupt";
    case Mark::kAbandoned:
      return "abandoned";
  }
  return "?";
}

const GenerationInfo* find(std::span<const GenerationInfo> generations, const Generation& id) {
  const auto found = std::ranges::find(generations, id, &GenerationInfo::id);
  return found == generations.end() ? nullptr : &*found;
}

Chain chain_of(std::span<const GenerationInfo> generations, const Generation& id) {
  const GenerationInfo* generation = find(generations, id);
  bool awaited = false;
  // A chain is at most as long as the list; a longer walk goes round in a circle.
  for (std::size_t steps = 0; steps < generations.size(); ++steps) {
    if (generation == nullptr || generation->mark == Mark::kCorrupt) return Chain::kLost;
    const bool is_base = generation->id != id;
    if (generation->state != CommitState::kCommitted && !(is_base && generation->durable)) {
      if (generation->mark != Mark::kNone) return Chain::kLost;
      awaited = true;
    }
    if (!generation->parent) return awaited ? Chain::kAwaited : Chain::kComplete;
    generation = find(generations, *generation->parent);
  }
  return Chain::kLost;
}

bool restorable(std::span<const GenerationInfo> generations, const Generation& id) {
  return chain_of(generations, id) == Chain::kComplete;
}

const GenerationInfo* newest_good(std::span<const GenerationInfo> generations) {
  const GenerationInfo* newest = nullptr;
  for (const auto& generation : generations) {
    if (generation.mark != Mark::kNone || (newest != nullptr && generation.id < newest->id))
      continue;
    if (restorable(generations, generation.id)) newest = &generation;
  }
  return newest;
}

namespace {

class Retention {
 public:
  Retention(std::span<const GenerationInfo> generations, const RetentionRules& rules)
      : generations_(generations), rules_(rules), keep_(std::max(rules.keep, kFewestKept)) {
    const auto good = std::ranges::count_if(
        generations, [this](const GenerationInfo& generation) { return is_good(generation); });
    missing_good_ = kFewestKept - std::min(kFewestKept, static_cast<std::uint32_t>(good));
  }

  // To be asked for every generation, newest first: whether it stays for its own sake.
  bool stays(const GenerationInfo& generation) {
    // Both are always asked: they count.
    const bool for_directory = stays_for_directory(generation);
    return stays_for_recovery(generation) || for_directory;
  }

 private:
  // The newest durable one may be the base of what is being written; the newest without a mark is
  // what a power cut would leave.
  bool stays_for_directory(const GenerationInfo& generation) {
    if (!generation.durable) return false;
    const bool newest = durable_++ == 0;
    return (generation.mark == Mark::kNone && unmarked_durable_++ == 0) || newest;
  }

  bool stays_for_recovery(const GenerationInfo& generation) {
    const bool own =
        generation.id.term == rules_.term && generation.id.incarnation == rules_.incarnation;
    if (is_good(generation)) {
      const bool superseded = own_newer_ >= kFewestKept;
      const bool fallback = rules_.on_probation && generation.id <= *rules_.on_probation;
      const bool among_newest = good_++ < keep_;
      const bool needed = fallback && fallbacks_++ < keep_;
      if (own) ++own_newer_;
      return !superseded || among_newest || needed;
    }
    if (generation.state == CommitState::kProvisional) {
      // Unmarked: its commit or its failure decides. Marked: left behind, nobody will ask for it.
      return generation.mark == Mark::kNone;
    }
    // Marked, or a delta whose base is lost.
    const bool among_newest = marked_++ < rules_.keep_marked;
    const bool stands_in =
        restorable(generations_, generation.id) && marked_restorable_++ < missing_good_;
    // What this owner took and condemned itself needs no successors: a container that keeps failing
    // would fill the disk otherwise.
    return among_newest || stands_in || (!own && own_newer_ < kFewestKept);
  }

  bool is_good(const GenerationInfo& generation) const {
    return generation.mark == Mark::kNone && restorable(generations_, generation.id);
  }

  static constexpr std::uint32_t kFewestKept = 2;

  std::span<const GenerationInfo> generations_;
  const RetentionRules& rules_;
  std::uint32_t keep_;
  std::uint32_t missing_good_ = 0;  // so many marked ones stay in the place of good ones
  std::uint32_t own_newer_ = 0;     // good ones of this owner, newer than the one asked for
  std::uint32_t good_ = 0;
  std::uint32_t fallbacks_ = 0;
  std::uint32_t durable_ = 0;
  std::uint32_t unmarked_durable_ = 0;
  std::uint32_t marked_ = 0;
  std::uint32_t marked_restorable_ = 0;
};

}  // namespace

std::vector<Generation> generations_to_delete(std::span<const GenerationInfo> generations,
                                              const RetentionRules& rules) {
  std::vector<GenerationInfo> newest_first(generations.begin(), generations.end());
  std::ranges::sort(newest_first, std::ranges::greater(), &GenerationInfo::id);
  Retention retention(generations, rules);
  std::set<Generation> bases;
  std::vector<Generation> deleted;
  // A parent is older than its delta, so one pass from the newest meets every base after its users.
  for (const auto& generation : newest_first) {
    const bool stays = retention.stays(generation);
    if (!stays && !bases.contains(generation.id)) {
      deleted.push_back(generation.id);
    } else if (generation.parent) {
      bases.insert(*generation.parent);
    }
  }
  return deleted;
}

}  // namespace perdure::policy
