// How a container's service takes it over after a restart of the daemon: the host is looked at, its store is asked for what it
// holds, its standbys too if it is dead; then the policy begins. What hangs is waited for by those who cannot do without.
#include <algorithm>
#include <format>
#include <functional>
#include <ranges>
#include <utility>
#include <variant>

#include "base/log.h"
#include "node/container_service.h"
#include "node/policy_terms.h"

namespace perdure::node {
namespace {

constexpr Duration kAgain = std::chrono::seconds(5);

}  // namespace

void ContainerService::begin_after_restart(Recovery recovery) {
  recovery_ = std::move(recovery);
  takeover_since_ = environment_.clock.now();
  taking_.emplace();
  store_patience_ = environment_.loop.after(environment_.store_patience, [this] {
    taking_->store_late = true;
    take_over();
  });
  list_stored();
  look_for_it();
}

// ---- What the store holds ----

void ContainerService::list_stored() {
  if (generations_.store() == nullptr) return;  // it is being removed
  store_runner_.run(
      [store = generations_.store()] { return store->list(); },
      [this](const Result<std::vector<replica::StoredGeneration>>& listed) {
        if (!listed) return store_failed(listed.error());
        if (const Error* unreadable = unreadable_now(*listed)) return store_failed(*unreadable);
        generations_.table()->rebuild(*listed, replica::GenerationState::kCommitted);
        std::vector<policy::GenerationInfo> stored = generations_.infos_of(*listed);
        if (!taking_) return stored_known(std::move(stored));
        taking_->store_error.clear();
        taking_->stored = std::move(stored);
        load_newest_stored();
      });
}

// So that the first generation of this life is a delta, if that is possible at all; and so that what is damaged is known before
// others are asked for what is newer than what is in order.
void ContainerService::load_newest_stored() {
  const auto newest = generations_.table()->newest_durable();
  if (!newest || generations_.store() == nullptr) return store_ready();
  store_runner_.run(
      [table = generations_.table(), store = generations_.store(), generation = newest->generation] {
        return table->load(generation, *store);
      },
      [this, generation = newest->generation](const Result<capsule::CapsuleRef>& loaded) {
        if (loaded) return store_ready();
        if (replica::may_be_read_later(loaded.error().code())) {
          if (taking_) taking_->stored.reset();
          return store_failed(loaded.error());
        }
        log::warning("{}: {}", spec_.name.str(), loaded.error().message());
        if (!taking_) return store_ready();
        generations_.found_damaged(generation, loaded.error(), *taking_->stored);
        load_newest_stored();
      });
}

void ContainerService::store_ready() {
  if (!taking_ && stored_untold_) return list_stored();
  if (!taking_) return;
  taking_->store_ready = true;
  take_over();
}

// Until the policy knows what is stored, however long that takes.
void ContainerService::store_failed(const Error& error) {
  log::warning("{}: {}", spec_.name.str(), error.message());
  if (!taking_ && !stored_untold_) return;
  store_retry_ = environment_.loop.after(kAgain, [this] { list_stored(); });
  if (!taking_) return;
  taking_->store_error = error.message();
  taking_->store_late = true;
  take_over();
}

void ContainerService::stored_known(std::vector<policy::GenerationInfo> stored) {
  log::info("{}: its durable directory answers", spec_.name.str());
  store_holds_more_ = stored_untold_ = false;
  handle(policy::StoredKnown{std::move(stored)});
}

// ---- What the host holds ----

void ContainerService::look_for_it() {
  runner_.run([backend = backend_,
               facts = record_.runtime] { return backend->recover(facts, ContainerBackend::Frozen::kThaw); },
              [this](const Result<Found>& found) {
                if (!taking_) return;  // it is being removed
                if (!found) return recover_later(found.error());
                taking_->found = *found;
                take_over();
              });
}

// ---- What others hold ----

void ContainerService::ask_others() {
  taking_->others_asked = true;
  takeover_error_ = "it is dead, and its record and its standbys, which are asked for its newest generation, do not answer yet";
  log::info("{}: it is dead; its record is read and its standbys are asked for its newest generation", spec_.name.str());
  recovery_.elsewhere([this, token = lifetime_.token()](const HeldElsewhere& elsewhere) {
    if (!token.alive() || !taking_) return;
    if (elsewhere.lost && !elsewhere.capsule) {
      // Written down at once: those standbys are dropped from the record soon.
      record_.awaits_word = true;
      save_record();
    }
    taking_->elsewhere = elsewhere;
    take_over();
  });
}

// ---- All together ----

// What is not to run now needs nothing: the policy waits for what is stored when that changes.
TakeoverNeeds ContainerService::takeover_needs() const {
  const bool state = record_.state.begun && record_.state.desired == policy::DesiredState::kRunning && record_.state.gave_up.empty() &&
                     policy::options_from(spec_).statefulness != policy::Statefulness::kStateless;
  return {.state = state, .others = state && recovery_.elsewhere && record_.in_cluster() && !record_.state.handing_over};
}

// Called whenever something has come to be known.
void ContainerService::take_over() {
  switch (next_step(*taking_, takeover_needs())) {
    case TakeoverStep::kWait:
      return;
    case TakeoverStep::kLeave:
      return leave_now();
    case TakeoverStep::kReadStore:
      return wait_for_store("it is dead, and its newest generation is being read from its durable directory");
    case TakeoverStep::kAskOthers:
      ask_others();
      return tell_found();
    case TakeoverStep::kWaitForOthers:
      return tell_found();
    case TakeoverStep::kWaitForStore:
      return wait_for_store(taking_->store_error.empty() ? "it is dead, and its durable directory, which holds its state, does not answer"
                                                         : taking_->store_error);
    case TakeoverStep::kTakeOver:
      return perform_takeover();
  }
}

void ContainerService::perform_takeover() {
  TakeoverFacts known = *std::move(taking_);
  end_takeover();
  takeover_error_.clear();
  if (!known.store_ready) {
    emit({policy::Severity::kWarning, "durable_late",
          std::format("container '{}' is taken over without its durable directory, which does not answer; its next checkpoint there is "
                      "a full one",
                      spec_.name.str()),
          known.store_error});
  }
  // What is being read still is not known to be in order.
  if (!known.store_ready && known.found->state != Found::State::kAlive) known.stored.reset();
  store_holds_more_ = stored_untold_ = !known.stored;
  std::optional<replica::Holding> newest;
  if (const auto durable = generations_.table()->newest_durable(); durable && known.stored) {
    newest = replica::Holding{durable->generation, durable->digest};
  }
  replication_.use_store(generations_.store(), newest);
  std::vector<policy::GenerationInfo> generations = std::move(known.stored).value_or(std::vector<policy::GenerationInfo>{});
  if (known.elsewhere) {
    revive(*known.found, *known.elsewhere, std::move(generations));
  } else {
    finish_recovery(*known.found, std::move(generations));
  }
  recovery_finished();
  tell_found();
}

// It is told while it is not taken over yet. What lies in the directory of all is the owner's.
void ContainerService::leave_untaken(const policy::Event& event) {
  taking_->leaves = event;
  take_over();
}

void ContainerService::leave_now() {
  const TakeoverFacts known = *std::move(taking_);
  end_takeover();
  store_retry_.reset();
  takeover_error_.clear();
  removal_waits_ = false;
  // So that nothing is restored before it is told.
  if (std::holds_alternative<policy::OwnershipLost>(*known.leaves)) {
    handle(policy::OwnershipUnknown{"its record names another node", true});
  }
  finish_recovery(*known.found, {});
  handle(*known.leaves);
  recovery_finished();
  tell_found();
}

void ContainerService::revive(const Found& found, const HeldElsewhere& elsewhere,
                              std::vector<policy::GenerationInfo> generations) {
  if (elsewhere.term > record_.term) {
    record_.term = elsewhere.term;
    save_record();
    handle(policy::TermRaised{elsewhere.term});
  }
  if (elsewhere.capsule) {
    for (const capsule::CapsuleRef& capsule : elsewhere.older | std::views::reverse) add_held(capsule, generations);
    add_held(elsewhere.capsule, generations);
    record_.awaits_word = false;
    save_record();
  }
  finish_recovery(found, std::move(generations));
}

void ContainerService::add_held(const capsule::CapsuleRef& capsule, std::vector<policy::GenerationInfo>& generations) {
  const auto taken = take_in(capsule, generations);
  if (!taken) return;
  std::erase_if(generations, [&](const policy::GenerationInfo& info) { return info.id == taken->id; });  // damaged
  generations.insert(std::ranges::upper_bound(generations, taken->id, {}, &policy::GenerationInfo::id), *taken);
}

// Absent: what is stored here is that generation, or a newer one.
std::optional<policy::GenerationInfo> ContainerService::take_in(const capsule::CapsuleRef& capsule,
                                                                const std::vector<policy::GenerationInfo>& stored) {
  const capsule::Manifest& manifest = capsule->manifest;
  for (const policy::GenerationInfo& info : stored) {
    const bool is_it = info.id == manifest.generation && info.mark != policy::Mark::kCorrupt;
    if (is_it || (info.id > manifest.generation && info.mark == policy::Mark::kNone)) return std::nullopt;
  }
  if (Status supplied = generations_.table()->supply(capsule); !supplied) {
    log::error("{}: {}", spec_.name.str(), supplied.error().message());
    return std::nullopt;
  }
  policy::GenerationInfo info;
  info.id = manifest.generation;
  info.state = policy::CommitState::kCommitted;
  info.captured_at = taken_at(*capsule);
  return info;
}

// By the wall clock of whoever has taken it, on this host's clock; not in its future.
Instant ContainerService::taken_at(const capsule::Capsule& capsule) const {
  return environment_.clock.now() - std::max<Duration>(environment_.clock.wall() - capsule.manifest.created, Duration::zero());
}

void ContainerService::finish_recovery(const Found& found, std::vector<policy::GenerationInfo> generations) {
  policy::DaemonRestarted event;
  event.state = record_.state;
  switch (found.state) {
    case Found::State::kNothing: event.found = policy::DaemonRestarted::Found::kDead; break;
    case Found::State::kAlive: event.found = policy::DaemonRestarted::Found::kAlive; break;
    case Found::State::kHalfRestored: event.found = policy::DaemonRestarted::Found::kHalfRestored; break;
  }
  if (found.state == Found::State::kAlive && record_.runtime) {
    event.pid = record_.runtime->init.pid;
    auto process = runtime::ProcessWatch::open(record_.runtime->init);
    watch_init(process ? std::optional(*std::move(process)) : std::nullopt);
    if (!generations.empty()) before_ = generations.back().id;
  }
  for (const policy::GenerationInfo& info : generations) {
    if (info.mark != policy::Mark::kCorrupt) continue;
    emit({policy::Severity::kWarning, "passed_over",
          std::format("generation {} is damaged and will not be restored", to_string(info.id)),
          generations_.mark_reason(info.id)});
  }
  event.generations = std::move(generations);
  event.awaits_word = record_.awaits_word;
  event.stored_unknown = stored_untold_;
  handle(event);
}

void ContainerService::recovery_finished() {
  if (removal_waits_) handle(policy::OperatorRemove{});
  recovery_.elsewhere = nullptr;
  if (const auto recovered = std::exchange(recovery_.recovered, nullptr)) recovered();
}

void ContainerService::tell_found() {
  if (const auto told = std::exchange(recovery_.found, nullptr)) told();
}

// ---- Not yet ----

void ContainerService::not_taken_over(const std::string& why) {
  if (takeover_error_ != why) {
    takeover_error_ = why;
    emit({policy::Severity::kError, "not_taken_over",
          std::format("container '{}' is not protected: perdured cannot take it over after its restart, leaves it as "
                      "it is and tries again every {}; mend what is said",
                      spec_.name.str(), format_duration(kAgain)),
          takeover_error_});
    notify();
  }
  if (const auto recovered = std::exchange(recovery_.recovered, nullptr)) recovered();
  tell_found();
}

// Whether the container lives is not known, or it could not be taken over: nothing is done to it.
void ContainerService::recover_later(const Error& error) {
  if (removal_waits_) return do_release();
  takeover_retry_ = environment_.loop.after(kAgain, [this] { look_for_it(); });
  not_taken_over(error.message());
}

void ContainerService::wait_for_store(const std::string& why) {
  if (removal_waits_) return do_release();
  waits_for_store_ = true;
  not_taken_over(why);
}

void ContainerService::end_takeover() {
  taking_.reset();
  waits_for_store_ = false;
  takeover_retry_.reset();
  store_patience_.reset();
}

// The policy knows nothing yet. What can never be taken over can still be removed.
Status ContainerService::ask_before_takeover(const policy::Event& operator_event) {
  if (!std::holds_alternative<policy::OperatorRemove>(operator_event) || removal_waits_) {
    return fail(ErrorCode::kConflict,
                std::format("container '{}' {}", spec_.name.str(),
                            removal_waits_ ? "is being removed"
                                           : "could not be taken over since perdured was started again and is tried "
                                             "again and again: " + takeover_error_));
  }
  removal_waits_ = true;
  if (takeover_retry_.active() || waits_for_store_) do_release();
  return {};
}

}  // namespace perdure::node
