// Mends what stock CRIU is known to write wrongly, so that a restored container is the one that was
// captured, and reads the few facts that others need from the images.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "capsule/format/capsule.h"

namespace perdure::capsule {

// A periodic timerfd that expired while the processes were stopped is dumped with a remaining time of zero,
// which disarms it for ever when it is restored (criu/timerfd.c sets what it read). Its next expiry becomes
// one nanosecond away: the tick that it owes comes at once, the period goes on. Returns how many.
Result<std::size_t> repair_timers(std::vector<Image>& images);

// An established TCP connection as it was captured: what its peer may have moved on from.
struct CapturedConnection {
  bool ipv6 = false;
  std::array<std::uint8_t, 16> local_address{};   // first 4 bytes for IPv4
  std::array<std::uint8_t, 16> remote_address{};
  std::uint16_t local_port = 0;
  std::uint16_t remote_port = 0;
  std::uint32_t send_unacknowledged = 0;  // SND.UNA
  std::uint32_t send_next = 0;            // SND.NXT
  std::uint32_t receive_next = 0;         // RCV.NXT
  bool operator==(const CapturedConnection&) const = default;
};

// kCorrupt naming the image.
Result<std::vector<CapturedConnection>> captured_connections(const std::vector<Image>& images);

}  // namespace perdure::capsule
