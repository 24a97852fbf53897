// Where the containers of a node that is drained go, and in which order. Pure, deterministic.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "placement/choose_standbys.h"

namespace perdure::placement {

struct MoveQuestion {
  StandbyQuestion container;
  std::set<NodeName> ready;  // standbys that hold the newest committed generation
};

// A standby that is ready, else any other that may take it: by the order of choose_standbys, but
// among ready ones the one that owns least. kUnsupported: none; names every node with its reason.
Result<NodeName> choose_move_target(const MoveQuestion& question);

struct DrainRow {
  ContainerName container;
  bool has_ready_standby = false;
  std::uint64_t memory_bytes = 0;
};
// Those with a ready standby first, then the smallest, then by name: most are safe soonest.
std::vector<ContainerName> drain_order(std::vector<DrainRow> rows);

}  // namespace perdure::placement
