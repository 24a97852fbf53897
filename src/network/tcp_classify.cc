// The pure half of tcp_probe.h.
#include "network/tcp_probe.h"

namespace perdure::network {
namespace {

// Linux from 6.7 on uses the lowest bit of TCP_TIMESTAMP for something else: the value may be one
// too low.
constexpr std::int32_t kTimestampSlack = 1;

}  // namespace

std::string_view to_string(PeerState state) {
  switch (state) {
    case PeerState::kUnmoved:
      return "unmoved";
    case PeerState::kMoved:
      return "moved";
    case PeerState::kGone:
      return "gone";
    case PeerState::kNoAnswer:
      return "no answer";
  }
  return "unknown";
}

PeerState classify(const RestoredSocket& socket, const std::optional<PeerAnswer>& answer) {
  if (!answer) return PeerState::kNoAnswer;
  if (answer->reset) return PeerState::kGone;
  // Sequence numbers wrap: differences, not values, are compared. A peer behind SND.UNA has a huge
  // difference; it has been rolled back itself.
  const std::uint32_t sent = answer->said ? answer->said->end : socket.snd_nxt;
  if (answer->rcv_nxt - socket.snd_una > sent - socket.snd_una) return PeerState::kMoved;
  const std::uint32_t acknowledged = answer->said ? answer->said->acknowledged : socket.rcv_nxt;
  const auto ahead = static_cast<std::int32_t>(answer->snd_nxt - acknowledged);
  if (ahead == 0) return PeerState::kUnmoved;
  // Acknowledgements of both lives overtake an answer.
  if (answer->said) return ahead < 0 ? PeerState::kUnmoved : PeerState::kMoved;
  if (ahead < 0) return PeerState::kMoved;
  if (socket.timestamp && answer->timestamp_echo) {
    // Whoever acknowledged the peer's bytes did so with a timestamp later than the checkpoint's:
    // the gate is locked while a container is frozen, which takes several ticks.
    const auto later = static_cast<std::int32_t>(*answer->timestamp_echo - *socket.timestamp);
    return later <= kTimestampSlack ? PeerState::kUnmoved : PeerState::kMoved;
  }
  return PeerState::kMoved;
}

}  // namespace perdure::network
