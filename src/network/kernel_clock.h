// The boot clock as BPF programs read it: that of the initial time namespace. A process in another
// one (a host in a container, a node of the lab) reads a clock that is ahead of it by an offset,
// which is fixed for the life of the process (time_namespaces(7)).
#pragma once

#include <cstdint>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace perdure::network {

class KernelClock {
 public:
  constexpr KernelClock() = default;
  explicit constexpr KernelClock(Duration ahead) : ahead_(ahead) {}
  // Of this process. A kernel without time namespaces has the one clock.
  static Result<KernelClock> of_this_process();

  Instant from_kernel(std::uint64_t ns) const {
    return Instant(Duration(static_cast<std::int64_t>(ns)) + ahead_);
  }
  // 0 for what was before the boot.
  std::uint64_t to_kernel(Instant instant) const {
    const auto count = (instant.time_since_epoch() - ahead_).count();
    return count < 0 ? 0 : static_cast<std::uint64_t>(count);
  }
  Duration ahead() const { return ahead_; }

 private:
  Duration ahead_{};
};

// The line "boottime SECONDS NANOSECONDS" of /proc/self/timens_offsets. kCorrupt if there is none.
Result<Duration> parse_boottime_offset(std::string_view offsets);

}  // namespace perdure::network
