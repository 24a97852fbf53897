#include "policy/lease_timing.h"

#include <algorithm>
#include <array>
#include <format>

#include "base/units.h"

namespace perdure::policy::lease {

Duration wait_after(Duration grant, Duration margin) {
  return grant + grant / kClockDrift + margin;
}

Duration time_to_notice(const Timing& timing) {
  return wait_after(timing.grant, timing.margin);
}

Status check(const Timing& timing) {
  using std::chrono::milliseconds;
  using std::chrono::seconds;
  const auto refuse = [](std::string_view what, Duration is, Duration least, Duration most, std::string_view why) {
    return fail(ErrorCode::kInvalid, std::format("{} {}: it has to be {} to {}, {}", what, format_duration(is),
                                                 format_duration(least), format_duration(most), why));
  };
  if (timing.heartbeat < milliseconds(5) || timing.heartbeat > seconds(5)) {
    return refuse("heartbeats every", timing.heartbeat, milliseconds(5), seconds(5),
                  "for more often costs more than it tells, and less often notices nothing");
  }
  if (timing.grant < 3 * timing.heartbeat || timing.grant > kLongestGrant) {
    return refuse("grants of", timing.grant, 3 * timing.heartbeat, kLongestGrant,
                  "for one heartbeat that is lost must not silence anybody");
  }
  if (timing.margin < milliseconds(5) || timing.margin > timing.grant) {
    return refuse("a margin of", timing.margin, milliseconds(5), timing.grant,
                  "for clocks and frames under way need some, and more than a grant is a longer grant");
  }
  return {};
}

Result<Timing> parse_timing(std::string_view text) {
  if (text == "default") return Timing{};
  if (text == "fast") return kFastTiming;
  std::array<Duration, 3> parts{};
  if (std::ranges::count(text, ',') != std::ssize(parts) - 1) {
    return fail(ErrorCode::kInvalid, std::format("timing '{}' is neither 'default' nor 'fast' nor HEARTBEAT,GRANT,MARGIN such as "
                                                 "100ms,500ms,50ms",
                                                 text));
  }
  std::string_view rest = text;
  for (Duration& wanted : parts) {
    const std::size_t end = std::min(rest.find(','), rest.size());
    auto part = parse_duration(rest.substr(0, end));
    if (!part) return fail(std::move(part).error().context(std::format("timing '{}'", text)));
    wanted = *part;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  const Timing timing{.heartbeat = parts[0], .grant = parts[1], .margin = parts[2]};
  if (Status checked = check(timing); !checked) return fail(std::move(checked).error().context(std::format("timing '{}'", text)));
  return timing;
}

std::string_view name_of(const Timing& timing) {
  if (timing == Timing{}) return "default";
  return timing == kFastTiming ? "fast" : "custom";
}

}  // namespace perdure::policy::lease
