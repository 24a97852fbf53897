// Proves over the loopback that datagrams of both families come through whole, carry the class of network control, and that
// what cannot be bound, sent or received is a result that names the addresses. What needs a host without routes, or with a
// firewall, is tried in a network namespace of its own.
#include "io/datagram.h"

#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <format>
#include <functional>
#include <string>
#include <string_view>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/poll.h"

namespace perdure::io {
namespace {

using testing::HasSubstr;

constexpr Duration kTestTime = std::chrono::seconds(10);

Endpoint endpoint(std::string_view text) { return Endpoint::parse(text).value(); }

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

struct Arrived {
  Endpoint from;
  std::string bytes;
};

Arrived wait_for_one(DatagramSocket& socket) {
  EXPECT_TRUE(wait_for_descriptor(socket.fd(), POLLIN, BootClock::now() + kTestTime).value());
  std::array<std::byte, kMaxDatagramBytes> buffer{};
  const auto received = socket.receive(buffer).value();
  EXPECT_TRUE(received.has_value());
  return {received->from, std::string(reinterpret_cast<const char*>(received->bytes.data()), received->bytes.size())};
}

int option_of(const DatagramSocket& socket, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  EXPECT_EQ(::getsockopt(socket.fd(), level, name, &value, &size), 0);
  return value;
}

void comes_through(const char* host) {
  auto a = DatagramSocket::bind(endpoint(host)).value();
  auto b = DatagramSocket::bind(endpoint(host)).value();
  ASSERT_NE(a.address().port(), 0);
  const std::string longest(kMaxDatagramBytes, 'x');
  for (const std::string& text : {std::string("hello"), longest, std::string()}) {
    ASSERT_TRUE(a.send(b.address(), bytes_of(text)));
    const Arrived arrived = wait_for_one(b);
    EXPECT_EQ(arrived.bytes, text);
    EXPECT_EQ(to_string(arrived.from), to_string(a.address()));
  }
  ASSERT_TRUE(b.send(a.address(), bytes_of("back")));
  EXPECT_EQ(wait_for_one(a).bytes, "back");
}

TEST(DatagramTest, ComesThroughOverIpv4) { comes_through("127.0.0.1:0"); }
TEST(DatagramTest, ComesThroughOverIpv6) { comes_through("[::1]:0"); }

TEST(DatagramTest, NothingWaitingIsNoError) {
  auto socket = DatagramSocket::bind(endpoint("127.0.0.1:0")).value();
  std::array<std::byte, kMaxDatagramBytes> buffer{};
  EXPECT_FALSE(socket.receive(buffer).value().has_value());
}

TEST(DatagramTest, HasTheClassOfNetworkControl) {
  const auto v4 = DatagramSocket::bind(endpoint("127.0.0.1:0")).value();
  EXPECT_EQ(option_of(v4, IPPROTO_IP, IP_TOS), 0xc0);
  EXPECT_EQ(option_of(v4, SOL_SOCKET, SO_PRIORITY), 6);
  EXPECT_EQ(option_of(v4, IPPROTO_IP, IP_MTU_DISCOVER), IP_PMTUDISC_OMIT);
  const auto v6 = DatagramSocket::bind(endpoint("[::1]:0")).value();
  EXPECT_EQ(option_of(v6, IPPROTO_IPV6, IPV6_TCLASS), 0xc0);
  EXPECT_EQ(option_of(v6, SOL_SOCKET, SO_PRIORITY), 6);
}

TEST(DatagramTest, BothFamiliesBindTheSamePort) {
  const auto v4 = DatagramSocket::bind(endpoint("0.0.0.0:0")).value();
  const auto v6 = DatagramSocket::bind(endpoint(std::format("[::]:{}", v4.address().port())));
  EXPECT_TRUE(v6) << v6.error().message();
}

TEST(DatagramTest, AnAddressInUseIsAConflict) {
  const auto first = DatagramSocket::bind(endpoint("127.0.0.1:0")).value();
  const auto second = DatagramSocket::bind(first.address());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), ErrorCode::kConflict);
  EXPECT_THAT(second.error().message(), HasSubstr(to_string(first.address())));
}

