// The simulation's own time, which no node sees, and the clocks of the nodes, which run beside it.
#pragma once

#include <chrono>
#include <cstdint>

#include "base/clock.h"

namespace perdure::sim {

struct TrueClock {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<TrueClock>;
  static constexpr bool is_steady = true;
};
using TrueTime = TrueClock::time_point;

// Starts anywhere and runs too fast or too slow by a constant rate.
class NodeClock {
 public:
  NodeClock() = default;
  NodeClock(Duration offset, int drift_ppm) : offset_(offset), drift_ppm_(drift_ppm) {}

  Instant at(TrueTime when) const {
    const Duration since = when.time_since_epoch();
    return Instant{} + offset_ + since + since * drift_ppm_ / kMillion;
  }
  // The first instant at which this clock shows `shown` or more.
  TrueTime when(Instant shown) const {
    const Duration since = shown - Instant{} - offset_;
    TrueTime guess{since - since / kMillion * drift_ppm_};
    while (at(guess) < shown) guess += (shown - at(guess)) / 2 + Duration{1};
    return guess;
  }
  int drift_ppm() const { return drift_ppm_; }

 private:
  static constexpr std::int64_t kMillion = 1'000'000;
  Duration offset_{};
  int drift_ppm_ = 0;
};

}  // namespace perdure::sim
