// Which hosts of a bridge's link answer, asked from the host's side: the container's own address is not used, and its gate may
// be closed.
#pragma once

#include <set>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "network/address.h"

namespace perdure::network {

struct ReachQuery {
  std::string bridge;
  std::set<IpAddress> addresses;
  Duration deadline = std::chrono::milliseconds(500);  // how long to listen
  unsigned probes = 2;                                 // to each address, spread over the first half of the deadline
};

// Those that have answered. An ARP probe (RFC 5227: sender 0.0.0.0) or a neighbour solicitation from the link-local address that
// follows from the bridge's MAC (RFC 4291, appendix A), with that MAC: an answer is a frame to it, so that what is said to others,
// or asked by them, is none. Returns when all have answered or the deadline has passed. kNotFound: no such bridge. Blocks; a
// thread of a pool.
Result<std::set<IpAddress>> find_reachable(const ReachQuery& query);

}  // namespace perdure::network
