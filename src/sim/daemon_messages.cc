// Daemon: what other nodes ask for, and what they answer.
#include <algorithm>
#include <utility>

#include "sim/daemon.h"
#include "sim/host.h"
#include "sim/world.h"

namespace perdure::sim {

namespace own = policy::ownership;
namespace taking = policy::taking;
using std::chrono_literals::operator""ms;

namespace {

constexpr Duration kShippingRetry = 200ms;

std::optional<Generation> newest(const std::set<Generation>& some) {
  return some.empty() ? std::nullopt : std::optional(*some.rbegin());
}

}  // namespace

// ---- As a holder ----

void Daemon::on(Place& place, const Life& from, const AskHeld&) {
  send(from.node, place.container, HeldNow{newest(place.holds)});
}

void Daemon::on(Place& place, const Life& from, const HeldNow& m) {
  if (place.owner && connected(from)) peer_up(place, from, m.newest);
}

void Daemon::on(Place& place, const Life& from, const Enlist& m) {
  if (place.owner) tell(place, own::Event(own::RecordChanged{}));
  if (fenced(place, m.term)) {
    return send(from.node, place.container, EnlistReply{"fenced", true, {}});
  }
  if (place.owner || place.taking) {
    return send(from.node, place.container, EnlistReply{"it has not left this node yet", false, {}});
  }
  raise(place, m.term);
  place.enlistment = policy::Enlistment{from, m.term};
  look_at(place.container);
  // Its root file system is fetched first.
  after(world_.random.between(10ms, 200ms), [this, &place, to = from.node] {
    send(to, place.container, EnlistReply{"", false, newest(place.holds)});
  });
}

void Daemon::on(Place& place, const Life& from, const Ship& m) {
  if (place.owner && m.term > place.owner_term) tell(place, own::Event(own::RecordChanged{}));
  if (fenced(place, m.term)) {
    return send(from.node, place.container, ShipReply{m.generation, "fenced", true});
  }
  world_.invariants.held(life_, place.container, {m.generation, from, m.term}, place.term);
  raise(place, m.term);
  place.holds.insert(m.generation);
  // What is acknowledged counts for the takeover that is under way; afterwards nothing of the former owner's is: its term is lower.
  if (place.taking) tell(place, taking::Event(taking::Held{m.generation}));
  send(from.node, place.container, ShipReply{m.generation, "", false});
  if (m.generation.term == m.term) {
    tell(place, own::Event(own::TargetCommitted{m.term}));
  }
}

// The newest committed one and the one before it stay, and whatever is newer.
void Daemon::on(Place& place, const Life&, const CommitNotice& m) {
  if (fenced(place, m.term)) return;
  raise(place, m.term);
  if (!m.generation || place.owner || !place.holds.contains(*m.generation)) return;
  place.committed = std::max(place.committed, m.generation);
  auto first = place.holds.find(*m.generation);
  if (first != place.holds.begin()) --first;
  place.holds.erase(place.holds.begin(), first);
}

void Daemon::on(Place& place, const Life& from, const Dismiss& m) {
  if (fenced(place, m.term)) {
    return send(from.node, place.container, DismissReply{"fenced", true});
  }
  if (place.owner || place.taking) {
    tell(place, own::Event(own::TargetCommitted{m.term}));
    tell(place, own::Event(own::RecordChanged{}));
    return send(from.node, place.container, DismissReply{"it is on this node", false});
  }
  raise(place, m.term);
  world_.invariants.let_go(life_, place.container);
  place.holds.clear();
  place.committed.reset();
  place.enlistment.reset();
  look_at(place.container);
  send(from.node, place.container, DismissReply{"", false});
}

void Daemon::on(Place& place, const Life& from, const Prepare&) {
  after(world_.random.between(5ms, 100ms), [this, &place, to = from.node] {
    const bool can = !place.owner && !place.taking && !place.holds.empty();
    send(to, place.container, PrepareReply{can ? "" : "nothing of it is held here"});
  });
}

void Daemon::on(Place& place, const Life& from, const Take& m) {
  if (place.owner || (fenced(place, m.term) && !place.taking)) {
    const bool runs = place.owner && place.owner_term == m.term;
    return send(from.node, place.container, TakeReply{m.term, runs ? "" : "fenced"});
  }
  const taking::Told told{m.term, m.generation, m.revision};
  if (place.taking) return tell(place, taking::Event(told));
  begin_taking(place, told);
}

// ---- As an owner ----

void Daemon::on(Place& place, const Life& from, const EnlistReply& m) {
  if (m.fenced) return tell(place, own::Event(own::RecordChanged{}));
  if (!m.refusal.empty()) {
    return tell(place, own::Event(own::EnlistRefused{from.node, m.refusal}));
  }
  place.shipping[from.node].held = m.held;
  tell(place, own::Event(own::Enlisted{from, m.held}));
}

void Daemon::on(Place& place, const Life& from, const ShipReply& m) {
  if (!place.owner) return;
  Shipping& shipping = place.shipping[from.node];
  if (shipping.under_way == m.generation) shipping.under_way.reset();
  if (m.refusal.empty()) {
    shipping.held = std::max(shipping.held, std::optional(m.generation));
    const bool counts = connected(from) || world_.options.sabotage == Sabotage::kIncarnation;
    if (counts) tell(place, own::Event(own::Held{from, m.generation}));
    return ship_next(place, from.node);
  }
  if (m.fenced) tell(place, own::Event(own::RecordChanged{}));
  after(kShippingRetry, [this, &place, to = from.node] { ship_next(place, to); });
}

void Daemon::on(Place& place, const Life& from, const DismissReply& m) {
  if (m.fenced) return tell(place, own::Event(own::RecordChanged{}));
  if (!m.refusal.empty()) {
    return tell(place, own::Event(own::DismissRefused{from.node, m.refusal}));
  }
  if (place.owner) place.shipping[from.node].held.reset();
  tell(place, own::Event(own::Dismissed{from.node}));
}

void Daemon::on(Place& place, const Life& from, const PrepareReply& m) {
  tell(place, own::Event(own::MovePrepared{from.node, m.refusal}));
}

void Daemon::on(Place& place, const Life& from, const TakeReply& m) {
  tell(place, own::Event(own::Taken{from.node, m.term, m.error}));
}

}  // namespace perdure::sim
