#include "node/cluster/takeover_request.h"

#include <algorithm>
#include <chrono>
#include <format>
#include <utility>

#include "node/cluster/cluster.h"
#include "node/cluster/recovering_request.h"
#include "node/status_codec.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;
namespace p1 = peer::v1;

// For the new owner to say how the container is; its first checkpoint may still be on its way then.
constexpr Duration kStatusTime = std::chrono::seconds(5);

}  // namespace

std::optional<NodeName> live_standby(const model::OwnershipRecord& record, const model::NodeLife& self, const Peers& peers) {
  for (const model::NodeLife& standby : record.standbys) {
    const PeerState* peer = peers.find(standby.node);
    if (standby == self || (peer != nullptr && peer->life == standby)) return standby.node;
  }
  return std::nullopt;
}

bool owner_is_there(const model::OwnershipRecord& record, const model::NodeLife& self, const Peers& peers) {
  return record.owner == self || peers.find(record.owner.node) != nullptr;
}

bool is_coming(const model::OwnershipRecord& record, const model::NodeLife& self, const Peers& peers) {
  if (record.desired != model::DesiredState::kRunning) return false;
  return owner_is_there(record, self, peers) ? record.phase == model::RecordPhase::kStarting : live_standby(record, self, peers).has_value();
}

std::optional<OwnerAway> owner_away(const model::OwnershipRecord& record, const model::NodeLife& self, const Peers& peers,
                                    StoreKnown store) {
  const NodeName& owner = record.owner.node;
  if (record.desired != model::DesiredState::kRunning || record.owner == self || peers.find(owner) != nullptr) return std::nullopt;
  const bool lost_here = owner == self.node;
  const std::string away = lost_here ? std::format("perdured of its owner '{}' ended while it took it over, and nothing of it is there", owner.str())
                                     : std::format("its owner '{}' cannot be reached from '{}'", owner.str(), self.node.str());
  if (store == StoreKnown::kNo) {
    return OwnerAway{away + ", and etcd has no quorum: nobody can become its owner", "'perdure cluster recover' says what can be done"};
  }
  if (const auto standby = live_standby(record, self, peers)) {
    return OwnerAway{std::format("{}; '{}' stands by, and takes it over by itself when the owner is silent", away, standby->str()),
                     {}};
  }
  return OwnerAway{.waits_for = std::format("{}, and no standby that can be reached takes it over by itself: it waits for {}an "
                                            "operator's word",
                                            away, lost_here ? "" : "that node, or for "),
                   .remedy = std::format("'perdure takeover {}' says what would come back, and what is risked", record.container.str()),
                   .needs_word = true};
}

namespace {

class TakeoverRequest final : public RecoveringRequest {
 public:
  using RecoveringRequest::RecoveringRequest;

  void begin() override {
    if (!require_member()) return;
    auto name = ContainerName::parse(wish().name());
    if (!name) return fail(name.error());
    name_ = *std::move(name);
    if (!membership().view().current()) {
      return fail(Error(ErrorCode::kTransient, std::format("container '{}' cannot change its owner: etcd {}", name_->str(), no_quorum())),
                  "bring its managers back; 'perdure cluster recover' says what can be done without them");
    }
    if (record() == nullptr) {
      return fail(Error(ErrorCode::kNotFound, std::format("the cluster has no record of a container '{}'", name_->str())),
                  std::format("'perdure cluster recover {}' shows what nodes have of it", name_->str()));
    }
    if (!wish().node().empty() && !admit_target()) return;
    if (refused_by_record()) return;
    collect({*name_}, [this] { judge(); });
  }

 private:
  const v1::TakeoverRequest& wish() const { return message().takeover(); }
  const model::OwnershipRecord* record() {
    const coord::StoredRecord* stored = membership().view().record(*name_);
    return stored == nullptr ? nullptr : &stored->record;
  }
  bool connected(const NodeName& node) { return node == self() || membership().peers().find(node) != nullptr; }
  std::string ordered_by() { return std::format("an operator on node '{}'", self().str()); }

  // ---- What speaks against it ----

  // False after fail().
  bool admit_target() {
    auto node = NodeName::parse(wish().node());
    if (!node) {
      fail(node.error());
      return false;
    }
    const model::NodeDescription* described = membership().view().node(*node);
    const auto refuse = [&](ErrorCode code, std::string_view why, std::string_view remedy) {
      fail(Error(code, std::format("node '{}' {}", node->str(), why)), remedy);
      return false;
    };
    if (described == nullptr) return refuse(ErrorCode::kNotFound, "is no node of the cluster", "'perdure node list' shows them");
    if (described->witness) return refuse(ErrorCode::kConflict, "is a witness and runs no containers", "name another node");
    if (described->cordoned) {
      return refuse(ErrorCode::kConflict, "is cordoned", std::format("'perdure node uncordon {}' lets it take containers again", node->str()));
    }
    if (!connected(*node)) return refuse(ErrorCode::kConflict, std::format("cannot be reached from '{}'", self().str()), "name another node");
    if (*node == record()->owner.node) {
      return refuse(ErrorCode::kConflict, std::format("is the owner of '{}' already", name_->str()),
                    std::format("'perdure inspect {}' shows what it does", name_->str()));
    }
    to_ = *std::move(node);
    return true;
  }

