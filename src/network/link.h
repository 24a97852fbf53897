// Links, addresses and routes through rtnetlink. Everything is idempotent: what is there already is
// success, what is gone already too. Errors name the link and carry the kernel's own explanation.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "network/address.h"

namespace perdure::network {

// For wait_forwarding() of a port that is made here.
inline constexpr Duration kForwardingDeadline = std::chrono::seconds(2);

// The kernel's limit for a name, IFNAMSIZ - 1.
inline constexpr std::size_t kMaxInterfaceName = 15;

// "pd-" and twelve hexadecimal digits that follow from the container's name.
std::string host_interface_name(std::string_view container);

struct LinkInfo {
  unsigned index = 0;
  std::string name;
  std::string kind;  // "bridge", "veth", "vlan", …; empty for hardware
  MacAddress mac;
  unsigned mtu = 0;           // bytes
  unsigned bridge_index = 0;  // of the bridge it is a port of; 0: none
  bool up = false;
};

struct VethRequest {
  std::string host_name;
  std::string peer_name = "eth0";
  int peer_netns = -1;  // descriptor of the namespace that the peer is made in; < 0: the same
  std::optional<MacAddress> peer_mac;
  unsigned mtu = 1500;  // bytes, both ends
};

struct BridgePortOptions {
  bool learning = true;  // learn source addresses of frames that come in here
  bool flooding = true;  // send frames for unknown, group and broadcast addresses out here
};

struct Neighbour {
  IpAddress address;
  MacAddress mac;
  unsigned link_index = 0;
};

struct Route {
  std::optional<IpAddress> source;   // the address the kernel would send from
  std::optional<IpAddress> gateway;  // none: on the link
  unsigned link_index = 0;
  bool local = false;  // the destination is an address of this namespace
};

// One rtnetlink socket in one namespace. Not for several threads at once. Every call waits at most
// two seconds for the kernel (kTimeout).
class LinkControl {
 public:
  // netns_fd < 0: the caller's own namespace. The descriptor is not kept.
  static Result<LinkControl> open(int netns_fd = -1);
  LinkControl(LinkControl&&) noexcept;
  LinkControl& operator=(LinkControl&&) noexcept;
  ~LinkControl();

  Result<std::optional<LinkInfo>> find(std::string_view name);
  Result<LinkInfo> get(std::string_view name);  // kNotFound
  Result<std::vector<LinkInfo>> links();

  // kExists if the name belongs to something that is no bridge.
  Result<LinkInfo> ensure_bridge(std::string_view name, unsigned mtu = 1500);
  // The host end is left down and outside of any bridge. kExists if the host name is taken.
  Result<LinkInfo> create_veth(const VethRequest& request);
  // A tagged subinterface NIC.VLAN; kInvalid outside 1..4094.
  Result<LinkInfo> ensure_vlan(std::string_view nic, std::uint16_t vlan);
  Status remove(std::string_view name);

  Status set_up(std::string_view name);
  Status set_down(std::string_view name);
  Status set_mtu(std::string_view name, unsigned mtu);
  Status set_mac(std::string_view name, const MacAddress& mac);
  Status enslave(std::string_view name, std::string_view bridge);
  Status release_from_bridge(std::string_view name);
  // Waits until frames pass between the port and its bridge, which takes the kernel some time after
  // both are up. kTimeout.
  Status wait_forwarding(std::string_view name, Duration at_most);
  Status set_port_options(std::string_view name, const BridgePortOptions& options);
  // Teaches the bridge that `mac` lives behind its port `name`, also when it lived elsewhere
  // before.
  Status learn_mac(std::string_view name, const MacAddress& mac);

  // IPv6 addresses are added without duplicate address detection, and on a link that is up are
  // usable when this returns. Who must know whether somebody has it uses announce.h.
  Status add_address(std::string_view name, const IpPrefix& address);
  Status remove_address(std::string_view name, const IpPrefix& address);
  Result<std::vector<IpPrefix>> addresses(std::string_view name);
  // Replaces the default route of the gateway's family. The gateway need not be inside an on-link
  // prefix.
  Status set_default_route(std::string_view name, const IpAddress& gateway);

  // The route to a destination, as the kernel would take it now. kNotFound if there is none.
  Result<Route> route_to(const IpAddress& destination);
  // The neighbours whose MAC is known, in any usable state.
  Result<std::vector<Neighbour>> neighbours();

 private:
  struct Impl;
  explicit LinkControl(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace perdure::network
