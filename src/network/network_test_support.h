// For the tests that need root: every test gets a network and a mount namespace of its own, a
// private tmpfs on /run for its pins, and vanishes with the process. The host's network is never
// touched.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <functional>
#include <string>

#include "gtest/gtest.h"
#include "network/attach.h"
#include "network/link.h"
#include "network/netns.h"

namespace perdure::network {

// Generous: a loaded machine of two cores must pass.
inline constexpr Duration kEventDeadline = std::chrono::seconds(20);
// How long "nothing arrives" is watched. Proves an absence only in this bound; the counters prove
// the rest.
inline constexpr int kSilenceMs = 300;

template <typename T>
T value_of(Result<T> result) {
  if (!result) {
    ADD_FAILURE() << result.error().message();
    std::abort();
  }
  return std::move(result).value();
}
inline testing::AssertionResult succeeded(const Status& status) {
  if (status) return testing::AssertionSuccess();
  return testing::AssertionFailure()
         << to_string(status.error().code()) << ": " << status.error().message();
}
#define EXPECT_OK(...) EXPECT_TRUE(::perdure::network::succeeded(__VA_ARGS__))
#define ASSERT_OK(...) ASSERT_TRUE(::perdure::network::succeeded(__VA_ARGS__))

template <typename Condition>
bool eventually(Condition&& condition) {
  const Instant deadline = BootClock::now() + kEventDeadline;
  while (!condition()) {
    if (BootClock::now() >= deadline) return false;
    ::poll(nullptr, 0, 1);
  }
  return true;
}

inline IpAddress ip(std::string_view text) {
  return value_of(IpAddress::parse(text));
}
inline IpPrefix prefix(std::string_view text) {
  return value_of(IpPrefix::parse(text));
}
inline ContainerName name(std::string_view text) {
  return value_of(ContainerName::parse(text));
}

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  explicit SocketAddress(const Endpoint& endpoint) {
    if (endpoint.address.is_v4()) {
      auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
      v4->sin_family = AF_INET;
      v4->sin_port = htons(endpoint.port);
      std::memcpy(&v4->sin_addr, endpoint.address.bytes.data(), 4);
      size = sizeof *v4;
    } else {
      auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
      v6->sin6_family = AF_INET6;
      v6->sin6_port = htons(endpoint.port);
      std::memcpy(&v6->sin6_addr, endpoint.address.bytes.data(), 16);
      size = sizeof *v6;
    }
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

inline UniqueFd socket_at(int netns, int type, const Endpoint& local) {
  const int domain = local.address.is_v4() ? AF_INET : AF_INET6;
  UniqueFd fd = value_of(socket_in_netns(netns, domain, type, 0));
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const SocketAddress address(local);
  EXPECT_EQ(::bind(fd.get(), address.get(), address.size), 0)
      << to_string(local) << ": " << std::strerror(errno);
  return fd;
}

inline bool readable_within(int fd, int milliseconds) {
  pollfd ready{fd, POLLIN, 0};
  return ::poll(&ready, 1, milliseconds) == 1;
}

// A connection: `client` opened it to `server`.
struct TcpPair {
  UniqueFd client;
  UniqueFd server;
  Endpoint client_end;
  Endpoint server_end;
};

inline TcpPair connect_tcp(int client_netns, const Endpoint& client_end, int server_netns,
                           const Endpoint& server_end) {
  const UniqueFd listener = socket_at(server_netns, SOCK_STREAM, server_end);
  EXPECT_EQ(::listen(listener.get(), 8), 0);
  TcpPair pair{socket_at(client_netns, SOCK_STREAM, client_end), UniqueFd(), client_end,
               server_end};
  const SocketAddress to(server_end);
  EXPECT_EQ(::connect(pair.client.get(), to.get(), to.size), 0) << std::strerror(errno);
  pair.server.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  EXPECT_TRUE(pair.server);
  return pair;
}

class SandboxTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: makes namespaces, links and BPF programs";
    ASSERT_EQ(::unshare(CLONE_NEWNET | CLONE_NEWNS), 0) << std::strerror(errno);
    ASSERT_EQ(::mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0) << std::strerror(errno);
    ASSERT_EQ(::mount("tmpfs", "/run", "tmpfs", 0, nullptr), 0) << std::strerror(errno);
    ASSERT_OK(value_of(LinkControl::open()).set_up("lo"));
  }
};

// A bridge with containers on it: br0 is 10.1.0.1/24 and fd01::1/64 of "the host".
class BridgeTest : public SandboxTest {
 protected:
  struct Container {
    NetworkNamespace netns;
    Attachment attachment;
    MacAddress mac;
    Endpoint at(std::uint16_t port) const { return Endpoint{v4, port}; }
    Endpoint at6(std::uint16_t port) const { return Endpoint{v6, port}; }
    IpAddress v4;
    IpAddress v6;
  };

  void SetUp() override {
    SandboxTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    auto links = value_of(LinkControl::open());
    ASSERT_TRUE(links.ensure_bridge("br0"));
    ASSERT_OK(links.set_up("br0"));
    ASSERT_OK(links.add_address("br0", prefix("10.1.0.1/24")));
    ASSERT_OK(links.add_address("br0", prefix("fd01::1/64")));
    ASSERT_OK(links.add_address("br0",
                                prefix("fe80::1/64")));  // usable at once, unlike the automatic one
  }

  // Container number 2..9: 10.1.0.N, fd01::N.
  static Container make_container(int number, const GateState& initial = {}) {
    const std::string label = "c" + std::to_string(number);
    auto netns = value_of(NetworkNamespace::create("/run/perdure/netns/" + label));
    AttachRequest request{.container = name(label)};
    request.netns = netns.fd();
    request.bridge = "br0";
    request.mac = MacAddress{{2, 0, 0, 0, 1, static_cast<std::uint8_t>(number)}};
    const std::string last = std::to_string(number);
    request.addresses = {prefix("10.1.0." + last + "/24"), prefix("fd01::" + last + "/64")};
    request.gateways = {ip("10.1.0.1"), ip("fd01::1")};
    request.initial = initial;
    auto attachment = value_of(attach(request));
    return Container{std::move(netns), std::move(attachment), request.mac, ip("10.1.0." + last),
                     ip("fd01::" + last)};
  }
};

// Sends datagrams from one socket until the other has one. False after the deadline.
inline bool datagram_arrives(const UniqueFd& from, const Endpoint& to, const UniqueFd& receiver) {
  const SocketAddress address(to);
  return eventually([&] {
    (void)::sendto(from.get(), "x", 1, 0, address.get(), address.size);
    char buffer[16];
    return readable_within(receiver.get(), 20) &&
           ::recv(receiver.get(), buffer, sizeof buffer, 0) == 1;
  });
}

}  // namespace perdure::network
