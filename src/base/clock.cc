#include "base/clock.h"

#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <format>

namespace perdure {

BootClock::time_point BootClock::now() noexcept {
  timespec ts{};
  ::clock_gettime(CLOCK_BOOTTIME, &ts);
  return time_point(std::chrono::seconds(ts.tv_sec) + std::chrono::nanoseconds(ts.tv_nsec));
}

std::string format_duration(Duration duration) {
  using namespace std::chrono;
  if (duration < Duration::zero()) return "-" + format_duration(-duration);
  const double us = std::chrono::duration<double, std::micro>(duration).count();
  if (us < 999.5) return std::format("{:.3g} us", us);
  if (us < 999.5e3) return std::format("{:.3g} ms", us / 1e3);
  if (us < 60e6) return std::format("{:.3g} s", us / 1e6);
  const auto whole = duration_cast<seconds>(duration).count();
  if (whole < 3600) return std::format("{} min {} s", whole / 60, whole % 60);
  if (whole < 48 * 3600) return std::format("{} h {} min", whole / 3600, whole % 3600 / 60);
  return std::format("{} d {} h", whole / 86400, whole % 86400 / 3600);
}

WallTime wall_time_of(std::int64_t unix_ms) {
  constexpr auto kLast = std::chrono::duration_cast<std::chrono::milliseconds>(WallTime::max().time_since_epoch());
  return WallTime(std::chrono::duration_cast<WallTime::duration>(
      std::clamp(std::chrono::milliseconds(unix_ms), std::chrono::milliseconds(0), kLast)));
}

std::string format_wall_time(WallTime time) {
  const auto ms = std::chrono::floor<std::chrono::milliseconds>(time);
  return std::format("{:%FT%T}Z", ms);
}

}  // namespace perdure
