// Of the takeovers that a node has to do at once: their beginning together, and whose restore is next (policy/restore_turns.h).
#include <algorithm>
#include <format>
#include <utility>

#include "base/log.h"
#include "node/cluster/standby_held.h"

namespace perdure::node {

using policy::PendingRestore;

// A node that dies falls silent for all its containers in one tick of the heartbeats: what is told of one is told of the others before
// the loop comes back, and the most critical is swapped first.
void StandbyService::owner_silent(const policy::lease::OwnerSilent& silent) {
  silent_.push_back(silent);
  if (silent_.size() > 1) return;
  environment_.loop.post([this, token = lifetime_.token()] {
    if (token.alive()) begin_takeovers();
  });
}

void StandbyService::begin_takeovers() {
  const auto order = [this](const policy::lease::OwnerSilent& silent) {
    const Held* held = find(silent.container);
    return held != nullptr && held->spec ? held->spec->effective_outage_tolerance() : Duration::max();
  };
  std::vector<policy::lease::OwnerSilent> all = std::exchange(silent_, {});
  std::ranges::stable_sort(all, {}, order);
  for (const policy::lease::OwnerSilent& silent : all) begin_takeover(silent);
}

void StandbyService::begin_takeover(const policy::lease::OwnerSilent& silent) {
  const ContainerName& name = silent.container;
  // It was told on another thread: the charge may be another one by now, and grants may be given again.
  if (!environment_.leases.withholds(name)) return;
  const coord::StoredRecord* record = environment_.view.record(name);
  Held* held = find(name);
  const bool can = record != nullptr && held != nullptr && held->prepared && !held->dropping && !held->taking &&
                   !handlers_.runs_here(name);
  // What is not known well enough is asked again after another grant's time, and so is what leaves this node first.
  if (!can) {
    if (handlers_.runs_here(name)) handlers_.target_silent(name);
    return environment_.leases.resume(name);
  }
  const Instant now = environment_.clock.now();
  log::warning("{}: '{}' has been silent for {}", name.str(), silent.charge.owner.node.str(), format_duration(now - silent.last_heard));
  held->take.Clear();
  held->takeover = TakeoverTimes{.from = silent.charge.owner.node, .last_heard = silent.last_heard, .noticed = now};
  if (environment_.takeovers != nullptr) environment_.takeovers->begun(name);
  measure(name, TakeoverMeter::Step::kNoticed, held->takeover->noticed);
  restores_.push_back({.container = name,
                       .outage_tolerance = held->spec->effective_outage_tolerance(),
                       .silent_since = silent.last_heard,
                       .state = PendingRestore::State::kComing,
                       .comes_until = now + policy::kPlaceKept});
  held->wait_told = false;
  held->taking = std::make_unique<policy::Taking>(name, environment_.self, table_->term_of(name),
                                                  policy::OwnershipOptions{}, random_nonce);
  handle_taking(name, policy::taking::OwnerSilent{record->record, record->revision, table_->restorable(name)});
}

// A move goes on at once: its container stands frozen, and there is one at a time of it.
void StandbyService::wait_for_turn(const ContainerName& name, const Generation& generation) {
  Held& held = at(name);
  if (!held.takeover) return restore_copy(name, generation);
  auto own = std::ranges::find(restores_, name, &PendingRestore::container);
  if (own == restores_.end()) {
    // By an operator's word, or after a generation that could not be restored.
    own = restores_.insert(restores_.end(), {.container = name,
                                             .outage_tolerance = held.spec->effective_outage_tolerance(),
                                             .silent_since = held.takeover->last_heard});
  }
  own->state = PendingRestore::State::kReady;
  held.waits_with = generation;
  begin_restores();
}

void StandbyService::begin_restores() {
  const Instant now = environment_.clock.now();
  const policy::RestoreTurns turns = policy::next_restores(restores_, environment_.parallel_restores, now);
  turn_timer_.reset();
  if (turns.look_again) turn_timer_ = environment_.loop.at(*turns.look_again, [this] { begin_restores(); });
  for (const ContainerName& name : turns.begin) {
    std::ranges::find(restores_, name, &PendingRestore::container)->state = PendingRestore::State::kRunning;
  }
  const auto waiting = static_cast<std::size_t>(std::ranges::count(restores_, PendingRestore::State::kReady, &PendingRestore::state));
  for (const ContainerName& name : turns.begin) begin_restore(name, waiting);
  for (const PendingRestore& one : restores_) {
    if (one.state != PendingRestore::State::kReady || std::exchange(at(one.container).wait_told, true)) continue;
    control::v1::Event event;
    event.set_severity(control::v1::SEVERITY_INFO);
    event.set_container(one.container.str());
    event.set_kind("takeover_waits");
    event.set_text("its restore " + waits_for_turn(one.container));
    environment_.events.append(std::move(event));
  }
}

void StandbyService::begin_restore(const ContainerName& name, std::size_t waiting) {
  Held& held = at(name);
  if (held.takeover) held.takeover->begun = environment_.clock.now();
  if (held.wait_told) {
    control::v1::Event event;
    event.set_severity(control::v1::SEVERITY_INFO);
    event.set_container(name.str());
    event.set_kind("takeover_turn");
    event.set_text(std::format("its restore begins, {} after the swap; {} wait behind it",
                               format_duration(held.takeover->begun - held.takeover->swapped), waiting));
    environment_.events.append(std::move(event));
  }
  restore_copy(name, *std::exchange(held.waits_with, std::nullopt));
}

// The restore has ended, or the takeover has: the next one has its turn when what follows from that has been done.
void StandbyService::leave_turns(const ContainerName& name) {
  if (std::erase_if(restores_, [&](const PendingRestore& one) { return one.container == name; }) == 0) return;
  if (Held* held = find(name)) held->waits_with.reset();
  environment_.loop.post([this, token = lifetime_.token()] {
    if (token.alive()) begin_restores();
  });
}

bool StandbyService::is_being_restored(const ContainerName& name) const {
  const auto own = std::ranges::find(restores_, name, &PendingRestore::container);
  return own != restores_.end() && own->state == PendingRestore::State::kRunning;
}

std::string StandbyService::waits_for_turn(const ContainerName& container) const {
  const auto own = std::ranges::find(restores_, container, &PendingRestore::container);
  if (own == restores_.end() || own->state != PendingRestore::State::kReady) return {};
  return std::format("waits for its turn: {} before it, {} at once on this node",
                     policy::waiting_before(restores_, container, environment_.clock.now()), environment_.parallel_restores);
}

}  // namespace perdure::node
