#include "network/kernel_clock.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <format>
#include <string>

#include "base/fd.h"

namespace perdure::network {
namespace {

constexpr std::string_view kOffsets = "/proc/self/timens_offsets";

// The next number of the line, after blanks.
bool take_number(std::string_view& line, std::int64_t& number) {
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), number);
  if (error != std::errc()) return false;
  line.remove_prefix(static_cast<std::size_t>(end - line.data()));
  return true;
}

}  // namespace

Result<Duration> parse_boottime_offset(std::string_view offsets) {
  constexpr std::string_view kClock = "boottime ";
  constexpr std::int64_t kMaxSeconds = INT64_MAX / 1'000'000'000 - 1;
  const std::size_t begin = offsets.starts_with(kClock) ? 0 : offsets.find("\nboottime ");
  if (begin != std::string_view::npos) {
    std::string_view line = offsets.substr(offsets.find(kClock, begin) + kClock.size());
    line = line.substr(0, line.find('\n'));
    std::int64_t seconds = 0;
    std::int64_t nanoseconds = 0;
    if (take_number(line, seconds) && take_number(line, nanoseconds) && line.empty() &&
        std::abs(seconds) <= kMaxSeconds && nanoseconds >= 0 && nanoseconds < 1'000'000'000) {
      return std::chrono::seconds(seconds) + Duration(nanoseconds);
    }
  }
  return fail(ErrorCode::kCorrupt,
              std::format("'{}' says nothing of the boot clock: '{}'", kOffsets, offsets));
}

Result<KernelClock> KernelClock::of_this_process() {
  const auto offsets = read_file(std::string(kOffsets));
  if (!offsets) {
    if (offsets.error().code() == ErrorCode::kNotFound) return KernelClock();
    return fail(offsets.error());
  }
  PERDURE_ASSIGN(const Duration ahead, parse_boottime_offset(*offsets));
  return KernelClock(ahead);
}

}  // namespace perdure::network
