#include "network/frame.h"

#include <algorithm>
#include <cstring>

namespace perdure::network {
namespace {

constexpr std::size_t kEtherBytes = 14;
constexpr std::size_t kArpBytes = 28;
constexpr std::size_t kIpv4Bytes = 20;
constexpr std::size_t kIpv6Bytes = 40;
constexpr std::size_t kTcpBytes = 20;
constexpr std::size_t kMinimumFrame = 60;  // Ethernet without its checksum
constexpr std::size_t kIcmpBytes = 8;
constexpr std::size_t kQuotedTcpBytes = 8;
constexpr std::uint8_t kProtocolIcmp = 1;
constexpr std::uint8_t kIcmpUnreachable = 3;
constexpr std::uint8_t kIcmpHostUnreachable = 1;
constexpr std::uint8_t kIcmpv6Unreachable = 1;
constexpr std::uint8_t kIcmpv6NoRoute = 0;
constexpr std::uint8_t kProtocolTcp = 6;
constexpr std::uint8_t kProtocolIcmpv6 = 58;
constexpr std::uint8_t kNdHopLimit =
    255;  // anything else has been routed and is ignored (RFC 4861)
constexpr std::uint8_t kHopLimit = 64;
constexpr std::uint8_t kOverride = 0x20;
constexpr std::uint8_t kTimestampOption = 8;
constexpr IpAddress kAllNodes{IpFamily::kV6, {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};

class Writer {
 public:
  void u8(std::uint8_t value) { out_.push_back(value); }
  void u16(std::uint16_t value) {
    u8(std::uint8_t(value >> 8));
    u8(std::uint8_t(value));
  }
  void u32(std::uint32_t value) {
    u16(std::uint16_t(value >> 16));
    u16(std::uint16_t(value));
  }
  void mac(const MacAddress& mac) { out_.insert(out_.end(), mac.bytes.begin(), mac.bytes.end()); }
  void ip(const IpAddress& ip) {
    out_.insert(out_.end(), ip.bytes.begin(), ip.bytes.begin() + std::ptrdiff_t(ip.size()));
  }
  void zeros(std::size_t count) { out_.resize(out_.size() + count); }
  void ether(const MacAddress& destination, const MacAddress& source, std::uint16_t type) {
    mac(destination);
    mac(source);
    u16(type);
  }
  void set_u16(std::size_t at, std::uint16_t value) {
    out_[at] = std::uint8_t(value >> 8);
    out_[at + 1] = std::uint8_t(value);
  }
  std::size_t size() const { return out_.size(); }
  FrameView from(std::size_t at) const { return FrameView(out_).subspan(at); }
  Frame take() {
    if (out_.size() < kMinimumFrame) out_.resize(kMinimumFrame);
    return std::move(out_);
  }

 private:
  Frame out_;
};

std::uint16_t read_u16(FrameView data, std::size_t at) {
  return static_cast<std::uint16_t>(data[at] << 8 | data[at + 1]);
}
std::uint32_t read_u32(FrameView data, std::size_t at) {
  return std::uint32_t{read_u16(data, at)} << 16 | read_u16(data, at + 2);
}
MacAddress read_mac(FrameView data, std::size_t at) {
  MacAddress mac;
  std::copy_n(data.begin() + std::ptrdiff_t(at), mac.bytes.size(), mac.bytes.begin());
  return mac;
}
IpAddress read_ip(FrameView data, std::size_t at, IpFamily family) {
  IpAddress ip = IpAddress::any(family);
  std::copy_n(data.begin() + std::ptrdiff_t(at), ip.size(), ip.bytes.begin());
  return ip;
}

void write_ip_header(Writer& out, const IpAddress& source, const IpAddress& destination,
                     std::uint8_t protocol, std::uint8_t hop_limit, std::size_t payload) {
  if (source.is_v4()) {
    const std::size_t start = out.size();
    out.u8(0x45);
    out.u8(0);
    out.u16(static_cast<std::uint16_t>(kIpv4Bytes + payload));
    out.u16(0);
    out.u16(0x4000);  // do not fragment: the identification may be 0 (RFC 6864)
    out.u8(hop_limit);
    out.u8(protocol);
    out.u16(0);
    out.ip(source);
    out.ip(destination);
    out.set_u16(start + 10, checksum_finish(checksum_add(0, out.from(start))));
  } else {
    out.u32(0x60000000);
    out.u16(static_cast<std::uint16_t>(payload));
    out.u8(protocol);
    out.u8(hop_limit);
    out.ip(source);
    out.ip(destination);
  }
}

std::uint16_t upper_checksum(const IpAddress& source, const IpAddress& destination,
                             std::uint8_t protocol, FrameView upper) {
  Writer pseudo;
  pseudo.ip(source);
  pseudo.ip(destination);
  pseudo.u32(
      static_cast<std::uint32_t>(upper.size()));  // for IPv4 the same sum: zero, protocol, length
  pseudo.u32(protocol);
  return checksum_finish(checksum_add(checksum_add(0, pseudo.from(0)), upper));
}

MacAddress multicast_mac(const IpAddress& group) {
  return MacAddress{
      {0x33, 0x33, group.bytes[12], group.bytes[13], group.bytes[14], group.bytes[15]}};
}

Frame make_neighbour(std::uint8_t type, std::uint8_t flags, const MacAddress& sender,
                     const IpAddress& source, const IpAddress& destination, const IpAddress& target,
                     bool with_link_layer) {
  Writer out;
  out.ether(multicast_mac(destination), sender, kEtherTypeIpv6);
  const std::size_t upper_bytes = 24 + (with_link_layer ? 8u : 0u);
  write_ip_header(out, source, destination, kProtocolIcmpv6, kNdHopLimit, upper_bytes);
  const std::size_t start = out.size();
  out.u8(type);
  out.u8(0);
  out.u16(0);
  out.u8(flags);
  out.zeros(3);
  out.ip(target);
  if (with_link_layer) {
    out.u8(type == NeighbourMessage::kSolicitation ? 1 : 2);
    out.u8(1);
    out.mac(sender);
  }
  out.set_u16(start + 2, upper_checksum(source, destination, kProtocolIcmpv6, out.from(start)));
  return out.take();
}

// Where the upper header begins, and what the IP header says.
struct IpView {
  IpAddress source;
  IpAddress destination;
  std::uint8_t protocol = 0;
  std::uint8_t hop_limit = 0;
  std::size_t upper_at = 0;
  std::size_t upper_bytes = 0;  // by the IP header; the frame may hold fewer
};

std::optional<IpView> parse_ip(FrameView frame) {
  if (frame.size() < kEtherBytes + kIpv4Bytes) return std::nullopt;
  const std::uint16_t type = read_u16(frame, 12);
  IpView ip;
  if (type == kEtherTypeIpv4) {
    const std::size_t header = std::size_t{frame[kEtherBytes] & 0x0fu} * 4;
    const std::size_t total = read_u16(frame, kEtherBytes + 2);
    const bool later_fragment = (read_u16(frame, kEtherBytes + 6) & 0x1fff) != 0;
    if (header < kIpv4Bytes || total < header || later_fragment) return std::nullopt;
    ip.hop_limit = frame[kEtherBytes + 8];
    ip.protocol = frame[kEtherBytes + 9];
    ip.source = read_ip(frame, kEtherBytes + 12, IpFamily::kV4);
    ip.destination = read_ip(frame, kEtherBytes + 16, IpFamily::kV4);
    ip.upper_at = kEtherBytes + header;
    ip.upper_bytes = total - header;
    return ip;
  }
  if (type != kEtherTypeIpv6 || frame.size() < kEtherBytes + kIpv6Bytes) return std::nullopt;
  ip.upper_bytes = read_u16(frame, kEtherBytes + 4);
  ip.protocol = frame[kEtherBytes + 6];  // peers put no extension header before TCP or ND
  ip.hop_limit = frame[kEtherBytes + 7];
  ip.source = read_ip(frame, kEtherBytes + 8, IpFamily::kV6);
  ip.destination = read_ip(frame, kEtherBytes + 24, IpFamily::kV6);
  ip.upper_at = kEtherBytes + kIpv6Bytes;
  return ip;
}

std::optional<TcpTimestamps> find_timestamps(FrameView options) {
  while (!options.empty() && options[0] != 0) {
    if (options[0] == 1) {
      options = options.subspan(1);
      continue;
    }
    if (options.size() < 2 || options[1] < 2 || options[1] > options.size()) break;
    if (options[0] == kTimestampOption && options[1] == 10) {
      return TcpTimestamps{read_u32(options, 2), read_u32(options, 6)};
    }
    options = options.subspan(options[1]);
  }
  return std::nullopt;
}

}  // namespace

std::uint32_t checksum_add(std::uint32_t sum, FrameView data) {
  std::size_t i = 0;
  for (; i + 1 < data.size(); i += 2) sum += read_u16(data, i);
  if (i < data.size()) sum += std::uint32_t{data[i]} << 8;
  return sum;
}

std::uint16_t checksum_finish(std::uint32_t sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

Frame make_arp(const ArpPacket& packet, const MacAddress& destination) {
  Writer out;
  out.ether(destination, packet.sender_mac, kEtherTypeArp);
  out.u16(1);  // Ethernet
  out.u16(kEtherTypeIpv4);
  out.u8(6);
  out.u8(4);
  out.u16(packet.operation);
  out.mac(packet.sender_mac);
  out.ip(packet.sender);
  out.mac(packet.target_mac);
  out.ip(packet.target);
  return out.take();
}

std::optional<ArpPacket> parse_arp(FrameView frame) {
  if (frame.size() < kEtherBytes + kArpBytes || read_u16(frame, 12) != kEtherTypeArp)
    return std::nullopt;
  const FrameView arp = frame.subspan(kEtherBytes);
  if (read_u16(arp, 0) != 1 || read_u16(arp, 2) != kEtherTypeIpv4 || arp[4] != 6 || arp[5] != 4) {
    return std::nullopt;
  }
  ArpPacket packet;
  packet.operation = read_u16(arp, 6);
  packet.sender_mac = read_mac(arp, 8);
  packet.sender = read_ip(arp, 14, IpFamily::kV4);
  packet.target_mac = read_mac(arp, 18);
  packet.target = read_ip(arp, 24, IpFamily::kV4);
  return packet;
}

Frame make_solicitation(const MacAddress& sender, const IpAddress& source,
                        const IpAddress& target) {
  IpAddress group{IpFamily::kV6, {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff}};
  std::copy_n(target.bytes.begin() + 13, 3, group.bytes.begin() + 13);
  const bool unspecified = source == IpAddress::any(IpFamily::kV6);
  return make_neighbour(NeighbourMessage::kSolicitation, 0, sender, source, group, target,
                        !unspecified);
}

Frame make_unsolicited_advertisement(const MacAddress& mac, const IpAddress& address) {
  return make_neighbour(NeighbourMessage::kAdvertisement, kOverride, mac, address, kAllNodes,
                        address, true);
}

std::optional<NeighbourMessage> parse_neighbour(FrameView frame) {
  const auto ip = parse_ip(frame);
  if (!ip || ip->protocol != kProtocolIcmpv6 || ip->hop_limit != kNdHopLimit) return std::nullopt;
  if (ip->source.is_v4()) return std::nullopt;
  FrameView message = frame.subspan(ip->upper_at);
  message = message.first(std::min(message.size(), ip->upper_bytes));
  if (message.size() < 24) return std::nullopt;
  if (message[0] != NeighbourMessage::kSolicitation &&
      message[0] != NeighbourMessage::kAdvertisement) {
    return std::nullopt;
  }
  NeighbourMessage result;
  result.type = message[0];
  result.sender_mac = read_mac(frame, 6);
  result.source = ip->source;
  result.target = read_ip(message, 8, IpFamily::kV6);
  const std::uint8_t wanted = message[0] == NeighbourMessage::kSolicitation ? 1 : 2;
  for (FrameView options = message.subspan(24); options.size() >= 8 && options[1] != 0;) {
    if (options[0] == wanted) result.link_layer = read_mac(options, 2);
    const std::size_t size = std::size_t{options[1]} * 8;
    if (size > options.size()) break;
    options = options.subspan(size);
  }
  return result;
}

Frame make_tcp(const TcpSegment& segment) {
  Writer out;
  const IpAddress& source = segment.source.address;
  const IpAddress& destination = segment.destination.address;
  const std::size_t header = kTcpBytes + (segment.timestamps ? 12u : 0u);
  out.ether(segment.destination_mac, segment.source_mac,
            source.is_v4() ? kEtherTypeIpv4 : kEtherTypeIpv6);
  write_ip_header(out, source, destination, kProtocolTcp, kHopLimit,
                  header + segment.payload_bytes + segment.payload.size());
  const std::size_t start = out.size();
  out.u16(segment.source.port);
  out.u16(segment.destination.port);
  out.u32(segment.sequence);
  out.u32(segment.acknowledgement);
  out.u8(static_cast<std::uint8_t>(header / 4 << 4));
  out.u8(segment.flags);
  out.u16(segment.window);
  out.u16(0);
  out.u16(0);
  if (segment.timestamps) {
    out.u16(0x0101);
    out.u8(kTimestampOption);
    out.u8(10);
    out.u32(segment.timestamps->value);
    out.u32(segment.timestamps->echo);
  }
  out.zeros(segment.payload_bytes);
  for (const std::uint8_t byte : segment.payload) out.u8(byte);
  out.set_u16(start + 16, upper_checksum(source, destination, kProtocolTcp, out.from(start)));
  return out.take();
}

Frame make_unreachable(const UnreachableMessage& message) {
  const IpAddress& peer = message.peer.address;
  const IpAddress& host = message.host.address;
  const bool v4 = peer.is_v4();
  Writer out;
  out.ether(message.destination_mac, message.source_mac, v4 ? kEtherTypeIpv4 : kEtherTypeIpv6);
  const std::uint8_t protocol = v4 ? kProtocolIcmp : kProtocolIcmpv6;
  const std::size_t quoted = (v4 ? kIpv4Bytes : kIpv6Bytes) + kQuotedTcpBytes;
  write_ip_header(out, host, peer, protocol, kHopLimit, kIcmpBytes + quoted);
  const std::size_t start = out.size();
  out.u8(v4 ? kIcmpUnreachable : kIcmpv6Unreachable);
  out.u8(v4 ? kIcmpHostUnreachable : kIcmpv6NoRoute);
  out.zeros(kIcmpBytes - 2);
  write_ip_header(out, peer, host, kProtocolTcp, kHopLimit, kTcpBytes);
  out.u16(message.peer.port);
  out.u16(message.host.port);
  out.u32(message.sequence);
  const std::uint16_t checksum = v4 ? checksum_finish(checksum_add(0, out.from(start)))
                                    : upper_checksum(host, peer, protocol, out.from(start));
  out.set_u16(start + 2, checksum);
  return out.take();
}

std::optional<TcpSegment> parse_tcp(FrameView frame) {
  const auto ip = parse_ip(frame);
  if (!ip || ip->protocol != kProtocolTcp || frame.size() < ip->upper_at + kTcpBytes)
    return std::nullopt;
  const FrameView tcp = frame.subspan(ip->upper_at);
  const std::size_t header = std::size_t{tcp[12]} / 16 * 4;
  if (header < kTcpBytes || header > ip->upper_bytes) return std::nullopt;
  TcpSegment segment;
  segment.destination_mac = read_mac(frame, 0);
  segment.source_mac = read_mac(frame, 6);
  segment.source = Endpoint{ip->source, read_u16(tcp, 0)};
  segment.destination = Endpoint{ip->destination, read_u16(tcp, 2)};
  segment.sequence = read_u32(tcp, 4);
  segment.acknowledgement = read_u32(tcp, 8);
  segment.flags = tcp[13];
  segment.window = read_u16(tcp, 14);
  segment.payload_bytes = static_cast<std::uint32_t>(ip->upper_bytes - header);
  if (tcp.size() >= header)
    segment.timestamps = find_timestamps(tcp.first(header).subspan(kTcpBytes));
  return segment;
}

}  // namespace perdure::network
