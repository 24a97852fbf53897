// Daemon: what policy::Taking wants done.
#include <algorithm>
#include <format>
#include <utility>

#include "sim/daemon.h"
#include "sim/host.h"
#include "sim/world.h"

namespace perdure::sim {

namespace lease = policy::lease;
namespace own = policy::ownership;
namespace taking = policy::taking;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

namespace {
// Of an operator who has been told.
constexpr Duration kUntilAWord = 3s;
}  // namespace

void Daemon::begin_taking(Place& place, const taking::Event& first) {
  ++place.taking_number;
  place.takes_over = std::holds_alternative<taking::OwnerSilent>(first);
  place.restore_attempts = 0;
  place.taking = std::make_unique<policy::Taking>(
      container_name(place.container), life_, place.term,
      world_.ownership_options(place.container), world_.nonces());
  tell(place, first);
}

void Daemon::tell(Place& place, const taking::Event& event) {
  if (!place.taking) return;
  world_.note(place.container, [&] { return name() + " taking: " + taking::to_string(event); });
  std::vector<Task> tasks;
  for (taking::Effect& effect : place.taking->handle(event, now())) {
    world_.note(place.container, [&] {
      return std::format("{}   -> {}", name(), taking::to_string(effect, now()));
    });
    tasks.emplace_back([this, &place, number = place.taking_number, effect = std::move(effect)] {
      if (place.taking_number == number) perform(place, effect);
    });
  }
  if (place.taking->ended()) {
    tasks.emplace_back([this, &place, number = place.taking_number] {
      if (place.taking_number == number && !place.restoring) taking_ended(place);
    });
  }
  if (tasks.empty()) return;
  queue_effects(std::move(tasks));
  pump();
}

void Daemon::taking_ended(Place& place) {
  if (!place.taking || !place.taking->ended()) return;
  place.taking.reset();
  if (std::exchange(place.silence_passed_over, false) && !place.owner) {
    granter_.resume(container_name(place.container), now());
    arm_lease();
  }
  look_at(place.container);
}

void Daemon::perform(Place& place, const taking::Effect& effect) {
  const std::uint64_t number = place.taking_number;
  own::Request request = 0;
  const auto answer = [this, &place, number, &request] {
    return [this, &place, number, asked = request](const StoreAnswer& it) {
      taking_answered(place, number, asked, it);
    };
  };
  if (const auto* read = std::get_if<own::ReadRecord>(&effect)) {
    request = read->request;
    world_.store.submit({.from = host_.index(),
                         .life = life_,
                         .container = container_name(place.container),
                         .answer = answer()});
  } else if (const auto* swap = std::get_if<own::Swap>(&effect)) {
    request = swap->request;
    world_.store.submit({.from = host_.index(),
                         .life = life_,
                         .container = container_name(place.container),
                         .record = swap->record,
                         .expected = swap->expected,
                         .answer = answer()});
  } else if (const auto* timer = std::get_if<own::SetTimer>(&effect)) {
    at(timer->at, [this, &place, number, id = ++place.taking_timer] {
      if (place.taking_number != number || place.taking_timer != id) return;
      tell(place, taking::Event(own::TimerFired{}));
    });
  } else if (const auto* raised = std::get_if<own::RaiseTerm>(&effect)) {
    raise(place, raised->term);
  } else {
    std::visit(
        [&](const auto& e) {
          if constexpr (requires { on(place, e); }) on(place, e);
        },
        effect);
  }
}

void Daemon::taking_answered(Place& place, std::uint64_t taking, own::Request request,
                             const StoreAnswer& answer) {
  if (place.taking_number != taking) return;
  switch (answer.kind) {
    case StoreAnswer::Kind::kRead:
      return tell(place, taking::Event(own::RecordRead{request, answer.stored->record,
                                                       answer.stored->revision}));
    case StoreAnswer::Kind::kApplied:
      return tell(place, taking::Event(own::SwapApplied{request, answer.stored->revision}));
    case StoreAnswer::Kind::kRefused:
      return tell(place, taking::Event(own::SwapRefused{request, answer.stored->record,
                                                        answer.stored->revision}));
    case StoreAnswer::Kind::kFailed:
      return tell(place, taking::Event(own::SwapUnknown{request, "the connection was lost"}));
  }
}

// ---- The copy ----

void Daemon::on(Place& place, const taking::RestoreCopy& e) {
  if (place.takes_over) {
    const auto attempt = place.restore_attempts++ == 0 ? Invariants::Attempt::kFirst
                                                       : Invariants::Attempt::kLater;
    world_.invariants.takes_over(host_.index(), place.container, e.generation, attempt);
  }
  place.restoring = true;
  after(world_.random.between(world_.plan.restore_time / 2, world_.plan.restore_time),
        [this, &place, number = place.taking_number, generation = e.generation] {
          if (place.taking_number == number) restore_ended(place, generation);
        });
}

void Daemon::restore_ended(Place& place, const Generation& generation) {
  place.restoring = false;
  if (world_.random.permille(world_.weather.restore_fails_permille) ||
      !place.holds.contains(generation)) {
    tell(place, taking::Event(taking::RestoreFailed{"it does not restore"}));
  } else {
    place.restored = generation;
    if (place.restore_attempts > 1) world_.invariants.went_back(place.container, generation);
    host_.set_copy(place.container, Copy{.frozen = false, .locked = true});
    tell(place, taking::Event(taking::Restored{}));
  }
  taking_ended(place);
}

void Daemon::on(Place& place, const taking::KillCopy&) {
  const auto& copy = host_.kernel(place.container).copy;
  if (copy && !copy->locked) {
    world_.invariants.broken(place.container, "a copy that is killed here has never spoken", name());
  }
  host_.set_copy(place.container, std::nullopt);
}

// ---- Who owns it ----

void Daemon::on(Place& place, const taking::ResumeGrants&) {
  granter_.resume(container_name(place.container), now());
  arm_lease();
}

// What it takes over is on no disk while it restores, and what it has restored is nowhere else for a moment more.
void Daemon::may_die_soon() {
  if (!world_.random.permille(world_.weather.taker_dies_permille)) return;
  ++world_.tally.takers_lost;
  const bool whole_host = world_.random.percent(40);
  world_.queue.after(world_.random.between({}, world_.plan.restore_time + 50ms), [&host = host_, alive = alive_, whole_host] {
    if (!*alive) return;
    whole_host ? host.crash() : host.crash_daemon();
  });
  world_.queue.after(world_.random.between(300ms, 2s), [&host = host_, whole_host] { whole_host ? host.boot() : host.start_daemon(); });
}

void Daemon::on(Place& place, const taking::Seized& e) {
  ++world_.tally.takeovers;
  may_die_soon();
  watch(place, std::nullopt);
  place.lease_term = e.record.term;
  perform(holder_.need(container_name(place.container),
                       {.term = e.record.term, .required = e.record.standbys, .asked = {}}, now()));
  arm_lease();
}

void Daemon::on(Place& place, const taking::Claimed& e) {
  may_die_soon();
  raise(place, e.record.term);
  place.owner_term = e.record.term;
  place.next_number = std::max(place.next_number, place.restored.number + 1);
  begin_owning(place, own::Adopted{.record = e.record,
                                   .revision = e.revision,
                                   .stock = {.generations = {place.restored},
                                             .committed = {},
                                             .durable = {}}});
  // What was held beside it belongs to a life that is over.
  std::erase_if(place.holds, [&](const Generation& g) { return g != place.restored; });
  thaw(place);
}

void Daemon::on(Place& place, const taking::ClaimedEmpty& e) {
  raise(place, e.record.term);
  place.owner_term = e.record.term;
  place.holds.clear();
  begin_owning(place, own::Adopted{.record = e.record, .revision = e.revision, .stock = {}});
  recover(place);
}

// An earlier life of this node has lost it. A standby takes it over by itself, or the source of a move takes it back; where there is
// none any more, an operator has it brought back from whatever there is.
void Daemon::await_word(Place& place) {
  after(kUntilAWord, [this, &place] {
    const StoredRecord stored = world_.store.truth(place.container);
    if (place.owner || stored.record.owner.node != life_.node) return;
    if (place.taking) return await_word(place);
    if (stored.record.owner == life_) return brought_back(place, stored);
    const bool stood_by = std::ranges::any_of(stored.record.standbys, [&](const Life& standby) {
      const Daemon* daemon = world_.hosts[index_of(standby.node)]->daemon();
      return daemon != nullptr && daemon->life() == standby;
    });
    if (stood_by) return await_word(place);
    model::OwnershipRecord record = stored.record;
    record.owner = record.writer = life_;
    record.standbys.clear();
    record.term = Term{record.term.value + 1};
    record.phase = model::RecordPhase::kStarting;
    record.nonce = world_.nonces()();
    world_.store.submit({.from = host_.index(),
                         .life = life_,
                         .container = container_name(place.container),
                         .record = record,
                         .expected = stored.revision,
                         .answer = [](const StoreAnswer&) {}});
    await_word(place);  // what has become of it; answers get lost
  });
}

void Daemon::brought_back(Place& place, const StoredRecord& stored) {
  ++world_.tally.words;
  raise(place, stored.record.term);
  place.owner_term = stored.record.term;
  begin_owning(place, own::Adopted{.record = stored.record, .revision = stored.revision, .stock = {}});
  recover(place);
}

void Daemon::on(Place& place, const taking::Answer& e) {
  for (const auto& [node, peer] : peers_) send(node, place.container, TakeReply{e.term, e.error});
}

bool Daemon::fenced(const Place& place, Term term) const {
  return term < place.term && world_.options.sabotage != Sabotage::kTermCheck;
}

void Daemon::raise(Place& place, Term term) { place.term = std::max(place.term, term); }

}  // namespace perdure::sim
