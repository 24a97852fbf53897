#include "runtime/wait.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

namespace perdure::runtime {

Result<bool> wait_for(int fd, short events, Instant deadline) {
  pollfd entry{.fd = fd, .events = events, .revents = 0};
  for (;;) {
    const auto left = std::max(deadline - BootClock::now(), Duration::zero());
    const timespec timeout{.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(left).count(),
                           .tv_nsec = (left % std::chrono::seconds(1)).count()};
    const int ready = ::ppoll(&entry, 1, &timeout, nullptr);
    if (ready >= 0) return ready > 0;
    if (errno != EINTR) return fail_errno("poll");
  }
}

}  // namespace perdure::runtime
