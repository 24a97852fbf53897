#include "network/enslave_state.h"

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <format>
#include <span>
#include <utility>

namespace perdure::network {
namespace {

constexpr std::string_view kHeader = "perdure-link-state 1";

std::string to_hex(const RawMessage& message) {
  std::string text;
  for (const std::uint8_t byte : message) text += std::format("{:02x}", byte);
  return text;
}

Result<RawMessage> from_hex(std::string_view text, std::size_t header_bytes) {
  RawMessage message(text.size() / 2);
  for (std::size_t i = 0; i < message.size(); ++i) {
    const char* at = text.data() + 2 * i;
    const auto [end, error] = std::from_chars(at, at + 2, message[i], 16);
    if (error != std::errc() || end != at + 2) return fail(ErrorCode::kCorrupt, "bad digits");
  }
  if (text.size() % 2 != 0 || message.size() < header_bytes)
    return fail(ErrorCode::kCorrupt, "too short");
  return message;
}

RawMessage copy_payload(const nlmsghdr* message) {
  const auto* data = static_cast<const std::uint8_t*>(mnl_nlmsg_get_payload(message));
  return RawMessage(data, data + mnl_nlmsg_get_payload_len(message));
}

template <typename Header>
Header header_of(const RawMessage& message) {
  Header header;
  std::memcpy(&header, message.data(), sizeof header);
  return header;
}

// visit(type, payload) over the attributes behind a header; stops at what does not fit.
template <typename Visitor>
void for_each_raw(const RawMessage& message, std::size_t header_bytes, Visitor&& visit) {
  std::size_t at = NLMSG_ALIGN(header_bytes);
  while (at + sizeof(nlattr) <= message.size()) {
    nlattr attribute;
    std::memcpy(&attribute, message.data() + at, sizeof attribute);
    if (attribute.nla_len < sizeof attribute || at + attribute.nla_len > message.size()) return;
    visit(static_cast<std::uint16_t>(attribute.nla_type & NLA_TYPE_MASK),
          std::span(message.data() + at + sizeof attribute, attribute.nla_len - sizeof attribute));
    at += NLA_ALIGN(attribute.nla_len);
  }
}

bool is_automatic_address(const ifaddrmsg& header) {
  return header.ifa_family == AF_INET6 && header.ifa_scope == RT_SCOPE_LINK;
}

bool is_automatic_route(const rtmsg& header) {
  return header.rtm_protocol == RTPROT_KERNEL || header.rtm_table == RT_TABLE_LOCAL ||
         (header.rtm_flags & RTM_F_CLONED) != 0 || header.rtm_type == RTN_LOCAL ||
         header.rtm_type == RTN_MULTICAST || header.rtm_type == RTN_ANYCAST;
}

struct RouteFacts {
  bool by_link = false;
  bool by_object = false;
  bool has_gateway = false;
};

RouteFacts facts_of(const RawMessage& route, unsigned link_index) {
  RouteFacts facts;
  for_each_raw(route, sizeof(rtmsg), [&](std::uint16_t type, std::span<const std::uint8_t> value) {
    if (type == RTA_OIF && value.size() == 4) {
      std::uint32_t index;
      std::memcpy(&index, value.data(), sizeof index);
      facts.by_link |= index == link_index;
    }
    if (type == RTA_NH_ID) facts.by_object = true;
    if (type == RTA_GATEWAY || type == RTA_VIA) facts.has_gateway = true;
    if (type != RTA_MULTIPATH) return;
    facts.has_gateway = true;
    for (std::size_t at = 0; at + sizeof(rtnexthop) <= value.size();) {
      rtnexthop hop;
      std::memcpy(&hop, value.data() + at, sizeof hop);
      facts.by_link |= static_cast<unsigned>(hop.rtnh_ifindex) == link_index;
      if (hop.rtnh_len < sizeof hop) return;
      at += RTNH_ALIGN(hop.rtnh_len);
    }
  });
  return facts;
}

std::vector<std::uint8_t> move_hops(std::span<const std::uint8_t> hops, unsigned from,
                                    unsigned to) {
  std::vector<std::uint8_t> moved(hops.begin(), hops.end());
  for (std::size_t at = 0; at + sizeof(rtnexthop) <= moved.size();) {
    rtnexthop hop;
    std::memcpy(&hop, moved.data() + at, sizeof hop);
    if (static_cast<unsigned>(hop.rtnh_ifindex) == from) hop.rtnh_ifindex = static_cast<int>(to);
    hop.rtnh_flags &= RTNH_F_ONLINK | RTNH_F_PERVASIVE;
    std::memcpy(moved.data() + at, &hop, sizeof hop);
    if (hop.rtnh_len < sizeof hop) break;
    at += RTNH_ALIGN(hop.rtnh_len);
  }
  return moved;
}

Status add_route(NetlinkSocket& socket, const RawMessage& route, unsigned old_index,
                 const LinkInfo& link) {
  NetlinkMessage message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
  auto& header = message.extra_header<rtmsg>();
  header = header_of<rtmsg>(route);
  header.rtm_flags &=
      RTNH_F_ONLINK | RTNH_F_PERVASIVE;  // the rest is the kernel's view of the moment
  for_each_raw(route, sizeof(rtmsg), [&](std::uint16_t type, std::span<const std::uint8_t> value) {
    if (type == RTA_CACHEINFO) return;
    if (type == RTA_OIF) {
      message.put_u32(RTA_OIF, link.index);
    } else if (type == RTA_MULTIPATH) {
      const auto moved = move_hops(value, old_index, link.index);
      message.put(type, moved.data(), moved.size());
    } else {
      message.put(type, value.data(), value.size());
    }
  });
  return socket.transact(message, std::format("add a route by link '{}'", link.name));
}

}  // namespace

std::string to_text(const LinkState& state) {
  std::string text = std::format(
      "{}\nport {}\nbridge {}\nmade_port {:d}\nmade_bridge {:d}\nwas_up {:d}\n", kHeader,
      state.port, state.bridge, state.made_port, state.made_bridge, state.was_up);
  for (const RawMessage& address : state.addresses)
    text += std::format("address {}\n", to_hex(address));
  for (const RawMessage& route : state.routes) text += std::format("route {}\n", to_hex(route));
  return text + "end\n";
}

Result<LinkState> parse_link_state(std::string_view text) {
  LinkState state;
  bool first = true;
  bool ended = false;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (std::exchange(first, false)) {
      if (line != kHeader) break;
      continue;
    }
    const std::string_view key = line.substr(0, line.find(' '));
    const std::string_view value = line.substr(std::min(key.size() + 1, line.size()));
    if (key == "port") state.port = value;
    if (key == "bridge") state.bridge = value;
    if (key == "made_port") state.made_port = value == "1";
    if (key == "made_bridge") state.made_bridge = value == "1";
    if (key == "was_up") state.was_up = value == "1";
    if (key == "address" || key == "route") {
      auto message = from_hex(value, key == "route" ? sizeof(rtmsg) : sizeof(ifaddrmsg));
      if (!message) return fail(message.error().context(std::format("{} '{}'", key, value)));
      (key == "route" ? state.routes : state.addresses).push_back(*std::move(message));
    }
    if (key == "end") ended = true;
  }
  if (!ended || state.port.empty() || state.bridge.empty()) {
    return fail(ErrorCode::kCorrupt, "it is no complete link state of this version");
  }
  return state;
}

