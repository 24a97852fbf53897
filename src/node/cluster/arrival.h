// A container that this node has taken over, as Node takes it in.
#pragma once

#include "node/cluster/standby_service.h"
#include "node/node.h"

namespace perdure::node {

// What Node needs is moved out; record and revision stay, and so does what the others hold.
Node::Arrived arrived_from(TakenContainer& taken);

}  // namespace perdure::node
