// Cluster: where a container can go, how it is moved, and containers that go because their clients cannot be reached from here.
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
constexpr Duration kMoveTime = std::chrono::minutes(15);  // a root file system may have to be fetched first

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

void Cluster::move(const ContainerName& name, const NodeName& target, MoveCause cause,
                   std::function<void(Result<OwnedContainer::MoveResult>)> done) {
  OwnedContainer* found = owned(name);
  if (found == nullptr) {
    return done(fail(ErrorCode::kConflict, std::format("container '{}' belongs to no cluster", name.str())));
  }
  if (target == membership_->identity().node) {
    return done(fail(ErrorCode::kConflict, std::format("container '{}' is on node '{}' already", name.str(), target.str())));
  }
  const model::NodeDescription* node = membership_->view().node(target);
  if (node == nullptr) return done(fail(ErrorCode::kNotFound, std::format("the cluster has no node '{}'", target.str())));
  if (node->cordoned) {
    return done(fail(ErrorCode::kConflict, std::format("node '{}' is cordoned; 'perdure node uncordon {}' lets it take "
                                                       "containers again",
                                                       target.str(), target.str())));
  }
  // Whoever asks for what is under way already waits for its end.
  const own::OwnershipStatus ownership = found->status();
  const bool is_under_way = ownership.move != policy::MoveStep::kNone && ownership.move_target == target;
  const bool is_over = ownership.move == policy::MoveStep::kHandedOver && found->last_move() && found->last_move()->failure.empty();
  if (is_under_way && is_over) return done(*found->last_move());
  if (!is_under_way) {
    if (Status admitted = found->admit(own::MoveAsked{target}); !admitted) return done(fail(std::move(admitted).error()));
  }
  struct Waiting {
    std::uint64_t listener = 0;
    io::Timer limit;
    bool over = false;
  };
  auto waiting = std::make_shared<Waiting>();
  auto finish = [this, waiting, name, done = std::move(done)](Result<OwnedContainer::MoveResult> result) {
    if (std::exchange(waiting->over, true)) return;
    waiting->limit.reset();
    if (OwnedContainer* still = owned(name)) still->remove_listener(waiting->listener);
    done(std::move(result));
  };
  waiting->limit = options_.loop.after(kMoveTime, [finish, name] {
    finish(fail(ErrorCode::kTimeout, std::format("the move of '{}' has not ended within {}; it goes on: 'perdure inspect {}'",
                                                 name.str(), format_duration(kMoveTime), name.str())));
  });
  found->clear_move();
  waiting->listener = found->add_listener([this, name, finish] {
    const OwnedContainer* now = owned(name);
    if (now == nullptr || !now->last_move()) return;
    if (!now->last_move()->failure.empty()) {
      return finish(fail(ErrorCode::kConflict, std::format("container '{}' was not moved to node '{}' and runs where it was: {}",
                                                           name.str(), now->last_move()->target.str(),
                                                           now->last_move()->failure)));
    }
    finish(*now->last_move());
  });
  if (!is_under_way) return found->move_to(target, cause);
  if (cause == MoveCause::kAsked) found->is_asked_for();
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
