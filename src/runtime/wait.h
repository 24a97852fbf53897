// Inside of this room: waiting for a descriptor, with a deadline.
#pragma once

#include "base/clock.h"
#include "base/result.h"

namespace perdure::runtime {

// poll(2) over EINTR. False at the deadline; a passed deadline still looks once. Errors and
// hang-ups count as ready.
Result<bool> wait_for(int fd, short events, Instant deadline);

}  // namespace perdure::runtime
