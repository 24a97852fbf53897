// Where containers go when nodes are lost. Pure, as place.h.
#pragma once

#include <cstddef>
#include <vector>

#include "placement/place.h"
#include "placement/problem.h"

namespace perdure::placement {

// What is left of a cluster without some of its nodes.
struct Remainder {
  // A container whose owner is gone is counted from the first standby that it has left: to go on there costs nothing.
  PlacementProblem problem{};
  std::vector<std::size_t> nodes{};  // by node of `problem`: the one it was before
};
// `lost`: one for each node.
Remainder remainder_of(const PlacementProblem& problem, const std::vector<bool>& lost);

// As place(), but who runs stays where it is, unless it is too far now from those it depends on, even where the others would find more if it moved; and who has all its standbys keeps
// them, unless one of their nodes has to run now what it stood by for.
Placement replan(const PlacementProblem& problem, const Effort& effort = {});

}  // namespace perdure::placement
