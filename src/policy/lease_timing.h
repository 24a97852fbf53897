// How long a grant holds, and how long is waited after it (docs/protocol.md, "Timers").
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace perdure::policy::lease {

struct Timing {
  Duration heartbeat = std::chrono::milliseconds(50);  // from one to the next
  // A container speaks for so long after the last heartbeat that all its standbys have answered. Heartbeats that follow each
  // other within half of it may be lost.
  Duration grant = std::chrono::milliseconds(250);
  // A standby waits for so long after its last grant has run out: for what the clocks of two hosts may differ in rate, and for
  // frames that are under way.
  Duration margin = std::chrono::milliseconds(50);
  bool operator==(const Timing&) const = default;
};

// For a LAN with hosts that answer within a few milliseconds.
inline constexpr Timing kFastTiming{.heartbeat = std::chrono::milliseconds(20),
                                    .grant = std::chrono::milliseconds(80),
                                    .margin = std::chrono::milliseconds(20)};
// Asked for before a planned restart of perdured; the standby waits it out.
inline constexpr Duration kLongGrant = std::chrono::seconds(30);
inline constexpr Duration kLongestGrant = std::chrono::minutes(5);
// Below it a restart would not be over: reading what is on disk, a session with each standby, one swap of the record.
inline constexpr Duration kShortestLongGrant = std::chrono::seconds(1);
// A life that has inherited grants waits so long for the first answer of each standby, if they last: until both have a session
// again (they are dialled every 3 s at least) and the standby has read whom it answers now.
inline constexpr Duration kFirstAnswer = std::chrono::seconds(10);

// The clocks of two hosts run apart by no more than one part in so many: 1000 ppm, where quartz stays below 100 and the
// kernel's slewing below 500.
inline constexpr int kClockDrift = 1000;

// From when a grant was given until its giver may act as if it had run out at the owner.
Duration wait_after(Duration grant, Duration margin);

// From the last heartbeat of an owner that has died until a standby knows it.
Duration time_to_notice(const Timing& timing);

// heartbeat 5 ms to 5 s; grant 3 heartbeats to kLongestGrant; margin 5 ms to the grant. kInvalid says which and why.
Status check(const Timing& timing);

// "default", "fast", or HEARTBEAT,GRANT,MARGIN as durations: "100ms,500ms,50ms". kInvalid names the text, or what check() says.
Result<Timing> parse_timing(std::string_view text);
// "default", "fast", or "custom".
std::string_view name_of(const Timing& timing);

}  // namespace perdure::policy::lease
