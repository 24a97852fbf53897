#include "io/poll.h"

#include <algorithm>
#include <cerrno>
#include <format>

namespace perdure::io {

Result<bool> poll_until(std::span<pollfd> descriptors, Instant deadline) {
  for (;;) {
    const Duration left = std::max(deadline - BootClock::now(), Duration::zero());
    timespec wait{};
    wait.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(left).count();
    wait.tv_nsec = (left - std::chrono::seconds(wait.tv_sec)).count();
    const int ready = ::ppoll(descriptors.data(), descriptors.size(), &wait, nullptr);
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return fail_errno("wait for descriptors");
    if (ready == 0 && BootClock::now() >= deadline) return false;
  }
}

Result<bool> wait_for_descriptor(int fd, short events, Instant deadline) {
  pollfd descriptor{.fd = fd, .events = events, .revents = 0};
  return poll_until(std::span(&descriptor, 1), deadline);
}

}  // namespace perdure::io
