// Operators' requests that concern the cluster: init, join, leave, status, tokens, nodes, moves.
#include <algorithm>
#include <format>
#include <memory>
#include <utility>

#include "node/cluster/cluster.h"
#include "node/cluster/cluster_request.h"
#include "node/cluster/peer_codec.h"
#include "node/cluster/recover_request.h"
#include "node/cluster/takeover_request.h"
#include "node/status_codec.h"
#include "placement/drain.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;

constexpr Duration kTokenLife = std::chrono::hours(24);
constexpr Duration kLongestTokenLife = std::chrono::hours(24 * 30);
// For the view to show what the store has taken.
constexpr Duration kShownTime = std::chrono::seconds(5);
constexpr Duration kShownLook = std::chrono::milliseconds(10);

Result<policy::lease::Timing> timing_from(const v1::LeaseTiming& message) {
  const policy::lease::Timing timing{.heartbeat = Duration(message.heartbeat_ns()),
                                     .grant = Duration(message.grant_ns()),
                                     .margin = Duration(message.margin_ns())};
  PERDURE_TRY(policy::lease::check(timing));
  return timing;
}

FoundingWish founding_wish(const std::string& name, const auto& listen, const auto& labels) {
  FoundingWish wish;
  wish.node_name = name;
  wish.listen.assign(listen.begin(), listen.end());
  for (const auto& [key, value] : labels) wish.labels[key] = value;
  return wish;
}

class InitRequest final : public ClusterRequest {
 public:
  using ClusterRequest::ClusterRequest;
  void begin() override {
    const v1::ClusterInitRequest& init = message().cluster_init();
    InitWish wish;
    wish.node = founding_wish(init.node_name(), init.listen(), init.labels());
    wish.durable_directory = init.durable_directory();
    if (init.has_standbys()) wish.standbys = init.standbys();
    if (wish.standbys > coord::kMaxStandbys) {
      return fail(Error(ErrorCode::kInvalid, std::format("{} standbys; at most {} are kept", wish.standbys, coord::kMaxStandbys)));
    }
    if (init.has_timing()) {
      const auto timing = timing_from(init.timing());
      if (!timing) return fail(timing.error());
      wish.timing = *timing;
    }
    if (init.etcd_endpoints_size() > 0) {
      wish.external = ExternalEtcd{{init.etcd_endpoints().begin(), init.etcd_endpoints().end()},
                                   init.etcd_authority_file(),
                                   init.etcd_certificate_file(),
                                   init.etcd_key_file()};
    }
    cluster()->init(wish, progress(), alive([this](const Status& done) {
                      if (!done) return fail(done.error());
                      cluster()->membership()->make_token(
                          kTokenLife, 1, alive([this](const Result<coord::StoredToken>& token, const std::string& text) {
                            reply_status(token ? text : std::string());
                          }));
                    }));
  }
};

class JoinRequest final : public ClusterRequest {
 public:
  using ClusterRequest::ClusterRequest;
  void begin() override {
    const v1::ClusterJoinRequest& join = message().cluster_join();
    JoinWish wish;
    wish.node = founding_wish(join.node_name(), join.listen(), join.labels());
    wish.address = join.address();
    wish.token = join.token();
    wish.witness = join.witness();
    if (!join.etcd_authority_file().empty()) {
      wish.external = ExternalEtcd{{}, join.etcd_authority_file(), join.etcd_certificate_file(), join.etcd_key_file()};
    }
    cluster()->join(wish, progress(), alive([this](const Status& done) {
                      if (!done) return fail(done.error());
                      reply_status();
                    }));
  }
};

class LeaveRequest final : public ClusterRequest {
 public:
  using ClusterRequest::ClusterRequest;
  void begin() override {
    if (!require_member()) return;
    cluster()->leave(message().cluster_leave().force(), progress(), alive([this](const Status& done) {
                       if (!done) return fail(done.error());
                       reply_status();
                     }));
  }
};

class StatusRequest final : public ClusterRequest {
 public:
  using ClusterRequest::ClusterRequest;
  void begin() override { reply_status(); }
};

