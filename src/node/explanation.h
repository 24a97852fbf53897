// Why the last recovery of a container went as it did, told from its events.
//
// Pure. The events say what was seen and what was decided, each with its reason; this finds those that belong together. What fails
// again within the probation continues the recovery before it: the generation before, another node, a cold start are steps of one.
#pragma once

#include <optional>
#include <span>

#include "base/clock.h"
#include "control.pb.h"

namespace perdure::node {

// `events`: of one container, oldest first. Absent: no recovery is among them.
std::optional<control::v1::Recovery> last_recovery(std::span<const control::v1::Event* const> events, Duration probation);

}  // namespace perdure::node
