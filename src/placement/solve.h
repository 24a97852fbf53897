// What place() and replan() have in common. Private to this room.
#pragma once

#include "placement/place.h"

namespace perdure::placement {

enum class MayChange : std::uint8_t {
  kAll,
  kWhatLacks,  // owners of containers that cannot go on where they were; standbys of those and of who has fewer than it wants
};

Placement solve(const PlacementProblem& problem, const Effort& effort, MayChange may_change);

}  // namespace perdure::placement
