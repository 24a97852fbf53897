#include <algorithm>
#include <array>
#include <format>

#include "model/spec.h"
#include "model/table.h"

namespace perdure::model {
namespace {

constexpr std::uint32_t kMinIpv6Mtu = 1280;  // RFC 8200, section 5

void check_image(Reading& reading, const ContainerSpec& spec) {
  static constexpr std::array kForms = {"root-filesystem.directory", "root-filesystem.tar", "root-filesystem.oci",
                                        "root-filesystem.image"};
  const auto given =
      std::ranges::count_if(kForms, [&](const char* form) { return reading.seen(form); });
  if (given == 0)
    reading.complain("root-filesystem", "is missing; give one of directory, tar, oci and image in it");
  if (given > 1)
    reading.complain("root-filesystem", "has more than one of directory, tar, oci and image; keep one");
  const bool oci = reading.seen("root-filesystem.oci");
  if (reading.seen("root-filesystem.tag") && !oci) {
    reading.complain("root-filesystem.tag", "belongs to an OCI image; remove it or give oci");
  }
  const bool brings_command = oci || reading.seen("root-filesystem.image");
  if (given == 1 && !brings_command && !reading.seen("command") && !reading.seen("components")) {
    reading.complain("command",
                     "is missing; only an image brings its own, so add it or components");
  }
  if (spec.command && !spec.command->empty() && spec.command->front().empty()) {
    reading.complain("command", "begins with an empty word; begin it with the program");
  }
}

template <typename Address>
void check_gateway(Reading& reading, const std::string& key, const std::string& address_key,
                   const std::optional<Prefix<Address>>& own, const std::optional<Address>& gateway,
                   bool link_local) {
  if (!reading.seen(address_key)) {
    if (reading.seen(key))
      reading.complain(key, std::format("needs an address; give {}", address_key));
    return;
  }
  if (!own || !gateway || link_local) return;
  if (!own->contains(*gateway)) {
    reading.complain(key,
                     std::format("{} is not in the network of {}; give one that is, or correct the "
                                 "prefix length",
                                 to_string(*gateway), to_string(*own)));
  } else if (*gateway == own->address) {
    reading.complain(key, "is the container's own address; give the router's");
  }
}

void check_ipv4_gateway(Reading& reading, const NetworkSpec& network) {
  check_gateway(reading, "network.ipv4-gateway", "network.ipv4", network.ipv4, network.ipv4_gateway,
                false);
  if (!network.ipv4 || !network.ipv4_gateway || network.ipv4->length > 30) return;
  const Ipv4Address& gateway = *network.ipv4_gateway;
  if (gateway == network.ipv4->network() || gateway == network.ipv4->last()) {
    reading.complain("network.ipv4-gateway",
                     "is the network's own or its broadcast address; give the router's");
  }
}

void check_tcp_ports(Reading& reading, const std::vector<TcpPortPolicy>& ports) {
  for (std::size_t i = 0; i < ports.size(); ++i) {
    if (ports[i].port == 0) continue;  // complained about already
    const auto end = ports.begin() + static_cast<std::ptrdiff_t>(i);
    if (std::find_if(ports.begin(), end, [&](const auto& before) { return before.port == ports[i].port; }) == end) {
      continue;
    }
    reading.complain(std::format("network.tcp-ports[{}].port", i),
                     std::format("{} stands in the list already; keep one of them", ports[i].port));
  }
}

template <typename Address>
std::string why_not_reachable(const IpAddress& address, const std::string& key,
                              const std::optional<Prefix<Address>>& own) {
  if (!own) return std::format("is of another family than the container's addresses; give {}, or another one", key);
  const IpPrefix prefix{own->address, own->length};
  if (address == prefix.address) return "is the container's own address; give another host's";
  const bool is_on_link = prefix.contains(address) || (!address.is_v4() && address.is_link_local());
  if (is_on_link) return "";
  return std::format("is not in the network of {}, so it would not answer; give the router's, or another host's there",
                     to_string(*own));
}

void check_reachability(Reading& reading, const NetworkSpec& network) {
  constexpr const char* kKey = "network.reachability";
  for (std::size_t i = 0; i < network.reachability.size(); ++i) {
    const IpAddress& address = network.reachability[i];
    const std::string why = address.is_v4() ? why_not_reachable(address, "network.ipv4", network.ipv4)
                                            : why_not_reachable(address, "network.ipv6", network.ipv6);
    if (!why.empty()) reading.complain(kKey, std::format("{} {}", to_string(address), why));
    const auto end = network.reachability.begin() + static_cast<std::ptrdiff_t>(i);
    if (std::find(network.reachability.begin(), end, address) != end) {
      reading.complain(kKey, std::format("{} stands in the list already; keep one of them", to_string(address)));
    }
  }
}

void check_network(Reading& reading, const ContainerSpec& spec) {
  const bool bridge = reading.seen("network.bridge");
  const bool nic = reading.seen("network.nic");
  if (bridge && nic) reading.complain("network.nic", "stands besides bridge; keep one of them");
  if (reading.seen("network.vlan") && !nic) {
    reading.complain("network.vlan",
                     "belongs to a network card; give nic, or tag the bridge on the host");
  }
  if (!bridge && !nic) {
    static constexpr std::array kNeedNetwork = {"network.ipv4", "network.ipv6", "network.mtu"};
    for (const char* key : kNeedNetwork) {
      if (reading.seen(key)) reading.complain(key, "needs a network; give bridge or nic");
    }
    if (spec.network.mac) reading.complain("network.mac", "needs a network; give bridge or nic");
    if (!spec.network.tcp_ports.empty()) {
      reading.complain("network.tcp-ports", "needs a network; give bridge or nic");
    }
    if (!spec.network.reachability.empty()) {
      reading.complain("network.reachability", "needs a network; give bridge or nic");
    }
  } else if (!reading.seen("network.ipv4") && !reading.seen("network.ipv6")) {
    reading.complain("network", "has no address; give ipv4, ipv6 or both");
  }
  check_tcp_ports(reading, spec.network.tcp_ports);
  const bool addressed = reading.seen("network.ipv4") || reading.seen("network.ipv6");
  if ((bridge || nic) && addressed) check_reachability(reading, spec.network);
  check_ipv4_gateway(reading, spec.network);
  const auto& router = spec.network.ipv6_gateway;
  const bool link_local = router && router->is_link_local();
  check_gateway(reading, "network.ipv6-gateway", "network.ipv6", spec.network.ipv6, router,
                link_local);
  if (reading.seen("network.ipv6") && spec.network.mtu && *spec.network.mtu < kMinIpv6Mtu) {
    reading.complain("network.mtu",
                     std::format("is too small for IPv6; give at least {}", kMinIpv6Mtu));
  }
}

void check_volume(Reading& reading, const std::string& at, const VolumeSpec& volume) {
  const bool host_given = reading.seen(at + ".host");
  if (volume.kind == VolumeKind::kShared && !host_given) {
    reading.complain(at + ".host", "is missing; a shared volume lies on the host, so say where");
  }
  if (volume.kind == VolumeKind::kCaptured && volume.access == Access::kReadOnly && !host_given) {
    reading.complain(at + ".access", "leaves the volume empty for ever; give host or read-write");
  }
}

bool overlap(std::string_view a, std::string_view b) {
  return is_within(a, b) || is_within(b, a);
}

void check_volume_pair(Reading& reading, const std::string& at, const VolumeSpec& volume,
                       const VolumeSpec& before) {
  if (!volume.name.empty() && volume.name == before.name) {
    reading.complain(at + ".name", std::format("'{}' names two volumes; rename one", volume.name));
  }
  const bool mounts = !volume.mount_path.empty() && !before.mount_path.empty();
  if (mounts && overlap(volume.mount_path, before.mount_path)) {
    reading.complain(at + ".mount",
                     std::format("{} and {} of volume '{}' lie in each other; mount one elsewhere",
                                 quote(volume.mount_path), quote(before.mount_path), before.name));
  }
  const bool captured =
      volume.kind == VolumeKind::kCaptured || before.kind == VolumeKind::kCaptured;
  if (captured && volume.host_path && before.host_path &&
      overlap(*volume.host_path, *before.host_path)) {
    reading.complain(at + ".host",
                     std::format("{} and {} of volume '{}' lie in each other, so a restore would "
                                 "take both back; separate them, or share both",
                                 quote(*volume.host_path), quote(*before.host_path), before.name));
  }
}

void check_volumes(Reading& reading, const ContainerSpec& spec) {
  for (std::size_t i = 0; i < spec.volumes.size(); ++i) {
    const std::string at = std::format("volumes[{}]", i);
    check_volume(reading, at, spec.volumes[i]);
    for (std::size_t j = 0; j < i; ++j)
      check_volume_pair(reading, at, spec.volumes[i], spec.volumes[j]);
  }
}

void check_membership(Reading& reading, const ApplicationMembership& application) {
  if (reading.seen("application.sponsors") && !reading.seen("application.name")) {
    reading.complain("application.sponsors", "belongs to an application; give its name, or remove it");
  }
  for (std::size_t i = 0; i < application.near.size(); ++i) {
    for (std::size_t j = 0; j < application.near[i].sponsors.size(); ++j) {
      const std::string& sponsor = application.near[i].sponsors[j];
      if (std::ranges::contains(application.sponsors, sponsor)) continue;
      reading.complain(std::format("application.near[{}].sponsors[{}]", i, j),
                       std::format("'{}' is not among application.sponsors; add it there, or remove it here", sponsor));
    }
  }
}

}  // namespace

void check_rules(Reading& reading, const ContainerSpec& spec) {
  check_image(reading, spec);
  check_network(reading, spec);
  check_volumes(reading, spec);
  check_components(reading, spec);
  check_membership(reading, spec.application);
  if (reading.seen("checkpoint.interval") && reading.seen("checkpoint.state-sensitivity")) {
    reading.complain("checkpoint.state-sensitivity", "stands besides interval; keep one of them");
  }
}

}  // namespace perdure::model
