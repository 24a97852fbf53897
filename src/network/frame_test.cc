// Proves that frames parse what they make, with right checksums, and that cut or odd input is no
// frame.
#include "network/frame.h"

#include <algorithm>
#include <random>

#include "gtest/gtest.h"

namespace perdure::network {
namespace {

const MacAddress kMac{{2, 0, 0, 0, 0, 1}};
const MacAddress kPeer{{2, 0, 0, 0, 0, 2}};
const IpAddress kV4 = IpAddress::parse("10.0.0.1").value();
const IpAddress kPeerV4 = IpAddress::parse("10.0.0.2").value();
const IpAddress kV6 = IpAddress::parse("fd00::1").value();
const IpAddress kPeerV6 = IpAddress::parse("fd00::2").value();

TcpSegment segment_between(const IpAddress& from, const IpAddress& to) {
  TcpSegment segment;
  segment.source_mac = kMac;
  segment.destination_mac = kPeer;
  segment.source = Endpoint{from, 1234};
  segment.destination = Endpoint{to, 80};
  segment.sequence = 0xfffffff0;
  segment.acknowledgement = 7;
  segment.flags = TcpSegment::kAck;
  segment.window = 99;
  segment.payload_bytes = 1;
  segment.timestamps = TcpTimestamps{11, 22};
  return segment;
}

// The sum over pseudo header and segment, checksum included, is all ones.
bool checksum_is_right(FrameView frame, const IpAddress& from, const IpAddress& to,
                       std::uint8_t protocol, std::size_t upper_bytes) {
  const std::size_t at = from.is_v4() ? 34 : 54;
  Frame pseudo(from.bytes.begin(), from.bytes.begin() + std::ptrdiff_t(from.size()));
  pseudo.insert(pseudo.end(), to.bytes.begin(), to.bytes.begin() + std::ptrdiff_t(to.size()));
  pseudo.insert(pseudo.end(), {0, protocol, 0, std::uint8_t(upper_bytes)});
  return checksum_finish(checksum_add(checksum_add(0, pseudo), frame.subspan(at, upper_bytes))) ==
         0;
}

TEST(TcpFrameTest, ParsesWhatItMakes) {
  for (const auto& [from, to] : {std::pair{kV4, kPeerV4}, std::pair{kV6, kPeerV6}}) {
    const Frame frame = make_tcp(segment_between(from, to));
    const auto parsed = parse_tcp(frame);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->source, (Endpoint{from, 1234}));
    EXPECT_EQ(parsed->destination, (Endpoint{to, 80}));
    EXPECT_EQ(parsed->source_mac, kMac);
    EXPECT_EQ(parsed->sequence, 0xfffffff0);
    EXPECT_EQ(parsed->acknowledgement, 7u);
    EXPECT_EQ(parsed->flags, TcpSegment::kAck);
    EXPECT_EQ(parsed->window, 99);
    EXPECT_EQ(parsed->payload_bytes, 1u);
    ASSERT_TRUE(parsed->timestamps);
    EXPECT_EQ(parsed->timestamps->value, 11u);
    EXPECT_EQ(parsed->timestamps->echo, 22u);
    EXPECT_TRUE(checksum_is_right(frame, from, to, 6, 33));
  }
}

TEST(TcpFrameTest, PaddingIsNoPayload) {
  TcpSegment segment = segment_between(kV4, kPeerV4);
  segment.payload_bytes = 0;
  segment.timestamps.reset();
  const Frame frame = make_tcp(segment);
  EXPECT_EQ(frame.size(), 60u);
  EXPECT_EQ(parse_tcp(frame)->payload_bytes, 0u);
  EXPECT_EQ(checksum_finish(checksum_add(0, FrameView(frame).subspan(14, 20))), 0);
}

TEST(UnreachableFrameTest, QuotesTheSegmentThatWasLost) {
  for (const auto& [host, peer] : {std::pair{kV4, kPeerV4}, std::pair{kV6, kPeerV6}}) {
    const Frame frame = make_unreachable({kMac, kPeer, Endpoint{peer, 4321}, Endpoint{host, 80}, 0xfffffff0});
    const bool v4 = host.is_v4();
    const std::size_t ip_bytes = v4 ? 20 : 40;
    const std::size_t icmp = 14 + ip_bytes;
    const std::size_t icmp_bytes = 8 + ip_bytes + 8;
    ASSERT_GE(frame.size(), icmp + icmp_bytes);
    EXPECT_EQ(frame[icmp], v4 ? 3 : 1) << "destination unreachable";
    EXPECT_EQ(frame[icmp + 1], v4 ? 1 : 0) << "the codes that RFC 6069 names for hosts";
    if (v4) {
      EXPECT_EQ(checksum_finish(checksum_add(0, FrameView(frame).subspan(icmp, icmp_bytes))), 0);
    } else {
      EXPECT_TRUE(checksum_is_right(frame, host, peer, 58, icmp_bytes));
    }
    // What is quoted, as the peer had sent it, is a frame but for its first 14 and its last bytes.
    Frame quoted(frame.begin(), frame.begin() + 14);
    quoted.insert(quoted.end(), frame.begin() + std::ptrdiff_t(icmp) + 8, frame.end());
    quoted.resize(14 + ip_bytes + 20);
    quoted[14 + ip_bytes + 12] = 5 << 4;
    const auto segment = parse_tcp(quoted);
    ASSERT_TRUE(segment);
    EXPECT_EQ(segment->source, (Endpoint{peer, 4321}));
    EXPECT_EQ(segment->destination, (Endpoint{host, 80}));
    EXPECT_EQ(segment->sequence, 0xfffffff0);
  }
}

TEST(ArpFrameTest, ParsesWhatItMakes) {
  const ArpPacket packet{ArpPacket::kReply, kMac, kV4, kPeer, kPeerV4};
  const auto parsed = parse_arp(make_arp(packet, kPeer));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->operation, ArpPacket::kReply);
  EXPECT_EQ(parsed->sender_mac, kMac);
  EXPECT_EQ(parsed->sender, kV4);
  EXPECT_EQ(parsed->target_mac, kPeer);
  EXPECT_EQ(parsed->target, kPeerV4);
}

