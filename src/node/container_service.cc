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
      health_(spec_),
      meter_({environment.loop, environment.clock, environment.events}, spec_.name, backend_,
             [this] { notify(); }) {}

ContainerService::~ContainerService() = default;

// ---- Beginnings ----

void ContainerService::begin_new() {
  save_record();
  replication_.use_store(generations_.store(), {});
  handle(policy::SpecAccepted{});
}

void ContainerService::will_be_stopped() {
  record_.state.desired = policy::DesiredState::kStopped;
  save_record();
}

void ContainerService::begin_stopped(const std::vector<replica::StoredGeneration>& stored) {
  generations_.table()->rebuild(stored, replica::GenerationState::kCommitted);
  replication_.use_store(generations_.store(), {});
  finish_recovery(Found{}, generations_.infos_of(stored));
}

void ContainerService::begin_seized(Recovery recovery) {
  record_.state.desired = policy::DesiredState::kRunning;
  record_.state.begun = true;
  record_.first_start_done = true;
  save_record();
  begin_after_restart(std::move(recovery));
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
  store_holds_more_ = true;
  replication_.use_store(generations_.store(), {});
  replication_.offer(arrival.capsule, nullptr, BootClock::now());
  policy::TakenOver event;
  event.pid = arrival.restored.life.facts.init.pid;
  event.state = record_.state;
  event.generation = generation;
  if (arrival.takeover) {
    event.silent_owner = arrival.takeover->from;
    event.ordered_by = arrival.takeover->ordered_by;
    meter_.taken_over(*arrival.takeover, generation, taken_at(*arrival.capsule), arrival.restored);
  }
  if (arrival.failed_over) {
    event.failed_over = arrival.failed_over->what;
    meter_.failed_over(arrival.failed_over->failed, arrival.failed_over->noticed, arrival.failed_over->what.reason);
    meter_.restored(generation, taken_at(*arrival.capsule), arrival.restored);
  }
  policy::GenerationInfo info;
  info.id = generation;
  info.state = policy::CommitState::kCommitted;
  info.captured_at = environment_.clock.now();
  event.generations = {info};
  watch_init(std::move(arrival.restored.life.process));
  handle(event);
}

void ContainerService::change_store(std::shared_ptr<replica::CapsuleStore> store) {
  if (generations_.store() == nullptr) return;  // it is being released
  generations_.use_store(std::move(store));
  // While it is taken over, the store is used when that has ended.
  if (!taking_) replication_.use_store(generations_.store(), {});
}

capsule::CapsuleRef ContainerService::newest_in_memory() const {
  const policy::GenerationInfo* newest = policy::newest_good(policy_.generations());
  return newest == nullptr ? nullptr : generations_.table()->in_memory(newest->id);
}

void ContainerService::resume_store() {
  if (generations_.store() != nullptr && !taking_) replication_.use_store(generations_.store(), {});
}

void ContainerService::begins_with(Term first) {
  record_.first_term = first;
  save_record();
}

void ContainerService::leave_cluster() {
  backend_->gate_deadline()->set(Instant::max());  // nobody else can become its owner
  record_.left_cluster = record_.term > Term{};
  record_.handing_over.reset();
  save_record();
  handle(policy::OwnershipKnown{});
}

void ContainerService::join(OwnedContainer* owned) {
  if (owned != owned_) replication_.leave_standbys();  // they are the former one's, and call it
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

// ---- Events in, effects out ----

Status ContainerService::ask(const policy::Event& operator_event) {
  if (!takeover_error_.empty()) return ask_before_takeover(operator_event);
  if (std::holds_alternative<policy::OperatorMove>(operator_event)) PERDURE_TRY(agent_may_be_moved());
  PERDURE_TRY(policy_.admit(operator_event));
  handle(operator_event);
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
    void operator()(const policy::HoldGate&) { service.do_hold_gate(); }
    void operator()(const policy::OpenGate&) { service.do_open_gate(); }
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
    void operator()(const policy::FailOver& it) { service.do_fail_over(it); }
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
  told_of_init_ = false;
  process_since_ = environment_.clock.now();
  if (!process) {
    reporting_end_ = true;
    // Dead already: the same road as a death a moment later. Its agent may have said why.
    hear_agent();
    environment_.loop.post([this, token = lifetime_.token()] {
      if (token.alive()) init_ended();
    });
    return;
  }
  memory_kills_ = backend_->out_of_memory_kills();
  hear_agent();
  if (owned_ != nullptr) owned_->runs();
  process_.emplace(*std::move(process));
  auto watch = environment_.loop.watch_readable(process_->fd(), [this] { init_ended(); });
  PERDURE_ASSERT(watch.has_value());
  process_watch_ = *std::move(watch);
}

void ContainerService::process_killed(const network::Death& death) {
  // It has closed nothing, so nothing is to be opened or undone. What it means its agent says.
  const bool is_init = death.is_init && is_of_init(death);
  if (!death.held && !is_init) return;
  // The gate was opened after it, and is open: a helper of CRIU's while that restored, told of late.
  if (!is_init && death.at < gate_opened_at_ && !backend_->gate_held_by_death()) return;
  meter_.failed(death.at);
  if (!held_for_ || death.at < held_for_since_) closed_by_any_ = true;
  // Of several deaths the first closes it.
  if (gate_open_ && !closed_by_death_ && backend_->gate_held_by_death()) {
    closed_by_death_ = true;
    ++gate_closures_.by_death;
  }
  if (!is_init) meter_.noticed();
  told_of_init_ = told_of_init_ || is_init;
  handle(policy::ProcessKilled{death.process_id, death.signal, is_init, death.command});
  if (is_init) return;  // its pidfd tells
  if (policy_.phase() == policy::Phase::kProtected || policy_.phase() == policy::Phase::kTrial) {
    meter_.forget();
  }
}

// A container may have namespaces within, whose first processes are others.
bool ContainerService::is_of_init(const network::Death& death) const {
  if (!process_) return true;
  const std::uint32_t own = process_->pid_namespace();
  if (own != 0 && death.pid_namespace != 0 && death.pid_namespace != own) return false;
  // The kernel gives the number of a namespace that is gone to a later one. What is told is believed: that it ends may show later.
  const bool is_told = own != 0 && death.pid_namespace != 0 && death.at >= process_since_;
  return is_told || process_->is_ending();
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
  reporting_end_ = true;
  // The kernel kills what is left of the PID namespace with its init; the report waits until that is done.
  runner_.run([backend = backend_] { return backend->kill_all(); }, [this, end](Status killed) {
    if (!killed) log::warning("{}: {}", spec_.name.str(), killed.error().message());
    reporting_end_ = false;
    const policy::ExitStatus status = ended_as(to_policy(end));
    meter_.ended(policy::to_string(status));
    if (record_.state.desired == policy::DesiredState::kRunning) ++record_.failures;
    handle(policy::ContainerDied{status});
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
