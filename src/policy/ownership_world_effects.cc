// OwnershipWorld: the machines, what they want done, and what they must never do.
#include <algorithm>
#include <format>

#include "policy/ownership_world.h"

namespace perdure::policy {

OwnershipOptions OwnershipWorld::options() const {
  OwnershipOptions options;
  options.standbys = wanted_;
  return options;
}

NonceSource OwnershipWorld::nonces() {
  return [this] {
    model::Nonce nonce;
    for (auto& byte : nonce) byte = static_cast<std::uint8_t>(random_());
    return nonce;
  };
}

void OwnershipWorld::begin_owning(Node& node, const ownership::Event& first) {
  node.owns = true;
  node.enlistment.reset();
  node.paces.clear();
  node.uncommitted.clear();
  node.owner = std::make_unique<Ownership>(
      OwnershipIdentity{ContainerName::parse("web").value(), node.life(), Statefulness::kStateful},
      options(), nonces());
  tell(node, first);
  for (const NodeName& name : std::set<NodeName>(node.sees)) {
    const Node* peer = find(name);
    const auto held = peer->holds.empty() ? std::nullopt : std::optional(*peer->holds.rbegin());
    if (node.owner) tell(node, ownership::Event(ownership::PeerUp{peer->life(), held}));
  }
  update_candidates();
}

void OwnershipWorld::tell(Node& node, const ownership::Event& event) {
  if (!node.owner) return;
  note(std::format("{} {}", node.name.str(), ownership::to_string(event)));
  const auto effects = node.owner->handle(event, now_);
  for (const auto& effect : effects) {
    note(std::format("{}   -> {}", node.name.str(), ownership::to_string(effect, now_)));
    perform(node, effect);
  }
  check_gates();
  if (node.owner && node.owner->ended()) {
    node.owner.reset();
    node.owns = false;
    node.handing_over.reset();
    node.timers.erase(Role::kOwner);
    node.paces.clear();
    node.uncommitted.clear();
  }
}

void OwnershipWorld::tell(Node& node, const taking::Event& event) {
  if (!node.taking) return;
  note(std::format("{} taking: {}", node.name.str(), taking::to_string(event)));
  const auto effects = node.taking->handle(event, now_);
  for (const auto& effect : effects) {
    note(std::format("{}   -> {}", node.name.str(), taking::to_string(effect, now_)));
    perform(node, effect);
  }
  check_gates();
  if (node.taking && node.taking->ended() && !node.restoring) {
    node.taking.reset();
    node.timers.erase(Role::kTaker);
  }
}

void OwnershipWorld::ship(Node& owner, const NodeName& to, const Generation& generation) {
  send(owner, to, Ship{owner.term, generation});
}

void OwnershipWorld::open_gate(Node& node) {
  require(record_ && record_->owner.node == node.name,
          "only whom the record names opens its gate: " + node.name.str());
  node.copy = Copy::kRunning;
  node.gate_open = true;
}

void OwnershipWorld::perform(Node& node, const ownership::Effect& effect) {
  using namespace ownership;
  const auto operate = [&](Operation::Kind kind, Request request, std::optional<Record> record,
                           Revision expected) {
    if (node.store_cut) return;  // no answer
    operations_.push_back({.kind = kind,
                           .from = node.life(),
                           .role = Role::kOwner,
                           .request = request,
                           .record = std::move(record),
                           .expected = expected});
  };
  if (const auto* read = std::get_if<ReadRecord>(&effect)) {
    operate(Operation::Kind::kRead, read->request, {}, 0);
  } else if (const auto* swap = std::get_if<Swap>(&effect)) {
    operate(Operation::Kind::kSwap, swap->request, swap->record, swap->expected);
  } else if (const auto* remove = std::get_if<RemoveRecord>(&effect)) {
    operate(Operation::Kind::kRemove, remove->request, {}, remove->expected);
  } else if (const auto* enlist = std::get_if<ownership::Enlist>(&effect)) {
    send(node, enlist->node, Enlist{node.term});
  } else if (const auto* pace = std::get_if<SetPace>(&effect)) {
    const auto before = std::exchange(node.paces[pace->node], pace->pace);
    if (before == ownership::Pace::kNone && pace->pace != ownership::Pace::kNone &&
        !node.holds.empty()) {
      ship(node, pace->node, *node.holds.rbegin());
    }
  } else if (const auto* dismiss = std::get_if<ownership::Dismiss>(&effect)) {
    send(node, dismiss->node, Dismiss{node.term});
  } else if (const auto* commit = std::get_if<ownership::Commit>(&effect)) {
    check_commit(node, commit->generation);
    ++tally_.commits;
    node.committed = commit->generation;
    node.uncommitted.erase(commit->generation);
    std::erase_if(node.holds, [&](const Generation& g) { return g < commit->generation; });
    for (const NodeName& to : node.sees) send(node, to, CommitNotice{commit->generation});
  } else if (const auto* timer = std::get_if<ownership::SetTimer>(&effect)) {
    node.timers[Role::kOwner] = timer->at;
  } else if (const auto* raise = std::get_if<RaiseTerm>(&effect)) {
    node.term = std::max(node.term, raise->term);
  } else if (const auto* remember = std::get_if<Remember>(&effect)) {
    node.handing_over = remember->handing_over;
  } else if (const auto* ask = std::get_if<AskPrepare>(&effect)) {
    send(node, ask->target, Prepare{});
  } else if (std::holds_alternative<BeginHandover>(effect)) {
    require(node.copy == Copy::kRunning, "only what runs is frozen");
    node.copy = Copy::kFrozen;
    node.gate_open = false;
    node.freezing = true;
  } else if (const auto* take = std::get_if<TellTake>(&effect)) {
    send(node, take->target.node, Take{take->term, take->generation, take->revision});
  } else if (const auto* failed = std::get_if<HandOverFailed>(&effect)) {
    ++tally_.undone;
    node.freezing = false;
    require(failed->term == node.term, "it goes on under the term that is known");
    open_gate(node);
  } else if (std::holds_alternative<EndCopy>(effect)) {
    ++tally_.moved;
    check_kill(node, "end-copy");
    node.copy = Copy::kNone;
  } else if (std::holds_alternative<OwnershipLost>(effect)) {
    check_kill(node, "lost");
    node.copy = Copy::kNone;
    node.gate_open = false;
  } else if (std::holds_alternative<Suspend>(effect)) {
    node.gate_open = false;
    if (node.copy == Copy::kRunning) node.copy = Copy::kFrozen;
  } else if (std::holds_alternative<OwnershipUnknown>(effect)) {
    // A source whose daemon died in the middle cannot know whether its target got to own it.
    require(!record_ && node.handing_over, "this store never goes back, so nobody loses sight");
  } else if (const auto* settled = std::get_if<DesiredSettled>(&effect)) {
    if (settled->desired == model::DesiredState::kRunning) {
      if (node.copy != Copy::kRunning || !node.gate_open) open_gate(node);
    } else {
      require(record_ ? record_->desired == settled->desired : node.removed,
              "the record says it first");
      node.copy = Copy::kNone;
      node.gate_open = false;
      node.removing = settled->desired == model::DesiredState::kRemoved;
    }
  } else if (std::holds_alternative<RemovalComplete>(effect)) {
    require(!record_, "the record is gone");
    node.holds.clear();
  }
}

void OwnershipWorld::perform(Node& node, const taking::Effect& effect) {
  const auto operate = [&](Operation::Kind kind, ownership::Request request,
                           std::optional<Record> record, ownership::Revision expected) {
    if (node.store_cut) return;
    operations_.push_back({.kind = kind,
                           .from = node.life(),
                           .role = Role::kTaker,
                           .request = request,
                           .record = std::move(record),
                           .expected = expected});
  };
  if (const auto* read = std::get_if<ownership::ReadRecord>(&effect)) {
    operate(Operation::Kind::kRead, read->request, {}, 0);
  } else if (const auto* swap = std::get_if<ownership::Swap>(&effect)) {
    operate(Operation::Kind::kSwap, swap->request, swap->record, swap->expected);
  } else if (const auto* timer = std::get_if<ownership::SetTimer>(&effect)) {
    node.timers[Role::kTaker] = timer->at;
  } else if (const auto* raise = std::get_if<ownership::RaiseTerm>(&effect)) {
    node.term = std::max(node.term, raise->term);
  } else if (const auto* restore = std::get_if<taking::RestoreCopy>(&effect)) {
    require(node.copy == Copy::kNone, "a copy is restored where there is none");
    require(node.holds.contains(restore->generation), "a target restores what it holds");
    node.restoring = true;
    node.restoring_generation = restore->generation;
  } else if (std::holds_alternative<taking::KillCopy>(effect)) {
    require(!node.gate_open, "a copy that is killed has never spoken");
    node.copy = Copy::kNone;
  } else if (const auto* claimed = std::get_if<taking::Claimed>(&effect)) {
    require(node.copy == Copy::kLocked, "what is claimed was restored");
    open_gate(node);
    begin_owning(node,
                 ownership::Adopted{
                     claimed->record,
                     claimed->revision,
                     {.generations = {node.restoring_generation}, .committed = {}, .durable = {}}});
    if (node.owner) tell(node, ownership::Event(ownership::ContainerRuns{}));
  } else if (std::holds_alternative<taking::ClaimedBefore>(effect)) {
    begin_owning(node, ownership::Restarted{.term = node.term, .handing_over = {}, .stock = {}});
  } else if (const auto* answer = std::get_if<taking::Answer>(&effect)) {
    for (const NodeName& to : node.sees) send(node, to, TakeReply{answer->term, answer->error});
  }
}

// ---- What must never happen ----

// By the record as it is in the store at this instant, whatever the owner believes.
void OwnershipWorld::check_commit(const Node& node, const Generation& generation) {
  require(!discarded_.contains(generation), "what was discarded is not committed");
  if (!record_) return require(false, "nothing is committed without a record");
  const auto held_by = [&](const Life& life) {
    const auto found = ever_held_.find(life);
    return found != ever_held_.end() &&
           std::ranges::any_of(found->second, [&](const Generation& g) {
             return g >= generation && !discarded_.contains(g);
           });
  };
  if (record_->standbys.empty()) {
    const bool durable =
        std::ranges::any_of(node.durable, [&](const Generation& g) { return g >= generation; });
    require(durable, "without a standby, only what is durable is committed");
  }
  for (const Life& standby : record_->standbys) {
    require(standby.node == node.name || held_by(standby),
            std::format("{} is committed although {} has not acknowledged it",
                        perdure::to_string(generation), ownership::to_string(standby)));
  }
}

// Nothing is killed unless the record says that another node runs it.
void OwnershipWorld::check_kill(const Node& node, std::string_view what) {
  const bool elsewhere =
      !record_ || (record_->owner.node != node.name &&
                   (record_->phase == model::RecordPhase::kRunning || record_->term > node.term));
  require(elsewhere, std::format("{} on {} while it is the only copy", what, node.name.str()));
  require(!node.gate_open || what == "lost", "a copy that is killed is silent");
}

void OwnershipWorld::check_gates() {
  const auto open = std::ranges::count_if(nodes_, &Node::gate_open);
  require(open <= 1, "at most one gate is open");
  for (const Node& node : nodes_) {
    const bool may = record_ && record_->owner.node == node.name;
    require(!node.gate_open || may, "the gate of " + node.name.str() +
                                        " is open, but the record "
                                        "names another owner");
  }
}

}  // namespace perdure::policy
