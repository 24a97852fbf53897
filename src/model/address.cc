#include "model/address.h"

#include <arpa/inet.h>

#include <charconv>
#include <format>

namespace perdure::model {
namespace {

// Longest text of an address, IPv6 with an embedded IPv4 (INET6_ADDRSTRLEN), cut off in messages.
constexpr std::size_t kMaxShown = 60;

template <typename Address>
bool parse_into(int family, std::string_view text, Address& address) {
  if (text.find('\0') != std::string_view::npos) return false;
  return ::inet_pton(family, std::string(text).c_str(), address.bytes.data()) == 1;
}

template <typename Address>
std::string format(int family, const Address& address) {
  char buffer[INET6_ADDRSTRLEN];
  return ::inet_ntop(family, address.bytes.data(), buffer, sizeof buffer);
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

Result<Ipv4Address> Ipv4Address::parse(std::string_view text) {
  Ipv4Address address;
  if (!parse_into(AF_INET, text, address)) {
    return fail(ErrorCode::kInvalid, std::format("'{}' is no IPv4 address; write it as 192.0.2.1",
                                                 text.substr(0, kMaxShown)));
  }
  return address;
}

Result<Ipv6Address> Ipv6Address::parse(std::string_view text) {
  Ipv6Address address;
  if (!parse_into(AF_INET6, text, address)) {
    return fail(ErrorCode::kInvalid,
                std::format("'{}' is no IPv6 address; write it as 2001:db8::1, without a zone",
                            text.substr(0, kMaxShown)));
  }
  return address;
}

Result<IpAddress> IpAddress::parse(std::string_view text) {
  if (const auto v4 = Ipv4Address::parse(text)) return *v4;
  if (const auto v6 = Ipv6Address::parse(text)) return *v6;
  return fail(ErrorCode::kInvalid,
              std::format("'{}' is no IP address; write it as 192.0.2.1 or 2001:db8::1",
                          text.substr(0, kMaxShown)));
}

bool IpAddress::is_link_local() const {
  if (!is_v4()) return Ipv6Address{bytes}.is_link_local();
  return Ipv4Address{{bytes[0], bytes[1], bytes[2], bytes[3]}}.is_link_local();
}

Result<MacAddress> MacAddress::parse(std::string_view text) {
  MacAddress address;
  bool good = text.size() == address.bytes.size() * 3 - 1;
  for (std::size_t i = 0; good && i < address.bytes.size(); ++i) {
    const int high = hex_digit(text[i * 3]);
    const int low = hex_digit(text[i * 3 + 1]);
    good = high >= 0 && low >= 0 && (i == 0 || text[i * 3 - 1] == ':');
    address.bytes[i] = static_cast<std::uint8_t>(high * 16 + low);
  }
  if (!good) {
    return fail(ErrorCode::kInvalid,
                std::format("'{}' is no MAC address; write it as 02:00:00:12:34:56",
                            text.substr(0, kMaxShown)));
  }
  return address;
}

template <typename Address>
Result<Prefix<Address>> Prefix<Address>::parse(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) {
    return fail(ErrorCode::kInvalid, std::format("'{}' has no prefix length; write ADDRESS/LENGTH",
                                                 text.substr(0, kMaxShown)));
  }
  PERDURE_ASSIGN(const Address address, Address::parse(text.substr(0, slash)));
  const std::string_view digits = text.substr(slash + 1);
  unsigned length = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
  const bool leading_zero = digits.size() > 1 && digits.front() == '0';
  if (error != std::errc{} || end != digits.data() + digits.size() || leading_zero ||
      length > address.bits()) {
    return fail(ErrorCode::kInvalid, std::format("'{}': the prefix length must be 0 to {}",
                                                 text.substr(0, kMaxShown), address.bits()));
  }
  return Prefix{address, static_cast<std::uint8_t>(length)};
}

template struct Prefix<Ipv4Address>;
template struct Prefix<Ipv6Address>;
template struct Prefix<IpAddress>;

std::string to_string(const Ipv4Address& address) {
  return format(AF_INET, address);
}
std::string to_string(const Ipv6Address& address) {
  return format(AF_INET6, address);
}

std::string to_string(const IpAddress& address) {
  return format(address.is_v4() ? AF_INET : AF_INET6, address);
}

std::string to_string(const MacAddress& address) {
  const auto& b = address.bytes;
  return std::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", b[0], b[1], b[2], b[3], b[4],
                     b[5]);
}

}  // namespace perdure::model
