#include "base/units.h"

#include <array>
#include <charconv>
#include <cmath>
#include <format>
#include <limits>
#include <span>

namespace perdure {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

constexpr std::array kDurationUnits = {
    Unit{"ns", 1},    Unit{"us", 1e3},     Unit{"ms", 1e6},      Unit{"s", 1e9},
    Unit{"min", 6e10}, Unit{"h", 3600e9}, Unit{"d", 86400e9},
};
constexpr std::array kByteUnits = {
    Unit{"B", 1},           Unit{"KB", 1e3},          Unit{"MB", 1e6},
    Unit{"GB", 1e9},        Unit{"TB", 1e12},         Unit{"KiB", 1024},
    Unit{"MiB", 1048576},   Unit{"GiB", 1073741824.0}, Unit{"TiB", 1099511627776.0},
};

Result<double> parse_scaled(std::string_view text, std::string_view kind, std::span<const Unit> units) {
  std::string known;
  for (const Unit& unit : units) known += std::format(" {}", unit.name);
  const auto refuse = [&](std::string_view why) {
    return fail(ErrorCode::kInvalid, std::format("{} '{}': {} (units:{})", kind,
                                                 text.substr(0, 40), why, known));
  };
  double number = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc{} || std::signbit(number)) return refuse("expected a number and a unit");
  std::string_view rest(end, static_cast<std::size_t>(text.data() + text.size() - end));
  while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
  if (rest.empty() && number == 0) return 0.0;
  for (const Unit& unit : units) {
    if (unit.name != rest) continue;
    const double scaled = number * unit.factor;
    if (!(scaled < 9.2e18)) return refuse("too large");
    return scaled;
  }
  return refuse(rest.empty() ? "the unit is missing" : "unknown unit");
}

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
  PERDURE_ASSIGN(const double ns, parse_scaled(text, "duration", kDurationUnits));
  return Duration(std::llround(ns));
}

Result<Bytes> parse_bytes(std::string_view text) {
  PERDURE_ASSIGN(const double count, parse_scaled(text, "size", kByteUnits));
  return Bytes{static_cast<std::uint64_t>(std::llround(count))};
}

std::string format_bytes(Bytes bytes) {
  const double count = static_cast<double>(bytes.count);
  if (bytes.count < 1000) return std::format("{} B", bytes.count);
  if (count < 999.5e3) return std::format("{:.3g} kB", count / 1e3);
  if (count < 999.5e6) return std::format("{:.3g} MB", count / 1e6);
  if (count < 999.5e9) return std::format("{:.3g} GB", count / 1e9);
  return std::format("{:.4g} TB", count / 1e12);
}

}  // namespace perdure
