// Which nodes hold a container's capsules, and where a drained node's containers go. Pure
// functions, deterministic: the same nodes give the same answer whatever their order.
//
// A standby that dies with the owner is worth nothing, so the failure domains decide: a node in
// another data-centre before one in another rack, before one on another server (labels of
// model/cluster.h; a node without a label is a domain of its own). Among equals the one that holds
// least. A standby that is there already stays: a change costs a full capsule.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/ids.h"
#include "model/cluster.h"
#include "placement/eligibility.h"

namespace perdure::placement {

struct NodeView {
  model::NodeDescription description;
  bool reachable = false;
  std::uint64_t held_bytes = 0;  // of others' containers
  std::uint32_t owned = 0;       // containers
};

struct StandbyQuestion {
  std::vector<NodeView> nodes;  // all of the cluster; order does not matter
  NodeName owner;
  std::vector<NodeName> present;  // standbys of the record
  std::uint32_t wanted = 1;
  Requirements requirements;
  std::map<NodeName, std::string> refusals;  // by the nodes themselves, until their time to retry
};

struct StandbyChoice {
  // All that may stand by, the best first: `wanted` of them are to. Present ones come first as long
  // as they may stay; of the others each next one is the farthest from the owner and from those
  // before it. A present one that is out of reach keeps its place: its owner decides when it goes.
  std::vector<NodeName> candidates;
  std::map<NodeName, std::string> refused;  // why the others may not; reasons joined by "; "
};

StandbyChoice choose_standbys(const StandbyQuestion& question);

// Levels that two nodes have in common, from the widest: 0 another data-centre, 1 the same one but
// another rack, 2 the same rack but another server, 3 the same server (or the same node).
int shared_domains(const model::NodeDescription& one, const model::NodeDescription& other);

}  // namespace perdure::placement