class TokenRequest final : public ClusterRequest {
 public:
  using ClusterRequest::ClusterRequest;
  void begin() override {
    if (!require_member()) return;
    const v1::ClusterTokenRequest& wish = message().cluster_token();
    const Duration life = wish.has_valid_for_ns() ? Duration(wish.valid_for_ns()) : kTokenLife;
    if (life <= Duration::zero() || life > kLongestTokenLife) {
      return fail(Error(ErrorCode::kInvalid, std::format("a token is good for more than nothing and at most {}",
                                                         format_duration(kLongestTokenLife))));
    }
    cluster()->membership()->make_token(
        life, wish.has_uses() ? wish.uses() : 1,
        alive([this](const Result<coord::StoredToken>& token, const std::string& text) {
          if (!token) return fail(token.error());
          v1::Response response;
          response.mutable_cluster_token()->set_token(text);
          response.mutable_cluster_token()->set_expires_unix_ms(unix_ms(token->expires));
          response.mutable_cluster_token()->set_uses(token->uses_left);
          finish(std::move(response));
        }));
  }
};

class RotateKeysRequest final : public ClusterRequest {
 public:
  using ClusterRequest::ClusterRequest;
  void begin() override {
    if (!require_member()) return;
    cluster()->membership()->rotate_keys(alive([this](const Status& done) {
      if (!done) return fail(done.error());
      reply_status();
    }));
  }
};

class TimingRequest final : public ClusterRequest {
 public:
  using ClusterRequest::ClusterRequest;
  void begin() override {
    if (!require_member()) return;
    const auto timing = timing_from(message().cluster_timing().timing());
    if (!timing) return fail(timing.error());
    timing_ = *timing;
    cluster()->membership()->change_timing(timing_, alive([this](const Status& done) {
      if (!done) return fail(done.error());
      limit_ = node().clock().now() + kShownTime;
      await();
    }));
  }

 private:
  void await() {
    if (!require_member()) return;
    const auto& settings = cluster()->membership()->view().cluster();
    if (settings && settings->value.timing == timing_) return reply_status();
    if (node().clock().now() >= limit_) {
      return fail(Error(ErrorCode::kTimeout, "the settings were written, and are not seen here yet"),
                  "'perdure cluster timing' shows what is in force");
    }
    wait_ = node().loop().after(kShownLook, [this] { await(); });
  }

  policy::lease::Timing timing_;
  Instant limit_{};
  io::Timer wait_;
};

// ---- Nodes ----

class NodeRequest : public ClusterRequest {
 public:
  using ClusterRequest::ClusterRequest;

 protected:
  std::optional<NodeName> node_or_fail(const std::string& text) {
    if (!require_member()) return std::nullopt;
    auto name = NodeName::parse(text);
    if (!name) {
      fail(name.error());
      return std::nullopt;
    }
    if (cluster()->membership()->view().node(*name) == nullptr) {
      fail(Error(ErrorCode::kNotFound, std::format("the cluster has no node '{}'", text)), "'perdure node list' shows them");
      return std::nullopt;
    }
    return *name;
  }
  void reply_node(const NodeName& node) {
    v1::Response response;
    *response.mutable_node_list()->add_nodes() = cluster()->node_row(node);
    finish(std::move(response));
  }
  // The view shows it a moment after the store has taken it.
  void reply_when(const NodeName& node, std::function<bool(const model::NodeDescription&)> shown) {
    if (!require_member()) return;
    const model::NodeDescription* now = cluster()->membership()->view().node(node);
    if (now == nullptr || shown(*now)) return reply_node(node);
    wait_ = this->node().loop().after(std::chrono::milliseconds(10), [this, node, shown] { reply_when(node, shown); });
  }

 private:
  io::Timer wait_;
};

class NodeListRequest final : public NodeRequest {
 public:
  using NodeRequest::NodeRequest;
  void begin() override {
    if (!require_member()) return;
    v1::Response response;
    response.mutable_node_list();
    for (v1::NodeRow& row : cluster()->node_rows()) *response.mutable_node_list()->add_nodes() = std::move(row);
    finish(std::move(response));
  }
};

class CordonRequest final : public NodeRequest {
 public:
  using NodeRequest::NodeRequest;
  void begin() override {
    const auto name = node_or_fail(message().node_cordon().node());
    if (!name) return;
    const bool cordon = message().node_cordon().cordon();
    cluster()->membership()->change_node(
        *name, [cordon](model::NodeDescription& node) { node.cordoned = cordon; },
        alive([this, name = *name, cordon](const Status& done) {
          if (!done) return fail(done.error());
          reply_when(name, [cordon](const model::NodeDescription& node) { return node.cordoned == cordon; });
        }));
  }
};

