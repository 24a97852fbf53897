// Proves that announcements reach the other containers and the host though the container's gate is
// closed, that they do not draw its traffic away, and that the holder of an address is found:
// another container, the host, a second copy of ourselves, or somebody who is asking too.
#include "network/announce.h"

#include <atomic>
#include <thread>

#include "network/network_test_support.h"
#include "network/packet_socket.h"

namespace perdure::network {
namespace {

using std::chrono_literals::operator""ms;

constexpr std::array kKinds{PacketKind::kArp, PacketKind::kNeighbour};

class AnnounceTest : public BridgeTest {
 protected:
  static PacketSocket listen_in(const NetworkNamespace& netns, const std::string& interface) {
    return value_of(
        call_in_netns(netns.fd(), [&] { return PacketSocket::open_listener(interface, kKinds); }));
  }
  struct Heard {
    bool request = false;
    bool reply = false;
    bool advertisement = false;
    bool all() const { return request && reply && advertisement; }
  };
  static Heard hear(PacketSocket& listener, const MacAddress& mac, const IpAddress& v4,
                    const IpAddress& v6) {
    Heard heard;
    const Instant deadline = BootClock::now() + kEventDeadline;
    while (!heard.all()) {
      const auto frame = value_of(listener.receive(deadline));
      if (!frame) break;
      if (const auto arp = parse_arp(*frame);
          arp && arp->sender == v4 && arp->target == v4 && arp->sender_mac == mac) {
        (arp->operation == ArpPacket::kRequest ? heard.request : heard.reply) = true;
      }
      const auto message = parse_neighbour(*frame);
      if (message && message->type == NeighbourMessage::kAdvertisement && message->target == v6) {
        heard.advertisement = message->link_layer == mac;
      }
    }
    return heard;
  }
  static HolderQuery query(const IpAddress& address, Duration deadline) {
    HolderQuery query;
    query.bridge = "br0";
    query.address = address;
    query.deadline = deadline;
    return query;
  }
};

TEST_F(AnnounceTest, ReachesOthersAndTheHostThroughAClosedGate) {
  auto two = make_container(2);
  auto three = make_container(3);
  two.attachment.gate.lock();
  PacketSocket in_three = listen_in(three.netns, "eth0");
  PacketSocket in_two = listen_in(two.netns, "eth0");
  PacketSocket on_bridge = value_of(PacketSocket::open_listener("br0", kKinds));
  Injector injector = value_of(Injector::open("br0"));
  ASSERT_OK(announce(injector, two.mac, {two.v4, two.v6}));
  EXPECT_TRUE(hear(in_three, two.mac, two.v4, two.v6).all());
  EXPECT_TRUE(hear(on_bridge, two.mac, two.v4, two.v6).all());
}

TEST_F(AnnounceTest, DoesNotDrawTheContainersTrafficToItself) {
  auto two = make_container(2);
  const UniqueFd inside = socket_at(two.netns.fd(), SOCK_DGRAM, two.at(5000));
  const UniqueFd host = socket_at(-1, SOCK_DGRAM, Endpoint{ip("10.1.0.1"), 5000});
  ASSERT_TRUE(datagram_arrives(host, two.at(5000), inside));
  two.attachment.gate.lock();  // the container cannot correct what the bridge learns
  for (int i = 0; i < 2; ++i) {
    Injector injector = value_of(Injector::open("br0"));
    ASSERT_OK(announce(injector, two.mac, {two.v4, two.v6}));
  }
  EXPECT_TRUE(datagram_arrives(host, two.at(5000), inside));
}

TEST_F(AnnounceTest, InjectorNeedsABridge) {
  EXPECT_EQ(Injector::open("nope").error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(Injector::open("lo").error().code(), ErrorCode::kInvalid);
  auto links = value_of(LinkControl::open());
  const std::size_t before = value_of(links.links()).size();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Injector::open("br0"));
  EXPECT_EQ(value_of(links.links()).size(), before + 2) << "one pair for all";
}

TEST_F(AnnounceTest, FindsHolders) {
  auto three = make_container(3);
  const MacAddress bridge = value_of(value_of(LinkControl::open()).get("br0")).mac;
  EXPECT_EQ(value_of(find_holder(query(three.v4, kEventDeadline))), three.mac);
  EXPECT_EQ(value_of(find_holder(query(three.v6, kEventDeadline))), three.mac)
      << "the MAC that a second copy would have as well";
  EXPECT_EQ(value_of(find_holder(query(ip("10.1.0.1"), kEventDeadline))), bridge);
  EXPECT_EQ(value_of(find_holder(query(ip("fd01::1"), kEventDeadline))), bridge);
  EXPECT_EQ(value_of(find_holder(query(ip("10.1.0.9"), 300ms))), std::nullopt);
  EXPECT_EQ(value_of(find_holder(query(ip("fd01::9"), 300ms))), std::nullopt);
}

TEST_F(AnnounceTest, WhoAsksTooCounts) {
  auto three = make_container(3);
  const MacAddress rival{{2, 0, 0, 0, 0, 9}};
  PacketSocket sender =
      value_of(call_in_netns(three.netns.fd(), [] { return PacketSocket::open_sender("eth0"); }));
  const auto ask_for = [&](const IpAddress& address, const Frame& frame) {
    std::atomic<bool> stop = false;
    std::thread asking([&] {
      while (!stop) {
        (void)sender.send(frame);
        ::poll(nullptr, 0, 10);
      }
    });
    const auto holder = value_of(find_holder(query(address, kEventDeadline)));
    stop = true;
    asking.join();
    return holder;
  };
  const ArpPacket probe{
      ArpPacket::kRequest, rival, IpAddress::any(IpFamily::kV4), {}, ip("10.1.0.9")};
  EXPECT_EQ(ask_for(ip("10.1.0.9"), make_arp(probe, kBroadcastMac)), rival);
  EXPECT_EQ(ask_for(ip("fd01::9"),
                    make_solicitation(rival, IpAddress::any(IpFamily::kV6), ip("fd01::9"))),
            rival);
}

}  // namespace
}  // namespace perdure::network
