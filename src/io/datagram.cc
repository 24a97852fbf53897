#include "io/datagram.h"

#include <netinet/in.h>
#include <netinet/ip.h>
#include <sys/socket.h>

#include <cerrno>
#include <format>
#include <string>
#include <utility>

#include "io/socket_option.h"

namespace perdure::io {

namespace {

// DSCP CS6, "network control" (RFC 4594, 3.2): what keeps the network itself alive, ahead of all data.
constexpr int kTrafficClass = IPTOS_CLASS_CS6;
// TC_PRIO_INTERACTIVE: the first band of the host's own queue (pfifo_fast, prio). The next higher needs CAP_NET_ADMIN.
constexpr int kSocketPriority = 6;

void set_options(int socket, int family) {
  if (family == AF_INET) {
    set_option(socket, IPPROTO_IP, IP_TOS, kTrafficClass);
    // A forged "fragmentation needed" cannot stop us: what the kernel believes of a path's MTU is not asked.
    set_option(socket, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_OMIT);
  } else {
    // "0.0.0.0" and "[::]" can both be bound.
    set_option(socket, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    set_option(socket, IPPROTO_IPV6, IPV6_TCLASS, kTrafficClass);
    set_option(socket, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_OMIT);
  }
  // After IP_TOS, which sets one of its own.
  set_option(socket, SOL_SOCKET, SO_PRIORITY, kSocketPriority);
}

Result<Endpoint> bound_address(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return fail_errno("read the address of a datagram socket");
  }
  return Endpoint::from(address);
}

bool may_pass_later(int error_number) {
  return error_number == EAGAIN || error_number == EINTR || error_number == ENOBUFS || error_number == ENOMEM ||
         error_number == ENETUNREACH || error_number == EHOSTUNREACH || error_number == ENETDOWN ||
         error_number == EHOSTDOWN || error_number == EADDRNOTAVAIL || error_number == ECONNREFUSED;
}

}  // namespace

Result<DatagramSocket> DatagramSocket::bind(const Endpoint& endpoint) {
  const std::string what = std::format("bind UDP {}", to_string(endpoint));
  UniqueFd socket(::socket(endpoint.family(), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno(std::format("{}: create a socket", what));
  set_options(socket.get(), endpoint.family());
  if (::bind(socket.get(), endpoint.address(), endpoint.size()) != 0) {
    if (errno == EADDRINUSE) return fail(ErrorCode::kConflict, what + ": another program has it");
    if (errno == EADDRNOTAVAIL) return fail(ErrorCode::kInvalid, what + ": no interface of this host has the address");
    return fail_errno(what);
  }
  PERDURE_ASSIGN(const Endpoint address, bound_address(socket.get()));
  return DatagramSocket(std::move(socket), address);
}

Status DatagramSocket::send(const Endpoint& to, std::span<const std::byte> datagram) {
  const auto what = [&] {
    return std::format("send {} bytes by UDP from {} to {}", datagram.size(), to_string(address_), to_string(to));
  };
  if (datagram.size() > kMaxDatagramBytes) {
    return fail(ErrorCode::kInvalid, std::format("{}: a datagram has at most {}", what(), kMaxDatagramBytes));
  }
  if (to.family() != address_.family()) {
    return fail(ErrorCode::kInvalid, what() + ": one address is of IPv4, the other of IPv6");
  }
  if (::sendto(socket_.get(), datagram.data(), datagram.size(), MSG_NOSIGNAL, to.address(), to.size()) >= 0) return {};
  const int error_number = errno;
  Error error = Error::from_errno(what(), error_number);
  if (may_pass_later(error_number)) return fail(ErrorCode::kTransient, error.message());
  if (error_number == EPERM) return fail(ErrorCode::kPermission, error.message() + "; does a firewall forbid it?");
  return fail(std::move(error));
}

Result<std::optional<DatagramSocket::Received>> DatagramSocket::receive(std::span<std::byte, kMaxDatagramBytes> into) {
  sockaddr_storage from{};
  socklen_t from_size = sizeof from;
  ssize_t size = -1;
  do {
    size = ::recvfrom(socket_.get(), into.data(), into.size(), MSG_TRUNC, reinterpret_cast<sockaddr*>(&from), &from_size);
  } while (size < 0 && errno == EINTR);
  if (size < 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK) return std::nullopt;
    return fail_errno(std::format("receive by UDP at {}", to_string(address_)));
  }
  const auto bytes = static_cast<std::size_t>(size);
  return Received{Endpoint::from(from), into.first(bytes <= into.size() ? bytes : 0)};
}

}  // namespace perdure::io
