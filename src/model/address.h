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
  static constexpr unsigned bits() { return 32; }
  std::array<std::uint8_t, 4> bytes{};  // network order

  // Dotted decimal, four parts, no leading zeros (inet_pton). kInvalid otherwise.
  static Result<Ipv4Address> parse(std::string_view text);
  bool is_link_local() const { return bytes[0] == 169 && bytes[1] == 254; }  // RFC 3927
  auto operator<=>(const Ipv4Address&) const = default;
};

struct Ipv6Address {
  static constexpr unsigned bits() { return 128; }
  std::array<std::uint8_t, 16> bytes{};  // network order

  // RFC 4291 text without a zone ("%eth0"). kInvalid otherwise.
  static Result<Ipv6Address> parse(std::string_view text);
  // RFC 4291, 2.5.6
  bool is_link_local() const { return bytes[0] == 0xfe && (bytes[1] & 0xc0U) == 0x80; }
  auto operator<=>(const Ipv6Address&) const = default;
};

enum class IpFamily : std::uint8_t { kV4, kV6 };

// Of either family.
struct IpAddress {
  IpFamily family = IpFamily::kV4;
  std::array<std::uint8_t, 16> bytes{};  // network order; IPv4: the first four, the rest is 0

  constexpr IpAddress() = default;
  constexpr IpAddress(IpFamily family_, const std::array<std::uint8_t, 16>& bytes_)
      : family(family_), bytes(bytes_) {}
  IpAddress(const Ipv4Address& address) { std::ranges::copy(address.bytes, bytes.begin()); }
  IpAddress(const Ipv6Address& address) : IpAddress(IpFamily::kV6, address.bytes) {}
  // The text of either family. kInvalid otherwise.
  static Result<IpAddress> parse(std::string_view text);
  static constexpr IpAddress any(IpFamily family) { return IpAddress(family, {}); }

  bool is_v4() const { return family == IpFamily::kV4; }
  unsigned bits() const { return is_v4() ? Ipv4Address::bits() : Ipv6Address::bits(); }
  std::size_t size() const { return bits() / 8; }  // of `bytes` that are used
  bool is_link_local() const;
  auto operator<=>(const IpAddress&) const = default;
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
  std::uint8_t length = 0;  // 0..address.bits()

  // "ADDRESS/LENGTH". kInvalid otherwise, also without a length.
  static Result<Prefix> parse(std::string_view text);

  Address network() const { return masked(0x00); }
  Address last() const { return masked(0xff); }  // the broadcast address in IPv4
  bool contains(const Address& other) const { return Prefix{other, length}.network() == network(); }
  auto operator<=>(const Prefix&) const = default;

 private:
  // The address with every bit behind the prefix taken from `fill`.
  Address masked(unsigned fill) const {
    Address result = address;
    for (unsigned i = 0; i < result.bits() / 8; ++i) {
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
using IpPrefix = Prefix<IpAddress>;

// The canonical text; parse() of it gives the same value. IPv6 as RFC 5952 wants it.
std::string to_string(const Ipv4Address& address);
std::string to_string(const Ipv6Address& address);
std::string to_string(const IpAddress& address);
std::string to_string(const MacAddress& address);  // lower case
template <typename Address>
std::string to_string(const Prefix<Address>& prefix) {
  return to_string(prefix.address) + "/" + std::to_string(prefix.length);
}

}  // namespace perdure::model
