// Proves that links, addresses and routes come out as asked, that asking twice is success, that
// errors name the link, and that two attached containers and the host reach each other over both IP
// versions.
#include <array>

#include "gmock/gmock.h"
#include "network/network_test_support.h"
#include "network/packet_socket.h"

namespace perdure::network {
namespace {

using testing::Contains;
using testing::HasSubstr;

class LinkTest : public SandboxTest {};

TEST_F(LinkTest, BridgeIsMadeOnceAndKeepsItsMac) {
  auto links = value_of(LinkControl::open());
  const LinkInfo bridge = value_of(links.ensure_bridge("br0", 1400));
  EXPECT_EQ(bridge.kind, "bridge");
  EXPECT_EQ(bridge.mtu, 1400u);
  EXPECT_EQ(value_of(links.ensure_bridge("br0")).index, bridge.index);
  EXPECT_EQ(links.ensure_bridge("lo").error().code(), ErrorCode::kExists);
  VethRequest veth;
  veth.host_name = "port0";
  veth.peer_name = "port1";
  ASSERT_TRUE(links.create_veth(veth));
  ASSERT_OK(links.set_mac("port0", MacAddress{{2, 0, 0, 0, 0, 1}}));
  ASSERT_OK(links.enslave("port0", "br0"));
  ASSERT_OK(links.enslave("port0", "br0"));
  EXPECT_EQ(value_of(links.get("port0")).bridge_index, bridge.index);
  EXPECT_EQ(value_of(links.get("br0")).mac, bridge.mac)
      << "a lower MAC among the ports must not change it";
  ASSERT_OK(links.release_from_bridge("port0"));
  EXPECT_EQ(value_of(links.get("port0")).bridge_index, 0u);
  ASSERT_OK(links.remove("port0"));
  ASSERT_OK(links.remove("port0"));
  EXPECT_FALSE(value_of(links.find("port1"))) << "the peer goes with it";
}

TEST_F(LinkTest, ErrorsNameTheLinkAndTheKernelsReason) {
  auto links = value_of(LinkControl::open());
  const auto missing = links.set_up("nope");
  EXPECT_EQ(missing.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(missing.error().message(), HasSubstr("'nope'"));
  EXPECT_EQ(links.set_up("a/b").error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(links.set_up("sixteen-letters-").error().code(), ErrorCode::kInvalid);
  ASSERT_TRUE(links.ensure_bridge("br0"));
  ASSERT_TRUE(links.ensure_bridge("br1"));
  const auto nested = links.enslave("br0", "br1");
  ASSERT_FALSE(nested);
  EXPECT_THAT(nested.error().message(), HasSubstr("Can not enslave a bridge to a bridge"))
      << "extended ack";
  EXPECT_EQ(links.ensure_vlan("br0", 4095).error().code(), ErrorCode::kInvalid);
}

TEST_F(LinkTest, AddressesAndRoutesAreIdempotent) {
  auto links = value_of(LinkControl::open());
  ASSERT_TRUE(links.ensure_bridge("br0"));
  ASSERT_OK(links.set_up("br0"));
  for (int i = 0; i < 2; ++i) {
    ASSERT_OK(links.add_address("br0", prefix("10.9.0.5/24")));
    ASSERT_OK(links.add_address("br0", prefix("fd09::5/64")));
    ASSERT_OK(links.set_default_route("br0", ip("10.9.0.1")));
    ASSERT_OK(links.set_default_route("br0", ip("fd09::1")));
  }
  EXPECT_THAT(value_of(links.addresses("br0")), Contains(prefix("10.9.0.5/24")));
  EXPECT_THAT(value_of(links.addresses("br0")), Contains(prefix("fd09::5/64")));
  EXPECT_EQ(value_of(links.route_to(ip("192.0.2.1"))).gateway, ip("10.9.0.1"));
  EXPECT_EQ(value_of(links.route_to(ip("2001:db8::1"))).gateway, ip("fd09::1"));
  EXPECT_EQ(value_of(links.route_to(ip("10.9.0.77"))).gateway, std::nullopt);
  EXPECT_TRUE(value_of(links.route_to(ip("10.9.0.5"))).local);
  for (int i = 0; i < 2; ++i) ASSERT_OK(links.remove_address("br0", prefix("10.9.0.5/24")));
  EXPECT_EQ(links.route_to(ip("192.0.2.1")).error().code(), ErrorCode::kNotFound);
}

TEST_F(LinkTest, VlanInterface) {
  auto links = value_of(LinkControl::open());
  ASSERT_TRUE(links.ensure_bridge("br0"));
  const auto vlan = links.ensure_vlan("br0", 7);
  if (!vlan && vlan.error().code() == ErrorCode::kUnsupported)
    GTEST_SKIP() << vlan.error().message();
  EXPECT_EQ(value_of(vlan).name, "br0.7");
}

class AttachTest : public BridgeTest {};

TEST_F(AttachTest, ContainersAndHostReachEachOther) {
  auto two = make_container(2);
  auto three = make_container(3);
  const UniqueFd in_two = socket_at(two.netns.fd(), SOCK_DGRAM, two.at(5000));
  const UniqueFd in_three = socket_at(three.netns.fd(), SOCK_DGRAM, three.at(5000));
  const UniqueFd in_two_6 = socket_at(two.netns.fd(), SOCK_DGRAM, two.at6(5000));
  const UniqueFd in_three_6 = socket_at(three.netns.fd(), SOCK_DGRAM, three.at6(5000));
  const UniqueFd host = socket_at(-1, SOCK_DGRAM, Endpoint{ip("10.1.0.1"), 5000});
  EXPECT_TRUE(datagram_arrives(in_two, three.at(5000), in_three));
  EXPECT_TRUE(datagram_arrives(in_three_6, two.at6(5000), in_two_6));
  EXPECT_TRUE(datagram_arrives(host, two.at(5000), in_two));
  EXPECT_TRUE(datagram_arrives(in_two, Endpoint{ip("10.1.0.1"), 5000}, host));
  EXPECT_GT(two.attachment.gate.counters().passed, 0u);
}

// The kernel asks again after a second when the first ARP request or solicitation is lost: that
// second would be part of every recovery.
TEST_F(AttachTest, FirstFramesAfterAttachAreNotLost) {
  constexpr std::array kKinds{PacketKind::kArp, PacketKind::kNeighbour};
  PacketSocket listener = value_of(PacketSocket::open_listener("br0", kKinds));
  const UniqueFd host = socket_at(-1, SOCK_DGRAM, Endpoint{ip("10.1.0.1"), 5000});
  const UniqueFd host6 = socket_at(-1, SOCK_DGRAM, Endpoint{ip("fd01::1"), 5000});
  for (int number = 2; number < 10; ++number) {
    auto container = make_container(number);
    for (const bool v6 : {false, true}) {
      const Endpoint there = v6 ? container.at6(5000) : container.at(5000);
      const UniqueFd inside = socket_at(container.netns.fd(), SOCK_DGRAM, there);
      const SocketAddress to(there);
      ASSERT_EQ(::sendto((v6 ? host6 : host).get(), "x", 1, 0, to.get(), to.size), 1);
      ASSERT_TRUE(readable_within(inside.get(), 20'000)) << to_string(there);
      int asked = 0;
      while (const auto frame = value_of(listener.receive(Instant{}))) {
        const auto arp = parse_arp(*frame);
        const auto message = parse_neighbour(*frame);
        asked += arp && arp->operation == ArpPacket::kRequest && arp->target == there.address;
        asked += message && message->type == NeighbourMessage::kSolicitation &&
                 message->target == there.address;
      }
      EXPECT_EQ(asked, 1) << to_string(there);
    }
  }
}

// What is restored behind its closed gate asks in vain for the hardware address of its peer, and its connections stand still until
// it asks again after the gate has opened. By itself the kernel asks three times, a second apart.
TEST_F(AttachTest, WhoIsNotHeardBehindItsGateAsksAgainSoon) {
  for (const bool v6 : {false, true}) {
    auto container = make_container(2);
    const UniqueFd host = socket_at(-1, SOCK_DGRAM, Endpoint{ip(v6 ? "fd01::1" : "10.1.0.1"), 5000});
    const UniqueFd inside = socket_at(container.netns.fd(), SOCK_DGRAM, v6 ? container.at6(5000) : container.at(5000));
    const SocketAddress to(Endpoint{ip(v6 ? "fd01::1" : "10.1.0.1"), 5000});
    Gate& gate = container.attachment.gate;
    gate.lock();
    const auto before = gate.counters().dropped_locked;
    ASSERT_EQ(::sendto(inside.get(), "x", 1, 0, to.get(), to.size), 1);
    const Instant deadline = BootClock::now() + std::chrono::seconds(20);
    while (gate.counters().dropped_locked < before + 10 && BootClock::now() < deadline) {
      (void)readable_within(host.get(), 10);
    }
    EXPECT_GE(gate.counters().dropped_locked, before + 10);
    gate.unlock();
    EXPECT_TRUE(readable_within(host.get(), 20'000)) << "what waited for the address arrives";
  }
}

TEST_F(AttachTest, InsideIsAsAskedAndRepeatable) {
  auto two = make_container(2);
  for (int i = 0; i < 2; ++i) {
    auto inside = value_of(LinkControl::open(two.netns.fd()));
    const LinkInfo eth0 = value_of(inside.get("eth0"));
    EXPECT_EQ(eth0.mac, two.mac);
    EXPECT_EQ(eth0.mtu, 1500u);
    EXPECT_EQ(value_of(inside.route_to(ip("192.0.2.1"))).gateway, ip("10.1.0.1"));
    EXPECT_EQ(value_of(inside.route_to(ip("2001:db8::1"))).gateway, ip("fd01::1"));
    AttachRequest again{.container = name("c2")};
    again.netns = two.netns.fd();
    again.bridge = "br0";
    again.mac = two.mac;
    again.addresses = {prefix("10.1.0.2/24"), prefix("fd01::2/64")};
    again.gateways = {ip("10.1.0.1"), ip("fd01::1")};
    two.attachment = value_of(attach(again));
  }
  ASSERT_OK(detach(name("c2")));
  ASSERT_OK(detach(name("c2")));
  EXPECT_EQ(recover_attachment(name("c2")).error().code(), ErrorCode::kNotFound);
}

TEST_F(AttachTest, FailureLeavesNothingBehind) {
  auto netns = value_of(NetworkNamespace::create("/run/perdure/netns/c5"));
  AttachRequest request{.container = name("c5")};
  request.netns = netns.fd();
  request.bridge = "nope";
  EXPECT_EQ(attach(request).error().code(), ErrorCode::kNotFound);
  request.bridge = "br0";
  request.mac = MacAddress{{1, 0, 0, 0, 0, 1}};  // a group address
  EXPECT_FALSE(attach(request));
  request.mac = MacAddress{{2, 0, 0, 0, 1, 5}};
  request.addresses = {prefix("127.0.0.1/8"), prefix("ff02::1/64")};  // a group address
  const auto refused = attach(request);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message(), HasSubstr("'c5'"));
  auto links = value_of(LinkControl::open());
  EXPECT_FALSE(value_of(links.find(host_interface_name("c5"))));
  request.addresses = {};
  request.gateways = {ip("10.1.0.1"), ip("10.1.0.2")};
  EXPECT_EQ(attach(request).error().code(), ErrorCode::kInvalid);
}

// What a takeover does: the bridge believes the container elsewhere until it is told, and the
// container, behind a locked gate, cannot tell it.
TEST_F(AttachTest, BridgeIsToldWhereTheContainerLives) {
  auto two = make_container(2);
  auto three = make_container(3);
  const UniqueFd in_two = socket_at(two.netns.fd(), SOCK_DGRAM, two.at(5000));
  const UniqueFd host = socket_at(-1, SOCK_DGRAM, Endpoint{ip("10.1.0.1"), 5000});
  ASSERT_TRUE(datagram_arrives(host, two.at(5000), in_two));
  two.attachment.gate.lock();
  auto links = value_of(LinkControl::open());
  ASSERT_OK(links.learn_mac(three.attachment.host_interface, two.mac));
  const SocketAddress to(two.at(5000));
  char buffer[16];
  while (::recv(in_two.get(), buffer, sizeof buffer, MSG_DONTWAIT) > 0) {
  }
  ASSERT_EQ(::sendto(host.get(), "x", 1, 0, to.get(), to.size), 1);
  EXPECT_FALSE(readable_within(in_two.get(), kSilenceMs));
  ASSERT_OK(links.learn_mac(two.attachment.host_interface, two.mac));
  EXPECT_TRUE(datagram_arrives(host, two.at(5000), in_two));
}

}  // namespace
}  // namespace perdure::network
