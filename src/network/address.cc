#include "network/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <format>

namespace perdure::network {
namespace {

Error invalid(std::string_view what, std::string_view text, std::string_view example) {
  return Error(ErrorCode::kInvalid, std::format("'{}' is no {} (like {})", text, what, example));
}

}  // namespace

Result<MacAddress> MacAddress::parse(std::string_view text) {
  const auto bad = [&] { return fail(invalid("MAC address", text, "02:00:5e:10:00:01")); };
  MacAddress mac;
  if (text.size() != 17) return bad();
  for (std::size_t i = 0; i < mac.bytes.size(); ++i) {
    const char* begin = text.data() + 3 * i;
    const auto [end, error] = std::from_chars(begin, begin + 2, mac.bytes[i], 16);
    if (error != std::errc() || end != begin + 2) return bad();
    if (i < 5 && begin[2] != ':') return bad();
  }
  return mac;
}

std::string MacAddress::str() const {
  return std::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", bytes[0], bytes[1], bytes[2],
                     bytes[3], bytes[4], bytes[5]);
}

Result<IpAddress> IpAddress::parse(std::string_view text) {
  const std::string copy(text);
  IpAddress address;
  if (::inet_pton(AF_INET, copy.c_str(), address.bytes.data()) == 1) return address;
  address.family = IpFamily::kV6;
  if (copy.size() == std::strlen(copy.c_str()) &&
      ::inet_pton(AF_INET6, copy.c_str(), address.bytes.data()) == 1) {
    return address;
  }
  return fail(invalid("IP address", text, "10.0.0.5 or fd00::5"));
}

std::string IpAddress::str() const {
  char text[INET6_ADDRSTRLEN] = {};
  ::inet_ntop(is_v4() ? AF_INET : AF_INET6, bytes.data(), text, sizeof text);
  return text;
}

bool IpAddress::is_link_local() const {
  if (is_v4()) return bytes[0] == 169 && bytes[1] == 254;
  return bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
}

Result<IpPrefix> IpPrefix::parse(std::string_view text) {
  const auto slash = text.find('/');
  const auto bad = [&] {
    return fail(invalid("address with a prefix length", text, "10.0.0.5/24"));
  };
  if (slash == std::string_view::npos) return bad();
  const auto address = IpAddress::parse(text.substr(0, slash));
  if (!address) return bad();
  IpPrefix prefix{*address, 0};
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data() + slash + 1, end, prefix.bits);
  if (error != std::errc() || rest != end || prefix.bits > 8 * address->size()) return bad();
  return prefix;
}

std::string IpPrefix::str() const {
  return std::format("{}/{}", address.str(), bits);
}

bool IpPrefix::contains(const IpAddress& other) const {
  if (other.family != address.family) return false;
  const std::size_t whole = bits / 8;
  if (!std::equal(address.bytes.begin(), address.bytes.begin() + std::ptrdiff_t(whole),
                  other.bytes.begin())) {
    return false;
  }
  if (bits % 8 == 0) return true;
  const auto mask = std::uint8_t(0xff << (8 - bits % 8));
  return (address.bytes[whole] & mask) == (other.bytes[whole] & mask);
}

std::string Endpoint::str() const {
  return address.is_v4() ? std::format("{}:{}", address.str(), port)
                         : std::format("[{}]:{}", address.str(), port);
}

}  // namespace perdure::network
