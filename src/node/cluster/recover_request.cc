// `perdure cluster recover`: collects what all reachable nodes have, shows what would come back, and brings it back when told to.
#include <algorithm>
#include <format>
#include <memory>
#include <ranges>
#include <set>
#include <utility>

#include "base/log.h"
#include "node/cluster/cluster.h"
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

class RecoverRequest final : public ControlRequest {
 public:
  using ControlRequest::ControlRequest;

  void begin() override {
    if (cluster() == nullptr || !cluster()->member()) {
      return fail(Error(ErrorCode::kNotFound, "this host is in no cluster"),
                  "'perdure cluster init' makes one of it, 'perdure cluster join' lets it join one");
    }
    if (!wish().snapshot_file().empty()) {
      return fail(Error(ErrorCode::kUnsupported, "this version does not put etcd back from a snapshot"),
                  "if a member of etcd still has its data, --force-new-cluster lets it go on alone; the nodes' containers run "
                  "on in any case");
    }
    for (const std::string& text : wish().containers()) {
      auto name = ContainerName::parse(text);
      if (!name) return fail(name.error());
      only_.insert(*std::move(name));
    }
    const bool quorum = membership().view().current();
    if (wish().force_new_cluster()) return begin_alone(quorum);
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
  template <typename Callback>
  auto alive(Callback callback) {
    return [this, token = lifetime_.token(), callback = std::move(callback)](auto&&... arguments) {
      if (token.alive() && !is_finished()) callback(std::forward<decltype(arguments)>(arguments)...);
    };
  }
  void tell(std::string_view stage, std::string_view text) {
    v1::Response response;
    response.mutable_progress()->set_stage(std::string(stage));
    response.mutable_progress()->set_text(std::string(text));
    send(std::move(response));
  }

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

  void begin_alone(bool quorum) {
    EtcdKeeper* etcd = membership().etcd();
    if (membership().identity().external) {
      return fail(Error(ErrorCode::kConflict, "this cluster's etcd is not perdured's own"), "recover it by its own means");
    }
    if (etcd == nullptr || !etcd->is_member()) {
      return fail(Error(ErrorCode::kConflict, std::format("node '{}' holds no member of etcd", self().str())),
                  "run this on a manager that is left");
    }
    if (quorum) {
      return fail(Error(ErrorCode::kConflict, "etcd has its quorum: nothing forces it to go on alone"),
                  "'perdure node remove' takes out a node that is gone");
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
    if (membership().view().current() && cluster()->ready()) return collect();
    if (node().clock().now() >= limit_) {
      return fail(Error(ErrorCode::kTimeout, std::format("etcd was started alone and does not answer after {}: {}",
                                                         format_duration(kAloneTime), membership().store_trouble())),
                  "its log is etcd.log in perdured's state directory");
    }
    timer_ = node().loop().after(kAgain, [this] { await_store(); });
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
        return done(Error(ErrorCode::kNotFound, "nothing is left of it that can be reached; 'perdure rm' gives its name back"));
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
    if (stored == nullptr) {
      return done(Error(ErrorCode::kNotFound, "etcd has no record of it; 'perdure cluster leave --force' on its node and a new "
                                              "'perdure cluster join' bring it into the cluster again"));
    }
    revision_ = 0;
    membership().records().swap(
        {.record = *row.write, .expected = stored->revision}, node().clock().now() + kSwapTime,
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

// The answer of a request that this node makes of itself.
class OwnResponder final : public Responder {
 public:
  explicit OwnResponder(Peers::Answer answer) : answer_(std::move(answer)) {}
  void answer(p1::Message message, io::OutgoingBody) override { answer_(PeerMessage{std::move(message), nullptr}); }
  void refuse(const Error& error, Term term) override { answer_(std::unexpected(PeerRefusal{error, term})); }
  bool gone() const override { return false; }

 private:
  const Peers::Answer answer_;
};

}  // namespace

std::unique_ptr<ControlRequest> make_recover_request(RequestSetup& setup) {
  return std::make_unique<RecoverRequest>(std::move(setup));
}

// ---- What this node has ----

void Cluster::ask_self(p1::Message message, Peers::Answer answer) {
  PeerRequestTable table = request_table();
  const auto handler = table.find(message.body_case());
  if (handler == table.end()) return answer(std::unexpected(PeerRefusal{Error(ErrorCode::kUnsupported, "not served"), {}}));
  handler->second(PeerRequest{.from = membership_->self(),
                              .content = {std::move(message), nullptr},
                              .respond = std::make_shared<OwnResponder>(std::move(answer))});
}

namespace {

constexpr std::size_t kMaxCopies = 16;

void add_copy(p1::Inventory::Row& row, const Generation& generation, bool committed, bool durable, WallTime created) {
  p1::Inventory::Copy& copy = *row.add_copies();
  *copy.mutable_generation() = to_peer(generation);
  copy.set_committed(committed);
  copy.set_durable(durable);
  copy.set_created_unix_ms(unix_ms(created));
}

void fill_row(p1::Inventory::Row& row, const ContainerService& service) {
  row.set_container(service.spec().name.str());
  row.set_term(service.record().term.value);
  row.set_runs(service.status().pid > 0);
  row.set_owner(true);
  row.set_waits(service.record().awaits_word && service.status().phase == policy::Phase::kWaiting);
  row.set_image_digest(service.record().image_digest);
  std::vector<policy::GenerationInfo> good;
  for (const policy::GenerationInfo& info : service.generations()) {
    if (info.mark == policy::Mark::kNone && info.state == policy::CommitState::kCommitted) good.push_back(info);
  }
  std::ranges::reverse(good);
  for (const policy::GenerationInfo& info : good | std::views::take(kMaxCopies)) {
    const auto kept = service.table().find(info.id);
    add_copy(row, info.id, true, info.durable, kept ? kept->manifest.created : WallTime{});
  }
}

}  // namespace

void Cluster::on_inventory(const PeerRequest& request) {
  if (!request.respond || !standbys_) return;
  auto message = std::make_shared<p1::Message>();
  p1::Inventory& inventory = *message->mutable_inventoried();
  inventory.set_node(membership_->identity().node.str());
  inventory.set_incarnation(options_.incarnation.value);
  std::map<ContainerName, std::string> held;  // with the image that it needs
  for (const ContainerService* service : options_.node.containers()) fill_row(*inventory.add_rows(), *service);
  for (const replica::HeldContainer& one : standbys_->table().all()) {
    if (options_.node.find(one.container) == nullptr && one.newest) held[one.container] = standbys_->image_of(one.container);
  }
  // What lies on the disk is read.
  const Status submitted = options_.pool.submit(
      options_.loop, lifetime_,
      [message, held = std::move(held), table = standbys_->shared_table()] {
        for (const auto& [name, image] : held) {
          p1::Inventory::Row& row = *message->mutable_inventoried()->add_rows();
          row.set_container(name.str());
          row.set_term(table->term_of(name).value);
          row.set_image_digest(image);
          if (const auto newest = table->fetch(name, std::nullopt)) {
            add_copy(row, (*newest)->manifest.generation, true, false, (*newest)->manifest.created);
          }
        }
        return true;
      },
      [message, respond = request.respond](bool) { respond->answer(std::move(*message)); });
  if (!submitted) request.respond->refuse(Error(ErrorCode::kTimeout, "this node is busy"));
}

}  // namespace perdure::node
