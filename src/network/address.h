// Network addresses as values: MAC, IP, prefix, endpoint. Text in, text out, no resolver.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace perdure::network {

struct MacAddress {
  std::array<std::uint8_t, 6> bytes{};

  static Result<MacAddress> parse(std::string_view text);  // "02:00:5e:10:00:01"; kInvalid
  std::string str() const;
  auto operator<=>(const MacAddress&) const = default;
};

enum class IpFamily : std::uint8_t { kV4, kV6 };

struct IpAddress {
  IpFamily family = IpFamily::kV4;
  std::array<std::uint8_t, 16>
      bytes{};  // network order; an IPv4 address uses the first four, the rest is 0

  static Result<IpAddress> parse(std::string_view text);  // kInvalid
  static IpAddress any(IpFamily family) { return IpAddress{family, {}}; }
  std::string str() const;
  bool is_v4() const { return family == IpFamily::kV4; }
  std::size_t size() const { return is_v4() ? 4 : 16; }
  bool is_link_local() const;  // 169.254/16 or fe80::/10
  auto operator<=>(const IpAddress&) const = default;
};

// An address with the length of its network, "10.0.0.5/24": an interface address, not a network.
struct IpPrefix {
  IpAddress address;
  std::uint8_t bits = 0;

  static Result<IpPrefix> parse(std::string_view text);  // kInvalid, also without a length
  std::string str() const;
  bool contains(const IpAddress& other) const;
  auto operator<=>(const IpPrefix&) const = default;
};

struct Endpoint {
  IpAddress address;
  std::uint16_t port = 0;

  std::string str() const;  // "10.0.0.5:80", "[fd00::5]:80"
  auto operator<=>(const Endpoint&) const = default;
};

}  // namespace perdure::network