TEST(DatagramTest, AnAddressOfAnotherHostIsRefused) {
  const auto socket = DatagramSocket::bind(endpoint("192.0.2.1:7400"));
  ASSERT_FALSE(socket);
  EXPECT_EQ(socket.error().code(), ErrorCode::kInvalid);
  EXPECT_THAT(socket.error().message(), HasSubstr("bind UDP 192.0.2.1:7400: no interface of this host"));
}

TEST(DatagramTest, WhatIsTooLargeOrOfAnotherFamilyIsNotSent) {
  auto socket = DatagramSocket::bind(endpoint("127.0.0.1:0")).value();
  const auto large = socket.send(socket.address(), bytes_of(std::string(kMaxDatagramBytes + 1, 'x')));
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().code(), ErrorCode::kInvalid);
  EXPECT_THAT(large.error().message(), HasSubstr("at most 1200"));
  const auto other = socket.send(endpoint("[::1]:7400"), bytes_of("x"));
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code(), ErrorCode::kInvalid);
  EXPECT_THAT(other.error().message(), HasSubstr("[::1]:7400"));
}

// Others send what they like.
TEST(DatagramTest, WhatIsTooLargeComesAsNothing) {
  auto socket = DatagramSocket::bind(endpoint("127.0.0.1:0")).value();
  const UniqueFd other(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const std::string large(kMaxDatagramBytes + 1, 'x');
  ASSERT_EQ(::sendto(other.get(), large.data(), large.size(), 0, socket.address().address(), socket.address().size()),
            static_cast<ssize_t>(large.size()));
  EXPECT_EQ(wait_for_one(socket).bytes, "");
}

TEST(DatagramTest, NobodyListeningIsNoError) {
  auto socket = DatagramSocket::bind(endpoint("127.0.0.1:0")).value();
  Endpoint gone = endpoint("127.0.0.1:1");
  {
    const auto other = DatagramSocket::bind(endpoint("127.0.0.1:0")).value();
    gone = other.address();
  }
  std::array<std::byte, kMaxDatagramBytes> buffer{};
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(socket.send(gone, bytes_of("anybody?")));
    EXPECT_FALSE(socket.receive(buffer).value().has_value());
  }
}

// Runs it on a thread with a network namespace of its own, in which even the loopback is down; false: that needs root.
bool in_network_of_its_own(const std::function<void()>& run) {
  bool entered = false;
  std::thread([&] {
    entered = ::unshare(CLONE_NEWNET) == 0;
    if (entered) run();
  }).join();
  return entered;
}

void raise_loopback() {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{.ifr_ifrn = {.ifrn_name = "lo"}, .ifr_ifru = {.ifru_flags = IFF_UP}};
  ASSERT_EQ(::ioctl(socket.get(), SIOCSIFFLAGS, &request), 0);
}

TEST(DatagramTest, NoWayToThePeerIsTransient) {
  const bool tried = in_network_of_its_own([] {
    auto socket = DatagramSocket::bind(endpoint("0.0.0.0:7400")).value();
    const auto sent = socket.send(endpoint("192.0.2.1:7400"), bytes_of("x"));
    ASSERT_FALSE(sent);
    EXPECT_EQ(sent.error().code(), ErrorCode::kTransient);
    EXPECT_THAT(sent.error().message(), HasSubstr("from 0.0.0.0:7400 to 192.0.2.1:7400: Network is unreachable"));
  });
  if (!tried) GTEST_SKIP() << "a network namespace needs root";
}

TEST(DatagramTest, AFirewallOfThisHostIsAResult) {
  bool has_rules = false;
  const bool tried = in_network_of_its_own([&] {
    raise_loopback();
    auto socket = DatagramSocket::bind(endpoint("127.0.0.1:0")).value();
    has_rules = std::system("nft 'table inet t { chain c { type filter hook output priority 0; policy drop; }; }'") == 0;
    if (!has_rules) return;
    const auto sent = socket.send(socket.address(), bytes_of("x"));
    ASSERT_FALSE(sent);
    EXPECT_EQ(sent.error().code(), ErrorCode::kPermission);
    EXPECT_THAT(sent.error().message(), HasSubstr("does a firewall forbid it?"));
  });
  if (!tried) GTEST_SKIP() << "a network namespace needs root";
  if (!has_rules) GTEST_SKIP() << "nft cannot set rules here";
}

}  // namespace
}  // namespace perdure::io
