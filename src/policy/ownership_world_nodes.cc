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
    record_.reset();
    revision_ = ++store_revision_;
    note("  (store: removed)");
  } else if (applied) {
    ++tally_.swaps;
    require(operation.record->term >= record_->term, "a lower term never overwrites a higher one");
    require(operation.record->term >= highest_term_, "terms never fall");
    if (operation.record->owner.node != record_->owner.node) {
      require(operation.record->term > record_->term, "a change of owner raises the term");
      if (operation.record->owner == operation.from) ++tally_.taken_back;
    }
    if (operation.record->standbys.size() > record_->standbys.size()) ++tally_.added;
    record_ = operation.record;
    highest_term_ = record_->term;
    revision_ = ++store_revision_;
    note(std::format("  (store {}: {})", revision_, ownership::to_string(*record_)));
  }
  answer(operation, applied);
}

void OwnershipWorld::answer(const Operation& operation, bool applied) {
  Node* node = find(operation.from.node);
  if (node == nullptr || !node->up || node->life() != operation.from) return;
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
        const auto held = peer->holds.empty() ? std::nullopt : std::optional(*peer->holds.rbegin());
        tell(*node, ownership::Event(ownership::PeerUp{peer->life(), held}));
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
  const auto tell_owner = [&](const ownership::Event& event) {
    if (to.owner) tell(to, event);
  };
  if (const auto* ship = std::get_if<Ship>(&body)) {
    if (ship->term < to.term) return tell_owner(ownership::RecordChanged{});
    to.term = ship->term;
    to.holds.insert(ship->generation);
    ever_held_[to.life()].insert(ship->generation);
    send(to, from.name, ShipReply{ship->generation});
    if (to.owner && ship->generation.term == ship->term) {
      tell(to, ownership::Event(ownership::TargetCommitted{ship->term}));
    }
  } else if (const auto* reply = std::get_if<ShipReply>(&body)) {
    tell_owner(ownership::Held{from.life(), reply->generation});
  } else if (const auto* enlist = std::get_if<Enlist>(&body)) {
    if (to.owner && to.owner->status().move != MoveStep::kHandedOver) {
      tell_owner(ownership::RecordChanged{});
      return send(to, from.name, EnlistReply{"it does not know the record yet", {}});
    }
    if (enlist->term < to.term || to.refuses) {
      return send(to, from.name, EnlistReply{"its kernel is too old", {}});
    }
    to.term = enlist->term;
    to.enlistment = Enlistment{from.life(), enlist->term};
    const auto held = to.holds.empty() ? std::nullopt : std::optional(*to.holds.rbegin());
    send(to, from.name, EnlistReply{"", held});
  } else if (const auto* enlisted = std::get_if<EnlistReply>(&body)) {
    if (enlisted->refusal.empty()) {
      tell_owner(ownership::Enlisted{from.life(), enlisted->held});
    } else {
      tell_owner(ownership::EnlistRefused{from.name, enlisted->refusal});
    }
  } else if (const auto* commit = std::get_if<CommitNotice>(&body)) {
    to.committed_notice = commit->generation;
    std::erase_if(to.holds, [&](const Generation& g) {
      return g < commit->generation && to.holds.contains(commit->generation);
    });
  } else if (const auto* discard = std::get_if<DiscardNotice>(&body)) {
    for (const Generation& generation : discard->generations) to.holds.erase(generation);
  } else if (const auto* dismiss = std::get_if<Dismiss>(&body)) {
    const bool moving = to.owner && to.owner->status().move != MoveStep::kHandedOver;
    if (moving || to.taking || dismiss->term < to.term) {
      tell_owner(ownership::RecordChanged{});
      return send(to, from.name, DismissReply{"it does not know the record yet"});
    }
    to.holds.clear();
    to.enlistment.reset();
    if (to.owner) tell(to, ownership::Event(ownership::TargetCommitted{dismiss->term}));
    send(to, from.name, DismissReply{});
  } else if (const auto* dismissed = std::get_if<DismissReply>(&body)) {
    if (dismissed->refusal.empty()) {
      tell_owner(ownership::Dismissed{from.name});
    } else {
      tell_owner(ownership::DismissRefused{from.name, dismissed->refusal});
    }
  } else if (std::holds_alternative<Prepare>(body)) {
    send(to, from.name, PrepareReply{!healed_ && chance(10) ? "no memory" : ""});
  } else if (const auto* prepared = std::get_if<PrepareReply>(&body)) {
    tell_owner(ownership::MovePrepared{from.name, prepared->refusal});
  } else if (const auto* take = std::get_if<Take>(&body)) {
    if (to.owner || (take->term < to.term && !to.taking)) {
      const bool runs = to.owner && to.gate_open && to.term == take->term;
      return send(to, from.name, TakeReply{take->term, runs ? "" : "fenced"});
    }
    if (!to.taking) {
      to.taking = std::make_unique<Taking>(ContainerName::parse("web").value(), to.life(), to.term,
                                           options(), nonces());
    }
    tell(to, taking::Event(taking::Told{take->term, take->generation, take->revision}));
  } else if (const auto* taken = std::get_if<TakeReply>(&body)) {
    tell_owner(ownership::Taken{from.name, taken->term, taken->error});
  }
}

}  // namespace perdure::policy
