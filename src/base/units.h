// Sizes and durations as people write them: "512MiB", "20ms", "5s".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace perdure {

struct Bytes {
  std::uint64_t count = 0;
  auto operator<=>(const Bytes&) const = default;
};

// NUMBER UNIT with an optional fraction, no sign; the unit is required unless the number is 0.
// Durations: ns us ms s min h d. Sizes: B KB MB GB TB (1000) and KiB MiB GiB TiB (1024).
// kInvalid names the text and the units that are understood; overflow is kInvalid too.
Result<Duration> parse_duration(std::string_view text);
Result<Bytes> parse_bytes(std::string_view text);

// "31.4 MB", three significant digits.
std::string format_bytes(Bytes bytes);

}  // namespace perdure
