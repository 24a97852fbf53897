// Which nodes hold a container's capsules, and where a drained node's containers go. Pure
// functions, deterministic: the same nodes give the same answer whatever their order.
//
// A standby that dies with the owner is worth nothing, so the failure domains decide: a node in
// another data-centre before one in another rack, before one on another server (labels of
// model/cluster.h). Among equals the one that holds
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
  std::vector<NodeName> present = {};  // standbys of the record
  std::vector<NodeName> wanted = {};   // by its specification, the first before the others
  Requirements requirements = {};
  std::map<NodeName, std::string> refusals = {};  // by the nodes themselves, until their time to retry
};

struct StandbyChoice {
  // All that may stand by, the best first. Present ones come first as long as they may stay, also
  // while they cannot be reached: their owner decides when one goes. Then those that are wanted, in
  // that order. Of the others each next one is the farthest from the owner and from those before it.
  std::vector<NodeName> candidates;
  std::map<NodeName, std::string> refused;  // why the others may not; reasons joined by "; "
};

StandbyChoice choose_standbys(const StandbyQuestion& question);

// How much two nodes have in common: 0 nothing that is known, 1 the data-centre, 2 the rack too, 3
// the server too (or it is the same node). A label that one of them lacks is passed over; a wider
// one that differs ends it, for a rack's name may mean another rack elsewhere.
int shared_domains(const model::NodeDescription& one, const model::NodeDescription& other);

}  // namespace perdure::placement
