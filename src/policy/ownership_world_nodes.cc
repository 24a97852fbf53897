// OwnershipWorld: the store, the links, and what nodes say to each other.
#include <algorithm>
#include <format>

#include "policy/ownership_world.h"

namespace perdure::policy {

// ---- The store ----

// One of the operations under way is executed and answered, in any order; the answer may get lost.
void OwnershipWorld::store_step() {
  if (operations_.empty()) return;
  const auto at = operations_.begin() + static_cast<std::ptrdiff_t>(draw(operations_.size()));
  const Operation operation = *at;
  if (!healed_ && chance(trouble_percent_ / 2) && operation.kind != Operation::Kind::kRead) {
    // Known to have failed, says the client; it may come later all the same.
    at->answer_lost = true;
    Operation failed = operation;
    failed.failed = true;
    return answer(failed, false);
  }
  operations_.erase(at);
  execute(operation);
}

void OwnershipWorld::execute(const Operation& operation) {
  bool applied = false;
  if (operation.kind != Operation::Kind::kRead) {
    applied = record_ && revision_ == operation.expected;
  }
  if (applied && operation.kind == Operation::Kind::kRemove) {
    for (const Life& standby : record_->standbys) {
      const Node* node = find(standby.node);
      require(node->life() != standby || node->holds.empty(),
              standby.node.str() + " has let go when the record goes");
    }
    record_.reset();
    revision_ = ++store_revision_;
    note("  (store: removed)");
  } else if (applied) {
    ++tally_.swaps;
    require(operation.record->term >= record_->term, "a lower term never overwrites a higher one");
    require(operation.record->term >= highest_term_, "terms never fall");
    if (operation.record->owner.node != record_->owner.node) {
      require(operation.record->term > record_->term, "a change of owner raises the term");
      if (operation.record->owner == *operation.from) ++tally_.taken_back;
    }
    if (operation.record->standbys.size() > record_->standbys.size()) ++tally_.added;
    check_drop(operation);
    record_ = operation.record;
    highest_term_ = record_->term;
    revision_ = ++store_revision_;
    note(std::format("  (store {}: {})", revision_, ownership::to_string(*record_)));
  }
  answer(operation, applied);
}

void OwnershipWorld::answer(const Operation& operation, bool applied) {
  Node* node = find(operation.from->node);
  if (node == nullptr || !node->up || node->life() != *operation.from) return;
  if (operation.answer_lost || node->store_cut || (!healed_ && chance(trouble_percent_ / 3))) {
    ++tally_.lost_answers;
    return;
  }
  const auto say = [&](const auto& event) {
    if (operation.role == Role::kOwner && node->owner) tell(*node, ownership::Event(event));
    if (operation.role == Role::kTaker && node->taking) tell(*node, taking::Event(event));
  };
  if (operation.kind == Operation::Kind::kRead) {
    say(ownership::RecordRead{operation.request, record_, record_ ? revision_ : store_revision_});
  } else if (operation.failed) {
    say(ownership::SwapUnknown{operation.request, "the connection was lost"});
  } else if (applied) {
    say(ownership::SwapApplied{operation.request, revision_});
  } else {
    say(ownership::SwapRefused{operation.request, record_, record_ ? revision_ : store_revision_});
  }
}

// ---- Links ----

std::pair<NodeName, NodeName> OwnershipWorld::pair_of(const NodeName& one, const NodeName& other) {
  return one < other ? std::pair(one, other) : std::pair(other, one);
}

bool OwnershipWorld::linked(const Node& one, const Node& other) const {
  return one.up && other.up && !cuts_.contains(pair_of(one.name, other.name));
}

void OwnershipWorld::break_connection(Node& one, Node& other) {
  std::erase_if(messages_, [&](const Message& m) {
    return (m.from == one.name && m.to == other.name) || (m.from == other.name && m.to == one.name);
  });
  for (auto [node, peer] : {std::pair(&one, &other), std::pair(&other, &one)}) {
    if (node->sees.erase(peer->name) == 0 || !node->owner) continue;
    tell(*node, ownership::Event(ownership::PeerDown{peer->name}));
  }
}

// A pair that can be connected and is not, or the other way round.
void OwnershipWorld::connect_or_notice() {
  for (std::size_t n = 0; n < nodes_.size(); ++n) {
    for (std::size_t m = n + 1; m < nodes_.size(); ++m) {
      if (!healed_ && chance(60)) continue;
      Node& one = nodes_[n];
      Node& other = nodes_[m];
      const bool seen = one.sees.contains(other.name);
      const bool seen_back = other.sees.contains(one.name);
      if (!linked(one, other)) {
        if (seen || seen_back) break_connection(one, other);
        continue;
      }
      if (seen && seen_back) continue;
      break_connection(one, other);
      one.sees.insert(other.name);
      other.sees.insert(one.name);
      for (auto [node, peer] : {std::pair(&one, &other), std::pair(&other, &one)}) {
        if (!node->owner) continue;
        tell(*node, ownership::Event(ownership::PeerUp{peer->life(), newest(peer->holds)}));
        const auto pace = node->paces.find(peer->name);
        if (!node->owner || pace == node->paces.end() || node->holds.empty()) continue;
        if (pace->second != ownership::Pace::kNone) {
          ship(*node, peer->name, *node->holds.rbegin());
        }
      }
    }
  }
}

void OwnershipWorld::send(const Node& from, const NodeName& to, Body body) {
  if (from.sees.contains(to)) messages_.push_back({from.name, to, std::move(body)});
}

// The first one of any pair of nodes.
void OwnershipWorld::deliver_message() {
  if (messages_.empty()) return;
  auto at = messages_.begin() + static_cast<std::ptrdiff_t>(draw(messages_.size()));
  at = std::ranges::find_if(messages_, [&, from = at->from, to = at->to](const Message& m) {
    return m.from == from && m.to == to;
  });
  Node* from = find(at->from);
  Node* to = find(at->to);
  if (!linked(*from, *to)) return;
  const Message message = *at;
  messages_.erase(at);
  receive(*to, *from, message.body);
}

void OwnershipWorld::receive(Node& to, const Node& from, const Body& body) {
  std::visit([&](const auto& message) { on(to, from, message); }, body);
}

// ---- What a holder does with a message ----

// The owner's machine here has not seen yet that its move has succeeded.
bool OwnershipWorld::is_moving(const Node& node) {
  return node.owner && node.owner->status().move != MoveStep::kHandedOver;
}

void OwnershipWorld::on(Node& to, const Node& from, const Ship& ship) {
  if (ship.term < to.term) return tell(to, ownership::Event(ownership::RecordChanged{}));
  to.term = ship.term;
  to.holds.insert(ship.generation);
  ever_held_[to.life()].insert(ship.generation);
  send(to, from.name, ShipReply{ship.generation});
  if (ship.generation.term == ship.term) {
    tell(to, ownership::Event(ownership::TargetCommitted{ship.term}));
  }
}

void OwnershipWorld::on(Node& to, const Node& from, const Enlist& enlist) {
  if (is_moving(to)) {
    tell(to, ownership::Event(ownership::RecordChanged{}));
    return send(to, from.name, EnlistReply{"it does not know the record yet", {}});
  }
  if (enlist.term < to.term || to.refuses) {
    return send(to, from.name, EnlistReply{"its kernel is too old", {}});
  }
  to.term = enlist.term;
  to.enlistment = Enlistment{from.life(), enlist.term};
  send(to, from.name, EnlistReply{"", newest(to.holds)});
}

void OwnershipWorld::on(Node& to, const Node&, const CommitNotice& commit) {
  if (!to.holds.contains(commit.generation)) return;
  std::erase_if(to.holds, [&](const Generation& g) { return g < commit.generation; });
}

void OwnershipWorld::on(Node& to, const Node&, const DiscardNotice& discard) {
  for (const Generation& generation : discard.generations) to.holds.erase(generation);
}

void OwnershipWorld::on(Node& to, const Node& from, const Dismiss& dismiss) {
  if (is_moving(to) || to.taking || dismiss.term < to.term) {
    tell(to, ownership::Event(ownership::RecordChanged{}));
    return send(to, from.name, DismissReply{"it does not know the record yet"});
  }
  to.holds.clear();
  to.enlistment.reset();
  tell(to, ownership::Event(ownership::TargetCommitted{dismiss.term}));
  send(to, from.name, DismissReply{});
}

void OwnershipWorld::on(Node& to, const Node& from, const Prepare&) {
  if (to.owner) return send(to, from.name, PrepareReply{"it has not left this node yet"});
  send(to, from.name, PrepareReply{!healed_ && chance(10) ? "no memory" : ""});
}

void OwnershipWorld::on(Node& to, const Node& from, const Take& take) {
  if (to.owner || (take.term < to.term && !to.taking)) {
    const bool runs = to.owner && to.gate_open && to.term == take.term;
    return send(to, from.name, TakeReply{take.term, runs ? "" : "fenced"});
  }
  if (!to.taking) {
    to.taking = std::make_unique<Taking>(ContainerName::parse("web").value(), to.life(), to.term,
                                         options(), nonces());
  }
  tell(to, taking::Event(taking::Told{take.term, take.generation, take.revision}));
}

// ---- What the owner hears ----

void OwnershipWorld::on(Node& to, const Node& from, const ShipReply& reply) {
  tell(to, ownership::Event(ownership::Held{from.life(), reply.generation}));
}

void OwnershipWorld::on(Node& to, const Node& from, const EnlistReply& reply) {
  if (reply.refusal.empty()) {
    tell(to, ownership::Event(ownership::Enlisted{from.life(), reply.held}));
  } else {
    tell(to, ownership::Event(ownership::EnlistRefused{from.name, reply.refusal}));
  }
}

void OwnershipWorld::on(Node& to, const Node& from, const DismissReply& reply) {
  if (reply.refusal.empty()) {
    tell(to, ownership::Event(ownership::Dismissed{from.name}));
  } else {
    tell(to, ownership::Event(ownership::DismissRefused{from.name, reply.refusal}));
  }
}

void OwnershipWorld::on(Node& to, const Node& from, const PrepareReply& reply) {
  to.prepared = reply.refusal.empty();
  tell(to, ownership::Event(ownership::MovePrepared{from.name, reply.refusal}));
}

void OwnershipWorld::on(Node& to, const Node& from, const TakeReply& reply) {
  tell(to, ownership::Event(ownership::Taken{from.name, reply.term, reply.error}));
}

std::optional<Generation> OwnershipWorld::newest(const std::set<Generation>& some) {
  return some.empty() ? std::nullopt : std::optional(*some.rbegin());
}

}  // namespace perdure::policy
