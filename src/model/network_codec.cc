// The codecs of value_codec.h for addresses: which of them a container may have, and what to write
// instead.
#include <algorithm>
#include <format>

#include "model/text.h"
#include "model/value_codec.h"

namespace perdure::model {
namespace {

constexpr std::string_view kAuto = "auto";

template <typename Address>
std::unexpected<Error> refuse(const Address& address, std::string_view why) {
  return fail(ErrorCode::kInvalid, std::format("'{}' {}", to_string(address), why));
}

// RFC 6890: what no host may have as its own address.
Status check_host(const Ipv4Address& address) {
  if (address.bytes[0] == 0)
    return refuse(address, "means 'no address'; give one of the network's");
  if (address.bytes[0] == 127)
    return refuse(address, "is a loopback address; give one of the network's");
  if (address.bytes[0] >= 224)
    return refuse(address, "is no unicast address; give one of the network's");
  return {};
}

Status check_host(const Ipv6Address& address) {
  const auto& b = address.bytes;
  const bool zeros =
      std::all_of(b.begin(), b.end() - 1, [](std::uint8_t byte) { return byte == 0; });
  if (zeros && b[15] == 0) return refuse(address, "means 'no address'; give one of the network's");
  if (zeros && b[15] == 1)
    return refuse(address, "is the loopback address; give one of the network's");
  if (b[0] == 0xff) return refuse(address, "is a multicast address; give one of the network's");
  const bool mapped =
      std::all_of(b.begin(), b.begin() + 10, [](std::uint8_t byte) { return byte == 0; }) &&
      b[10] == 0xff && b[11] == 0xff;
  if (mapped) return refuse(address, "is an IPv4 address in disguise; write it as ipv4");
  return {};
}

Result<Ipv4Prefix> parse_ipv4_prefix(std::string_view text) {
  PERDURE_ASSIGN(const Ipv4Prefix prefix, Ipv4Prefix::parse(text));
  PERDURE_TRY(check_host(prefix.address));
  if (prefix.length == 0)
    return refuse(prefix, "makes everything a neighbour; write the network's length");
  if (prefix.length <= 30 && prefix.address == prefix.network()) {
    return refuse(prefix, "is the network itself; give an address in it");
  }
  if (prefix.length <= 30 && prefix.address == prefix.last()) {
    return refuse(prefix, "is the network's broadcast address; give another one");
  }
  return prefix;
}

Result<Ipv6Prefix> parse_ipv6_prefix(std::string_view text) {
  PERDURE_ASSIGN(const Ipv6Prefix prefix, Ipv6Prefix::parse(text));
  PERDURE_TRY(check_host(prefix.address));
  if (prefix.length == 0)
    return refuse(prefix, "makes everything a neighbour; write the network's length");
  if (prefix.address.is_link_local()) {
    return refuse(prefix,
                  "is link-local, which the kernel gives by itself; give a global or local one");
  }
  return prefix;
}

template <typename Address>
Result<Address> parse_host(std::string_view text) {
  PERDURE_ASSIGN(const Address address, Address::parse(text));
  PERDURE_TRY(check_host(address));
  return address;
}

Result<IpAddress> parse_any(std::string_view text) {
  if (text.find(':') != std::string_view::npos) {
    PERDURE_ASSIGN(const Ipv6Address address, parse_host<Ipv6Address>(text));
    return address;
  }
  PERDURE_ASSIGN(const Ipv4Address address, parse_host<Ipv4Address>(text));
  return address;
}

Result<IpAddress> parse_probe_address(std::string_view text) {
  PERDURE_ASSIGN(const IpAddress address, IpAddress::parse(text));
  constexpr IpAddress kLoopback6(IpFamily::kV6, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
  if (address.is_v4() ? address.bytes[0] == 127 : address == kLoopback6) return address;
  return parse_any(text);
}

template <typename T>
Codec<T> codec(std::string type, std::string range, Result<T> (*parse)(std::string_view),
               bool plain = false) {
  return {.type = std::move(type),
          .range = std::move(range),
          .parse = parse,
          .print = [](const T& value) { return to_string(value); },
          .plain = plain};
}

}  // namespace

Codec<Ipv4Prefix> ipv4_prefix_codec() {
  return codec<Ipv4Prefix>("address/length", "a unicast address; 1 to 32", parse_ipv4_prefix, true);
}
Codec<Ipv6Prefix> ipv6_prefix_codec() {
  return codec<Ipv6Prefix>("address/length", "a unicast address, not link-local; 1 to 128",
                           parse_ipv6_prefix);
}
Codec<Ipv4Address> ipv4_codec() {
  return codec<Ipv4Address>("address", "in the prefix of `network.ipv4`", parse_host<Ipv4Address>,
                            true);
}
Codec<Ipv6Address> ipv6_codec() {
  return codec<Ipv6Address>("address", "in the prefix of `network.ipv6`, or link-local",
                            parse_host<Ipv6Address>);
}

Codec<IpAddress> any_address_codec() {
  return codec<IpAddress>("address", "IPv4 or IPv6", parse_any);
}

Codec<IpAddress> probe_address_codec() {
  return codec<IpAddress>("address", "IPv4 or IPv6", parse_probe_address);
}

Codec<std::optional<MacAddress>> mac_codec() {
  return {.type = "MAC address",
          .range = "`auto`, or a unicast address",
          .parse = [](std::string_view text) -> Result<std::optional<MacAddress>> {
            if (text == kAuto) return std::nullopt;
            PERDURE_ASSIGN(const MacAddress mac, MacAddress::parse(text));
            if (mac.is_multicast()) {
              return refuse(mac, "is a multicast address; make its first byte even, or write auto");
            }
            if (mac == MacAddress{}) return refuse(mac, "means 'no address'; write auto");
            return mac;
          },
          .print =
              [](const std::optional<MacAddress>& mac) {
                return mac ? to_string(*mac) : std::string(kAuto);
              }};
}

}  // namespace perdure::model
