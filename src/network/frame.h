// Private to the room: the few kinds of Ethernet frames it makes and reads. Pure; input from the
// wire is never trusted: what is short or odd is no frame of the kind.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "network/address.h"

namespace perdure::network {

using Frame = std::vector<std::uint8_t>;
using FrameView = std::span<const std::uint8_t>;

inline constexpr std::uint16_t kEtherTypeIpv4 = 0x0800;
inline constexpr std::uint16_t kEtherTypeArp = 0x0806;
inline constexpr std::uint16_t kEtherTypeIpv6 = 0x86dd;
inline constexpr MacAddress kBroadcastMac{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

// RFC 826.
struct ArpPacket {
  enum Operation : std::uint16_t { kRequest = 1, kReply = 2 };
  std::uint16_t operation = kRequest;
  MacAddress sender_mac;
  IpAddress sender;
  MacAddress target_mac;
  IpAddress target;
};
Frame make_arp(const ArpPacket& packet, const MacAddress& destination);
std::optional<ArpPacket> parse_arp(FrameView frame);

// RFC 4861: neighbour solicitation (sent to the target's solicited-node group; from :: without the
// link layer option, as duplicate address detection wants it) and advertisement (to all nodes,
// override set).
struct NeighbourMessage {
  enum Type : std::uint8_t { kSolicitation = 135, kAdvertisement = 136 };
  std::uint8_t type = kSolicitation;
  MacAddress sender_mac;  // of the frame
  IpAddress source;
  IpAddress target;
  std::optional<MacAddress> link_layer;  // the option's
};
Frame make_solicitation(const MacAddress& sender, const IpAddress& source, const IpAddress& target);
Frame make_unsolicited_advertisement(const MacAddress& mac, const IpAddress& address);
std::optional<NeighbourMessage> parse_neighbour(FrameView frame);

// RFC 9293.
struct TcpTimestamps {
  std::uint32_t value = 0;
  std::uint32_t echo = 0;
};
struct TcpSegment {
  enum Flag : std::uint8_t { kFin = 1, kSyn = 2, kRst = 4, kPsh = 8, kAck = 16 };
  MacAddress source_mac;
  MacAddress destination_mac;
  Endpoint source;
  Endpoint destination;
  std::uint32_t sequence = 0;
  std::uint32_t acknowledgement = 0;
  std::uint8_t flags = 0;
  std::uint16_t window = 0;
  std::uint32_t payload_bytes =
      0;  // made: zero bytes; parsed: from the IP length, the frame may be cut
  std::optional<TcpTimestamps> timestamps;
  std::vector<std::uint8_t> payload;  // made: these bytes, after the zeros; parsed: never
};
Frame make_tcp(const TcpSegment& segment);
std::optional<TcpSegment> parse_tcp(FrameView frame);

// A router's word to `peer` that what it sent to `host` did not arrive (RFC 792: host unreachable; RFC 4443: no route),
// with the beginning of a segment that was lost: its ports and its sequence number.
struct UnreachableMessage {
  MacAddress source_mac;
  MacAddress destination_mac;
  Endpoint peer;
  Endpoint host;
  std::uint32_t sequence = 0;
};
Frame make_unreachable(const UnreachableMessage& message);

// The Internet checksum of RFC 1071 over `data`, added to `sum`; for IP headers and pseudo headers.
std::uint32_t checksum_add(std::uint32_t sum, FrameView data);
std::uint16_t checksum_finish(std::uint32_t sum);

}  // namespace perdure::network
