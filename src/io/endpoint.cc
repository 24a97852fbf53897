#include "io/endpoint.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <format>
#include <optional>

#include "base/assert.h"

namespace perdure::io {

namespace {

// Longer texts are no addresses; what is quoted of them ends here.
constexpr std::size_t kMaxTextBytes = 64;

struct Parts {
  std::string_view host;
  std::optional<std::string_view> port;
  bool bracketed = false;
};

std::unexpected<Error> refuse(std::string_view text, std::string_view why) {
  return fail(ErrorCode::kInvalid, std::format("address '{}': {}", text.substr(0, kMaxTextBytes), why));
}

Result<Parts> split(std::string_view text) {
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos) return refuse(text, "']' is missing");
    const std::string_view rest = text.substr(end + 1);
    Parts parts{text.substr(1, end - 1), std::nullopt, true};
    if (rest.empty()) return parts;
    if (!rest.starts_with(':')) return refuse(text, "expected ':PORT' after ']'");
    parts.port = rest.substr(1);
    return parts;
  }
  const auto colons = std::ranges::count(text, ':');
  if (colons != 1) return Parts{text, std::nullopt, false};  // bare IPv4 or IPv6
  const std::size_t colon = text.find(':');
  return Parts{text.substr(0, colon), text.substr(colon + 1), false};
}

Result<std::uint16_t> parse_port(std::string_view text, const Parts& parts, std::uint16_t default_port) {
  if (!parts.port) {
    if (default_port == 0) return refuse(text, "the port is missing: ADDRESS:PORT");
    return default_port;
  }
  std::uint16_t port = 0;
  const char* const end = parts.port->data() + parts.port->size();
  const auto parsed = std::from_chars(parts.port->data(), end, port);
  if (parts.port->empty() || parsed.ec != std::errc() || parsed.ptr != end) {
    return refuse(text, "the port is a number from 0 to 65535");
  }
  return port;
}

const sockaddr_in& as_v4(const sockaddr_storage& storage) {
  return reinterpret_cast<const sockaddr_in&>(storage);
}
const sockaddr_in6& as_v6(const sockaddr_storage& storage) {
  return reinterpret_cast<const sockaddr_in6&>(storage);
}

}  // namespace

Result<Endpoint> Endpoint::parse(std::string_view text, std::uint16_t default_port) {
  if (text.size() > kMaxTextBytes) return refuse(text, "is too long for an address");
  PERDURE_ASSIGN(const Parts parts, split(text));
  const std::string host(parts.host);
  if (host.contains('\0')) return refuse(text, "is no address");
  Endpoint endpoint;
  auto& v4 = reinterpret_cast<sockaddr_in&>(endpoint.storage_);
  auto& v6 = reinterpret_cast<sockaddr_in6&>(endpoint.storage_);
  if (!parts.bracketed && ::inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
  } else if ((parts.bracketed || !parts.port) && ::inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
  } else if (host.contains('%')) {
    return refuse(text, "an address that is valid on one link only cannot be used");
  } else {
    return refuse(text, "expected an IP address, as 192.0.2.1:7400 or [2001:db8::1]:7400");
  }
  PERDURE_ASSIGN(const std::uint16_t port, parse_port(text, parts, default_port));
  (endpoint.family() == AF_INET ? v4.sin_port : v6.sin6_port) = htons(port);
  return endpoint;
}

Endpoint Endpoint::from(const sockaddr_storage& address) {
  PERDURE_ASSERT(address.ss_family == AF_INET || address.ss_family == AF_INET6);
  Endpoint endpoint;
  if (address.ss_family == AF_INET) {
    std::memcpy(&endpoint.storage_, &address, sizeof(sockaddr_in));
    return endpoint;
  }
  const sockaddr_in6& v6 = as_v6(address);
  if (!IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
    std::memcpy(&endpoint.storage_, &address, sizeof(sockaddr_in6));
    return endpoint;
  }
  auto& v4 = reinterpret_cast<sockaddr_in&>(endpoint.storage_);
  v4.sin_family = AF_INET;
  v4.sin_port = v6.sin6_port;
  std::memcpy(&v4.sin_addr, &v6.sin6_addr.s6_addr[12], sizeof v4.sin_addr);
  return endpoint;
}

socklen_t Endpoint::size() const {
  return family() == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
}

std::uint16_t Endpoint::port() const {
  return ntohs(family() == AF_INET ? as_v4(storage_).sin_port : as_v6(storage_).sin6_port);
}

bool Endpoint::is_any() const {
  if (family() == AF_INET) return as_v4(storage_).sin_addr.s_addr == htonl(INADDR_ANY);
  return IN6_IS_ADDR_UNSPECIFIED(&as_v6(storage_).sin6_addr);
}

std::string host_of(const Endpoint& endpoint) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const void* const bytes =
      endpoint.family() == AF_INET
          ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in*>(endpoint.address())->sin_addr)
          : &reinterpret_cast<const sockaddr_in6*>(endpoint.address())->sin6_addr;
  return ::inet_ntop(endpoint.family(), bytes, text.data(), text.size());
}

std::string to_string(const Endpoint& endpoint) {
  const std::string host = host_of(endpoint);
  return endpoint.family() == AF_INET ? std::format("{}:{}", host, endpoint.port())
                                      : std::format("[{}]:{}", host, endpoint.port());
}

}  // namespace perdure::io
