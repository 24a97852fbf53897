#include "node/container_service.h"

#include <algorithm>
#include <format>
#include <functional>
#include <utility>

#include "base/assert.h"
#include "base/log.h"
#include "io/atomic_file.h"
#include "node/policy_terms.h"

namespace perdure::node {
namespace {

constexpr Duration kReapTime = std::chrono::seconds(1);

}  // namespace

ContainerService::ContainerService(ServiceEnvironment environment, model::ContainerSpec spec,
                                   const ContainerPaths& paths, std::shared_ptr<ContainerBackend> backend,
                                   std::shared_ptr<replica::CapsuleStore> store, ContainerRecord record)
    : environment_(environment),
      spec_(std::move(spec)),
      paths_(paths),
      backend_(std::move(backend)),
      runner_(environment.loop, environment.pool),
      store_runner_(environment.loop, environment.store_pool),
      generations_(store_runner_, environment.clock, spec_.name, std::move(store)),
      record_(std::move(record)),
      replication_({environment.loop, environment.pool, environment.store_pool}, spec_.name, generations_.table(),
                   replication_handlers()),
      policy_(spec_.name, environment.term, environment.incarnation, policy::options_from(spec_)),
      cancel_(std::make_shared<CancelFlag>(false)),
      meter_({environment.loop, environment.clock, environment.events}, spec_.name, backend_,
             [this] { notify(); }) {}

ContainerService::~ContainerService() = default;

// ---- Beginnings ----

void ContainerService::begin_new() {
  save_record();
  replication_.use_store(generations_.store(), {});
  handle(policy::SpecAccepted{});
}

void ContainerService::begin_stopped() {
  if (Status rebuilt = generations_.table()->rebuild(store(), replica::GenerationState::kCommitted); !rebuilt) {
    log::warning("{}: {}", spec_.name.str(), rebuilt.error().message());
  }
  record_.state.desired = policy::DesiredState::kStopped;
  save_record();
  replication_.use_store(generations_.store(), {});
  finish_recovery(Found{}, generations_.stored());
}

void ContainerService::begin_arrived(Arrival arrival) {
  const Generation generation = arrival.capsule->manifest.generation;
  if (Status added = generations_.table()->add(arrival.capsule, {}, replica::GenerationTable::Probe::kNone); !added) {
    log::warning("{}: {}", spec_.name.str(), added.error().message());
  } else if (Status marked = generations_.table()->mark_committed(generation); !marked) {
    log::warning("{}: {}", spec_.name.str(), marked.error().message());
  }
  before_ = generation;
  record_.runtime = arrival.restored.life.facts;
  record_.first_start_done = true;
  save_record();
  replication_.use_store(generations_.store(), {});
  replication_.offer(arrival.capsule, nullptr, BootClock::now());
  policy::TakenOver event;
  event.pid = arrival.restored.life.facts.init.pid;
  event.state = record_.state;
  event.generation = generation;
  policy::GenerationInfo info;
  info.id = generation;
  info.state = policy::CommitState::kCommitted;
  info.captured_at = environment_.clock.now();
  event.generations = {info};
  watch_init(std::move(arrival.restored.life.process));
  handle(event);
}

void ContainerService::join(OwnedContainer* owned) {
  owned_ = owned;
  durable_counts(true);
}

void ContainerService::durable_counts(bool counts) {
  if (std::exchange(durable_counts_, counts) == counts) return;
  replication_.set_store_pace(counts ? replica::Pace::kEveryGeneration : replica::Pace::kNewestOnly);
}

policy::ownership::Stock ContainerService::stock() const {
  policy::ownership::Stock stock;
  for (const policy::GenerationInfo& info : policy_.generations()) {
    if (info.mark != policy::Mark::kNone) continue;
    stock.generations.push_back(info.id);
    if (info.state == policy::CommitState::kCommitted) stock.committed = info.id;
    if (info.durable) stock.durable = info.id;
  }
  return stock;
}

void ContainerService::begin_after_restart(Recovery recovery) {
  recovery_ = std::move(recovery);
  takeover_since_ = environment_.clock.now();
  look_for_it();
}

void ContainerService::look_for_it() {
  auto work = [backend = backend_, store = generations_.store(), table = generations_.table(),
               facts = record_.runtime] {
    Result<Found> found = backend->recover(facts, ContainerBackend::Frozen::kThaw);
    if (Status rebuilt = table->rebuild(*store, replica::GenerationState::kCommitted); !rebuilt) {
      log::warning("{}", rebuilt.error().message());
    }
    // So that the first generation of this life is a delta, if that is possible at all.
    if (const auto newest = table->newest_durable()) {
      if (const auto loaded = table->load(newest->generation, *store); !loaded) {
        log::warning("{}", loaded.error().message());
      }
    }
    return found;
  };
  runner_.run(std::move(work), [this](const Result<Found>& found) {
    if (found) {
      judge_found(*found);
    } else {
      recover_later(found.error());
      if (const auto recovered = std::exchange(recovery_.recovered, nullptr)) recovered();
    }
    if (const auto told = std::exchange(recovery_.found, nullptr)) told();
  });
}

// What was running and is dead goes on from what its standbys hold, if it has any.
bool ContainerService::needs_others(const Found& found) const {
  return recovery_.elsewhere && found.state != Found::State::kAlive && record_.term > Term{} && record_.state.begun &&
         record_.state.desired == policy::DesiredState::kRunning && record_.state.gave_up.empty() &&
         !record_.state.handing_over && policy::options_from(spec_).statefulness != policy::Statefulness::kStateless;
}

void ContainerService::judge_found(const Found& found) {
  takeover_error_.clear();
  std::optional<replica::Holding> newest;
  if (const auto durable = generations_.table()->newest_durable()) {
    newest = replica::Holding{durable->generation, durable->digest};
  }
  replication_.use_store(generations_.store(), newest);
  if (!needs_others(found)) {
    finish_recovery(found, generations_.stored());
    return recovery_finished();
  }
  takeover_error_ = "it is dead, and its record and its standbys, which are asked for its newest generation, do not answer yet";
  log::info("{}: it is dead; its record is read and its standbys are asked for its newest generation", spec_.name.str());
  const auto ask = std::exchange(recovery_.elsewhere, nullptr);
  ask([this, token = lifetime_.token(), found](const HeldElsewhere& elsewhere) {
    if (!token.alive()) return;
    revive(found, elsewhere);
    recovery_finished();
  });
}

void ContainerService::recovery_finished() {
  if (removal_waits_) handle(policy::OperatorRemove{});
  recovery_.elsewhere = nullptr;
  if (const auto recovered = std::exchange(recovery_.recovered, nullptr)) recovered();
}

void ContainerService::revive(const Found& found, const HeldElsewhere& elsewhere) {
  takeover_error_.clear();
  if (elsewhere.term > record_.term) {
    record_.term = elsewhere.term;
    save_record();
    handle(policy::TermRaised{elsewhere.term});
  }
  std::vector<policy::GenerationInfo> generations = generations_.stored();
  if (elsewhere.capsule) {
    if (const auto taken = take_in(elsewhere.capsule, generations)) generations.push_back(*taken);
    record_.awaits_word = false;
  } else if (elsewhere.lost) {
    // Written down: those standbys are dropped from the record soon.
    record_.awaits_word = true;
  }
  save_record();
  finish_recovery(found, std::move(generations));
}

// Absent: what is stored here is that generation, or a newer one.
std::optional<policy::GenerationInfo> ContainerService::take_in(const capsule::CapsuleRef& capsule,
                                                                const std::vector<policy::GenerationInfo>& stored) {
  const capsule::Manifest& manifest = capsule->manifest;
  for (const policy::GenerationInfo& info : stored) {
    if (info.id >= manifest.generation && (info.mark == policy::Mark::kNone || info.id == manifest.generation)) {
      return std::nullopt;
    }
  }
  Status added = generations_.table()->add(capsule, {}, replica::GenerationTable::Probe::kNone);
  if (added) added = generations_.table()->mark_committed(manifest.generation);
  if (!added) {
    log::error("{}: {}", spec_.name.str(), added.error().message());
    return std::nullopt;
  }
  policy::GenerationInfo info;
  info.id = manifest.generation;
  info.state = policy::CommitState::kCommitted;
  info.captured_at =
      environment_.clock.now() - std::max<Duration>(environment_.clock.wall() - manifest.created, Duration::zero());
  return info;
}

// Whether the container lives is not known, or it could not be taken over: nothing is done to it.
void ContainerService::recover_later(const Error& error) {
  constexpr Duration kAgain = std::chrono::seconds(5);
  if (removal_waits_) return do_release();
  if (takeover_error_ != error.message()) {
    takeover_error_ = error.message();
    emit({policy::Severity::kError, "not_taken_over",
          std::format("container '{}' is not protected: perdured cannot take it over after its restart, leaves it as "
                      "it is and tries again every {}; mend what is said",
                      spec_.name.str(), format_duration(kAgain)),
          takeover_error_});
    notify();
  }
  takeover_retry_ = environment_.loop.after(kAgain, [this] { look_for_it(); });
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
  handle(event);
}

// ---- Events in, effects out ----

Status ContainerService::ask(const policy::Event& operator_event) {
  if (!takeover_error_.empty()) return ask_before_takeover(operator_event);
  PERDURE_TRY(policy_.admit(operator_event));
  handle(operator_event);
  return {};
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
  if (takeover_retry_.active()) {
    takeover_retry_.reset();
    do_release();
  }
  return {};
}

void ContainerService::handle(const policy::Event& event) {
  pending_.push_back(event);
  if (in_handle_) return;  // an effect that ended at once; its event waits for its turn
  in_handle_ = true;
  while (!pending_.empty()) {
    const policy::Event next = std::move(pending_.front());
    pending_.erase(pending_.begin());
    log::debug("{}: {}", spec_.name.str(), policy::to_string(next));
    for (const policy::Effect& effect : policy_.handle(next, environment_.clock.now())) perform(effect);
  }
  in_handle_ = false;
  notify();
}

void ContainerService::perform(const policy::Effect& effect) {
  log::debug("{}: -> {}", spec_.name.str(), policy::to_string(effect, environment_.clock.now()));
  struct Performer {
    ContainerService& service;
    void operator()(const policy::Record& it) { service.do_record(it); }
    void operator()(const policy::PrepareImage&) { service.do_prepare(); }
    void operator()(const policy::Start&) { service.do_start(); }
    void operator()(const policy::Capture& it) { service.do_capture(it); }
    void operator()(const policy::CancelCapture&) { service.cancel_->store(true); }
    void operator()(const policy::Restore& it) { service.do_restore(it); }
    void operator()(const policy::HoldGate&) { service.backend_->hold_gate(); }
    void operator()(const policy::OpenGate&) { service.backend_->open_gate(); }
    void operator()(const policy::Terminate&) { service.do_terminate(); }
    void operator()(const policy::Kill&) { service.do_kill(); }
    void operator()(const policy::DiscardGeneration& it) { service.discard(it); }
    void operator()(const policy::ReinstateGeneration& it) { service.generations_.unmark(it.generation); }
    void operator()(const policy::DeleteGeneration& it) { service.generations_.remove(it.generation); }
    void operator()(const policy::SetTimer& it) { service.do_timer(it); }
    void operator()(const policy::CancelTimer& it) {
      service.timers_[static_cast<std::size_t>(it.timer)].reset();
    }
    void operator()(const policy::Emit& it) { service.emit(it); }
    void operator()(const policy::DeclareProtected&) {}
    void operator()(const policy::DeclareUnprotected&) {}
    void operator()(const policy::GiveUp&) {}
    void operator()(const policy::Release&) { service.do_release(); }
    void operator()(const policy::HandOver& it) {
      if (service.owned_ != nullptr) service.owned_->handle(policy::ownership::HandoverCaptured{it.generation});
    }
    void operator()(const policy::Resume&) { service.do_resume(); }
    void operator()(const policy::Leave&) { service.do_leave(); }
  };
  std::visit(Performer{*this}, effect);
}

void ContainerService::save_record() {
  if (removed_) return;
  if (Status written = write_record(); !written) {
    log::error("{}: {}; after a restart perdured may know an older state", spec_.name.str(),
               written.error().message());
  }
}

Status ContainerService::write_record() const {
  PERDURE_TRY(io::make_directories(paths_.home, 0700));
  return io::write_file_atomically(paths_.state(), to_json(record_), 0600);
}

// ---- Deaths ----

void ContainerService::watch_init(std::optional<runtime::ProcessWatch> process) {
  process_watch_.reset();
  process_.reset();
  if (!process) {
    // Dead already: the same road as a death a moment later.
    environment_.loop.post([this, token = lifetime_.token()] {
      if (token.alive()) init_ended();
    });
    return;
  }
  if (owned_ != nullptr) owned_->runs();
  process_.emplace(*std::move(process));
  auto watch = environment_.loop.watch_readable(process_->fd(), [this] { init_ended(); });
  PERDURE_ASSERT(watch.has_value());
  process_watch_ = *std::move(watch);
}

void ContainerService::process_killed(pid_t pid, int signal, bool is_init, Instant at) {
  meter_.failed(at);
  if (is_init) return;  // its pidfd tells
  meter_.noticed();
  handle(policy::ProcessKilled{pid, signal});
  if (policy_.phase() == policy::Phase::kProtected || policy_.phase() == policy::Phase::kTrial) {
    meter_.forget();
  }
}

void ContainerService::init_ended() {
  process_watch_.reset();
  meter_.noticed();
  runtime::ProcessEnd end;
  if (process_) {
    if (auto ended = process_->wait(BootClock::now() + kReapTime)) end = *ended;
  }
  record_.exit_status = shell_status(end);
  process_.reset();
  // The kernel kills what is left of the PID namespace with its init; the report waits until that is done.
  runner_.run([backend = backend_] { return backend->kill_all(); }, [this, end](Status killed) {
    if (!killed) log::warning("{}: {}", spec_.name.str(), killed.error().message());
    meter_.set_reason(policy::to_string(to_policy(end)));
    if (record_.state.desired == policy::DesiredState::kRunning) ++record_.failures;
    handle(policy::ContainerDied{to_policy(end)});
    const policy::Phase phase = policy_.phase();
    if (phase != policy::Phase::kRecovering && phase != policy::Phase::kStarting) meter_.forget();
    save_record();
  });
}

// ---- Listeners ----

std::uint64_t ContainerService::add_listener(Listener listener) {
  listeners_[next_listener_] = std::move(listener);
  return next_listener_++;
}

void ContainerService::remove_listener(std::uint64_t id) { listeners_.erase(id); }

void ContainerService::notify() {
  std::vector<std::uint64_t> ids;
  for (const auto& [id, listener] : listeners_) ids.push_back(id);
  for (const std::uint64_t id : ids) {
    const auto found = listeners_.find(id);
    if (found == listeners_.end()) continue;
    const Listener listener = found->second;  // it may remove itself
    listener();
  }
}

}  // namespace perdure::node
