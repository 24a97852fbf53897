#include "node/takeover.h"

namespace perdure::node {

TakeoverStep next_step(const TakeoverFacts& facts, const TakeoverNeeds& needs) {
  if (!facts.found) return TakeoverStep::kWait;
  if (facts.leaves) return TakeoverStep::kLeave;
  if (!facts.store_ready && !facts.store_late) return TakeoverStep::kWait;
  if (facts.found->state == Found::State::kAlive) return TakeoverStep::kTakeOver;
  if (facts.stored && !facts.store_ready) return TakeoverStep::kReadStore;
  if (needs.others && !facts.elsewhere) return facts.others_asked ? TakeoverStep::kWaitForOthers : TakeoverStep::kAskOthers;
  const bool held_elsewhere = facts.elsewhere && facts.elsewhere->capsule;
  if (needs.state && !facts.stored && !held_elsewhere) return TakeoverStep::kWaitForStore;
  return TakeoverStep::kTakeOver;
}

}  // namespace perdure::node
