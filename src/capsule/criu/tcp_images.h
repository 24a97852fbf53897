// TCP connections in CRIU's images: where they stood, and images in which they stand elsewhere.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "capsule/format/capsule.h"

namespace perdure::capsule {

// Of one connection. What is more is left to its retransmission timer.
inline constexpr std::size_t kMaxUnacknowledgedBytes = std::size_t{256} << 10;

// A TCP connection as it was captured: what its peer may have moved on from.
struct CapturedConnection {
  bool ipv6 = false;
  std::array<std::uint8_t, 16> local_address{};   // first 4 bytes for IPv4
  std::array<std::uint8_t, 16> remote_address{};
  std::uint16_t local_port = 0;
  std::uint16_t remote_port = 0;
  std::uint32_t send_unacknowledged = 0;  // SND.UNA
  std::uint32_t send_next = 0;            // SND.NXT
  std::uint32_t receive_next = 0;         // RCV.NXT
  std::uint16_t window = 0;               // what it offered the peer, as on the wire
  std::optional<std::uint32_t> timestamp;  // its own timestamp clock (RFC 7323), if it uses the option
  std::uint32_t to_send = 0;   // bytes of the application's that are not acknowledged, sent or not
  std::string unacknowledged;  // what it had sent from SND.UNA on, at most kMaxUnacknowledgedBytes of it
  // Established, or one side closed: it can go on elsewhere in its sequence numbers.
  bool open = false;
  bool shut_by_container = false;  // its own side is closed; SND.NXT counts the FIN
  bool shut_by_peer = false;       // RCV.NXT counts the peer's FIN
  bool listens = false;  // the container listens at the local port: it has accepted this connection there
  std::string image;     // that holds its queues
  bool operator==(const CapturedConnection&) const = default;
};

// kCorrupt naming the image.
Result<std::vector<CapturedConnection>> captured_connections(const std::vector<Image>& images);

// Where a connection's peer is.
struct PeerPosition {
  std::uint32_t received = 0;  // its RCV.NXT: the container's SND.UNA from now on
  std::uint32_t sent = 0;      // RCV.NXT of the container from now on
  std::uint16_t window = 0;    // its offer, as on the wire
  std::optional<std::uint32_t> timestamp_echo{};  // the last of the container's timestamps it has seen
};

// The connection's image, so that it goes on where its peer is (docs/recovery.md, "Connections"): what the peer has
// received leaves the send queue, and what stays in it counts as never sent, so that the kernel sends it by itself as
// soon as it hears the peer. What the application has not read yet stays there.
//
// kCorrupt naming the image; kInvalid: the peer is behind what it had acknowledged, or has what the container cannot
// have sent, or sends on behind its own end.
Result<Image> image_at(const Image& stream, const CapturedConnection& connection, const PeerPosition& peer);

// A connection that is only being made (SYN_SENT) is made again by CRIU, and then given the window that it had: none. Where the other
// end answers at once, as within the container, it stands elsewhere by then, and the kernel refuses that window or has one that fits
// nothing (tcp_repair_set_window in net/ipv4/tcp.c). It goes without. How many images were changed; kCorrupt naming the image.
Result<std::size_t> drop_windows_of_begun(std::vector<Image>& images);

// The connection's image with its timestamp clock so much later; nothing if it does not use timestamps or `later` is not
// positive. Peers drop what carries an older timestamp than they have seen (RFC 7323, section 5), and the life that was
// lost may have spoken, if only to answer a keep-alive. kCorrupt naming the image.
std::uint32_t timestamp_after(std::uint32_t timestamp, std::chrono::milliseconds later);
Result<std::optional<Image>> image_later(const Image& stream, std::chrono::milliseconds later);

}  // namespace perdure::capsule
