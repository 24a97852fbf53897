#include "network/link.h"

#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <format>

#include "base/stable_hash.h"
#include "network/link_impl.h"

namespace perdure::network {
namespace {

struct LinkDetails {
  LinkInfo info;
  std::optional<std::uint8_t> port_state;  // BR_STATE_*, of a bridge's port
  bool sends =
      false;  // until the kernel has noticed the carrier, it drops what is sent (qdisc "noop")
};

Status check_name(std::string_view name) {
  const bool bad_character =
      std::ranges::any_of(name, [](char c) { return c == '/' || c == ':' || c <= ' '; });
  if (!name.empty() && name.size() <= kMaxInterfaceName && !bad_character && name != "." &&
      name != "..")
    return {};
  return fail(
      ErrorCode::kInvalid,
      std::format(
          "'{}' is no interface name: it needs 1 to {} characters without '/', ':' and blanks",
          name, kMaxInterfaceName));
}

void parse_link_info(const nlattr* nested, LinkDetails& link) {
  std::string port_kind;
  for_each_nested(nested, [&](std::uint16_t type, const nlattr* attribute) {
    if (type == IFLA_INFO_KIND) link.info.kind = attribute_string(attribute);
    if (type == IFLA_INFO_SLAVE_KIND) port_kind = attribute_string(attribute);
    if (type != IFLA_INFO_SLAVE_DATA) return;
    for_each_nested(attribute, [&](std::uint16_t port_type, const nlattr* value) {
      if (port_type == IFLA_BRPORT_STATE && mnl_attr_get_payload_len(value) == 1) {
        link.port_state = mnl_attr_get_u8(value);
      }
    });
  });
  if (port_kind != "bridge") link.port_state.reset();
}

LinkDetails parse_link(const nlmsghdr* message) {
  const auto* header = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
  LinkDetails link;
  link.info.index = static_cast<unsigned>(header->ifi_index);
  link.info.up = (header->ifi_flags & IFF_UP) != 0;
  for_each_attribute(message, sizeof(*header), [&](std::uint16_t type, const nlattr* attribute) {
    if (type == IFLA_IFNAME) link.info.name = attribute_string(attribute);
    if (type == IFLA_ADDRESS) link.info.mac = attribute_mac(attribute);
    if (type == IFLA_MTU) link.info.mtu = attribute_u32(attribute);
    if (type == IFLA_MASTER) link.info.bridge_index = attribute_u32(attribute);
    if (type == IFLA_LINKINFO) parse_link_info(attribute, link);
    if (type == IFLA_QDISC) link.sends = attribute_string(attribute) != "noop";
  });
  if (!link.port_state) link.info.bridge_index = 0;  // a port of something else
  return link;
}

Result<std::optional<LinkDetails>> find_by(NetlinkSocket& socket, NetlinkMessage& message,
                                           std::string_view what) {
  std::optional<LinkDetails> found;
  const auto status = socket.transact(message, what, [&](const nlmsghdr* reply) {
    if (reply->nlmsg_type == RTM_NEWLINK) found = parse_link(reply);
  });
  if (!status && status.error().code() != ErrorCode::kNotFound) return fail(status.error());
  return found;
}

Result<std::optional<LinkDetails>> find_details(NetlinkSocket& socket, std::string_view name) {
  PERDURE_TRY(check_name(name));
  NetlinkMessage message(RTM_GETLINK, 0);
  message.extra_header<ifinfomsg>().ifi_family = AF_UNSPEC;
  message.put_string(IFLA_IFNAME, name);
  return find_by(socket, message, std::format("look up link '{}'", name));
}

Result<std::optional<LinkDetails>> find_details(NetlinkSocket& socket, unsigned index) {
  NetlinkMessage message(RTM_GETLINK, 0);
  message.extra_header<ifinfomsg>().ifi_index = static_cast<int>(index);
  return find_by(socket, message, std::format("look up link {}", index));
}

// Not derived from the name: two hosts with bridges of the same name may share a segment.
Result<MacAddress> random_mac() {
  MacAddress mac;
  if (::getrandom(mac.bytes.data(), mac.bytes.size(), 0) < 0) return fail_errno("getrandom");
  mac.bytes[0] = std::uint8_t((mac.bytes[0] & 0xfc) | 0x02);
  return mac;
}

// Ports of a bridge have no addresses of their own; the kernel would give each a link-local one.
void put_no_address_generation(NetlinkMessage& message) {
  nlattr* families = message.begin_nested(IFLA_AF_SPEC);
  nlattr* v6 = message.begin_nested(AF_INET6);
  message.put_u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
  message.end_nested(v6);
  message.end_nested(families);
}

Status set_flag_up(NetlinkSocket& socket, const LinkInfo& link, unsigned flags,
                   std::string_view what) {
  NetlinkMessage message(RTM_NEWLINK, 0);
  auto& header = message.extra_header<ifinfomsg>();
  header.ifi_index = static_cast<int>(link.index);
  header.ifi_change = IFF_UP;
  header.ifi_flags = flags;
  return socket.transact(message, std::format("{} link '{}'", what, link.name));
}

Status set_master(NetlinkSocket& socket, const LinkInfo& link, unsigned master,
                  std::string_view what) {
  NetlinkMessage message(RTM_NEWLINK, 0);
  message.extra_header<ifinfomsg>().ifi_index = static_cast<int>(link.index);
  message.put_u32(IFLA_MASTER, master);
  return socket.transact(message, what);
}

}  // namespace

std::string host_interface_name(std::string_view container) {
  return std::format("pd-{:012x}", stable_hash(container) >> 16);
}

LinkControl::LinkControl(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
LinkControl::LinkControl(LinkControl&&) noexcept = default;
LinkControl& LinkControl::operator=(LinkControl&&) noexcept = default;
LinkControl::~LinkControl() = default;

Result<LinkControl> LinkControl::open(int netns_fd) {
  PERDURE_ASSIGN(auto socket, NetlinkSocket::open(netns_fd, NETLINK_ROUTE));
  return LinkControl(std::make_unique<Impl>(Impl{std::move(socket)}));
}

Result<std::optional<LinkInfo>> LinkControl::find(std::string_view name) {
  PERDURE_ASSIGN(const auto found, find_details(impl_->socket, name));
  if (!found) return std::optional<LinkInfo>();
  return found->info;
}

Result<LinkInfo> LinkControl::get(std::string_view name) {
  PERDURE_ASSIGN(auto found, find(name));
  if (!found) return fail(ErrorCode::kNotFound, std::format("there is no link '{}'", name));
  return *std::move(found);
}

Result<std::vector<LinkInfo>> LinkControl::links() {
  NetlinkMessage message(RTM_GETLINK, NLM_F_DUMP);
  message.extra_header<ifinfomsg>().ifi_family = AF_UNSPEC;
  std::vector<LinkInfo> all;
  PERDURE_TRY(impl_->socket.transact(
      message, "list links", [&](const nlmsghdr* reply) { all.push_back(parse_link(reply).info); },
      [&] { all.clear(); }));
  return all;
}

Result<LinkInfo> LinkControl::ensure_bridge(std::string_view name, unsigned mtu) {
  PERDURE_ASSIGN(const auto existing, find(name));
  if (existing && existing->kind != "bridge") {
    return fail(ErrorCode::kExists,
                std::format("link '{}' exists and is no bridge; choose another name", name));
  }
  if (!existing) {
    PERDURE_ASSIGN(const MacAddress mac, random_mac());
    NetlinkMessage message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    message.extra_header<ifinfomsg>().ifi_family = AF_UNSPEC;
    message.put_string(IFLA_IFNAME, name);
    message.put_u32(IFLA_MTU, mtu);
    // A bridge without an address of its own takes its ports' lowest: it would change as containers
    // come.
    message.put_mac(IFLA_ADDRESS, mac);
    nlattr* info = message.begin_nested(IFLA_LINKINFO);
    message.put_string(IFLA_INFO_KIND, "bridge");
    message.end_nested(info);
    const auto made = impl_->socket.transact(message, std::format("make bridge '{}'", name));
    if (!made && made.error().code() != ErrorCode::kExists) return fail(made.error());
  }
  return get(name);
}

Result<LinkInfo> LinkControl::create_veth(const VethRequest& request) {
  PERDURE_TRY(check_name(request.host_name));
  PERDURE_TRY(check_name(request.peer_name));
  NetlinkMessage message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  message.extra_header<ifinfomsg>().ifi_family = AF_UNSPEC;
  message.put_string(IFLA_IFNAME, request.host_name);
  message.put_u32(IFLA_MTU, request.mtu);
  nlattr* info = message.begin_nested(IFLA_LINKINFO);
  message.put_string(IFLA_INFO_KIND, "veth");
  nlattr* data = message.begin_nested(IFLA_INFO_DATA);
  nlattr* peer = message.begin_nested(VETH_INFO_PEER);
  message.extra_header<ifinfomsg>().ifi_family = AF_UNSPEC;
  message.put_string(IFLA_IFNAME, request.peer_name);
  message.put_u32(IFLA_MTU, request.mtu);
  if (request.peer_mac) message.put_mac(IFLA_ADDRESS, *request.peer_mac);
  if (request.peer_netns >= 0)
    message.put_u32(IFLA_NET_NS_FD, static_cast<std::uint32_t>(request.peer_netns));
  message.end_nested(peer);
  message.end_nested(data);
  message.end_nested(info);
  PERDURE_TRY(impl_->socket.transact(
      message, std::format("make veth pair '{}' and '{}'", request.host_name, request.peer_name)));
  PERDURE_ASSIGN(auto link, get(request.host_name));
  NetlinkMessage quiet(RTM_NEWLINK, 0);
  quiet.extra_header<ifinfomsg>().ifi_index = static_cast<int>(link.index);
  put_no_address_generation(quiet);
  // Without IPv6 in the kernel there is nothing to switch off.
  (void)impl_->socket.transact(quiet,
                               std::format("switch off IPv6 addresses of link '{}'", link.name));
  return link;
}

Result<LinkInfo> LinkControl::ensure_vlan(std::string_view nic, std::uint16_t vlan) {
  const std::string name = std::format("{}.{}", nic, vlan);
  if (vlan < 1 || vlan > 4094) {
    return fail(ErrorCode::kInvalid,
                std::format("VLAN {} of link '{}': a VLAN is 1 to 4094", vlan, nic));
  }
  PERDURE_ASSIGN(const LinkInfo parent, get(nic));
  PERDURE_ASSIGN(const auto existing, find(name));
  if (existing && existing->kind != "vlan") {
    return fail(ErrorCode::kExists, std::format("link '{}' exists and is no VLAN interface", name));
  }
  if (!existing) {
    NetlinkMessage message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    message.extra_header<ifinfomsg>().ifi_family = AF_UNSPEC;
    message.put_string(IFLA_IFNAME, name);
    message.put_u32(IFLA_LINK, parent.index);
    nlattr* info = message.begin_nested(IFLA_LINKINFO);
    message.put_string(IFLA_INFO_KIND, "vlan");
    nlattr* data = message.begin_nested(IFLA_INFO_DATA);
    message.put_u16(IFLA_VLAN_ID, vlan);
    message.end_nested(data);
    message.end_nested(info);
    const auto made =
        impl_->socket.transact(message, std::format("make VLAN interface '{}'", name));
    if (!made && made.error().code() != ErrorCode::kExists) return fail(made.error());
  }
  return get(name);
}

Status LinkControl::remove(std::string_view name) {
  PERDURE_ASSIGN(const auto link, find(name));
  if (!link) return {};
  NetlinkMessage message(RTM_DELLINK, 0);
  message.extra_header<ifinfomsg>().ifi_index = static_cast<int>(link->index);
  const auto status = impl_->socket.transact(message, std::format("remove link '{}'", name));
  if (!status && status.error().code() != ErrorCode::kNotFound) return status;
  return {};
}

Status LinkControl::set_up(std::string_view name) {
  PERDURE_ASSIGN(const LinkInfo link, get(name));
  return set_flag_up(impl_->socket, link, IFF_UP, "set up");
}

Status LinkControl::set_down(std::string_view name) {
  PERDURE_ASSIGN(const LinkInfo link, get(name));
  return set_flag_up(impl_->socket, link, 0, "set down");
}

Status LinkControl::set_mtu(std::string_view name, unsigned mtu) {
  PERDURE_ASSIGN(const LinkInfo link, get(name));
  if (link.mtu == mtu) return {};
  NetlinkMessage message(RTM_NEWLINK, 0);
  message.extra_header<ifinfomsg>().ifi_index = static_cast<int>(link.index);
  message.put_u32(IFLA_MTU, mtu);
  return impl_->socket.transact(message, std::format("set MTU {} of link '{}'", mtu, name));
}

Status LinkControl::set_mac(std::string_view name, const MacAddress& mac) {
  PERDURE_ASSIGN(const LinkInfo link, get(name));
  NetlinkMessage message(RTM_NEWLINK, 0);
  message.extra_header<ifinfomsg>().ifi_index = static_cast<int>(link.index);
  message.put_mac(IFLA_ADDRESS, mac);
  return impl_->socket.transact(message, std::format("set MAC {} of link '{}'", to_string(mac), name));
}

Status LinkControl::enslave(std::string_view name, std::string_view bridge) {
  PERDURE_ASSIGN(const LinkInfo link, get(name));
  PERDURE_ASSIGN(const LinkInfo master, get(bridge));
  if (link.bridge_index == master.index) return {};
  return set_master(impl_->socket, link, master.index,
                    std::format("make link '{}' a port of bridge '{}'", name, bridge));
}

Status LinkControl::release_from_bridge(std::string_view name) {
  PERDURE_ASSIGN(const LinkInfo link, get(name));
  if (link.bridge_index == 0) return {};
  return set_master(impl_->socket, link, 0, std::format("take link '{}' out of its bridge", name));
}

Status LinkControl::set_port_options(std::string_view name, const BridgePortOptions& options) {
  PERDURE_ASSIGN(const LinkInfo link, get(name));
  NetlinkMessage message(RTM_SETLINK, 0);
  auto& header = message.extra_header<ifinfomsg>();
  header.ifi_family = AF_BRIDGE;
  header.ifi_index = static_cast<int>(link.index);
  nlattr* port = message.begin_nested(IFLA_PROTINFO);
  message.put_u8(IFLA_BRPORT_LEARNING, options.learning);
  message.put_u8(IFLA_BRPORT_UNICAST_FLOOD, options.flooding);
  message.put_u8(IFLA_BRPORT_MCAST_FLOOD, options.flooding);
  message.put_u8(IFLA_BRPORT_BCAST_FLOOD, options.flooding);
  message.end_nested(port);
  return impl_->socket.transact(message, std::format("set options of bridge port '{}'", name));
}

Status LinkControl::wait_forwarding(std::string_view name, Duration at_most) {
  const auto forwarding = [&]() -> Result<bool> {
    PERDURE_ASSIGN(const auto link, find_details(impl_->socket, name));
    if (!link) return fail(ErrorCode::kNotFound, std::format("there is no link '{}'", name));
    if (link->port_state != BR_STATE_FORWARDING || !link->sends) return false;
    PERDURE_ASSIGN(const auto bridge, find_details(impl_->socket, link->info.bridge_index));
    return bridge && bridge->sends;
  };
  PERDURE_ASSIGN(const bool done,
                 wait_for_change(impl_->socket, RTNLGRP_LINK, at_most, forwarding));
  if (done) return {};
  return fail(
      ErrorCode::kTimeout,
      std::format("bridge port '{}' passes no frames after {}; are it, its peer and the bridge up?",
                  name, format_duration(at_most)));
}

Status LinkControl::learn_mac(std::string_view name, const MacAddress& mac) {
  PERDURE_ASSIGN(const LinkInfo link, get(name));
  NetlinkMessage message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE);
  auto& header = message.extra_header<ndmsg>();
  header.ndm_family = AF_BRIDGE;
  header.ndm_ifindex = static_cast<int>(link.index);
  header.ndm_state =
      NUD_REACHABLE;  // may move again: a later takeover elsewhere is learnt from frames
  header.ndm_flags = NTF_MASTER;
  message.put_mac(NDA_LLADDR, mac);
  return impl_->socket.transact(
      message, std::format("teach the bridge of port '{}' MAC {}", name, to_string(mac)));
}

}  // namespace perdure::network
