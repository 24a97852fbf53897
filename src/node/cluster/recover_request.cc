// `perdure cluster recover`: collects what all reachable nodes have, shows what would come back, and brings it back when told to.
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <format>
#include <memory>
#include <set>
#include <utility>

#include "base/log.h"
#include "base/units.h"
#include "model/spec_yaml.h"
#include "node/cluster/claim.h"
#include "node/cluster/cluster_request.h"
#include "node/cluster/peer_codec.h"
#include "node/cluster/recover_request.h"
#include "node/cluster/recovery_plan.h"
#include "node/policy_terms.h"
#include "node/status_codec.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;
namespace p1 = peer::v1;

constexpr Duration kInventoryTime = std::chrono::seconds(5);
constexpr Duration kSwapTime = std::chrono::seconds(10);
constexpr Duration kPrepareTime = std::chrono::minutes(10);
constexpr Duration kRestoreTime = std::chrono::minutes(10);
// etcd elects itself at once; a large data directory is read first.
constexpr Duration kAloneTime = std::chrono::minutes(2);
// For connections with the nodes that the store names; longer ones are left out of the plan.
constexpr Duration kPeersTime = std::chrono::seconds(10);
constexpr Duration kAgain = std::chrono::milliseconds(200);
// Until the owner has read the record that was written for it.
constexpr Duration kOwnerReads = std::chrono::seconds(20);

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
  return message;
}

