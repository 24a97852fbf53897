// Addresses, routes and neighbours of LinkControl.
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <format>

#include "network/link_impl.h"

namespace perdure::network {
namespace {

// The routing protocol number of what an administrator set by hand; routing daemons leave it alone.
constexpr std::uint8_t kRouteProtocol = RTPROT_STATIC;

void put_interface_address(NetlinkMessage& message, const LinkInfo& link, const IpPrefix& prefix) {
  auto& header = message.extra_header<ifaddrmsg>();
  header.ifa_family = static_cast<std::uint8_t>(family_of(prefix.address));
  header.ifa_prefixlen = prefix.length;
  header.ifa_scope = prefix.address.is_link_local() ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  header.ifa_index = link.index;
  message.put_ip(IFA_LOCAL, prefix.address);
  message.put_ip(IFA_ADDRESS, prefix.address);
}

}  // namespace

Status LinkControl::add_address(std::string_view name, const IpPrefix& address) {
  PERDURE_ASSIGN(const LinkInfo link, get(name));
  NetlinkMessage message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
  put_interface_address(message, link, address);
  if (address.address.is_v4()) {
    if (address.length < 31) message.put_ip(IFA_BROADCAST, address.last());
  } else {
    message.put_u32(IFA_FLAGS, IFA_F_NODAD);
  }
  const auto status = impl_->socket.transact(
      message, std::format("add address {} to link '{}'", to_string(address), name));
  if (!status && status.error().code() != ErrorCode::kExists) return status;
  if (address.address.is_v4() || !link.up) return {};
  // A work item of the kernel joins the group that solicitations are sent to, then makes the local
  // route: who asks for the address before is not heard, and asks again a second later.
  const auto usable = [&]() -> Result<bool> {
    const auto route = route_to(address.address);
    return route && route->local;
  };
  PERDURE_ASSIGN(const bool done,
                 wait_for_change(impl_->socket, RTNLGRP_IPV6_IFADDR, kNetlinkDeadline, usable));
  if (done) return {};
  return fail(ErrorCode::kTimeout,
              std::format("address {} of link '{}' is not usable after {}", to_string(address), name,
                          format_duration(kNetlinkDeadline)));
}

Status LinkControl::remove_address(std::string_view name, const IpPrefix& address) {
  PERDURE_ASSIGN(const auto link, find(name));
  if (!link) return {};
  NetlinkMessage message(RTM_DELADDR, 0);
  put_interface_address(message, *link, address);
  const auto status = impl_->socket.transact(
      message, std::format("remove address {} from link '{}'", to_string(address), name));
  if (!status && status.error().code() != ErrorCode::kNotFound) return status;
  return {};
}

Result<std::vector<IpPrefix>> LinkControl::addresses(std::string_view name) {
  PERDURE_ASSIGN(const LinkInfo link, get(name));
  NetlinkMessage message(RTM_GETADDR, NLM_F_DUMP);
  message.extra_header<ifaddrmsg>().ifa_family = AF_UNSPEC;
  std::vector<IpPrefix> all;
  const auto collect = [&](const nlmsghdr* reply) {
    const auto* header = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(reply));
    if (header->ifa_index != link.index) return;
    IpPrefix prefix;
    prefix.length = header->ifa_prefixlen;
    bool has_local = false;  // on point-to-point links IFA_ADDRESS is the other end
    for_each_attribute(reply, sizeof(*header), [&](std::uint16_t type, const nlattr* attribute) {
      if (type == IFA_LOCAL) has_local = true;
      if (type == IFA_LOCAL || (type == IFA_ADDRESS && !has_local))
        prefix.address = attribute_ip(attribute);
    });
    all.push_back(prefix);
  };
  PERDURE_TRY(impl_->socket.transact(message, std::format("list addresses of link '{}'", name),
                                     collect, [&] { all.clear(); }));
  return all;
}

Status LinkControl::set_default_route(std::string_view name, const IpAddress& gateway) {
  PERDURE_ASSIGN(const LinkInfo link, get(name));
  NetlinkMessage message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
  auto& header = message.extra_header<rtmsg>();
  header.rtm_family = static_cast<std::uint8_t>(family_of(gateway));
  header.rtm_table = RT_TABLE_MAIN;
  header.rtm_protocol = kRouteProtocol;
  header.rtm_scope = RT_SCOPE_UNIVERSE;
  header.rtm_type = RTN_UNICAST;
  header.rtm_flags = RTNH_F_ONLINK;
  message.put_ip(RTA_GATEWAY, gateway);
  message.put_u32(RTA_OIF, link.index);
  return impl_->socket.transact(
      message, std::format("set default route by {} on link '{}'", to_string(gateway), name));
}

Result<Route> LinkControl::route_to(const IpAddress& destination) {
  NetlinkMessage message(RTM_GETROUTE, 0);
  auto& header = message.extra_header<rtmsg>();
  header.rtm_family = static_cast<std::uint8_t>(family_of(destination));
  header.rtm_dst_len = static_cast<std::uint8_t>(destination.bits());
  message.put_ip(RTA_DST, destination);
  Route route;
  const auto collect = [&](const nlmsghdr* reply) {
    if (reply->nlmsg_type != RTM_NEWROUTE) return;
    const auto* got = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(reply));
    route.local = got->rtm_type == RTN_LOCAL;
    for_each_attribute(reply, sizeof(*got), [&](std::uint16_t type, const nlattr* attribute) {
      if (type == RTA_OIF) route.link_index = attribute_u32(attribute);
      if (type == RTA_GATEWAY) route.gateway = attribute_ip(attribute);
      if (type == RTA_PREFSRC) route.source = attribute_ip(attribute);
      if (type == RTA_VIA && mnl_attr_get_payload_len(attribute) == sizeof(rtvia) + 16) {
        route.gateway = IpAddress{IpFamily::kV6, {}};
        const auto* via = static_cast<const rtvia*>(mnl_attr_get_payload(attribute));
        std::copy_n(via->rtvia_addr, 16, route.gateway->bytes.begin());
      }
    });
  };
  PERDURE_TRY(impl_->socket.transact(message, std::format("look up route to {}", to_string(destination)),
                                     collect));
  return route;
}

Result<std::vector<Neighbour>> LinkControl::neighbours() {
  NetlinkMessage message(RTM_GETNEIGH, NLM_F_DUMP);
  message.extra_header<ndmsg>().ndm_family = AF_UNSPEC;
  constexpr unsigned kUsable = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT;
  std::vector<Neighbour> all;
  const auto collect = [&](const nlmsghdr* reply) {
    const auto* header = static_cast<const ndmsg*>(mnl_nlmsg_get_payload(reply));
    if (!(header->ndm_state & kUsable)) return;
    if (header->ndm_family != AF_INET && header->ndm_family != AF_INET6) return;
    Neighbour neighbour;
    neighbour.link_index = static_cast<unsigned>(header->ndm_ifindex);
    bool has_mac = false;
    for_each_attribute(reply, sizeof(*header), [&](std::uint16_t type, const nlattr* attribute) {
      if (type == NDA_DST) neighbour.address = attribute_ip(attribute);
      if (type == NDA_LLADDR) {
        neighbour.mac = attribute_mac(attribute);
        has_mac = true;
      }
    });
    if (has_mac) all.push_back(neighbour);
  };
  PERDURE_TRY(impl_->socket.transact(message, "list neighbours", collect, [&] { all.clear(); }));
  return all;
}

}  // namespace perdure::network
