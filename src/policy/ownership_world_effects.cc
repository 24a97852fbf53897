// OwnershipWorld: the machines, what they want done, and what they must never do.
#include <algorithm>
#include <format>
#include <utility>

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
    if (node.owner)
      tell(node, ownership::Event(ownership::PeerUp{peer->life(), newest(peer->holds)}));
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
  for (const Life& life : std::exchange(node.asked, {})) tell(node, ownership::GrantsFlow{life});
}

// Grants are not what this world is about: whoever is asked gives them.
void OwnershipWorld::on(Node& node, const ownership::NeedGrants& e) {
  node.asked = e.asked;
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

void OwnershipWorld::operate(Node& node, Operation operation) {
  if (node.store_cut) return;  // no answer
  operation.from = node.life();
  operation.discarded = discarded_.size();
  operations_.push_back(std::move(operation));
}

// ---- What the owner's machine wants done ----

void OwnershipWorld::on(Node& node, const ownership::ReadRecord& e) {
  Operation operation;
  operation.request = e.request;
  operate(node, operation);
}
void OwnershipWorld::on(Node& node, const ownership::Swap& e) {
  Operation operation;
  operation.kind = Operation::Kind::kSwap;
  operation.request = e.request;
  operation.record = e.record;
  operation.expected = e.expected;
  operate(node, std::move(operation));
}
void OwnershipWorld::on(Node& node, const ownership::RemoveRecord& e) {
  Operation operation;
  operation.kind = Operation::Kind::kRemove;
  operation.request = e.request;
  operation.expected = e.expected;
  operate(node, operation);
}
void OwnershipWorld::on(Node& node, const ownership::SetTimer& e) {
  node.timers[Role::kOwner] = e.at;
}
void OwnershipWorld::on(Node& node, const ownership::RaiseTerm& e) {
  node.term = std::max(node.term, e.term);
}
void OwnershipWorld::on(Node& node, const ownership::Remember& e) {
  node.handing_over = e.handing_over;
}

void OwnershipWorld::on(Node& node, const ownership::Enlist& e) {
  send(node, e.node, Enlist{node.term});
}
void OwnershipWorld::on(Node& node, const ownership::Dismiss& e) {
  send(node, e.node, Dismiss{node.term});
}
void OwnershipWorld::on(Node& node, const ownership::AskPrepare& e) {
  node.prepared = false;
  send(node, e.target, Prepare{});
}
void OwnershipWorld::on(Node& node, const ownership::TellTake& e) {
  send(node, e.target.node, Take{e.term, e.generation, e.revision});
}

void OwnershipWorld::on(Node& node, const ownership::SetPace& e) {
  const auto before = std::exchange(node.paces[e.node], e.pace);
  if (before != ownership::Pace::kNone || e.pace == ownership::Pace::kNone) return;
  if (!node.holds.empty()) ship(node, e.node, *node.holds.rbegin());
}

void OwnershipWorld::on(Node& node, const ownership::Commit& e) {
  check_commit(node, e.generation);
  ++tally_.commits;
  node.committed = e.generation;
  node.uncommitted.erase(e.generation);
  std::erase_if(node.holds, [&](const Generation& g) { return g < e.generation; });
  for (const NodeName& to : node.sees) send(node, to, CommitNotice{e.generation});
}

void OwnershipWorld::on(Node& node, const ownership::BeginHandover&) {
  require(node.copy == Copy::kRunning, "only what runs is frozen");
  require(node.prepared, "nothing is frozen before the target is prepared");
  node.copy = Copy::kFrozen;
  node.gate_open = false;
  node.freezing = true;
}

void OwnershipWorld::on(Node& node, const ownership::HandOverFailed& e) {
  ++tally_.undone;
  node.freezing = node.fails_over = false;
  require(e.term == node.term, "it goes on under the term that is known");
  open_gate(node);
}

void OwnershipWorld::on(Node& node, const ownership::EndCopy&) {
  ++tally_.moved;
  check_kill(node, "end-copy");
  node.copy = Copy::kNone;
}

void OwnershipWorld::on(Node& node, const ownership::OwnershipLost&) {
  check_kill(node, "lost");
  node.copy = Copy::kNone;
  node.gate_open = false;
}

void OwnershipWorld::on(Node& node, const ownership::Suspend&) {
  node.gate_open = false;
  if (node.copy == Copy::kRunning) node.copy = Copy::kFrozen;
}

void OwnershipWorld::on(Node& node, const ownership::OwnershipUnknown&) {
  // A source whose daemon died in the middle cannot know whether its target got to own it.
  require(!record_ && node.handing_over, "this store never goes back, so nobody loses sight");
}

void OwnershipWorld::on(Node& node, const ownership::DesiredSettled& e) {
  if (e.desired == model::DesiredState::kRunning) {
    if (!node.fails_over && (node.copy != Copy::kRunning || !node.gate_open)) open_gate(node);
    return;
  }
  require(record_ ? record_->desired == e.desired : node.removed, "the record says it first");
  node.copy = Copy::kNone;
  node.gate_open = false;
  node.removing = e.desired == model::DesiredState::kRemoved;
}

void OwnershipWorld::on(Node& node, const ownership::RemovalComplete&) {
  require(!record_, "the record is gone");
  node.holds.clear();
}

void OwnershipWorld::perform(Node& node, const ownership::Effect& effect) {
  std::visit([&](const auto& e) { on(node, e); }, effect);
}

// ---- What the target's machine wants done ----

void OwnershipWorld::on(Node& node, const taking::RestoreCopy& e) {
  require(node.copy == Copy::kNone, "a copy is restored where there is none");
  node.fails_over = false;
  require(node.holds.contains(e.generation), "a target restores what it holds");
  node.restoring = true;
  node.restoring_generation = e.generation;
}

void OwnershipWorld::on(Node& node, const taking::KillCopy&) {
  require(!node.gate_open, "a copy that is killed has never spoken");
  node.copy = Copy::kNone;
}

void OwnershipWorld::on(Node& node, const taking::Claimed& e) {
  require(node.copy == Copy::kLocked, "what is claimed was restored");
  open_gate(node);
  begin_owning(node,
               ownership::Adopted{
                   e.record,
                   e.revision,
                   {.generations = {node.restoring_generation}, .committed = {}, .durable = {}}});
  tell(node, ownership::Event(ownership::ContainerRuns{}));
}

void OwnershipWorld::on(Node& node, const taking::ClaimedBefore&) {
  begin_owning(node, ownership::Restarted{.term = node.term, .handing_over = {}, .stock = {}});
}

void OwnershipWorld::on(Node& node, const taking::Answer& e) {
  for (const NodeName& to : node.sees) send(node, to, TakeReply{e.term, e.error});
}

void OwnershipWorld::perform(Node& node, const taking::Effect& effect) {
  if (const auto* timer = std::get_if<ownership::SetTimer>(&effect)) {
    node.timers[Role::kTaker] = timer->at;
    return;
  }
  const std::size_t before = operations_.size();
  std::visit([&](const auto& e) { on(node, e); }, effect);
  if (operations_.size() > before) operations_.back().role = Role::kTaker;
}

// ---- What must never happen ----

// It, or a later one.
bool OwnershipWorld::ever_held(const Life& life, const Generation& generation) const {
  const auto found = ever_held_.find(life);
  return found != ever_held_.end() && std::ranges::any_of(found->second, [&](const Generation& g) {
           return g >= generation && !discarded_.contains(g);
         });
}

// By the record as it is in the store at this instant, whatever the owner believes.
void OwnershipWorld::check_commit(const Node& node, const Generation& generation) {
  require(!discarded_.contains(generation), "what was discarded is not committed");
  if (!record_) return require(false, "nothing is committed without a record");

  if (record_->standbys.empty()) {
    const bool durable =
        std::ranges::any_of(node.durable, [&](const Generation& g) { return g >= generation; });
    require(durable, "without a standby, only what is durable is committed");
  }
  for (const Life& standby : record_->standbys) {
    require(standby.node == node.name || ever_held(standby, generation),
            std::format("{} is committed although {} has not acknowledged it",
                        perdure::to_string(generation), ownership::to_string(standby)));
  }
}

// Whoever is dropped from the record is not the last one that holds what is committed; that the
// other one dies, or what it holds is discarded, at the same instant is another matter.
void OwnershipWorld::check_drop(const Operation& operation) {
  const Record& after = *operation.record;
  const Node* owner = find(operation.from->node);
  const bool judged = record_->owner.node == after.owner.node && owner->committed &&
                      after.desired != model::DesiredState::kRemoved &&
                      discarded_.size() == operation.discarded;
  if (!judged) return;
  const auto holds = [&](const Life& life) {
    const Node* node = find(life.node);
    return node->up && node->life() == life &&
           std::ranges::any_of(node->holds, [&](const Generation& g) {
             return g >= owner->committed && !discarded_.contains(g);
           });
  };
  const bool drops_a_holder = std::ranges::any_of(record_->standbys, [&](const Life& standby) {
    return !std::ranges::contains(after.standbys, standby) && holds(standby);
  });
  const bool held_elsewhere =
      newest(owner->durable) >= owner->committed ||
      std::ranges::any_of(after.standbys,
                          [&](const Life& s) { return ever_held(s, *owner->committed); }) ||
      std::ranges::any_of(nodes_, [&](const Node& node) {
        const bool listed = std::ranges::contains(record_->standbys, node.name, &Life::node);
        return node.name != owner->name && !listed && holds(node.life());
      });
  require(!drops_a_holder || held_elsewhere,
          "the last one that holds what is committed is dropped");
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
