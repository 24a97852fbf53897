#include "model/spec.h"

#include <cstdint>

namespace perdure::model {
namespace {

// FNV-1a with 64 bits: no secret is involved, only an even spread that never changes between
// releases.
class Hash {
 public:
  void add(std::uint8_t byte) { value_ = (value_ ^ byte) * 0x100000001b3ULL; }
  // The last bytes taken in have hardly moved the high bits: mix (MurmurHash3's finalizer).
  std::uint64_t value() const {
    std::uint64_t v = value_;
    v = (v ^ (v >> 33)) * 0xff51afd7ed558ccdULL;
    v = (v ^ (v >> 33)) * 0xc4ceb9fe1a85ec53ULL;
    return v ^ (v >> 33);
  }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325ULL;
};

constexpr std::uint8_t kLocallyAdministered = 0x02;

}  // namespace

std::vector<std::string> default_capabilities() noexcept {
  return {"CAP_CHOWN",   "CAP_DAC_OVERRIDE",     "CAP_FOWNER",    "CAP_FSETID",
          "CAP_KILL",    "CAP_NET_BIND_SERVICE", "CAP_SETFCAP",   "CAP_SETGID",
          "CAP_SETPCAP", "CAP_SETUID",           "CAP_SYS_CHROOT"};
}

MacAddress derive_mac(const ContainerName& name, const std::optional<Ipv4Prefix>& ipv4,
                      const std::optional<Ipv6Prefix>& ipv6) {
  Hash hash;
  for (const char c : name.str()) hash.add(static_cast<std::uint8_t>(c));
  hash.add(0);
  // The family goes first, so that no two different specs feed the same bytes.
  if (ipv4) {
    hash.add(4);
    for (const std::uint8_t byte : ipv4->address.bytes) hash.add(byte);
  }
  if (ipv6) {
    hash.add(6);
    for (const std::uint8_t byte : ipv6->address.bytes) hash.add(byte);
  }
  MacAddress mac;
  std::uint64_t bits = hash.value();
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
