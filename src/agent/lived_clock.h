// The time that the agent has lived. A freeze of the container, and a host that gives it no processor, show
// as waits that took longer than they could; a restore shows as a jump of CLOCK_REALTIME against
// CLOCK_MONOTONIC, which CRIU lets go on from the checkpoint (time_namespaces(7)).
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace perdure::agent {

class LivedClock {
 public:
  using Duration = std::chrono::nanoseconds;

  LivedClock(Duration monotonic, Duration realtime) : monotonic_(monotonic), realtime_(realtime) {}

  // After a wait that should have taken `longest` at most. Whether the agent was restored meanwhile, or
  // somebody has set the clock.
  bool advance(Duration monotonic, Duration realtime, Duration longest) {
    const Duration passed = monotonic - monotonic_;
    const Duration shifted = (realtime - realtime_) - passed;
    lived_ += std::clamp(passed, Duration{}, longest + kLate);
    monotonic_ = monotonic;
    realtime_ = realtime;
    return shifted > kJump || shifted < -kJump;
  }
  Duration lived() const { return lived_; }

 private:
  static constexpr Duration kLate = std::chrono::milliseconds(10);  // what a busy host may delay a wake-up
  static constexpr Duration kJump = std::chrono::milliseconds(20);  // no slewing of a clock reaches that in one wait

  Duration monotonic_;
  Duration realtime_;
  Duration lived_{};
};

}  // namespace perdure::agent
