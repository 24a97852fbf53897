#include "policy/restore_turns.h"

#include <algorithm>
#include <tuple>

#include "base/assert.h"

namespace perdure::policy {
namespace {

using State = PendingRestore::State;

bool has_place(const PendingRestore& one, Instant now) {
  return one.state == State::kReady || (one.state == State::kComing && now < one.comes_until);
}

}  // namespace

bool comes_before(const PendingRestore& a, const PendingRestore& b) {
  return std::tie(a.outage_tolerance, a.silent_since, a.container) < std::tie(b.outage_tolerance, b.silent_since, b.container);
}

RestoreTurns next_restores(std::span<const PendingRestore> pending, std::size_t budget, Instant now) {
  PERDURE_ASSERT(budget > 0);
  std::size_t used = 0;
  std::vector<const PendingRestore*> waiting;
  for (const PendingRestore& one : pending) {
    if (one.state == State::kRunning) ++used;
    if (has_place(one, now)) waiting.push_back(&one);
  }
  std::ranges::sort(waiting, [](const auto* a, const auto* b) { return comes_before(*a, *b); });
  RestoreTurns turns;
  for (const PendingRestore* one : waiting) {
    if (used >= budget) break;
    ++used;
    if (one->state == State::kReady) {
      turns.begin.push_back(one->container);
    } else if (!turns.look_again || one->comes_until < *turns.look_again) {
      turns.look_again = one->comes_until;
    }
  }
  return turns;
}

std::size_t waiting_before(std::span<const PendingRestore> pending, const ContainerName& container, Instant now) {
  const auto own = std::ranges::find(pending, container, &PendingRestore::container);
  PERDURE_ASSERT(own != pending.end());
  return static_cast<std::size_t>(
      std::ranges::count_if(pending, [&](const PendingRestore& one) { return has_place(one, now) && comes_before(one, *own); }));
}

}  // namespace perdure::policy