class LabelRequest final : public NodeRequest {
 public:
  using NodeRequest::NodeRequest;
  void begin() override {
    const auto name = node_or_fail(message().node_label().node());
    if (!name) return;
    std::map<std::string, std::string> wanted;
    for (const auto& [key, value] : message().node_label().labels()) {
      if (Status good = model::check_label(key, value.empty() ? "x" : value); !good) return fail(good.error());
      wanted[key] = value;
    }
    const auto apply = [wanted](std::map<std::string, std::string> labels) {
      for (const auto& [key, value] : wanted) {
        if (value.empty()) {
          labels.erase(key);
        } else {
          labels[key] = value;
        }
      }
      return labels;
    };
    cluster()->membership()->change_node(
        *name, [apply](model::NodeDescription& node) { node.labels = apply(node.labels); },
        alive([this, name = *name, apply](const Status& done) {
          if (!done) return fail(done.error());
          reply_when(name, [apply](const model::NodeDescription& node) { return apply(node.labels) == node.labels; });
        }));
  }
};

class RemoveNodeRequest final : public NodeRequest {
 public:
  using NodeRequest::NodeRequest;
  void begin() override {
    const auto name = node_or_fail(message().node_remove().node());
    if (!name) return;
    Membership& membership = *cluster()->membership();
    if (*name == membership.identity().node) {
      return fail(Error(ErrorCode::kConflict, "this is the node itself"), "'perdure cluster leave' takes it out of the cluster");
    }
    const v1::NodeRow row = cluster()->node_row(*name);
    if (!message().node_remove().force() && row.owned() > 0) {
      return fail(Error(ErrorCode::kConflict, std::format("node '{}' owns {} containers", name->str(), row.owned())),
                  std::format("move them first: 'perdure node drain {}'; if it is gone for good, --force", name->str()));
    }
    if (!message().node_remove().force() && row.state() != v1::NODE_UNREACHABLE) {
      return fail(Error(ErrorCode::kConflict, std::format("node '{}' is reachable", name->str())),
                  "let it leave by itself: 'perdure cluster leave' there; or --force");
    }
    membership.remove_node(*name, "removed by an operator", alive([this](const Status& done) {
                             if (!done) return fail(done.error());
                             v1::Response response;
                             response.mutable_node_list();
                             for (v1::NodeRow& left : cluster()->node_rows()) {
                               if (left.name() == message().node_remove().node()) continue;
                               *response.mutable_node_list()->add_nodes() = std::move(left);
                             }
                             finish(std::move(response));
                           }));
  }
};

// ---- Moves ----

class MoveRequest final : public ClusterRequest {
 public:
  using ClusterRequest::ClusterRequest;
  void begin() override {
    if (!require_member()) return;
    ContainerService* service = find_or_fail(message().move().name());
    if (service == nullptr) return;
    const auto target = NodeName::parse(message().move().node());
    if (!target) return fail(target.error());
    name_ = service->spec().name;
    tell("move", std::format("moving to node '{}'", target->str()));
    cluster()->move(*name_, *target, MoveCause::kAsked, alive([this](const Result<OwnedContainer::MoveResult>& moved) {
                      if (!moved) return fail(moved.error());
                      v1::Response response;
                      v1::MoveReply& reply = *response.mutable_move();
                      reply.mutable_status()->set_name(name_->str());
                      reply.mutable_status()->set_phase(v1::PHASE_RUNNING);
                      // By the generation that it was moved with: the target and this node hold it.
                      reply.mutable_status()->mutable_protection()->set_state(v1::PROTECTION_PROTECTED);
                      cluster()->fill(*reply.mutable_status(), *name_);
                      reply.mutable_status()->set_node(moved->target.str());
                      reply.set_from(cluster()->membership()->identity().node.str());
                      reply.set_to(moved->target.str());
                      reply.set_frozen_ns(moved->frozen.count());
                      reply.set_bytes(moved->bytes);
                      if (moved->generation) reply.set_generation(to_string(*moved->generation));
                      finish(std::move(response));
                    }));
  }

