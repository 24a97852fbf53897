// What a seed draws before anything happens: the cluster and how rough its life will be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "policy/lease_timing.h"
#include "sim/options.h"
#include "sim/random.h"

namespace perdure::sim {

struct Plan {
  std::size_t nodes = 3;
  std::size_t containers = 1;
  std::size_t managers = 3;
  std::uint32_t standbys = 1;
  policy::lease::Timing timing;
  std::vector<int> drift_ppm;  // of each node
  Duration capture_interval{};
  Duration restore_time{};  // at most
  bool moves = false;
  int phases = 1;          // of trouble
  Duration incident{};     // from one misfortune to the next, on average
};

Plan draw_plan(const SimulationOptions& options, Random& random);

}  // namespace perdure::sim
