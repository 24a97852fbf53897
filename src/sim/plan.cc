#include "sim/plan.h"

namespace perdure::sim {

using std::chrono_literals::operator""ms;

namespace {

// Beyond what clocks of hosts do, within what the protocol allows for (policy/lease_timing.h).
constexpr int kMostDrift = 500;
// Of a thousand seeds. A whole cluster takes as long as a hundred small ones.
constexpr unsigned kLarge = 4;
constexpr unsigned kMiddling = 30;

void draw_size(Plan& plan, Random& random) {
  const std::size_t kind = random.below(1000);
  if (kind < kLarge) {
    plan.nodes = static_cast<std::size_t>(random.within(20, 50));
    plan.containers = static_cast<std::size_t>(random.within(50, 300));
  } else if (kind < kLarge + kMiddling) {
    plan.nodes = static_cast<std::size_t>(random.within(6, 12));
    plan.containers = static_cast<std::size_t>(random.within(6, 20));
  } else {
    plan.nodes = static_cast<std::size_t>(random.within(3, 5));
    plan.containers = static_cast<std::size_t>(random.within(1, 5));
  }
}

}  // namespace

Plan draw_plan(const SimulationOptions& options, Random& random) {
  Plan plan;
  draw_size(plan, random);
  if (options.nodes) plan.nodes = *options.nodes;
  if (options.containers) plan.containers = *options.containers;
  plan.managers = plan.nodes >= 5 && random.percent(50) ? 5 : 3;
  plan.standbys = random.percent(70) ? 1 : 2;
  if (random.percent(25)) plan.timing = policy::lease::kFastTiming;
  for (std::size_t n = 0; n < plan.nodes; ++n) {
    plan.drift_ppm.push_back(random.percent(30) ? (random.percent(50) ? kMostDrift : -kMostDrift)
                                                : random.within(-kMostDrift, kMostDrift));
  }
  plan.capture_interval = random.between(150ms, 1200ms);
  plan.restore_time = random.between(40ms, 250ms);
  const bool every_other = options.seed % 2 == 0;
  plan.moves = options.moves.value_or(every_other ? Moves::kSome : Moves::kNone) == Moves::kSome;
  plan.phases = random.within(1, 3);
  plan.incident = random.between(60ms, 700ms);
  return plan;
}

}  // namespace perdure::sim
