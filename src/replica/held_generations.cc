#include "replica/held_generations.h"

#include <algorithm>
#include <format>
#include <set>
#include <span>
#include <tuple>


namespace perdure::replica {
namespace {

constexpr std::size_t kCommittedKept = 2;
// What is discarded can come later only if it is under way: one or two, of at most this many that a
// rollback names.
constexpr std::size_t kDiscardedRemembered = 512;

bool of_earlier_life(const Generation& a, const Generation& b) {
  return std::tie(a.term, a.incarnation) < std::tie(b.term, b.incarnation);
}

}  // namespace

const HeldGeneration* HeldGenerations::find(const Generation& generation) const {
  const auto found = table_.find(generation);
  return found == table_.end() ? nullptr : &found->second;
}

const HeldGeneration* HeldGenerations::find(const Holding& holding) const {
  const HeldGeneration* held = find(holding.generation);
  return held != nullptr && held->holding.digest == holding.digest ? held : nullptr;
}

const HeldGeneration* HeldGenerations::newest() const {
  return table_.empty() ? nullptr : &table_.rbegin()->second;
}

const HeldGeneration* HeldGenerations::newest_committed() const {
  for (auto at = table_.rbegin(); at != table_.rend(); ++at) {
    if (at->second.committed) return &at->second;
  }
  return nullptr;
}

std::vector<HeldGeneration> HeldGenerations::restorable() const {
  std::vector<HeldGeneration> result;
  for (auto at = table_.rbegin(); at != table_.rend(); ++at) {
    if (floor_ && at->first < *floor_) break;
    if (!at->second.provisional) result.push_back(at->second);
  }
  return result;
}

Bytes HeldGenerations::memory() const {
  capsule::FootprintSum sum;
  for (const auto& [generation, held] : table_) sum.add(held.footprint);
  return sum.bytes();
}

Bytes HeldGenerations::disk() const {
  Bytes sum;
  for (const auto& [generation, held] : table_) sum.count += held.stored_size.count;
  return sum;
}

Status HeldGenerations::admit(const Generation& generation, std::size_t max_generations) const {
  if (discarded_.contains(generation)) {
    return fail(ErrorCode::kInvalid, "its owner has discarded it");
  }
  const bool newer = table_.empty() || table_.rbegin()->first < generation;
  if (!newer && floor_ && generation < *floor_) {
    return fail(ErrorCode::kInvalid,
                std::format("it is older than {}, which is committed", to_string(*floor_)));
  }
  if (!table_.empty() && of_earlier_life(generation, table_.rbegin()->first)) {
    return fail(ErrorCode::kInvalid, std::format("{} of a later owner has superseded it",
                                                 to_string(table_.rbegin()->first)));
  }
  if (table_.size() >= max_generations) {
    return fail(ErrorCode::kNoSpace,
                std::format("{} generations are held and none of the newer ones is committed",
                            table_.size()));
  }
  return {};
}

template <typename Gone>
void HeldGenerations::erase_where(Gone&& gone) {
  std::erase_if(table_, [&](const auto& entry) { return gone(entry.first); });
  if (floor_ && gone(*floor_)) {
    const HeldGeneration* committed = newest_committed();
    floor_ = committed == nullptr ? std::nullopt : std::optional(committed->holding.generation);
  }
}

void HeldGenerations::add(HeldGeneration newcomer, const std::optional<Holding>& base) {
  const Generation generation = newcomer.holding.generation;
  erase_where([&](const Generation& old) {
    if (!of_earlier_life(old, generation)) return false;
    return base ? old.number > base->generation.number : old.number >= generation.number;
  });
  if (floor_ == generation) {
    newcomer.committed = true;
    newcomer.provisional = false;
  }
  table_.insert_or_assign(generation, std::move(newcomer));
  retain();
}

void HeldGenerations::in_other_memory(const Holding& holding, capsule::CapsuleRef capsule) {
  const auto found = table_.find(holding.generation);
  if (found == table_.end() || found->second.holding.digest != holding.digest || found->second.capsule == nullptr) return;
  found->second.footprint = capsule::footprint_of(capsule);
  found->second.capsule = std::move(capsule);
}

void HeldGenerations::moved_to_disk(const Generation& generation, const capsule::Digest& stored,
                                    Bytes size) {
  const auto found = table_.find(generation);
  if (found == table_.end()) return;
  found->second.stored = stored;
  found->second.stored_size = size;
  found->second.out_of_memory();
}

void HeldGenerations::loaded(const Generation& generation, capsule::CapsuleRef capsule, capsule::SealRef seal) {
  const auto found = table_.find(generation);
  if (found == table_.end()) return;
  found->second.footprint = capsule::footprint_of(capsule);
  found->second.capsule = std::move(capsule);
  found->second.seal = std::move(seal);
}

void HeldGenerations::spoilt(const Holding& holding, const capsule::CapsuleRef& capsule) {
  const auto found = table_.find(holding.generation);
  if (found == table_.end() || found->second.capsule != capsule) return;
  if (!found->second.stored) {
    table_.erase(found);
    return;
  }
  found->second.out_of_memory();
}

void HeldGenerations::drop_clean_memory() {
  for (auto& [generation, held] : table_) {
    if (held.stored) held.out_of_memory();
  }
}

void HeldGenerations::confirm(const Generation& generation) {
  const auto found = table_.find(generation);
  if (found != table_.end()) found->second.provisional = false;
}

bool HeldGenerations::commit(const Generation& generation) {
  if (discarded_.contains(generation)) return false;  // a notice that the discard has overtaken
  const auto found = table_.find(generation);
  if (found != table_.end()) {
    found->second.committed = true;
    found->second.provisional = false;
  }
  if (!floor_ || *floor_ < generation) floor_ = generation;
  const bool held = found != table_.end();
  retain();
  return held;
}

void HeldGenerations::discard(const std::vector<Generation>& generations) {
  const std::set<Generation> named(generations.begin(), generations.end());
  erase_where([&](const Generation& one) { return named.contains(one); });
  discarded_.insert(named.begin(), named.end());
  while (discarded_.size() > kDiscardedRemembered) discarded_.erase(discarded_.begin());
}

void HeldGenerations::retain() {
  if (!floor_ || table_.empty()) return;
  std::set<Generation> kept{table_.rbegin()->first};
  std::size_t committed = 0;
  for (auto at = table_.rbegin(); at != table_.rend() && committed < kCommittedKept; ++at) {
    if (!at->second.committed) continue;
    kept.insert(at->first);
    ++committed;
  }
  std::erase_if(table_, [&](const auto& entry) {
    return entry.first < *floor_ && !kept.contains(entry.first);
  });
}

}  // namespace perdure::replica
