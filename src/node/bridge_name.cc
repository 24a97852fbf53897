#include "node/bridge_name.h"

#include <format>

#include "base/stable_hash.h"
#include "network/link.h"

namespace perdure::node {

std::string bridge_name_of(const model::NicAttachment& nic) {
  const std::string name = nic.vlan ? std::format("pb-{}.{}", nic.nic, *nic.vlan) : "pb-" + nic.nic;
  if (name.size() <= network::kMaxInterfaceName) return name;
  return std::format("pb-{:012x}", stable_hash(name) & 0xffffffffffff);
}

std::string bridge_of(const model::NetworkSpec& network) {
  if (const auto* attached = std::get_if<model::BridgeAttachment>(&network.attachment)) return attached->bridge;
  if (const auto* nic = std::get_if<model::NicAttachment>(&network.attachment)) return bridge_name_of(*nic);
  return {};
}

}  // namespace perdure::node
