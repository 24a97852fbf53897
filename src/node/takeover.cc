#include "node/takeover.h"

#include <map>
#include <ranges>

#include "replica/directory_store.h"

namespace perdure::node {

namespace {

struct Chain {
  bool whole = false;
  const Error* unreadable = nullptr;  // something in it
};

Chain chain_of(const std::map<Generation, const replica::StoredGeneration*>& all, const replica::StoredGeneration* last) {
  for (std::size_t length = 0; length < replica::kMaxChain; ++length) {
    if (last->corrupt) return {.whole = false, .unreadable = replica::may_be_read_later(last->corrupt->code()) ? &*last->corrupt : nullptr};
    if (!last->info || !last->info->manifest.parent) return {.whole = last->info.has_value()};
    const auto parent = all.find(*last->info->manifest.parent);
    if (parent == all.end()) return {};
    last = parent->second;
  }
  return {};
}

}  // namespace

const Error* unreadable_now(const std::vector<replica::StoredGeneration>& listed) {
  std::map<Generation, const replica::StoredGeneration*> all;
  for (const replica::StoredGeneration& one : listed) all.emplace(one.generation, &one);
  for (const auto& [generation, stored] : all | std::views::reverse) {
    if (!stored->marks.empty()) continue;
    const Chain chain = chain_of(all, stored);
    if (chain.unreadable != nullptr) return chain.unreadable;
    if (chain.whole) return nullptr;
  }
  return nullptr;
}

TakeoverStep next_step(const TakeoverFacts& facts, const TakeoverNeeds& needs) {
  if (!facts.found) return TakeoverStep::kWait;
  if (facts.leaves) return TakeoverStep::kLeave;
  if (!facts.store_ready && !facts.store_late) return TakeoverStep::kWait;
  if (facts.found->state == Found::State::kAlive) return TakeoverStep::kTakeOver;
  if (needs.others && !facts.elsewhere) return facts.others_asked ? TakeoverStep::kWaitForOthers : TakeoverStep::kAskOthers;
  const bool held_elsewhere = facts.elsewhere && facts.elsewhere->capsule;
  if (facts.stored && !facts.store_ready && !held_elsewhere) return TakeoverStep::kReadStore;
  if (needs.state && !facts.stored && !held_elsewhere) return TakeoverStep::kWaitForStore;
  return TakeoverStep::kTakeOver;
}

}  // namespace perdure::node
