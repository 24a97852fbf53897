// Whether this host can restore a capsule: what its manifest says of the host on which it was taken, compared with this one. Pure.
#pragma once

#include "base/result.h"
#include "capsule/format/capsule.h"
#include "model/cluster.h"

namespace perdure::node {

// kUnsupported: its processes would not run on this processor, or its images are of a newer CRIU than the one here; names both and
// says what to do. An older kernel alone is no reason: what CRIU lacks of it, CRIU says, and the container is not running anyway.
Status check_restorable(const capsule::Manifest& manifest, const model::HostFacts& host);

}  // namespace perdure::node
