// Time. Everything that decides takes `now` as an argument; only shells read a Clock.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace perdure {

// CLOCK_BOOTTIME: goes on while the host sleeps, never jumps.
struct BootClock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<BootClock>;
  static constexpr bool is_steady = true;
  static time_point now() noexcept;
};
using Instant = BootClock::time_point;
using Duration = std::chrono::nanoseconds;
using WallTime = std::chrono::system_clock::time_point;  // for people and manifests only

// The seam: SystemClock in products, a settable one in tests and simulations.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual Instant now() const = 0;
  virtual WallTime wall() const = 0;
};

class SystemClock final : public Clock {
 public:
  Instant now() const override { return BootClock::now(); }
  WallTime wall() const override { return std::chrono::system_clock::now(); }
};

class ManualClock final : public Clock {
 public:
  Instant now() const override { return now_; }
  WallTime wall() const override { return WallTime(std::chrono::seconds(1'700'000'000)) + elapsed_wall(); }
  void advance(Duration by) { now_ += by; }

 private:
  std::chrono::system_clock::duration elapsed_wall() const {
    return std::chrono::duration_cast<std::chrono::system_clock::duration>(now_.time_since_epoch());
  }
  Instant now_{};
};

// From outside: milliseconds since 1970. Before that, or too far to be counted in: that end.
WallTime wall_time_of(std::int64_t unix_ms);

// "350 ms", "1.2 s", "3 min 4 s": three significant digits, for people.
std::string format_duration(Duration duration);
// RFC 3339 in UTC with milliseconds.
std::string format_wall_time(WallTime time);

inline double to_milliseconds(Duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

}  // namespace perdure