TEST(NeighbourFrameTest, ParsesWhatItMakes) {
  const auto probe = parse_neighbour(make_solicitation(kMac, IpAddress::any(IpFamily::kV6), kV6));
  ASSERT_TRUE(probe);
  EXPECT_EQ(probe->type, NeighbourMessage::kSolicitation);
  EXPECT_EQ(probe->target, kV6);
  EXPECT_FALSE(probe->link_layer) << "RFC 4861 4.3: not when the source is unspecified";
  const Frame frame = make_unsolicited_advertisement(kMac, kV6);
  const auto advertisement = parse_neighbour(frame);
  ASSERT_TRUE(advertisement);
  EXPECT_EQ(advertisement->type, NeighbourMessage::kAdvertisement);
  EXPECT_EQ(advertisement->link_layer, kMac);
  EXPECT_EQ(advertisement->source, kV6);
  EXPECT_EQ(frame[58], 0x20) << "override";
  EXPECT_TRUE(checksum_is_right(frame, kV6, IpAddress::parse("ff02::1").value(), 58, 32));
}

TEST(FrameTest, CutOrRandomInputIsRefusedOrParsedWithinBounds) {
  std::mt19937 random(1);
  const std::vector<Frame> seeds = {
      make_tcp(segment_between(kV4, kPeerV4)), make_tcp(segment_between(kV6, kPeerV6)),
      make_arp(ArpPacket{}, kPeer), make_unsolicited_advertisement(kMac, kV6)};
  for (const Frame& seed : seeds) {
    for (std::size_t size = 0; size <= seed.size(); ++size) {
      const Frame cut(seed.begin(),
                      seed.begin() + std::ptrdiff_t(size));  // exact size, for the sanitizer
      (void)parse_tcp(cut);
      (void)parse_arp(cut);
      (void)parse_neighbour(cut);
    }
    for (int i = 0; i < 20'000; ++i) {
      Frame changed = seed;
      for (int byte = 0; byte < 3; ++byte)
        changed[random() % changed.size()] = std::uint8_t(random());
      (void)parse_tcp(changed);
      (void)parse_arp(changed);
      (void)parse_neighbour(changed);
    }
  }
}

}  // namespace
}  // namespace perdure::network
