// Cluster: where a container can go, and containers that go because their clients cannot be reached from here.
#include <format>
#include <utility>

#include "base/log.h"
#include "node/cluster/cluster.h"
#include "placement/drain.h"

namespace perdure::node {
namespace {

namespace own = policy::ownership;
namespace reach = policy::reachability;

// The standby listens for half a second, after what its pool is busy with. Longer than that, and it is no good place now.
constexpr Duration kReachTime = std::chrono::seconds(5);

// It stands by, and holds what is committed.
bool is_ready(const own::PeerStatus& peer, const own::OwnershipStatus& status) {
  return peer.recorded && peer.connected && status.committed && peer.held && *peer.held >= *status.committed;
}

}  // namespace

std::unique_ptr<ReachabilityWatch> Cluster::make_reachability_watch() {
  ReachabilityWatch::Environment environment{
      .loop = options_.loop,
      .pool = options_.pool,
      .clock = options_.clock,
      .events = options_.events,
      .find_reachable = options_.host.find_reachable,
      .candidates = [this](const ContainerName& name) { return ready_targets(name); },
      .ask_standby = [this](const NodeName& node, const ContainerName& name,
                            ReachabilityWatch::Reached answer) { ask_reach(node, name, std::move(answer)); },
      .hand_over = [this](const ContainerName& name, const NodeName& target,
                          ReachabilityWatch::Failed failed) { hand_over_unreachable(name, target, std::move(failed)); }};
  return std::make_unique<ReachabilityWatch>(std::move(environment), reach::Options{});
}

// Standbys that hold what is committed, while the container is protected and nothing else is done with it.
std::vector<NodeName> Cluster::ready_targets(const ContainerName& name) {
  const ContainerService* service = options_.node.find(name);
  const OwnedContainer* found = owned(name);
  if (service == nullptr || found == nullptr || service->status().phase != policy::Phase::kProtected) return {};
  std::vector<NodeName> ready;
  const std::set<NodeName> hold_it = ready_standbys(name);
  for (const NodeName& standby : found->ready_standbys()) {
    const model::NodeDescription* node = membership_->view().node(standby);
    if (!hold_it.contains(standby) || node == nullptr || node->cordoned || !found->admit(own::MoveAsked{standby})) continue;
    ready.push_back(standby);
  }
  return ready;
}

Result<NodeName> Cluster::move_target(const ContainerName& name) const {
  const auto found = owned_.find(name);
  if (found == owned_.end()) return fail(ErrorCode::kNotFound, std::format("this node does not own '{}'", name.str()));
  return placement::choose_move_target({.container = question_for(*found->second), .ready = ready_standbys(name)});
}

std::set<NodeName> Cluster::ready_standbys(const ContainerName& name) const {
  std::set<NodeName> ready;
  const auto found = owned_.find(name);
  if (found == owned_.end()) return ready;
  const own::OwnershipStatus status = found->second->status();
  for (const own::PeerStatus& peer : status.peers) {
    if (is_ready(peer, status)) ready.insert(peer.node);
  }
  return ready;
}

void Cluster::ask_reach(const NodeName& node, const ContainerName& name, ReachabilityWatch::Reached answer) {
  peer::v1::Message message;
  message.mutable_reach()->set_container(name.str());
  membership_->peers().request(
      node, Channel::kControl, std::move(message), {}, kReachTime,
      [name, node, answer = std::move(answer)](std::expected<PeerMessage, PeerRefusal> said) {
        if (!said) log::warning("{}: ask '{}' what it reaches: {}", name.str(), node.str(), said.error().error.message());
        const bool reaches = said && said->message.reached().addresses_size() > 0;
        answer(reaches ? reach::Reaches::kYes : reach::Reaches::kNo);
      });
}

void Cluster::on_reach(const PeerRequest& request) {
  if (!request.respond) return;
  const auto name = ContainerName::parse(request.content.message.reach().container());
  if (!name) return request.respond->refuse(name.error());
  const model::ContainerSpec* spec = standbys_ ? standbys_->spec_of(*name) : nullptr;
  if (spec == nullptr) {
    return request.respond->refuse(
        Error(ErrorCode::kNotFound, std::format("this node is not prepared to take container '{}'", name->str())));
  }
  reachability_->look(*name, spec->network, [respond = request.respond](const Result<ReachabilityWatch::Addresses>& found) {
    if (!found) return respond->refuse(found.error());
    peer::v1::Message message;
    message.mutable_reached();
    for (const model::IpAddress& address : *found) message.mutable_reached()->add_addresses(model::to_string(address));
    respond->answer(std::move(message));
  });
}

void Cluster::hand_over_unreachable(const ContainerName& name, const NodeName& target, ReachabilityWatch::Failed failed) {
  if (owned(name) == nullptr) return;
  move(name, target, MoveCause::kUnreachable, [failed = std::move(failed)](const Result<OwnedContainer::MoveResult>& moved) {
    if (!moved) failed(moved.error().message());
  });
}

}  // namespace perdure::node
