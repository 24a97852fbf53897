// Cluster: heartbeats and grants between this node and the others.
#include <format>
#include <utility>

#include "base/log.h"
#include "node/cluster/cluster.h"

namespace perdure::node {

Status Cluster::start_leases(const model::NodeLife& self) {
  LeaseServiceOptions options{.loop = options_.loop, .clock = options_.clock, .self = self, .listen = {}, .timing = {}};
  for (const std::string& address : membership_->peers().addresses()) {
    PERDURE_ASSIGN(const auto endpoint, io::Endpoint::parse(address));
    options.listen.push_back(endpoint);
  }
  PERDURE_ASSIGN(leases_, LeaseService::start(std::move(options), lease_handlers()));
  return {};
}

LeaseHandlers Cluster::lease_handlers() {
  LeaseHandlers handlers;
  handlers.grants_flow = [this](const ContainerName& name, const model::NodeLife& life) {
    if (OwnedContainer* found = owned(name)) found->handle(policy::ownership::GrantsFlow{life});
  };
  handlers.grants_stopped = [this](const ContainerName& name, const model::NodeLife& life) {
    log::warning("{}: '{}' has not answered the heartbeats for half a grant", name.str(), life.node.str());
    if (OwnedContainer* found = owned(name)) found->handle(policy::ownership::GrantsStopped{life});
  };
  handlers.owner_silent = [this](const policy::lease::OwnerSilent& silent) { standbys_->owner_silent(silent); };
  handlers.owner_heard = [this](const ContainerName& name) { standbys_->owner_heard(name); };
  handlers.term_unknown = [](const ContainerName& name, Term term) {
    log::debug("{}: a heartbeat of term {}, which the record has not shown here yet", name.str(), term.value);
  };
  handlers.long_grants_held = [] {};
  return handlers;
}

void Cluster::peer_keys(const model::NodeLife& life, const std::array<std::byte, 32>& material, pki::ChannelRole role) {
  const model::NodeDescription* node = membership_ ? membership_->view().node(life.node) : nullptr;
  if (!leases_ || node == nullptr || node->addresses.empty()) return;
  const auto address = io::Endpoint::parse(node->addresses.front());
  if (!address) {
    log::error("node '{}': {}", life.node.str(), address.error().message());
    return;
  }
  leases_->session(life, *address, material, role);
}

}  // namespace perdure::node
