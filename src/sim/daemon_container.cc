// Daemon: the container on its owner's node: captured, shipped, brought back.
#include <algorithm>
#include <format>
#include <utility>

#include "sim/daemon.h"
#include "sim/host.h"
#include "sim/world.h"

namespace perdure::sim {

namespace own = policy::ownership;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

namespace {
constexpr std::size_t kUncommitted = 2;  // as many as ContainerPolicy leaves
constexpr Duration kRecoveryRound = 300ms;
}  // namespace

// ---- Captures ----

void Daemon::schedule_capture(Place& place) {
  const Duration interval = world_.plan.capture_interval;
  after(world_.random.between(interval / 2, interval + interval / 2),
        [this, &place, number = place.owner_number] {
          if (place.owner_number != number || !place.owner) return;
          capture(place);
          schedule_capture(place);
        });
}

void Daemon::capture(Place& place) {
  const auto& copy = host_.kernel(place.container).copy;
  const bool may = copy && !copy->frozen && !copy->locked && !place.suspended && !place.freezing &&
                   place.uncommitted.size() < kUncommitted &&
                   place.owner->status().knowledge == policy::OwnershipKnowledge::kKnown;
  if (!may) return;
  const Generation generation{place.owner_term, life_.incarnation, place.next_number++};
  place.uncommitted.insert(generation);
  // Compared and encoded before anybody is told.
  after(world_.random.between(1ms, 15ms), [this, &place, number = place.owner_number, generation] {
    if (place.owner_number == number && place.owner) captured(place, generation);
  });
}

void Daemon::captured(Place& place, const Generation& generation) {
  place.holds.insert(generation);
  world_.invariants.made(life_, place.container, generation);
  tell(place, own::Event(own::Captured{generation}));
  std::vector<NodeName> to;
  for (const auto& [node, shipping] : place.shipping) to.push_back(node);
  for (const NodeName& node : to) ship_next(place, node);
  if (world_.random.percent(50)) write_durable(place);
}

void Daemon::write_durable(Place& place) {
  if (place.holds.empty()) return;
  const Generation generation = *place.holds.rbegin();
  after(world_.random.between(2ms, 20ms) + host_.disk_latency,
        [this, &place, number = place.owner_number, generation] {
          if (place.owner_number != number || !place.owner || host_.disk_full) return;
          auto& durable = host_.disk()[place.container].durable;
          durable.insert(generation);
          if (durable.size() > 2) durable.erase(durable.begin());
          tell(place, own::Event(own::Durable{generation}));
        });
}

// ---- Shipping: one generation at a time to each node ----

void Daemon::ship_next(Place& place, const NodeName& to) {
  const auto found = place.shipping.find(to);
  if (!place.owner || found == place.shipping.end() || !peers_.contains(to)) return;
  Shipping& shipping = found->second;
  if (shipping.pace == own::Pace::kNone || shipping.under_way || place.holds.empty()) return;
  std::optional<Generation> next;
  if (shipping.pace == own::Pace::kNewest) {
    next = *place.holds.rbegin();
  } else if (shipping.held) {
    const auto above = place.holds.upper_bound(*shipping.held);
    if (above != place.holds.end()) next = *above;
  } else {
    next = place.committed && place.holds.contains(*place.committed) ? *place.committed
                                                                      : *place.holds.rbegin();
  }
  if (!next || (shipping.held && *next <= *shipping.held)) return;
  shipping.under_way = next;
  send(to, place.container, Ship{place.owner_term, *next, place.committed},
       world_.random.between(1ms, 15ms));
}

// ---- Brought back ----

// This life owns it and it may run: what is frozen is thawed, what is not there is looked for.
void Daemon::thaw(Place& place) {
  place.suspended = place.freezing = false;
  if (!host_.kernel(place.container).copy) return recover(place);
  host_.set_copy(place.container, Copy{.frozen = false, .locked = false});
  tell(place, own::Event(own::ContainerRuns{}));
}

void Daemon::recover(Place& place) {
  if (place.recovery) return;
  place.recovery = Recovery{.restoring = false, .begun = now()};
  recovery_round(place);
}

// Every standby of the record is asked until it has answered or does not stand by any more; what
// others have, a suspended copy too, counts beside it.
void Daemon::recovery_round(Place& place) {
  if (!place.recovery || place.recovery->restoring) return;
  Recovery& recovery = *place.recovery;
  const auto status = place.owner->status();
  const bool known = status.knowledge == policy::OwnershipKnowledge::kKnown && status.record &&
                     status.record->owner == life_;
  const bool all_answered =
      known && std::ranges::all_of(status.record->standbys, [&](const Life& standby) {
        const auto peer = peers_.find(standby.node);
        const bool dead = peer != peers_.end() && peer->second.life != standby;
        return dead || recovery.answered.contains(standby.node);
      });
  constexpr Duration kOthers = 4s;  // for nodes that are no standbys, but may have something
  const bool waited = now() - recovery.begun >= kOthers;
  auto newest = recovery.newest;
  const auto& durable = host_.disk()[place.container].durable;
  if (!durable.empty()) newest = std::max(newest, std::optional(*durable.rbegin()));
  if (!place.holds.empty()) newest = std::max(newest, std::optional(*place.holds.rbegin()));
  const bool somebody_stands_by = known && !status.record->standbys.empty();
  if (known && all_answered && (waited || (newest && somebody_stands_by))) {
    recovery.restoring = true;
    world_.invariants.goes_back(host_.index(), place.container, newest);
    after(world_.random.between(world_.plan.restore_time / 2, world_.plan.restore_time),
          [this, &place, number = place.owner_number, newest] {
            if (place.owner_number != number || !place.owner || !place.recovery) return;
            place.recovery->restoring = false;
            if (world_.random.permille(world_.weather.restore_fails_permille)) {
              return recovery_round(place);
            }
            world_.invariants.recovered(place.container, newest);
            if (newest) return recovered(place, *newest);
            ++world_.tally.cold_starts;
            place.recovery.reset();
            host_.set_copy(place.container, Copy{.frozen = false, .locked = false});
            tell(place, own::Event(own::ContainerRuns{}));
          });
  } else if (known) {
    for (const auto& [node, peer] : peers_) send(node, place.container, Fetch{place.owner_term});
  }
  after(kRecoveryRound, [this, &place, number = place.owner_number] {
    if (place.owner_number == number && place.owner) recovery_round(place);
  });
}

void Daemon::recovered(Place& place, const Generation& generation) {
  ++world_.tally.recoveries;
  place.recovery.reset();
  place.holds.insert(generation);
  world_.invariants.made(life_, place.container, generation);
  place.next_number = std::max(place.next_number, generation.number + 1);
  host_.set_copy(place.container, Copy{.frozen = false, .locked = false});
  const bool durable = host_.disk()[place.container].durable.contains(generation);
  tell(place, own::Event(own::GoneBackTo{generation, durable}));
  tell(place, own::Event(own::ContainerRuns{}));
}

void Daemon::on(Place& place, const Life& from, const Fetched& m) {
  if (!place.recovery) return;
  place.recovery->answered.insert(from.node);
  if (m.generation) {
    place.recovery->newest = std::max(place.recovery->newest, m.generation);
  }
}

// What is held here, or can be taken from a copy that is frozen here.
void Daemon::on(Place& place, const Life& from, const Fetch& m) {
  if (fenced(place, m.term)) return;
  if (place.owner && place.suspended && host_.kernel(place.container).copy) {
    const Generation generation{place.owner_term, life_.incarnation, place.next_number++};
    place.holds.insert(generation);
    world_.invariants.made(life_, place.container, generation);
  }
  std::optional<Generation> newest;
  if (!place.holds.empty()) newest = *place.holds.rbegin();
  send(from.node, place.container, Fetched{newest});
}

}  // namespace perdure::sim
