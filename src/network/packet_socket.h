// Private to the room: AF_PACKET sockets.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "network/frame.h"

namespace perdure::network {

enum class PacketKind { kArp, kNeighbour, kTcp };

// Frames are cut to this: headers are all that anybody here reads.
inline constexpr std::size_t kSnapBytes = 256;

// One interface of one namespace. Sees what passes in both directions. Not for several threads at
// once.
class PacketSocket {
 public:
  // For sending only: nothing is queued.
  static Result<PacketSocket> open_sender(const std::string& interface);
  // For frames of these kinds only; the kernel filters. From the moment of return nothing is
  // missed.
  static Result<PacketSocket> open_listener(const std::string& interface,
                                            std::span<const PacketKind> kinds);

  Status send(FrameView frame);  // either kind may
  // The next frame; nothing once the deadline has passed. Valid until the next call.
  Result<std::optional<FrameView>> receive(Instant deadline);
  // Forgets what has been queued so far.
  Status drain();

 private:
  PacketSocket(UniqueFd fd, std::string interface)
      : fd_(std::move(fd)), interface_(std::move(interface)) {}
  UniqueFd fd_;
  std::string interface_;
  std::array<std::uint8_t, kSnapBytes> buffer_{};
};

}  // namespace perdure::network
