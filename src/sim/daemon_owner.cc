// Daemon: what policy::Ownership wants done.
#include <algorithm>
#include <format>
#include <utility>

#include "sim/daemon.h"
#include "sim/host.h"
#include "sim/world.h"

namespace perdure::sim {

namespace lease = policy::lease;
namespace own = policy::ownership;

// ---- Lives of the machine ----

void Daemon::found(ContainerIndex container, const StoredRecord& stored) {
  Place& here = place(container);
  here.term = here.owner_term = stored.record.term;
  begin_owning(here, own::Adopted{stored.record, stored.revision, {}});
  host_.set_copy(container, Copy{.frozen = false, .locked = false});
  tell(here, own::Event(own::ContainerRuns{}));
}

void Daemon::begin_owning(Place& place, const own::Event& first) {
  OnDisk& disk = host_.disk()[place.container];
  disk.owns = true;
  disk.term = std::max(disk.term, place.owner_term);
  place.enlistment.reset();
  place.shipping.clear();
  place.uncommitted.clear();
  place.suspended = place.freezing = false;
  place.recovery.reset();
  watch(place, std::nullopt);
  ++place.owner_number;
  place.owner = std::make_unique<policy::Ownership>(
      policy::OwnershipIdentity{.container = container_name(place.container), .self = life_},
      world_.ownership_options(place.container), world_.nonces());
  tell(place, first);
  for (const auto& [node, peer] : peers_) {
    if (peer.reported) send(node, place.container, AskHeld{});
  }
  tell_candidates(place);
  schedule_capture(place);
}

// A container that an earlier life owned.
void Daemon::restart(Place& place) {
  const OnDisk& disk = host_.disk()[place.container];
  own::Restarted first{.term = std::max(disk.term, place.term),
                       .handing_over = disk.handing_over,
                       .removed = false,
                       .stock = {}};
  first.stock.generations.assign(disk.durable.begin(), disk.durable.end());
  if (disk.committed && disk.durable.contains(*disk.committed)) {
    first.stock.committed = disk.committed;
  }
  if (!disk.durable.empty()) first.stock.durable = *disk.durable.rbegin();
  for (const Generation& generation : disk.durable) {
    place.next_number = std::max(place.next_number, generation.number + 1);
  }
  place.term = place.owner_term = first.term;
  begin_owning(place, first);
}

void Daemon::owner_ended(Place& place) {
  place.owner.reset();
  place.recovery.reset();
  place.shipping.clear();
  place.uncommitted.clear();
  OnDisk& disk = host_.disk()[place.container];
  disk.owns = false;
  disk.handing_over.reset();
  look_at(place.container);
}

void Daemon::tell(Place& place, const own::Event& event) {
  if (!place.owner) return;
  const std::string event_text = world_.trace.on() ? own::to_string(event) : std::string();
  world_.note(place.container, [&] { return name() + " owner: " + event_text; });
  auto effects = place.owner->handle(event, now());
  if (!effects.empty()) {
    const auto record = place.owner->status().record;
    if (record && record->owner.node == life_.node) place.owner_term = record->term;
  }
  std::vector<Task> tasks;
  // The record may be known to name another one by now: that guard is off until then only.
  if (world_.options.sabotage == Sabotage::kLearner && place.needs &&
      (std::holds_alternative<own::SwapApplied>(event) ||
       std::holds_alternative<own::RecordRead>(event))) {
    tasks.emplace_back([this, &place] {
      if (place.owner && place.needs) on(place, own::NeedGrants(*place.needs));
    });
  }
  for (own::Effect& effect : effects) {
    world_.note(place.container, [&] {
      return std::format("{}   -> {}", name(), own::to_string(effect, now()));
    });
    tasks.emplace_back([this, &place, number = place.owner_number, effect = std::move(effect)] {
      if (place.owner_number == number) {
        std::visit([&](const auto& e) { on(place, e); }, effect);
      }
    });
  }
  if (place.owner->ended()) {
    tasks.emplace_back([this, &place, number = place.owner_number] {
      if (place.owner_number == number && place.owner) owner_ended(place);
    });
  }
  if (tasks.empty()) return;
  queue_effects(std::move(tasks));
  pump();
}

// ---- The store ----

void Daemon::on(Place& place, const own::ReadRecord& e) {
  world_.store.submit({.from = host_.index(),
                       .life = life_,
                       .container = container_name(place.container),
                       .answer = [this, &place, number = place.owner_number,
                                  request = e.request](const StoreAnswer& answer) {
                         if (place.owner_number != number) return;
                         if (!answer.stored) {
                           return tell(place, own::Event(own::ReadFailed{request, "no leader"}));
                         }
                         tell(place, own::Event(own::RecordRead{request, answer.stored->record,
                                                                answer.stored->revision}));
                       }});
}

void Daemon::on(Place& place, const own::Swap& e) {
  world_.store.submit({.from = host_.index(),
                       .life = life_,
                       .container = container_name(place.container),
                       .record = e.record,
                       .expected = e.expected,
                       .answer = [this, &place, number = place.owner_number,
                                  request = e.request](const StoreAnswer& answer) {
                         swap_answered(place, number, request, answer);
                       }});
}

void Daemon::swap_answered(Place& place, std::uint64_t owner, own::Request request,
                           const StoreAnswer& answer) {
  if (place.owner_number != owner) return;
  switch (answer.kind) {
    case StoreAnswer::Kind::kApplied:
      return tell(place, own::Event(own::SwapApplied{request, answer.stored->revision}));
    case StoreAnswer::Kind::kRefused:
      return tell(place, own::Event(own::SwapRefused{request, answer.stored->record,
                                                     answer.stored->revision}));
    default:
      return tell(place, own::Event(own::SwapUnknown{request, "the connection was lost"}));
  }
}

// ---- Grants ----

void Daemon::on(Place& place, const own::NeedGrants& e) {
  place.needs = e;
  lease::Needs needs{.term = e.term, .required = e.required, .asked = e.asked};
  if (e.inherits) needs.inherited = host_.kernel(place.container).deadline;
  if (world_.options.sabotage == Sabotage::kLearner) {
    const auto status = place.owner->status();
    std::erase_if(needs.required, [&](const Life& life) {
      return !status.record || !std::ranges::contains(status.record->standbys, life);
    });
    for (const Life& life : e.asked) {
      post([this, &place, life] { tell(place, own::Event(own::GrantsFlow{life})); });
    }
  }
  place.lease_term = e.term;
  perform(holder_.need(container_name(place.container), needs, now()));
  arm_lease();
}

void Daemon::on(Place& place, const own::RenewNothing&) {
  place.needs.reset();
  holder_.forget(container_name(place.container));
}

// ---- Standbys ----

void Daemon::on(Place& place, const own::Enlist& e) {
  send(e.node, place.container, Enlist{place.owner_term});
}

void Daemon::on(Place& place, const own::SetPace& e) {
  place.shipping[e.node].pace = e.pace;
  if (e.pace != own::Pace::kNone) ship_next(place, e.node);
}

void Daemon::on(Place& place, const own::Dismiss& e) {
  send(e.node, place.container, Dismiss{place.owner_term});
}

void Daemon::on(Place& place, const own::Commit& e) {
  ++world_.tally.commits;
  world_.invariants.committed(host_.index(), place.container, e.generation);
  host_.disk()[place.container].committed = e.generation;
  place.committed = e.generation;
  place.uncommitted.erase(e.generation);
  std::erase_if(place.holds, [&](const Generation& g) { return g < e.generation; });
  for (const auto& [node, shipping] : place.shipping) {
    if (shipping.pace == own::Pace::kNone) continue;
    send(node, place.container, CommitNotice{place.owner_term, e.generation});
  }
}

void Daemon::on(Place& place, const own::SetTimer& e) {
  at(e.at, [this, &place, number = place.owner_number, timer = ++place.owner_timer] {
    if (place.owner_number != number || place.owner_timer != timer) return;
    tell(place, own::Event(own::TimerFired{}));
  });
}

void Daemon::on(Place& place, const own::RaiseTerm& e) {
  if (host_.disk_full) return;
  OnDisk& disk = host_.disk()[place.container];
  disk.term = std::max(disk.term, e.term);
  block(host_.disk_latency);
}

void Daemon::on(Place& place, const own::Remember& e) {
  if (host_.disk_full) {
    if (e.handing_over) tell(place, own::Event(own::NotRemembered{"the disk is full"}));
    return;
  }
  host_.disk()[place.container].handing_over = e.handing_over;
  block(host_.disk_latency);
}

void Daemon::on(Place& place, const own::TellTerm& e) {
  send(e.node, place.container, CommitNotice{e.term, {}});
}

// ---- Who owns it ----

void Daemon::on(Place& place, const own::Suspend&) {
  perform(holder_.shut(container_name(place.container)));
  place.suspended = true;
  place.recovery.reset();
  auto& copy = host_.kernel(place.container).copy;
  if (copy) host_.set_copy(place.container, Copy{.frozen = true, .locked = copy->locked});
}

void Daemon::on(Place& place, const own::OwnershipLost&) {
  perform(holder_.shut(container_name(place.container)));
  if (!host_.kernel(place.container).copy) return;
  world_.invariants.killed(host_.index(), place.container, place.owner_term);
  host_.set_copy(place.container, std::nullopt);
}

void Daemon::on(Place& place, const own::OwnershipUnknown& e) {
  // A source whose daemon died in the middle of a move cannot know whether its target owned it.
  if (world_.plan.moves) return;
  world_.invariants.broken(place.container, "this store never goes back, so nobody loses sight",
                           std::format("{}: {}", name(), e.reason));
}

void Daemon::on(Place& place, const own::OwnershipKnown&) {
  if (!host_.disk()[place.container].handing_over) thaw(place);
}

void Daemon::on(Place& place, const own::HandOverFailed&) { thaw(place); }

// ---- Moves ----

void Daemon::move(ContainerIndex container, NodeIndex target) {
  Place* here = find(container);
  if (here == nullptr || !here->owner) return;
  tell(*here, own::Event(own::MoveAsked{node_name(target)}));
}

// The container has ended, and does not hold here. Nothing of it that is younger is on its way.
void Daemon::fail_over(ContainerIndex container) {
  Place* here = find(container);
  if (here == nullptr || !here->owner || here->suspended || here->freezing || here->recovery) return;
  const auto& copy = host_.kernel(container).copy;
  const bool settled = here->uncommitted.empty() && here->committed && here->holds.contains(*here->committed);
  if (!copy || copy->frozen || copy->locked || !settled) return;
  const std::vector<NodeName> ready = here->owner->ready_standbys();
  if (ready.empty()) return;
  ++world_.tally.failovers;
  host_.set_copy(container, std::nullopt);
  const Generation generation = *here->committed;
  tell(*here, own::Event(own::GoneBackTo{generation, host_.disk()[container].durable.contains(generation)}));
  tell(*here, own::Event(own::FailOverAsked{ready.front(), generation}));
}

void Daemon::on(Place& place, const own::AskPrepare& e) {
  send(e.target, place.container, Prepare{place.owner_term});
}

void Daemon::on(Place& place, const own::BeginHandover&) {
  if (!host_.kernel(place.container).copy) {
    post([this, &place] {
      tell(place, own::Event(own::HandoverCaptureFailed{"it does not run"}));
    });
    return;
  }
  host_.set_copy(place.container, Copy{.frozen = true, .locked = false});
  place.freezing = true;
  after(world_.random.between(std::chrono::milliseconds(5), std::chrono::milliseconds(60)),
        [this, &place, number = place.owner_number] {
          if (place.owner_number != number || !std::exchange(place.freezing, false)) return;
          const Generation generation{place.owner_term, life_.incarnation, place.next_number++};
          place.holds.insert(generation);
          world_.invariants.made(life_, place.container, generation);
          tell(place, own::Event(own::HandoverCaptured{generation}));
          for (const auto& [node, shipping] : place.shipping) ship_next(place, node);
        });
}

void Daemon::on(Place& place, const own::TellTake& e) {
  send(e.target.node, place.container, Take{e.term, e.generation, e.revision});
}

// From here on this node is a standby of the target, beside its frozen copy.
void Daemon::on(Place& place, const own::HandedOver&) { look_at(place.container); }

void Daemon::on(Place& place, const own::EndCopy&) {
  ++world_.tally.moves;
  if (!host_.kernel(place.container).copy) return;
  world_.invariants.killed(host_.index(), place.container, place.owner_term);
  host_.set_copy(place.container, std::nullopt);
}

}  // namespace perdure::sim
