// Which of the containers that it has to be close to are too far from a container, on a node that it is on or could be on: the
// plan's dependencies (problem.h) as a running cluster sees them, by names. Pure.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "base/ids.h"
#include "model/cluster.h"
#include "model/spec.h"
#include "placement/distance.h"
#include "placement/problem.h"

namespace perdure::placement {

Closeness closeness_of(model::Within within);

// Where it is, by its labels; not what it has.
PlaceNode place_of(const model::NodeDescription& node);

// Where no node says in which rack, or data centre, it is, all are taken to be in one.
Closeness widened(Closeness closeness, const std::vector<PlaceNode>& nodes);

// Indices into `near`, rising. `sponsors_at`: those that are somewhere; a vicinity of which none is, is kept. A node that is not
// among `nodes` is close to itself only.
std::vector<std::size_t> too_far(const NodeName& node, const std::vector<model::Vicinity>& near,
                                 const std::map<std::string, NodeName>& sponsors_at,
                                 const std::vector<PlaceNode>& nodes);

}  // namespace perdure::placement
