#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <format>

#include "coord/grpc_transport.h"

namespace perdure::coord {
namespace {

constexpr std::size_t kMaxHostName = 253;  // RFC 1035
constexpr unsigned kMaxPort = 65535;

bool is_host_name(std::string_view text) {
  return !text.empty() && text.size() <= kMaxHostName && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  });
}

bool is_port(std::string_view text) {
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc{} && end == text.data() + text.size() && port >= 1 && port <= kMaxPort;
}

}  // namespace

Result<EndpointParts> parse_endpoint(std::string_view endpoint) {
  const auto refuse = [&] {
    return fail(ErrorCode::kInvalid,
                std::format("etcd endpoint '{}': expected 'https://ADDRESS:PORT' or 'http://ADDRESS:PORT'",
                            endpoint.substr(0, 120)));
  };
  EndpointParts parts;
  std::string_view rest = endpoint;
  if (rest.starts_with("https://")) {
    parts.tls = true;
    rest.remove_prefix(8);
  } else if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
  } else {
    return refuse();
  }
  const auto colon = rest.rfind(':');
  if (colon == std::string_view::npos || !is_port(rest.substr(colon + 1))) return refuse();
  const std::string port(rest.substr(colon + 1));
  const std::string host(rest.substr(0, colon));
  if (host.starts_with('[')) {
    in6_addr v6{};
    if (!host.ends_with(']') || ::inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &v6) != 1) return refuse();
    parts.target = std::format("ipv6:{}:{}", host, port);
    return parts;
  }
  in_addr v4{};
  if (::inet_pton(AF_INET, host.c_str(), &v4) == 1) {
    parts.target = std::format("ipv4:{}:{}", host, port);
    return parts;
  }
  if (!is_host_name(host)) return refuse();
  parts.target = std::format("dns:///{}:{}", host, port);
  return parts;
}

}  // namespace perdure::coord
