// `perdure cluster recover`: collects what all reachable nodes have, shows what would come back, and brings it back when told to.
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <format>
#include <memory>
#include <set>
#include <utility>

#include "base/units.h"
#include "node/cluster/recover_request.h"
#include "node/cluster/recovering_request.h"
#include "node/cluster/recovery_plan.h"
#include "node/status_codec.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;

// etcd elects itself at once; a large data directory is read first.
constexpr Duration kAloneTime = std::chrono::minutes(2);
// For connections with the nodes that the store names; longer ones are left out of the plan.
constexpr Duration kPeersTime = std::chrono::seconds(10);
constexpr Duration kAgain = std::chrono::milliseconds(200);

v1::RecoverAction to_proto(RecoveryAction action) {
  switch (action) {
    case RecoveryAction::kNothing: return v1::RECOVER_NOTHING;
    case RecoveryAction::kAdoptRunning: return v1::RECOVER_ADOPT_RUNNING;
    case RecoveryAction::kRestore: return v1::RECOVER_RESTORE;
    case RecoveryAction::kColdStart: return v1::RECOVER_COLD_START;
    case RecoveryAction::kLost: return v1::RECOVER_LOST;
  }
  return v1::RECOVER_UNSPECIFIED;
}

v1::RecoverRow to_proto(const RecoveryRow& row) {
  v1::RecoverRow message;
  message.set_name(row.name.str());
  message.set_action(to_proto(row.action));
  if (row.node) message.set_node(row.node->str());
  if (row.generation) message.set_generation(to_string(*row.generation));
  if (row.age) message.set_age_ns(row.age->count());
  message.set_risk(row.risk);
  message.set_durable(row.durable);
  return message;
}

class RecoverRequest final : public RecoveringRequest {
 public:
  using RecoveringRequest::RecoveringRequest;

  void begin() override {
    if (!require_member()) return;
    for (const std::string& text : wish().containers()) {
      auto name = ContainerName::parse(text);
      if (!name) return fail(name.error());
      only_.insert(*std::move(name));
    }
    const bool quorum = membership().view().current();
    if (wish().force_new_cluster()) return begin_alone(quorum);
    if (!wish().snapshot_file().empty()) return begin_from_snapshot(quorum);
    if (!quorum) {
      if (wish().apply()) return fail(Error(ErrorCode::kTimeout, no_quorum()), what_to_do());
      reply_.set_etcd(no_quorum() + ". " + what_to_do());
    } else {
      reply_.set_etcd("answers; nothing is done to it");
    }
    collect_all();
  }

 private:
  const v1::ClusterRecoverRequest& wish() const { return message().cluster_recover(); }

  // ---- etcd ----

  std::string what_to_do() {
    if (membership().etcd() == nullptr || !membership().etcd()->is_member()) {
      return "No member of etcd is on this node: start those that have one, or run this on a manager";
    }
    return "If nodes have just started, try again in some seconds. If their disks come back, boot them: etcd goes on by itself. If they are lost for good, --force-new-cluster copies "
           "this node's data of etcd aside and lets its member go on alone, without the others, which must never start again as "
           "they are";
  }

  // What both ways to begin etcd anew ask for. False: the request has failed.
  bool can_begin_anew(bool quorum) {
    if (membership().identity().external) {
      fail(Error(ErrorCode::kConflict, "this cluster's etcd is not perdured's own"), "recover it by its own means");
    } else if (membership().etcd() == nullptr) {
      fail(Error(ErrorCode::kConflict, std::format("node '{}' is no manager and holds no member of etcd", self().str())),
           "run this on a manager that is left");
    } else if (quorum) {
      fail(Error(ErrorCode::kConflict, "etcd has its quorum: nothing forces it to begin anew"),
           "'perdure node remove' takes out a node that is gone");
    }
    return !is_finished();
  }

  // Node by node: what was written since the snapshot is not in it, and the records that it holds may be old. The plan that follows
  // compares them with what the nodes know.
  void begin_from_snapshot(bool quorum) {
    if (!can_begin_anew(quorum)) return;
    const std::string& file = wish().snapshot_file();
    struct stat found{};
    if (::stat(file.c_str(), &found) != 0) return fail(fail_errno(std::format("snapshot '{}'", file)).error());
    const auto taken = std::chrono::system_clock::from_time_t(found.st_mtim.tv_sec);
    const std::string which = std::format("'{}' ({} of {})", file, format_bytes(Bytes{static_cast<std::uint64_t>(found.st_size)}),
                                          format_wall_time(taken));
    if (!wish().apply()) {
      reply_.set_etcd(std::format("{}. etcd would be made anew on this node from {}, and its data set aside; what was changed since "
                                  "then is forgotten: nodes that were removed are members again, those that joined have to join "
                                  "again. The members on other nodes begin anew as well. Below is what the nodes have",
                                  no_quorum(), which));
      return collect_all();
    }
    tell("etcd", std::format("made anew from {}", which));
    membership().etcd()->begin_from_snapshot(file, alive([this, which](const Status& begun) {
      if (!begun) return fail(begun.error(), "older snapshots are in etcd-snapshots/ on each manager");
      membership().use_own_store_alone();
      reply_.set_etcd(std::format("was made anew on this node from {}; the data as it was is beside it", which));
      limit_ = node().clock().now() + kAloneTime;
      await_store();
    }));
  }