Status read_link_state(NetlinkSocket& socket, unsigned link_index, LinkState& state) {
  NetlinkMessage addresses(RTM_GETADDR, NLM_F_DUMP);
  addresses.extra_header<ifaddrmsg>().ifa_family = AF_UNSPEC;
  const auto take_address = [&](const nlmsghdr* reply) {
    RawMessage raw = copy_payload(reply);
    if (raw.size() < sizeof(ifaddrmsg)) return;
    const auto header = header_of<ifaddrmsg>(raw);
    if (header.ifa_index == link_index && !is_automatic_address(header))
      state.addresses.push_back(std::move(raw));
  };
  PERDURE_TRY(socket.transact(addresses, std::format("list addresses of link '{}'", state.port),
                              take_address, [&] { state.addresses.clear(); }));

  NetlinkMessage routes(RTM_GETROUTE, NLM_F_DUMP);
  routes.extra_header<rtmsg>().rtm_family = AF_UNSPEC;
  bool by_object = false;
  const auto take_route = [&](const nlmsghdr* reply) {
    RawMessage raw = copy_payload(reply);
    if (raw.size() < sizeof(rtmsg) || is_automatic_route(header_of<rtmsg>(raw))) return;
    const RouteFacts facts = facts_of(raw, link_index);
    if (!facts.by_link) return;
    by_object |= facts.by_object;
    state.routes.push_back(std::move(raw));
  };
  PERDURE_TRY(socket.transact(routes, std::format("list routes of link '{}'", state.port),
                              take_route, [&] { state.routes.clear(); }));
  if (by_object) {
    return fail(
        ErrorCode::kUnsupported,
        std::format(
            "link '{}' has routes by next-hop objects, which cannot be moved; make the bridge with "
            "your system's network configuration instead",
            state.port));
  }
  return {};
}

