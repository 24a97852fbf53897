// The pure half of tcp_probe.h.
#include "network/tcp_probe.h"

namespace perdure::network {
namespace {

// Linux from 6.7 on uses the lowest bit of TCP_TIMESTAMP for something else: the value may be one
// too low.
constexpr std::int32_t kTimestampSlack = 1;

// What the peer has sent beyond what the socket knows is still to be acknowledged: it will send it again. Whoever
// acknowledged it did so with a timestamp later than the checkpoint's: the gate is locked while a container is frozen,
// which takes several ticks.
bool will_send_again(const RestoredSocket& socket, const PeerAnswer& answer) {
  if (!socket.timestamp || !answer.timestamp_echo) return false;
  return static_cast<std::int32_t>(*answer.timestamp_echo - *socket.timestamp) <= kTimestampSlack;
}

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
  return will_send_again(socket, *answer) ? PeerState::kUnmoved : PeerState::kMoved;
}

std::optional<SplicePoint> splice_point(const RestoredSocket& socket, const PeerAnswer& answer) {
  if (answer.reset || answer.said) return std::nullopt;
  const auto received = static_cast<std::int32_t>(answer.rcv_nxt - socket.snd_una);
  const auto ahead = static_cast<std::int32_t>(answer.snd_nxt - socket.rcv_nxt);
  if (received < 0 || ahead < 0) return std::nullopt;
  if (socket.shut_by_container && static_cast<std::uint32_t>(received) > socket.snd_nxt - socket.snd_una) return std::nullopt;
  if (socket.shut_by_peer && ahead > 0) return std::nullopt;
  return SplicePoint{answer.rcv_nxt, will_send_again(socket, answer) ? socket.rcv_nxt : answer.snd_nxt};
}

}  // namespace perdure::network
