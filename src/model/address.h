// Network addresses as values: IPv4, IPv6, prefixes and MAC addresses. Pure; no resolver, no
// interface.
#pragma once

#include <algorithm>
#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace perdure::model {

struct Ipv4Address {
  static constexpr unsigned kBits = 32;
  std::array<std::uint8_t, 4> bytes{};  // network order

  // Dotted decimal, four parts, no leading zeros (inet_pton). kInvalid otherwise.
  static Result<Ipv4Address> parse(std::string_view text);
  auto operator<=>(const Ipv4Address&) const = default;
};

struct Ipv6Address {
  static constexpr unsigned kBits = 128;
  std::array<std::uint8_t, 16> bytes{};  // network order

  // RFC 4291 text without a zone ("%eth0"). kInvalid otherwise.
  static Result<Ipv6Address> parse(std::string_view text);
  auto operator<=>(const Ipv6Address&) const = default;
};

struct MacAddress {
  std::array<std::uint8_t, 6> bytes{};

  // Six pairs of hexadecimal digits joined by ':'. kInvalid otherwise.
  static Result<MacAddress> parse(std::string_view text);
  bool is_multicast() const { return (bytes[0] & 1U) != 0; }
  auto operator<=>(const MacAddress&) const = default;
};

// An interface's address with the length of its network part; the host bits are kept.
template <typename Address>
struct Prefix {
  Address address;
  std::uint8_t length = 0;  // 0..Address::kBits

  // "ADDRESS/LENGTH". kInvalid otherwise.
  static Result<Prefix> parse(std::string_view text);

  Address network() const { return masked(0x00); }
  Address last() const { return masked(0xff); }  // the broadcast address in IPv4
  bool contains(const Address& other) const { return Prefix{other, length}.network() == network(); }
  auto operator<=>(const Prefix&) const = default;

 private:
  // The address with every bit behind the prefix taken from `fill`.
  Address masked(unsigned fill) const {
    Address result = address;
    for (unsigned i = 0; i < result.bytes.size(); ++i) {
      const unsigned keep = length <= i * 8 ? 0U : std::min(8U, length - i * 8);
      const unsigned mask = (0xff00U >> keep) & 0xffU;
      result.bytes[i] =
          static_cast<std::uint8_t>((result.bytes[i] & mask) | (fill & ~mask & 0xffU));
    }
    return result;
  }
};
using Ipv4Prefix = Prefix<Ipv4Address>;
using Ipv6Prefix = Prefix<Ipv6Address>;

// The canonical text; parse() of it gives the same value. IPv6 as RFC 5952 wants it.
std::string to_string(const Ipv4Address& address);
std::string to_string(const Ipv6Address& address);
std::string to_string(const MacAddress& address);  // lower case
std::string to_string(const Ipv4Prefix& prefix);
std::string to_string(const Ipv6Prefix& prefix);

}  // namespace perdure::model
