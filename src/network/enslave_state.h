// Private to the room: what a link had before it became a bridge's port, as text in a file and as
// netlink messages that give it back.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "network/link.h"
#include "network/netlink.h"

namespace perdure::network {

// The payload of an RTM_NEWADDR or RTM_NEWROUTE as the kernel dumped it: nothing of it is lost.
using RawMessage = std::vector<std::uint8_t>;

struct LinkState {
  std::string port;  // the link that becomes a port
  std::string bridge;
  bool made_port = false;  // a VLAN interface that was not there before
  bool made_bridge = false;
  bool was_up = false;
  std::vector<RawMessage> addresses;  // without automatic link-local ones
  std::vector<RawMessage> routes;     // without those the kernel makes by itself
};

std::string to_text(const LinkState& state);
Result<LinkState> parse_link_state(std::string_view text);  // kCorrupt

// Reads addresses and routes of a link. kUnsupported: a route by a next-hop object.
Status read_link_state(NetlinkSocket& socket, unsigned link_index, LinkState& state);

enum class AddressChange { kAdd, kRemove };
// Gives an address to another link or takes it; there already, gone already is success.
Status apply_address(NetlinkSocket& socket, const RawMessage& address, const LinkInfo& link,
                     AddressChange change);
// Adds the routes with every mention of the old link replaced.
Status add_routes(NetlinkSocket& socket, const std::vector<RawMessage>& routes, unsigned old_index,
                  const LinkInfo& link);

}  // namespace perdure::network
