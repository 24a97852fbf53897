// OwnershipWorld: what happens, and where it has to end.
#include "policy/ownership_world.h"

#include <algorithm>
#include <array>
#include <format>

namespace perdure::policy {

using std::chrono_literals::operator""h;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

namespace {
constexpr std::size_t kTraceLines = 250;
}

OwnershipWorld::OwnershipWorld(std::uint64_t seed) : random_(seed), now_(Instant{} + 1h) {
  hints_ = chance(70);
  const std::size_t count = 2 + draw(3);
  for (std::size_t n = 0; n < count; ++n) {
    nodes_.emplace_back(NodeName::parse(std::string(1, static_cast<char>('a' + n))).value());
  }
  trouble_percent_ = std::array{3U, 10U, 25U}[draw(3)];
  wanted_ = static_cast<std::uint32_t>(draw(count));
  record_ = Record{.container = ContainerName::parse("web").value(),
                   .owner = nodes_[0].life(),
                   .standbys = {},
                   .term = Term{11},
                   .spec_digest = "s",
                   .image_digest = "i",
                   .writer = nodes_[0].life()};
  revision_ = ++store_revision_;
  highest_term_ = record_->term;
}

bool OwnershipWorld::play(int steps) {
  Node& first = nodes_[0];
  first.term = record_->term;
  first.copy = Copy::kRunning;
  first.gate_open = true;
  begin_owning(first, ownership::Adopted{*record_, revision_, {}});
  tell(first, ownership::ContainerRuns{});
  for (int n = 0; n < steps && violation_.empty(); ++n) step();
  if (violation_.empty()) heal();
  if (violation_.empty()) run_to_rest();
  if (!record_) ++tally_.removed;
  return violation_.empty();
}

void OwnershipWorld::step() {
  switch (draw(12)) {
    case 0:
    case 1:
      return store_step();
    case 2:
    case 3:
    case 4:
      return deliver_message();
    case 5:
      return connect_or_notice();
    case 6:
    case 7:
      return container_step(any_node());
    case 8:
      if (chance(trouble_percent_)) return misfortune();
      return watch(any_node());
    case 9:
      if (chance(25)) return ask_something();
      return hold_decision(any_node());
    default:
      if (!fire_timers()) pass_time(1ms * static_cast<int>(draw(chance(10) ? 5000 : 300)));
      return;
  }
}

void OwnershipWorld::misfortune() {
  Node& node = any_node();
  Node& other = any_node();
  // A writer dies with a change of the owner under way, which may come all the same.
  for (const Operation& operation : operations_) {
    const bool names_another =
        operation.record && operation.record->owner.node != operation.from->node;
    Node* writer = find(operation.from->node);
    if (!names_another || !writer->up || chance(50)) continue;
    crash(*writer, false);
    return start(*writer);
  }
  switch (draw(8)) {
    case 0:
    case 1:
      if (!node.up) return start(node);
      if (chance(30)) announce_end(node);
      return crash(node, chance(20));
    case 2:
      if (&node != &other) {
        cuts_.insert(pair_of(node.name, other.name));
        note("  (cut " + node.name.str() + "-" + other.name.str() + ")");
      }
      return;
    case 3:
      cuts_.clear();
      return;
    case 4:
      node.store_cut = !node.store_cut;
      note(std::format("  ({} {} the store)", node.name.str(), node.store_cut ? "loses" : "finds"));
      return;
    case 5:
      node.refuses = !node.refuses;
      return;
    case 6:
      if (!operations_.empty()) operations_[draw(operations_.size())].answer_lost = true;
      return;
    default:
      if (!node.up) start(node);
      return;
  }
}

void OwnershipWorld::ask_something() {
  Node* owner = owner_node();
  if (owner == nullptr) return;
  switch (draw(10)) {
    case 0:
      wanted_ = static_cast<std::uint32_t>(draw(4));
      return tell(*owner, ownership::StandbysWanted{wanted_});
    case 1:
      if (chance(25)) return tell(*owner, ownership::DesiredAsked{model::DesiredState::kStopped});
      [[fallthrough]];
    case 2:
      return tell(*owner, ownership::DesiredAsked{model::DesiredState::kRunning});
    case 3:
      if (chance(8)) return tell(*owner, ownership::DesiredAsked{model::DesiredState::kRemoved});
      return;
    case 4: {
      Node& node = any_node();
      node.cordoned = !node.cordoned;
      return update_candidates();
    }
    case 5:
      return roll_back(*owner);
    case 6:
    case 7:
      return fail_over(*owner);
    default:
      return tell(*owner, ownership::MoveAsked{any_node().name});
  }
}

void OwnershipWorld::pass_time(Duration duration) {
  now_ += duration;
}

bool OwnershipWorld::fire_timers() {
  for (Node& node : nodes_) {
    if (!node.up) continue;
    for (const auto& [role, at] : node.timers) {
      if (at > now_) continue;
      const Role due = role;
      node.timers.erase(due);
      if (due == Role::kOwner) {
        tell(node, ownership::Event(ownership::TimerFired{}));
      } else {
        tell(node, taking::Event(ownership::TimerFired{}));
      }
      return true;
    }
  }
  return false;
}

// The daemon dies; with `host` all of it. The container does not need the daemon.
// A planned restart; whoever cannot be reached does not hear of it.
void OwnershipWorld::announce_end(Node& node) {
  note(std::format("  ({} says that its daemon ends)", node.name.str()));
  for (Node& other : nodes_) {
    if (&other == &node || !other.up || !linked(other, node)) continue;
    tell(other, ownership::Event(ownership::PeerEnds{node.life()}));
  }
}

void OwnershipWorld::crash(Node& node, bool host) {
  note(std::format("  ({} {})", node.name.str(), host ? "crashes" : "loses its daemon"));
  ++tally_.restarts;
  node.up = false;
  node.owner.reset();
  node.taking.reset();
  node.timers.clear();
  node.holds.clear();
  node.enlistment.reset();
  node.paces.clear();
  node.sees.clear();
  node.uncommitted.clear();
  if (node.freezing || node.restoring) node.copy = node.freezing ? Copy::kFrozen : Copy::kNone;
  node.freezing = node.restoring = node.removing = node.fails_over = false;
  std::erase_if(messages_,
                [&](const Message& m) { return m.from == node.name || m.to == node.name; });
  if (!host) return;
  node.copy = Copy::kNone;
  node.gate_open = false;
}

void OwnershipWorld::start(Node& node) {
  node.up = true;
  ++node.incarnation;
  note(std::format("  ({} starts as {})", node.name.str(), ownership::to_string(node.life())));
  if (node.owns) {
    ownership::Restarted first{
        .term = node.term, .handing_over = node.handing_over, .removed = node.removed, .stock = {}};
    first.stock.generations.assign(node.durable.begin(), node.durable.end());
    if (node.committed && node.durable.contains(*node.committed)) {
      first.stock.committed = node.committed;
    }
    if (!node.durable.empty()) first.stock.durable = *node.durable.rbegin();
    begin_owning(node, first);
  } else if (node.copy == Copy::kLocked) {
    find_unfinished(node, node.term);
  }
}

// A hint from the watch.
void OwnershipWorld::watch(Node& node) {
  if (!node.up || node.store_cut) return;
  if (hints_ && node.owner && node.owner->status().revision != revision_) {
    tell(node, ownership::Event(ownership::RecordChanged{revision_}));
  }
  if (hints_ && node.taking) tell(node, taking::Event(ownership::RecordChanged{revision_}));
  const bool unfinished = !node.owner && !node.taking && record_ &&
                          record_->owner.node == node.name && record_->owner != node.life();
  if (unfinished) find_unfinished(node, record_->term);
}

void OwnershipWorld::find_unfinished(Node& node, Term term) {
  node.taking = std::make_unique<Taking>(ContainerName::parse("web").value(), node.life(),
                                         node.term, options(), nonces());
  tell(node, taking::Event(taking::FoundUnfinished{term}));
}

void OwnershipWorld::hold_decision(Node& node) {
  if (!node.up || node.store_cut || node.owner || node.taking) return;
  const HolderDecision decision = decide_holder({.self = node.life(),
                                                 .holds = !node.holds.empty() || node.enlistment,
                                                 .term = node.term,
                                                 .enlistment = node.enlistment,
                                                 .record = record_,
                                                 .revision = store_revision_,
                                                 .highest_revision = store_revision_,
                                                 .store_known = true});
  node.term = std::max(node.term, decision.term);
  if (!decision.drop) return;
  require(!record_, "what is held is let go only when the container is gone");
  node.holds.clear();
  node.enlistment.reset();
}

// ---- The container on its owner's node ----

void OwnershipWorld::container_step(Node& node) {
  if (!node.up) return;
  if (node.freezing) {
    node.freezing = false;
    if (!healed_ && chance(20)) {
      node.copy = Copy::kRunning;
      node.gate_open = true;
      return tell(node, ownership::HandoverCaptureFailed{"in-flight connection"});
    }
    const Generation generation{node.term, Incarnation{node.incarnation}, next_number_++};
    node.holds.insert(generation);
    ever_held_[node.life()].insert(generation);
    tell(node, ownership::HandoverCaptured{generation});
    for (const auto& [to, pace] : node.paces) {
      if (pace == ownership::Pace::kEvery) ship(node, to, generation);
    }
    return;
  }
  if (node.restoring) {
    if (!healed_ && chance(70)) return;  // it takes its time
    node.restoring = false;

    if (!healed_ && chance(25)) return tell(node, taking::Event(taking::RestoreFailed{"no space"}));
    node.copy = Copy::kLocked;
    return tell(node, taking::Event(taking::Restored{}));
  }
  if (node.removing) {
    node.removing = false;
    node.removed = true;
    node.holds.clear();
    node.durable.clear();
    return tell(node, ownership::ContainerRemoved{});
  }
  if (!node.owner || node.copy != Copy::kRunning) return;
  capture(node);
}

void OwnershipWorld::capture(Node& node) {
  if (node.owner->status().record && record_ && record_->phase == model::RecordPhase::kStarting) {
    tell(node, ownership::ContainerRuns{});
  }
  if (!node.holds.empty() && chance(50) && node.durable.insert(*node.holds.rbegin()).second) {
    return tell(node, ownership::Durable{*node.holds.rbegin()});
  }
  if (!capturing_ || node.uncommitted.size() >= 2 ||
      node.owner->status().knowledge != OwnershipKnowledge::kKnown) {
    return;
  }
  const Generation generation{node.term, Incarnation{node.incarnation}, next_number_++};
  node.holds.insert(generation);
  ever_held_[node.life()].insert(generation);
  node.uncommitted.insert(generation);
  tell(node, ownership::Captured{generation});
  for (const auto& [to, pace] : node.paces) {
    if (pace != ownership::Pace::kNone) ship(node, to, generation);
  }
}

void OwnershipWorld::roll_back(Node& node) {
  if (node.uncommitted.empty() || node.copy != Copy::kRunning) return;
  auto from = node.uncommitted.begin();
  if (chance(50)) from = std::prev(node.uncommitted.end());
  discard(node, {from, node.uncommitted.end()});
}

// The newest of what is not committed.
void OwnershipWorld::discard(Node& node, const std::vector<Generation>& gone) {
  for (const Generation& generation : gone) {
    node.uncommitted.erase(generation);
    node.holds.erase(generation);
    node.durable.erase(generation);
    discarded_.insert(generation);
  }
  tell(node, ownership::GenerationsDiscarded{gone});
  for (const NodeName& to : node.sees) send(node, to, DiscardNotice{gone});
}

// Its container does not hold here: nothing of it runs, and a standby is to go on with what is committed. What is asked may be
// out of date by now.
void OwnershipWorld::fail_over(Node& node) {
  if (node.copy != Copy::kRunning || !node.committed || !node.holds.contains(*node.committed)) return;
  const std::vector<NodeName> ready = node.owner->ready_standbys();
  if (ready.empty() && !chance(10)) return;
  node.copy = Copy::kNone;
  node.gate_open = false;
  node.fails_over = true;
  if (!node.uncommitted.empty()) discard(node, {node.uncommitted.begin(), node.uncommitted.end()});
  tell(node, ownership::GoneBackTo{*node.committed, node.durable.contains(*node.committed)});
  if (!ready.empty()) ++tally_.failovers;
  tell(node, ownership::FailOverAsked{ready.empty() || chance(10) ? any_node().name : ready[draw(ready.size())], *node.committed});
}

void OwnershipWorld::update_candidates() {
  for (Node& node : nodes_) {
    if (!node.up || !node.owner) continue;
    ownership::Candidates candidates;
    for (const Node& other : nodes_) {
      if (&other == &node) continue;
      if (other.cordoned) {
        candidates.refused[other.name] = "it is cordoned";
      } else {
        candidates.order.push_back(other.name);
      }
    }
    tell(node, candidates);
  }
}

// ---- The end ----

void OwnershipWorld::heal() {
  note("  (everything is well from now on)");
  healed_ = true;
  cuts_.clear();
  for (Node& node : nodes_) {
    node.store_cut = node.refuses = node.cordoned = false;
    const bool may_stay_away = !lost_ && !node.owns && node.copy == Copy::kNone && record_ &&
                               record_->owner.node != node.name;
    if (node.up) continue;
    if (may_stay_away && chance(50)) {
      lost_ = node.name;
    } else {
      start(node);
    }
  }
  for (Operation& operation : operations_) operation.failed = operation.answer_lost = false;
  wanted_ = std::min(wanted_, static_cast<std::uint32_t>(nodes_.size() - (lost_ ? 2 : 1)));
  update_candidates();
  for (Node& node : nodes_) {
    if (node.owner) tell(node, ownership::StandbysWanted{wanted_});
  }
}

bool OwnershipWorld::quiet() const {
  return operations_.empty() && messages_.empty();
}

void OwnershipWorld::run_to_rest() {
  for (int round = 0; round < 600 && violation_.empty(); ++round) {
    capturing_ = round % 10 < 5;
    for (int n = 0; n < 400 && violation_.empty(); ++n) {
      connect_or_notice();
      while (!quiet() && violation_.empty()) {
        store_step();
        deliver_message();
      }
      if (!fire_timers() && quiet()) break;
    }
    for (Node& node : nodes_) {
      container_step(node);
      watch(node);
      hold_decision(node);
    }
    pass_time(round < 200 ? 200ms : 2s);
    if (round % 10 != 9 || !violation_.empty()) continue;
    check_rest();
    if (violation_.empty() || round == 599) return;
    violation_.clear();
  }
}

void OwnershipWorld::check_rest() {
  std::size_t owners = 0;
  for (const Node& node : nodes_) {
    const std::string name = node.name.str();
    if (node.name == lost_) continue;
    if (!record_) {
      if (node.owner && node.handing_over) continue;
      require(!node.owner && !node.taking, "nobody owns a removed container: " + name);
      require(node.holds.empty() && node.copy == Copy::kNone, "nothing is left on " + name);
      continue;
    }
    if (!node.owner) {
      require(node.copy == Copy::kNone, "no copy is left on " + name);
      continue;
    }
    ++owners;
    const auto status = node.owner->status();
    require(record_->owner == node.life(), "the record names the owner " + name);
    require(status.knowledge == OwnershipKnowledge::kKnown && status.move == MoveStep::kNone,
            "the owner knows that it is");
    require(!status.change_waits, "nothing waits");
    const bool running = record_->desired == model::DesiredState::kRunning;
    require(running == node.gate_open, "the gate is open as desired");
    require(!running || record_->phase == model::RecordPhase::kRunning, "the record says it runs");
    const bool some = !node.holds.empty();
    // One that holds what nobody else has stays, until something newer was captured.
    const bool exact =
        running ? record_->standbys.size() == wanted_ : record_->standbys.size() >= wanted_;
    require(!some || exact, "as many standbys as are wanted");
    require(!running || node.uncommitted.size() <= 1, "what was captured is committed");
  }
  require(owners == (record_ ? 1U : 0U), "exactly one node owns it");
  if (!record_) return;
  for (const Node& node : nodes_) {
    if (node.owner) continue;
    const auto listed = std::ranges::find(record_->standbys, node.name, &Life::node);
    const bool stands = listed != record_->standbys.end();
    if (node.name == lost_) {
      require(!stands || record_->desired != model::DesiredState::kRunning,
              node.name.str() + " is gone and stands by");
      continue;
    }
    require(!stands || *listed == node.life(), node.name.str() + " stands by in its present life");
    // A learner of a stopped container waits for something to be captured.
    const bool running = record_->desired == model::DesiredState::kRunning;
    require(stands || !running || node.holds.empty(),
            node.name.str() + " holds nothing that it should not");
  }
}

void OwnershipWorld::require(bool holds, const std::string& what) {
  if (!holds && violation_.empty()) violation_ = what;
}

void OwnershipWorld::note(std::string line) {
  trace_.push_back(std::move(line));
  if (trace_.size() > kTraceLines) trace_.pop_front();
}

std::string OwnershipWorld::trace() const {
  std::string text;
  for (const auto& line : trace_) text += line + "\n";
  return text;
}

OwnershipWorld::Node* OwnershipWorld::find(const NodeName& name) {
  const auto found = std::ranges::find(nodes_, name, &Node::name);
  return found == nodes_.end() ? nullptr : &*found;
}

OwnershipWorld::Node* OwnershipWorld::owner_node() {
  const auto found = std::ranges::find_if(nodes_, [](const Node& n) { return n.up && n.owner; });
  return found == nodes_.end() ? nullptr : &*found;
}

}  // namespace perdure::policy
