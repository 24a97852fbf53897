// Private to the room: what link.cc (links, ports) and link_address.cc (addresses, routes) share.
#pragma once

#include <memory>

#include "network/link.h"
#include "network/netlink.h"

namespace perdure::network {

struct LinkControl::Impl {
  NetlinkSocket socket;
};

inline int family_of(const IpAddress& address) {
  return address.is_v4() ? AF_INET : AF_INET6;
}

}  // namespace perdure::network
