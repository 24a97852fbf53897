#include "io/tls_socket.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <format>
#include <utility>

#include "io/socket_option.h"

namespace perdure::io {

namespace {

constexpr int kTlsBacklog = 256;
// What a fast LAN keeps under way, many times over. The kernel's own growth begins with 16 KiB.
constexpr int kSocketBufferBytes = 4 << 20;
// Probes of a silent peer within the stall time.
constexpr int kKeepAliveProbes = 3;

bool is_unreachable(int error_number) {
  return error_number == ECONNREFUSED || error_number == EHOSTUNREACH || error_number == ENETUNREACH ||
         error_number == ENETDOWN || error_number == EHOSTDOWN || error_number == EADDRNOTAVAIL ||
         error_number == ECONNRESET;
}

Error connect_error(const std::string& address, int error_number) {
  const std::string what = std::format("connect to {}", address);
  if (error_number == ECONNREFUSED) {
    return Error(ErrorCode::kTransient, what + ": nobody listens there; is perdured running?");
  }
  if (error_number == ETIMEDOUT) return Error(ErrorCode::kTimeout, what + ": no answer");
  if (is_unreachable(error_number)) {
    return Error(ErrorCode::kTransient, Error::from_errno(what, error_number).message());
  }
  return Error(ErrorCode::kIo, Error::from_errno(what, error_number).message());
}

// Before connect() and listen() (whose connections inherit it): a window that is set later stays small.
void enlarge_buffers(int socket) {
  for (const auto& [forced, plain] : {std::pair(SO_SNDBUFFORCE, SO_SNDBUF), std::pair(SO_RCVBUFFORCE, SO_RCVBUF)}) {
    if (::setsockopt(socket, SOL_SOCKET, forced, &kSocketBufferBytes, sizeof kSocketBufferBytes) != 0) {
      set_option(socket, SOL_SOCKET, plain, kSocketBufferBytes);
    }
  }
}

Result<UniqueFd> new_socket(const Endpoint& endpoint) {
  UniqueFd socket(::socket(endpoint.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("create a socket");
  enlarge_buffers(socket.get());
  return socket;
}

}  // namespace

Result<UniqueFd> listen_on(const Endpoint& endpoint) {
  PERDURE_ASSIGN(UniqueFd socket, new_socket(endpoint));
  set_option(socket.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  // "0.0.0.0" and "[::]" can both be listened on.
  if (endpoint.family() == AF_INET6) set_option(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
  const std::string what = std::format("listen on {}", to_string(endpoint));
  if (::bind(socket.get(), endpoint.address(), endpoint.size()) != 0 || ::listen(socket.get(), kTlsBacklog) != 0) {
    if (errno == EADDRINUSE) return fail(ErrorCode::kConflict, what + ": another program listens there");
    if (errno == EADDRNOTAVAIL)
      return fail(ErrorCode::kInvalid, what + ": no interface of this host has the address");
    return fail_errno(what);
  }
  return socket;
}

Result<Endpoint> local_endpoint(int socket) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&storage), &size) != 0) {
    return fail_errno("read the address of a socket");
  }
  return Endpoint::from(storage);
}

Result<UniqueFd> begin_connecting(const Endpoint& endpoint) {
  PERDURE_ASSIGN(UniqueFd socket, new_socket(endpoint));
  if (::connect(socket.get(), endpoint.address(), endpoint.size()) != 0 && errno != EINPROGRESS) {
    return fail(connect_error(to_string(endpoint), errno));
  }
  return socket;
}

Status finish_connecting(int socket, const std::string& address) {
  int error_number = 0;
  socklen_t size = sizeof error_number;
  if (::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error_number, &size) != 0) error_number = errno;
  if (error_number != 0) return fail(connect_error(address, error_number));
  return {};
}

void tune_connection(int socket, Duration stall_time) {
  set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  const auto milliseconds =
      std::clamp<std::int64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(stall_time).count(), 1, 1 << 30);
  const int seconds = static_cast<int>(std::max<std::int64_t>(milliseconds / 1000 / (kKeepAliveProbes + 1), 1));
  set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, seconds);
  set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, seconds);
  set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, kKeepAliveProbes);
  set_option(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(milliseconds));
}

std::uint64_t unacknowledged_bytes(int socket) {
  int bytes = 0;
  return ::ioctl(socket, SIOCOUTQ, &bytes) == 0 && bytes > 0 ? static_cast<std::uint64_t>(bytes) : 0;
}

bool discard_input(int socket, std::size_t bytes) {
  std::array<std::byte, 16384> scratch;
  for (std::size_t done = 0; done < bytes;) {
    const ssize_t got = ::recv(socket, scratch.data(), scratch.size(), MSG_DONTWAIT);
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    if (got == 0) return false;
    done += static_cast<std::size_t>(got);
  }
  return true;
}

}  // namespace perdure::io
