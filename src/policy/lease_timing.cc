#include "policy/lease_timing.h"

#include <format>

namespace perdure::policy::lease {

Duration wait_after(Duration grant, Duration margin) {
  return grant + grant / kClockDrift + margin;
}

Status check(const Timing& timing) {
  using std::chrono::milliseconds;
  using std::chrono::seconds;
  const auto refuse = [](std::string_view what, Duration is, Duration least, Duration most, std::string_view why) {
    return fail(ErrorCode::kInvalid, std::format("{} of {}: it has to be {} to {}, {}", what, format_duration(is),
                                                 format_duration(least), format_duration(most), why));
  };
  if (timing.heartbeat < milliseconds(5) || timing.heartbeat > seconds(5)) {
    return refuse("heartbeats every", timing.heartbeat, milliseconds(5), seconds(5),
                  "for more often costs more than it tells, and less often notices nothing");
  }
  if (timing.grant < 3 * timing.heartbeat || timing.grant > kLongestGrant) {
    return refuse("grants", timing.grant, 3 * timing.heartbeat, kLongestGrant,
                  "for one heartbeat that is lost must not silence anybody");
  }
  if (timing.margin < milliseconds(5) || timing.margin > timing.grant) {
    return refuse("a margin", timing.margin, milliseconds(5), timing.grant,
                  "for clocks and frames under way need some, and more than a grant is a longer grant");
  }
  return {};
}

}  // namespace perdure::policy::lease
