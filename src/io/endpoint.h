// Where a TCP socket is: "192.0.2.1:7400", "[2001:db8::1]:7400". Numeric only: looking up a name would block the
// loop.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace perdure::io {

class Endpoint {
 public:
  // Without a port the default is taken; without a default one is required. An IPv6 address with a port stands in
  // brackets; without one it may stand bare. kInvalid: anything else, names and zones ("fe80::1%eth0") among it.
  static Result<Endpoint> parse(std::string_view text, std::uint16_t default_port = 0);
  static Endpoint from(
      const sockaddr_storage& address);  // AF_INET or AF_INET6; a mapped IPv4 address is taken as IPv4

  const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t size() const;
  int family() const { return storage_.ss_family; }
  std::uint16_t port() const;
  // 0.0.0.0 or ::
  bool is_any() const;

 private:
  Endpoint() = default;
  sockaddr_storage storage_{};
};

// parse() of it gives the same.
std::string to_string(const Endpoint& endpoint);
std::string host_of(const Endpoint& endpoint);  // without port and brackets

}  // namespace perdure::io