  void begin_alone(bool quorum) {
    if (!can_begin_anew(quorum)) return;
    EtcdKeeper* etcd = membership().etcd();
    if (!etcd->is_member()) {
      return fail(Error(ErrorCode::kConflict, std::format("node '{}' holds no member of etcd", self().str())),
                  "run this on a manager that is left, or make etcd anew from a snapshot: --from-snapshot");
    }
    if (!wish().apply()) {
      reply_.set_etcd(std::format("{}. This node's data of etcd would be copied aside and its member go on alone; the other "
                                  "members are forgotten and must never start again as they are",
                                  no_quorum()));
      return collect_all();
    }
    tell("etcd", "this node's member goes on alone");
    etcd->go_on_alone(alive([this](const Result<std::string>& copy) {
      if (!copy) return fail(copy.error());
      membership().use_own_store_alone();
      reply_.set_etcd(std::format("goes on alone with this node's member; its data as it was is in '{}'", *copy));
      limit_ = node().clock().now() + kAloneTime;
      await_store();
    }));
  }

  void await_store() {
    if (!require_member()) return;
    if (membership().view().current() && cluster()->ready()) {
      limit_ = node().clock().now() + kPeersTime;
      return await_peers();
    }
    if (node().clock().now() >= limit_) {
      return fail(Error(ErrorCode::kTimeout, std::format("etcd was started alone and does not answer after {}: {}",
                                                         format_duration(kAloneTime), membership().store_trouble())),
                  "its log is etcd.log in perdured's state directory");
    }
    timer_ = node().loop().after(kAgain, [this] { await_store(); });
  }

  // Whom it has to ask, this node knows from the store.
  void await_peers() {
    if (!require_member()) return;
    const auto& nodes = membership().view().nodes();
    const bool all = std::ranges::all_of(
        nodes, [&](const auto& node) { return node.first == self() || membership().peers().find(node.first) != nullptr; });
    if (all || node().clock().now() >= limit_) return collect_all();
    timer_ = node().loop().after(kAgain, [this] { await_peers(); });
  }

  // ---- The plan ----

  void collect_all() {
    collect(only_, [this] { plan(); });
  }

  void plan() {
    rows_ = plan_recovery(question(only_));
    for (const ContainerName& name : only_) {
      if (std::ranges::find(rows_, name, &RecoveryRow::name) == rows_.end()) {
        return fail(Error(ErrorCode::kNotFound, std::format("the cluster has no container '{}'", name.str())));
      }
    }
    reply_.clear_rows();
    for (const RecoveryRow& row : rows_) *reply_.add_rows() = to_proto(row);
    if (!wish().apply()) return reply();
    reply_.set_applied(true);
    next_ = 0;
    apply_next();
  }

  void reply() {
    v1::Response response;
    *response.mutable_cluster_recover() = reply_;
    finish(std::move(response));
  }

  // ---- Doing it, one container after the other ----

  void apply_next() {
    if (next_ == rows_.size()) return reply();
    const RecoveryRow& row = rows_[next_];
    switch (row.action) {
      case RecoveryAction::kNothing: return done({});
      case RecoveryAction::kLost:
        return done(Error(ErrorCode::kNotFound, "nothing is left of it that can be reached; 'perdure rm --force' gives its name back"));
      case RecoveryAction::kColdStart:
        return done(Error(ErrorCode::kNotFound, std::format("no generation is left; stop it and start it afresh: 'perdure stop "
                                                            "{0}', 'perdure start {0}'",
                                                            row.name.str())));
      case RecoveryAction::kAdoptRunning: break;
      case RecoveryAction::kRestore:
        tell("restore", std::format("{} from generation {} on node '{}'", row.name.str(), to_string(*row.generation), row.node->str()));
    }
    bring_back(row, {}, [this](const std::optional<Error>& error) {
      if (error && error->code() == ErrorCode::kCorrupt) return replan(*error);
      done(error);
    });
  }

  // What lies there does not verify: the one before may.
  void replan(const Error& error) {
    tell("passed_over", error.message());
    const auto again = plan_recovery(question({rows_[next_].name}));
    if (again.empty()) return done(error);
    rows_[next_] = again.front();
    *reply_.mutable_rows(static_cast<int>(next_)) = to_proto(rows_[next_]);
    apply_next();
  }

  void done(const std::optional<Error>& error) {
    v1::RecoverRow& row = *reply_.mutable_rows(static_cast<int>(next_));
    if (error) {
      row.set_error(error->message());
    } else {
      row.set_done(rows_[next_].action != RecoveryAction::kNothing);
    }
    ++next_;
    apply_next();
  }

  std::set<ContainerName> only_;
  v1::ClusterRecoverReply reply_;
  std::vector<RecoveryRow> rows_;
  std::size_t next_ = 0;
  Instant limit_{};
  io::Timer timer_;
};

}  // namespace

std::unique_ptr<ControlRequest> make_recover_request(RequestSetup& setup) {
  return std::make_unique<RecoverRequest>(std::move(setup));
}

}  // namespace perdure::node
