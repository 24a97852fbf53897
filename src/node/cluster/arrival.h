// A container that this node has taken over, as Node takes it in.
#pragma once

#include "node/cluster/standby_service.h"
#include "node/node.h"

namespace perdure::node {

// What Node needs is moved out; record and revision stay, and so does what the others hold.
Node::Arrived arrived_from(TakenContainer& taken);

// What there is to go back to when nothing that was here could be restored: what others hold, and what this node still holds, the best
// first. `term`: of the record.
HeldElsewhere together(HeldElsewhere others, std::vector<capsule::CapsuleRef> here, Term term);

}  // namespace perdure::node
