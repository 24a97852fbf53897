// Finds a place for each container (paper III-B). Pure and deterministic: the same problem gives the same answer, whatever
// the order of its nodes; bounded: a few passes over containers and nodes.
//
// The most critical first: each container goes where it is, if it may stay, else to the emptiest node that can take it;
// then each gets standbys, on nodes on which its dependencies are kept when they take over. What must share a host is
// placed as one. When one finds no place, it is tried again from the beginning with that one first.
#pragma once

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

// Keeps every rule of violations_of(), at the price of containers without a place or without standbys.
Placement place(const PlacementProblem& problem);

}  // namespace perdure::placement