Status apply_address(NetlinkSocket& socket, const RawMessage& address, const LinkInfo& link,
                     AddressChange change) {
  const bool add = change == AddressChange::kAdd;
  NetlinkMessage message(add ? RTM_NEWADDR : RTM_DELADDR, add ? NLM_F_CREATE | NLM_F_EXCL : 0);
  auto& header = message.extra_header<ifaddrmsg>();
  header = header_of<ifaddrmsg>(address);
  header.ifa_index = link.index;
  header.ifa_flags = 0;
  IpPrefix prefix;
  prefix.length = header.ifa_prefixlen;
  for_each_raw(
      address, sizeof(ifaddrmsg), [&](std::uint16_t type, std::span<const std::uint8_t> value) {
        if (type == IFA_ADDRESS && value.size() <= prefix.address.bytes.size()) {
          prefix.address.family = header.ifa_family == AF_INET ? IpFamily::kV4 : IpFamily::kV6;
          std::copy(value.begin(), value.end(), prefix.address.bytes.begin());
        }
        if (type == IFA_FLAGS && value.size() == 4) {
          std::uint32_t flags;
          std::memcpy(&flags, value.data(), sizeof flags);
          // It was ours a moment ago: no second duplicate address detection.
          flags = (flags & (IFA_F_HOMEADDRESS | IFA_F_NOPREFIXROUTE | IFA_F_MANAGETEMPADDR |
                            IFA_F_MCAUTOJOIN)) |
                  (header.ifa_family == AF_INET6 ? IFA_F_NODAD : 0u);
          message.put_u32(IFA_FLAGS, flags);
          return;
        }
        if (type == IFA_LABEL) return;  // an alias name of the old link
        message.put(type, value.data(), value.size());
      });
  const auto status =
      socket.transact(message, std::format("{} address {} {} link '{}'", add ? "add" : "remove",
                                           to_string(prefix), add ? "to" : "from", link.name));
  const ErrorCode settled = add ? ErrorCode::kExists : ErrorCode::kNotFound;
  if (!status && status.error().code() != settled) return status;
  return {};
}

Status add_routes(NetlinkSocket& socket, const std::vector<RawMessage>& routes, unsigned old_index,
                  const LinkInfo& link) {
  // A gateway must be reachable before a route by it is accepted.
  for (const bool with_gateway : {false, true}) {
    for (const RawMessage& route : routes) {
      if (facts_of(route, old_index).has_gateway == with_gateway) {
        PERDURE_TRY(add_route(socket, route, old_index, link));
      }
    }
  }
  return {};
}

}  // namespace perdure::network