class RecoverRequest final : public ClusterRequest {
 public:
  using ClusterRequest::ClusterRequest;

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
    collect();
  }

 private:
  const v1::ClusterRecoverRequest& wish() const { return message().cluster_recover(); }
  Membership& membership() { return *cluster()->membership(); }
  const NodeName& self() { return membership().identity().node; }

  // ---- etcd ----

  std::string no_quorum() {
    std::string members;
    std::string silent;
    for (const auto& [name, node] : membership().view().nodes()) {
      if (node.value.etcd_peer_url.empty()) continue;
      members += (members.empty() ? "'" : ", '") + name.str() + "'";
      if (name == self() || membership().peers().find(name) != nullptr) continue;
      silent += (silent.empty() ? "'" : ", '") + name.str() + "'";
    }
    std::string text = "has no quorum";
    if (!members.empty()) text += std::format(": of its managers {} this node cannot reach {}", members, silent.empty() ? "none" : silent);
    return text + std::format(" ({})", membership().store_trouble());
  }
  std::string what_to_do() {
    if (membership().etcd() == nullptr || !membership().etcd()->is_member()) {
      return "No member of etcd is on this node: start those that have one, or run this on a manager";
    }
    return "If their disks come back, boot them: etcd goes on by itself. If they are lost for good, --force-new-cluster copies "
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
      return collect();
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
      return collect();
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
    if (all || node().clock().now() >= limit_) return collect();
    timer_ = node().loop().after(kAgain, [this] { await_peers(); });
  }

  // ---- The plan ----

  // To this node as well.
  void ask(const NodeName& to, p1::Message message, Duration limit, Peers::Answer answer) {
    if (to == self()) return cluster()->ask_self(std::move(message), std::move(answer));
    membership().peers().request(to, Channel::kControl, std::move(message), {}, limit, std::move(answer));
  }

  void collect() {
    inventories_.clear();
    std::vector<NodeName> nodes{self()};
    for (const PeerState& peer : membership().peers().connected()) nodes.push_back(peer.life.node);
    open_ = nodes.size();
    for (const NodeName& node : nodes) {
      p1::Message message;
      message.mutable_inventory();
      ask(node, std::move(message), kInventoryTime, alive([this, node](const std::expected<PeerMessage, PeerRefusal>& answer) {
            if (answer) {
              if (auto inventory = from_peer(answer->message.inventoried())) inventories_.push_back(*std::move(inventory));
            } else {
              log::warning("recover: node '{}' does not say what it has: {}", node.str(), answer.error().error.message());
            }
            if (--open_ == 0) plan();
          }));
    }
  }

  void plan() {
    RecoveryQuestion question{.records = {}, .nodes = inventories_, .now = node().clock().wall(), .only = only_};
    for (const auto& [name, record] : membership().view().records()) question.records.emplace(name, record.record);
    rows_ = plan_recovery(question);
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
      case RecoveryAction::kAdoptRunning: return write([this] { done({}); });
      case RecoveryAction::kRestore: break;
    }
    tell("restore", std::format("{} from generation {} on node '{}'", row.name.str(), to_string(*row.generation), row.node->str()));
    if (row.has_service) {
      limit_ = node().clock().now() + kOwnerReads;
      return write([this] { go_back(); });
    }
    prepare();
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

  void write(std::function<void()> then) {
    const RecoveryRow& row = rows_[next_];
    if (!row.write) return then();
    const coord::StoredRecord* stored = membership().view().record(row.name);
    if (stored == nullptr) return create(std::move(then));
    swap(stored->revision, std::move(then));
  }

  // etcd was put back to a time before it was made: its name and addresses are claimed again.
  void create(std::function<void()> then) {
    const RecoveryRow& row = rows_[next_];
    const auto inventory = std::ranges::find_if(inventories_, [&](const NodeInventory& it) { return it.life.node == row.node; });
    const auto spec = inventory == inventories_.end()
                          ? Result<model::ContainerSpec>(perdure::fail(ErrorCode::kNotFound, "no node has its specification"))
                          : model::read_spec(inventory->rows.at(row.name).spec_yaml, "its specification");
    if (!spec) return done(spec.error());
    coord::CreateRequest request = claim_of(*spec, row.write->owner, row.write->desired, row.write->created);
    request.record.image_digest = inventory->rows.at(row.name).image_digest;
    membership().records().create(std::move(request), node().clock().now() + kSwapTime,
                                  alive([this, then = std::move(then)](const Result<coord::StoredRecord>& created) {
                                    if (!created) return done(created.error());
                                    model::OwnershipRecord& wanted = *rows_[next_].write;
                                    wanted.spec_digest = created->record.spec_digest;
                                    wanted.image_digest = created->record.image_digest;
                                    wanted.term = std::max(wanted.term, created->record.term);
                                    swap(created->revision, then);
                                  }));
  }

  void swap(coord::Revision expected, std::function<void()> then) {
    revision_ = 0;
    membership().records().swap(
        {.record = *rows_[next_].write, .expected = expected}, node().clock().now() + kSwapTime,
        alive([this, then = std::move(then)](const coord::SwapOutcome& outcome) {
          if (outcome.kind == coord::SwapOutcome::Kind::kApplied && outcome.now) {
            revision_ = outcome.now->revision;
            return then();
          }
          if (outcome.kind == coord::SwapOutcome::Kind::kUnknown) {
            return done(Error(ErrorCode::kTimeout, std::format("whether its record was written is not known{}; try again",
                                                               outcome.error ? ": " + outcome.error->message() : "")));
          }
          done(Error(ErrorCode::kConflict, "its record was changed by another; look again"));
        }));
  }

  // A node with a service of it, which waits for a word.
  void go_back() {
    if (!require_member()) return;
    const RecoveryRow& row = rows_[next_];
    v1::Request restore;
    restore.set_id(1);
    restore.mutable_restore()->set_name(row.name.str());
    restore.mutable_restore()->set_generation(to_string(*row.generation));
    p1::Message message;
    message.mutable_forward()->set_request(restore.SerializeAsString());
    ask(*row.node, std::move(message), kRestoreTime, alive([this](const std::expected<PeerMessage, PeerRefusal>& answer) {
          if (!answer) return done(answer.error().error);
          v1::Response response;
          if (!response.ParseFromString(answer->message.forwarded().response())) {
            return done(Error(ErrorCode::kInvalid, "the answer cannot be read; compare the versions"));
          }
          if (response.has_progress() || response.has_question()) return;
          if (!response.has_error()) return done({});
          // It has not read its record yet.
          if (revision_ > 0 && response.error().code() == v1::ERROR_CONFLICT && node().clock().now() < limit_) {
            timer_ = node().loop().after(kAgain, [this] { go_back(); });
            return;
          }
          done(Error(ErrorCode::kConflict, response.error().message()));
        }));
  }

  // A node that stood by takes it as in a move; but what its peers know is newer.
  void prepare() {
    const RecoveryRow& row = rows_[next_];
    const auto& specs = membership().view().specs();
    const auto spec = specs.find(row.name);
    const auto inventory = std::ranges::find_if(inventories_, [&](const NodeInventory& it) { return it.life.node == row.node; });
    if (spec == specs.end() || inventory == inventories_.end()) {
      return done(Error(ErrorCode::kNotFound, "etcd has no specification of it"));
    }
    p1::Message message;
    p1::MovePrepare& wanted = *message.mutable_move_prepare();
    wanted.set_container(row.name.str());
    wanted.set_term(row.write->term.value);
    wanted.set_spec_yaml(spec->second.value);
    wanted.set_image_digest(inventory->rows.at(row.name).image_digest);
    ask(*row.node, std::move(message), kPrepareTime, alive([this](const std::expected<PeerMessage, PeerRefusal>& answer) {
          if (!answer) return done(answer.error().error);
          const std::string& refusal = answer->message.move_prepared().refusal();
          if (!refusal.empty()) return done(Error(ErrorCode::kConflict, refusal));
          write([this] { take(); });
        }));
  }

  void take() {
    const RecoveryRow& row = rows_[next_];
    p1::Message message;
    p1::MoveTake& order = *message.mutable_move_take();
    order.set_container(row.name.str());
    order.set_term(row.write->term.value);
    *order.mutable_generation() = to_peer(*row.generation);
    order.set_record_revision(revision_);
    order.set_goes_back(true);
    order.set_restores(1);
    order.set_failures(1);
    order.set_created_unix_ms(unix_ms(row.write->created));
    ask(*row.node, std::move(message), kRestoreTime, alive([this](const std::expected<PeerMessage, PeerRefusal>& answer) {
          if (!answer) return done(answer.error().error);
          const p1::MoveTaken& taken = answer->message.move_taken();
          if (!taken.running()) return done(Error(ErrorCode::kConflict, taken.error()));
          done({});
        }));
  }

  std::set<ContainerName> only_;
  v1::ClusterRecoverReply reply_;
  std::vector<NodeInventory> inventories_;
  std::vector<RecoveryRow> rows_;
  std::size_t open_ = 0;
  std::size_t next_ = 0;
  coord::Revision revision_ = 0;  // of what was written last
  Instant limit_{};
  io::Timer timer_;
};

}  // namespace

std::unique_ptr<ControlRequest> make_recover_request(RequestSetup& setup) {
  return std::make_unique<RecoverRequest>(std::move(setup));
}

}  // namespace perdure::node
