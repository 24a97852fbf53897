// find_reachable() between network namespaces: who answers is found whatever the state of its gate, and nothing but an answer to
// this host counts.
#include "network/reach.h"

#include <atomic>
#include <thread>

#include "network/network_test_support.h"
#include "network/packet_socket.h"

namespace perdure::network {
namespace {

using namespace std::chrono_literals;

class ReachTest : public BridgeTest {
 protected:
  static std::set<IpAddress> reached(std::set<IpAddress> addresses, Duration deadline) {
    return value_of(find_reachable({.bridge = "br0", .addresses = std::move(addresses), .deadline = deadline}));
  }
};

TEST_F(ReachTest, FindsWhoAnswersAndWaitsForNobodyElse) {
  auto three = make_container(3);
  EXPECT_EQ(reached({three.v4, three.v6}, kEventDeadline), (std::set{three.v4, three.v6}));
  EXPECT_EQ(reached({three.v4, ip("10.1.0.9"), ip("fd01::9")}, 300ms), (std::set{three.v4}));
  EXPECT_EQ(reached({}, kEventDeadline), std::set<IpAddress>());
}

TEST_F(ReachTest, WhoseFramesDoNotArriveIsNotReached) {
  auto three = make_container(3);
  three.attachment.gate.lock();
  EXPECT_EQ(reached({three.v4, three.v6}, 300ms), std::set<IpAddress>());
}

TEST_F(ReachTest, WhatIsSaidToOthersIsNoAnswer) {
  auto three = make_container(3);
  const MacAddress rival{{2, 0, 0, 0, 0, 9}};
  PacketSocket sender =
      value_of(call_in_netns(three.netns.fd(), [] { return PacketSocket::open_sender("eth0"); }));
  // Another node's probe, the host's own announcement, and an advertisement to all.
  const std::vector<Frame> frames{
      make_arp({ArpPacket::kRequest, rival, IpAddress::any(IpFamily::kV4), {}, ip("10.1.0.9")}, kBroadcastMac),
      make_arp({ArpPacket::kReply, rival, ip("10.1.0.9"), kBroadcastMac, ip("10.1.0.9")}, kBroadcastMac),
      make_solicitation(rival, IpAddress::any(IpFamily::kV6), ip("fd01::9")),
      make_unsolicited_advertisement(rival, ip("fd01::9"))};
  std::atomic<bool> stop = false;
  std::thread speaking([&] {
    while (!stop) {
      for (const Frame& frame : frames) (void)sender.send(frame);
      ::poll(nullptr, 0, 10);
    }
  });
  const std::set<IpAddress> found = reached({ip("10.1.0.9"), ip("fd01::9")}, 300ms);
  stop = true;
  speaking.join();
  EXPECT_EQ(found, std::set<IpAddress>());
}

TEST_F(ReachTest, ABridgeThatIsNotThereIsAnError) {
  const auto found = find_reachable({.bridge = "nope", .addresses = {ip("10.1.0.9")}});
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code(), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace perdure::network
