// Finds a place for each container (paper III-B). Pure and deterministic: the same problem gives the same answer, whatever
// the order of its nodes and containers; bounded by a number of steps, not by a clock.
//
// What runs stays, as far as it may. Each of the others goes to the emptiest node that can take it, the most critical first and
// who depends closely on each other one behind the other; then each gets standbys, on nodes on which its dependencies are kept when
// they take over. What must share a host is placed as one. Then a local search makes it better, in the order of Score
// (improve.h): what lacks something may make others move; what lacks nothing stays where it is, also where the load could be
// spread better. So the places that were found, once taken, are found again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "placement/problem.h"

namespace perdure::placement {

struct Placement {
  Places places{};
  Score score{};
  // For each container: why here; where it has no place, or too few standbys, why not there. For people.
  std::vector<std::string> why{};
};

struct Effort {
  // How often each of the local search's few parts may look at a node. With the default a part takes a tenth of a second at most.
  std::uint64_t steps = 1'000'000;
};

// Keeps every rule of violations_of(), at the price of containers without a place or without standbys.
Placement place(const PlacementProblem& problem, const Effort& effort = {});

}  // namespace perdure::placement