 private:
  std::optional<ContainerName> name_;
};

// Runs on the node that is drained: it knows what it owns.
class DrainRequest final : public NodeRequest {
 public:
  using NodeRequest::NodeRequest;
  void begin() override {
    const auto name = node_or_fail(message().node_drain().node());
    if (!name) return;
    cluster()->membership()->change_node(*name, [](model::NodeDescription& node) { node.cordoned = true; },
                                         alive([this](const Status& done) {
                                           if (!done) return fail(done.error());
                                           collect();
                                         }));
  }

 private:
  void collect() {
    std::vector<placement::DrainRow> rows;
    for (const ContainerService* service : node().containers()) {
      if (cluster()->owned(service->spec().name) == nullptr) continue;
      placement::DrainRow row{.container = service->spec().name};
      row.has_ready_standby = !cluster()->ready_standbys(row.container).empty();
      if (service->last_capture()) row.memory_bytes = service->last_capture()->full.count;
      rows.push_back(row);
    }
    left_ = placement::drain_order(std::move(rows));
    std::ranges::reverse(left_);
    total_ = left_.size();
    next();
  }

  void next() {
    if (left_.empty()) {
      v1::Response response;
      *response.mutable_node_drain() = reply_;
      response.mutable_node_drain()->set_node(message().node_drain().node());
      return finish(std::move(response));
    }
    const ContainerName name = left_.back();
    left_.pop_back();
    const OwnedContainer* owned = cluster()->owned(name);
    if (owned == nullptr) {  // it has followed another one by itself, or is gone
      reply_.add_moved(name.str());
      return next();
    }
    const auto under_way = owned->status().move_target;
    const auto target = under_way ? Result<NodeName>(*under_way) : cluster()->move_target(name);
    if (!target) return failed(name, target.error());
    tell("move", std::format("{} of {}: '{}' to node '{}'", total_ - left_.size(), total_, name.str(), target->str()));
    cluster()->move(name, *target, MoveCause::kOther, alive([this, name](const Result<OwnedContainer::MoveResult>& moved) {
                      if (!moved) return failed(name, moved.error());
                      reply_.add_moved(name.str());
                      next();
                    }));
  }

  void failed(const ContainerName& name, const Error& error) {
    reply_.add_failures(std::format("{}: {}", name.str(), error.message()));
    next();
  }

  std::vector<ContainerName> left_;  // the next one last
  std::size_t total_ = 0;
  v1::NodeDrainReply reply_;
};

}  // namespace

std::unique_ptr<ControlRequest> make_cluster_request(RequestSetup& setup) {
  if (setup.cluster == nullptr) return nullptr;
  switch (setup.message.body_case()) {
    case v1::Request::kClusterInit: return std::make_unique<InitRequest>(std::move(setup));
    case v1::Request::kClusterJoin: return std::make_unique<JoinRequest>(std::move(setup));
    case v1::Request::kClusterLeave: return std::make_unique<LeaveRequest>(std::move(setup));
    case v1::Request::kClusterStatus: return std::make_unique<StatusRequest>(std::move(setup));
    case v1::Request::kClusterToken: return std::make_unique<TokenRequest>(std::move(setup));
    case v1::Request::kClusterRecover: return make_recover_request(setup);
    case v1::Request::kClusterRotateKeys: return std::make_unique<RotateKeysRequest>(std::move(setup));
    case v1::Request::kClusterTiming: return std::make_unique<TimingRequest>(std::move(setup));
    case v1::Request::kNodeList: return std::make_unique<NodeListRequest>(std::move(setup));
    case v1::Request::kNodeCordon: return std::make_unique<CordonRequest>(std::move(setup));
    case v1::Request::kNodeDrain: return std::make_unique<DrainRequest>(std::move(setup));
    case v1::Request::kNodeRemove: return std::make_unique<RemoveNodeRequest>(std::move(setup));
    case v1::Request::kNodeLabel: return std::make_unique<LabelRequest>(std::move(setup));
    case v1::Request::kMove: return std::make_unique<MoveRequest>(std::move(setup));
    case v1::Request::kTakeover: return make_takeover_request(setup);
    default: return nullptr;
  }
}

}  // namespace perdure::node
