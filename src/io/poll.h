// poll() with a deadline on our clock.
#pragma once

#include <poll.h>

#include <span>

#include "base/clock.h"
#include "base/result.h"

namespace perdure::io {

// Over EINTR. Returns whether anything is ready; false at the deadline. A passed deadline still
// looks once.
Result<bool> poll_until(std::span<pollfd> descriptors, Instant deadline);

// The same for one descriptor; errors and hang-ups count as ready.
Result<bool> wait_for_descriptor(int fd, short events, Instant deadline);

}  // namespace perdure::io