  // True after fail().
  bool refused_by_record() {
    const model::OwnershipRecord& now = *record();
    if (now.desired != model::DesiredState::kRunning) {
      fail(Error(ErrorCode::kConflict, std::format("container '{}' is not wanted to run: an operator has stopped or removed it", name_->str())),
           std::format("'perdure inspect {}' shows its state", name_->str()));
      return true;
    }
    if (const auto standby = live_standby(now, membership().self(), membership().peers())) {
      const std::string owner = now.owner.node.str();
      fail(Error(ErrorCode::kConflict,
                 std::format("node '{}' stands by for container '{}': it takes it over by itself when '{}' is silent, and while it does not, "
                             "'{}' may be alive for it",
                             standby->str(), name_->str(), owner, owner)),
           std::format("'perdure events {}' on node '{}' tells of it; an owner that is alive gives it away: 'perdure move {} {}'",
                       name_->str(), standby->str(), name_->str(), standby->str()));
      return true;
    }
    return false;
  }

  const InventoryRow* row_at(const NodeName& node) {
    for (const NodeInventory& inventory : inventories()) {
      if (inventory.life.node != node) continue;
      const auto found = inventory.rows.find(*name_);
      if (found != inventory.rows.end()) return &found->second;
    }
    return nullptr;
  }

  // True after fail(): its owner is there.
  bool refused_by_owner() {
    const NodeName& owner = record()->owner.node;
    if (wish().force() || !connected(owner)) return false;
    const InventoryRow* row = row_at(owner);
    const bool answers = std::ranges::any_of(inventories(), [&](const NodeInventory& it) { return it.life.node == owner; });
    const bool here = row != nullptr && row->owner;
    const auto refuse = [&](std::string_view what, std::string remedy) {
      fail(Error(ErrorCode::kConflict, std::format("node '{}', which owns container '{}', is connected{}", owner.str(), name_->str(), what)),
           remedy);
      return true;
    };
    if (!answers) return refuse(" and does not say what it has", "try again");
    if (!here) return false;
    if (row->runs) return refuse(": it is alive there", std::format("'perdure move {} NODE' moves it", name_->str()));
    if (row->waits) {
      return refuse(", and it waits there for a word", std::format("'perdure cluster recover {}' shows what it can go back to", name_->str()));
    }
    return refuse(": it is being brought back there", std::format("'perdure inspect {}' shows how far it is", name_->str()));
  }

  // ---- What would be done ----

  RecoveryRow planned() {
    RecoveryQuestion asked = question({*name_});
    asked.to = to_;
    // What this says of it is in risks(). Who is connected and has no copy of its own that could run may hold a generation: a
    // takeover by it has failed.
    const NodeName& owner = record()->owner.node;
    asked.dead.insert(owner);
    if (const InventoryRow* row = row_at(owner); row == nullptr || row->owner) {
      std::erase(asked.takers, owner);
      std::erase_if(asked.nodes, [&](const NodeInventory& it) { return it.life.node == owner; });
    } else {
      asked.dead.erase(owner);
    }
    const auto rows = plan_recovery(asked);
    return rows.empty() ? RecoveryRow{.name = *name_, .action = RecoveryAction::kLost} : rows.front();
  }

  void judge() {
    if (!require_member()) return;
    if (record() == nullptr) {
      return fail(Error(ErrorCode::kNotFound, std::format("container '{}' was removed meanwhile", name_->str())));
    }
    if (refused_by_record() || refused_by_owner()) return;
    row_ = planned();
    if (row_->action == RecoveryAction::kAdoptRunning) {
      return fail(Error(ErrorCode::kConflict, std::format("container '{}' runs on node '{}', which its record does not name", name_->str(),
                                                          row_->node->str())),
                  std::format("'perdure cluster recover {} --apply' makes the record say so", name_->str()));
    }
    if (row_->action != RecoveryAction::kRestore) {
      return fail(Error(ErrorCode::kNotFound, std::format("no generation of container '{}' can be had{}", name_->str(),
                                                          row_->risk.empty() ? "" : ": " + row_->risk)),
                  "bring back a node that has stood by for it, or the durable directory; 'perdure rm --force' gives its name back");
    }
    if (row_->has_service) {
      return fail(Error(ErrorCode::kConflict, std::format("node '{}' has a copy of container '{}' of its own", row_->node->str(), name_->str())),
                  std::format("'perdure cluster recover {}' shows what can be done", name_->str()));
    }
    if (wish().confirmed()) return take_over();
    v1::Error error;
    error.set_code(v1::ERROR_CONFIRMATION_REQUIRED);
    error.set_message(explanation());
    error.set_remedy(std::format("'perdure takeover {}{} --yes' does it", name_->str(), wish().force() ? " --force" : ""));
    fail(std::move(error));
  }

