// Connects a container's network namespace to a bridge: veth pair, gate, addresses, routes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "network/address.h"
#include "network/gate.h"

namespace perdure::network {

// In its network namespace.
inline constexpr std::string_view kContainerInterface = "eth0";

struct AttachRequest {
  ContainerName container;
  int netns = -1;  // descriptor of the container's network namespace
  std::string bridge =
      {};               // exists already (LinkControl::ensure_bridge), in the caller's namespace
  MacAddress mac = {};  // of the container's eth0
  std::vector<IpPrefix> addresses = {};
  std::vector<IpAddress> gateways = {};  // at most one of each family
  unsigned mtu = 0;                      // bytes; 0: the bridge's
  GateState initial = {};                // what the gate allows when the link comes up
};

// What was made; no destructor tears it down, the container lives on without the daemon. detach()
// does.
struct Attachment {
  std::string host_interface;
  unsigned host_index = 0;
  Gate gate;
};

// The gate is in place before the link comes up: no frame ever passes beside it. Idempotent: a
// left-over pair of the same container is removed first. On failure nothing is left behind.
// kNotFound names a missing bridge; kUnsupported if the gate cannot be loaded.
Result<Attachment> attach(const AttachRequest& request);

// Finds the attachment of a container that outlived the daemon. kNotFound.
Result<Attachment> recover_attachment(const ContainerName& container);

// Removes the pair and with it the gate. Nothing there is success.
Status detach(const ContainerName& container);

}  // namespace perdure::network
