#include "model/spec.h"

#include <cstdint>
#include <string>

#include "base/stable_hash.h"

namespace perdure::model {
namespace {

constexpr std::uint8_t kLocallyAdministered = 0x02;

}  // namespace

std::vector<std::string> default_capabilities() noexcept {
  return {"CAP_CHOWN",   "CAP_DAC_OVERRIDE",     "CAP_FOWNER",    "CAP_FSETID",
          "CAP_KILL",    "CAP_NET_BIND_SERVICE", "CAP_SETFCAP",   "CAP_SETGID",
          "CAP_SETPCAP", "CAP_SETUID",           "CAP_SYS_CHROOT"};
}

MacAddress derive_mac(const ContainerName& name, const std::optional<Ipv4Prefix>& ipv4,
                      const std::optional<Ipv6Prefix>& ipv6) {
  // The family goes first, so that no two different specs feed the same bytes.
  std::string fed = name.str() + '\0';
  if (ipv4) fed.append(1, '\4').append(ipv4->address.bytes.begin(), ipv4->address.bytes.end());
  if (ipv6) fed.append(1, '\6').append(ipv6->address.bytes.begin(), ipv6->address.bytes.end());
  std::uint64_t bits = stable_hash(fed);
  MacAddress mac;
  for (std::uint8_t& byte : mac.bytes) {
    byte = static_cast<std::uint8_t>(bits & 0xffU);
    bits >>= 8;
  }
  mac.bytes[0] = kLocallyAdministered;
  return mac;
}

MacAddress effective_mac(const ContainerSpec& spec) {
  const NetworkSpec& network = spec.network;
  return network.mac ? *network.mac : derive_mac(spec.name, network.ipv4, network.ipv6);
}

}  // namespace perdure::model