  std::string explanation() {
    const std::string where = row_->durable ? "the durable directory"
                                            : std::format("what '{}' holds", (row_->from ? *row_->from : *row_->node).str());
    std::string text = std::format("container '{}' comes back on node '{}' from {}: generation {}, {} old. What it did since is lost, and "
                                   "connections that know of it are reset. ",
                                   name_->str(), row_->node->str(), where, to_string(*row_->generation),
                                   format_duration(std::chrono::round<std::chrono::milliseconds>(*row_->age)));
    return text + risks();
  }

  std::string risks() {
    const std::string owner = record()->owner.node.str();
    std::string text;
    if (connected(record()->owner.node)) {
      text = std::format("Its owner '{0}' is connected; what runs there is killed, and until '{0}' has read the record both may speak.", owner);
    } else if (wish().force()) {
      text = std::format("You say that its owner '{}' runs it no more.", owner);
    } else {
      text = std::format("Its owner '{0}' cannot be reached from here: if it still runs and is only cut off, the container runs twice, at one "
                         "address, until '{0}' has read the record. Make sure that it is switched off.",
                         owner);
    }
    if (!row_->risk.empty()) text += " Besides, " + row_->risk + ".";
    return text;
  }

  // ---- Doing it ----

  void take_over() {
    from_ = record()->owner.node;
    report();
    tell("takeover", std::format("{} on node '{}', from generation {}", name_->str(), row_->node->str(), to_string(*row_->generation)));
    bring_back(*row_, ordered_by(), [this](const std::optional<Error>& error) {
      if (!error) return taken_over();
      if (error->code() != ErrorCode::kCorrupt) {
        return fail(Error(*error).context(std::format("container '{}' on node '{}'", name_->str(), row_->node->str())),
                    std::format("'perdure inspect {}' shows who owns it now", name_->str()));
      }
      tell("passed_over", error->message());
      judge();
    });
  }

  // In this node's events; the new owner tells it in its own.
  void report() {
    v1::Event event;
    event.set_severity(v1::SEVERITY_WARNING);
    event.set_container(name_->str());
    event.set_kind("takeover_ordered");
    event.set_text(std::format("{} has node '{}' take it over from '{}', with generation {}", ordered_by(), row_->node->str(), from_->str(),
                               to_string(*row_->generation)));
    event.set_reason(risks());
    event.set_generation(to_string(*row_->generation));
    node().events().append(std::move(event));
  }

  // The owner may have come back while the target was prepared, or a standby that has it.
  std::optional<Error> check_before_write(const RecoveryRow&) override {
    if (!cluster()->member() || record() == nullptr) return Error(ErrorCode::kConflict, "it was removed meanwhile");
    const bool was_there = std::ranges::any_of(inventories(), [&](const NodeInventory& it) { return it.life.node == *from_; });
    if (!wish().force() && !was_there && connected(*from_)) {
      return Error(ErrorCode::kConflict, std::format("its owner '{}' has come back meanwhile; look again", from_->str()));
    }
    if (const auto standby = live_standby(*record(), membership().self(), membership().peers())) {
      return Error(ErrorCode::kConflict, std::format("node '{}', which stands by, has come back meanwhile; look again", standby->str()));
    }
    return std::nullopt;
  }

  void taken_over() {
    v1::Request inspect;
    inspect.set_id(1);
    inspect.mutable_inspect()->set_name(name_->str());
    p1::Message message;
    message.mutable_forward()->set_request(inspect.SerializeAsString());
    ask(*row_->node, std::move(message), kStatusTime, alive([this](const std::expected<PeerMessage, PeerRefusal>& answer) {
          v1::Response response;
          const bool known = answer && response.ParseFromString(answer->message.forwarded().response()) && response.has_inspect();
          v1::ContainerStatus status = known ? response.inspect().status() : v1::ContainerStatus();
          status.set_name(name_->str());
          reply(std::move(status));
        }));
  }

  void reply(v1::ContainerStatus status) {
    v1::Response response;
    v1::TakeoverReply& reply = *response.mutable_takeover();
    *reply.mutable_status() = std::move(status);
    reply.set_from(from_->str());
    reply.set_to(row_->node->str());
    reply.set_generation(to_string(*row_->generation));
    reply.set_age_ns(row_->age->count());
    reply.set_risk(row_->risk);
    reply.set_durable(row_->durable);
    finish(std::move(response));
  }

  std::optional<ContainerName> name_;
  std::optional<NodeName> to_;
  std::optional<NodeName> from_;
  std::optional<RecoveryRow> row_;
};

}  // namespace

std::unique_ptr<ControlRequest> make_takeover_request(RequestSetup& setup) {
  return std::make_unique<TakeoverRequest>(std::move(setup));
}

}  // namespace perdure::node
