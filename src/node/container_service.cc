#include "node/container_service.h"

#include <time.h>

#include <algorithm>
#include <format>
#include <functional>
#include <utility>

#include "base/assert.h"
#include "base/log.h"
#include "capsule/format/sharing.h"
#include "io/atomic_file.h"

namespace perdure::node {
namespace {

constexpr Duration kReapTime = std::chrono::seconds(1);
constexpr Duration kFirstPacketStep = std::chrono::milliseconds(1);
constexpr Duration kFirstPacketTime = std::chrono::seconds(5);  // a silent container sends nothing by itself

Duration thread_cpu() {
  timespec ts{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
  return std::chrono::seconds(ts.tv_sec) + std::chrono::nanoseconds(ts.tv_nsec);
}

policy::FailureClass class_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kUnsupported:
    case ErrorCode::kInvalid:
    case ErrorCode::kConflict:
    case ErrorCode::kPermission:
    case ErrorCode::kNotFound: return policy::FailureClass::kPermanent;
    default: return policy::FailureClass::kTransient;
  }
}

std::string remedy_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kUnsupported:
      return "see what CRIU says above; 'perdure doctor' tells what this host can do";
    case ErrorCode::kNoSpace: return "free space below the state directory, or keep fewer generations";
    case ErrorCode::kTimeout: return "raise checkpoint.dump-deadline, or look for processes in uninterruptible sleep";
    default: return {};
  }
}

policy::RestoreFailure failure_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kCorrupt: return policy::RestoreFailure::kCorrupt;
    case ErrorCode::kNotFound: return policy::RestoreFailure::kMissingFiles;
    case ErrorCode::kNoSpace:
    case ErrorCode::kTimeout: return policy::RestoreFailure::kHost;
    default: return policy::RestoreFailure::kCriu;
  }
}

policy::ExitStatus to_policy(const runtime::ProcessEnd& end) {
  if (!end.status) return {};
  return end.status->signal_number != 0 ? policy::ExitStatus::signalled(end.status->signal_number)
                                        : policy::ExitStatus::exited(end.status->code);
}

// As shells count: the code, or 128 + signal.
std::optional<int> shell_status(const runtime::ProcessEnd& end) {
  if (!end.status) return std::nullopt;
  constexpr int kSignalBase = 128;
  return end.status->signal_number != 0 ? kSignalBase + end.status->signal_number : end.status->code;
}

control::v1::Severity to_proto(policy::Severity severity) {
  switch (severity) {
    case policy::Severity::kInfo: return control::v1::SEVERITY_INFO;
    case policy::Severity::kWarning: return control::v1::SEVERITY_WARNING;
    case policy::Severity::kError: return control::v1::SEVERITY_ERROR;
  }
  return control::v1::SEVERITY_UNSPECIFIED;
}

struct CaptureOutcome {
  CaptureReport report;
  std::optional<Generation> parent;
  double store_bandwidth = 0;
};

// Everything between the policy's wish and a committed generation; on a pool thread.
struct CaptureJob {
  std::shared_ptr<ContainerBackend> backend;
  std::shared_ptr<replica::CapsuleStore> store;
  std::shared_ptr<replica::GenerationTable> table;
  std::shared_ptr<CancelFlag> cancel;
  Generation generation;
  RuntimeFacts facts;
  std::optional<Generation> parent;
  double store_bandwidth = 0;

  Result<CaptureOutcome> operator()() {
    const Duration cpu_before = thread_cpu();
    PERDURE_ASSIGN(capsule::Capsule captured, backend->capture(generation, facts, *cancel));
    const std::optional<replica::GenerationRecord> base = usable_parent();
    CaptureOutcome outcome;
    if (base) {
      auto shared = capsule::share_unchanged(std::move(captured), *base->capsule);
      captured = std::move(shared.capsule);
      captured.manifest.stats.memory_changed = shared.memory_changed;
      captured.manifest.stats.files_changed = shared.files_changed;
      outcome.parent = base->generation;
    }
    PERDURE_ASSIGN(auto compacted, capsule::compact(captured));
    auto capsule = std::make_shared<capsule::Capsule>(std::move(compacted.capsule));
    capsule::CodecOptions options;
    options.bytes_per_second = store_bandwidth;
    PERDURE_ASSIGN(const capsule::EncodedCapsule encoded,
                   capsule::encode(*capsule, base ? base->capsule.get() : nullptr,
                                   base ? &base->digest : nullptr, options));
    PERDURE_ASSIGN(const replica::StoreReceipt receipt, store->put(encoded));
    capsule->manifest.stats.cpu += thread_cpu() - cpu_before;
    PERDURE_TRY(table->add(capsule, encoded.digest, replica::GenerationTable::Probe::kNone));
    PERDURE_TRY(table->mark_durable(generation, receipt.size));
    PERDURE_TRY(table->mark_committed(generation));
    const double seconds = std::chrono::duration<double>(receipt.took).count();
    outcome.store_bandwidth = seconds > 0 ? static_cast<double>(receipt.size.count) / seconds : 0;
    outcome.report = {generation, capsule->manifest.stats, capsule::full_size(*capsule), receipt.size,
                      capsule->manifest.created};
    return outcome;
  }

  std::optional<replica::GenerationRecord> usable_parent() const {
    if (!parent || store->should_be_full(*parent)) return std::nullopt;
    auto record = table->find(*parent);
    if (!record || !record->durable) return std::nullopt;
    if (record->capsule == nullptr) {
      auto loaded = table->load(*parent, *store);
      if (!loaded) return std::nullopt;
      record->capsule = *loaded;
    }
    return record;
  }
};

}  // namespace

ContainerService::ContainerService(ServiceEnvironment environment, model::ContainerSpec spec,
                                   const ContainerPaths& paths, std::shared_ptr<ContainerBackend> backend,
                                   std::shared_ptr<replica::CapsuleStore> store, ContainerRecord record)
    : environment_(environment),
      spec_(std::move(spec)),
      paths_(paths),
      backend_(std::move(backend)),
      store_(std::move(store)),
      table_(std::make_shared<replica::GenerationTable>(replica::GenerationTableOptions{})),
      record_(std::move(record)),
      policy_(spec_.name, environment.term, environment.incarnation, policy::options_from(spec_)),
      cancel_(std::make_shared<CancelFlag>(false)) {}

ContainerService::~ContainerService() = default;

// The pool is bounded. A container's steps come one at a time, so a refusal means a host with more busy
// containers than places: the step is tried again, nothing is lost.
template <typename Work, typename Done>
void ContainerService::run(Work work, Done done) {
  struct Job {
    Work work;
    Done done;
  };
  submit(std::make_shared<Job>(std::move(work), std::move(done)));
}

template <typename Job>
void ContainerService::submit(std::shared_ptr<Job> job) {
  const Status submitted =
      environment_.pool.submit(environment_.loop, lifetime_, [job] { return job->work(); },
                               [job](auto result) { job->done(std::move(result)); });
  if (submitted || submitted.error().code() != ErrorCode::kTransient) return;
  constexpr Duration kAgain = std::chrono::milliseconds(20);
  std::erase_if(retries_, [](const io::Timer& timer) { return !timer.active(); });
  retries_.push_back(environment_.loop.after(kAgain, [this, job = std::move(job)] { submit(job); }));
}

// ---- Beginnings ----

void ContainerService::begin_new() {
  save_record();
  handle(policy::SpecAccepted{});
}

void ContainerService::begin_stopped() {
  if (Status rebuilt = table_->rebuild(*store_, replica::GenerationState::kCommitted); !rebuilt) {
    log::warning("{}: {}", spec_.name.str(), rebuilt.error().message());
  }
  record_.state.desired = policy::DesiredState::kStopped;
  save_record();
  finish_recovery(Found{}, stored_generations());
}

void ContainerService::begin_after_restart(std::function<void()> recovered) {
  auto work = [backend = backend_, store = store_, table = table_, facts = record_.runtime] {
    Result<Found> found = backend->recover(facts);
    if (Status rebuilt = table->rebuild(*store, replica::GenerationState::kCommitted); !rebuilt) {
      log::warning("{}", rebuilt.error().message());
    }
    return found;
  };
  run(std::move(work), [this, recovered = std::move(recovered)](Result<Found> found) {
    if (!found) {
      control::v1::Event event;
      event.set_severity(control::v1::SEVERITY_ERROR);
      event.set_container(spec_.name.str());
      event.set_kind("unreadable");
      event.set_text(std::format("cannot take over container '{}' after a restart of perdured", spec_.name.str()));
      event.set_reason(found.error().message());
      environment_.events.append(std::move(event));
    }
    finish_recovery(found.value_or(Found{}), stored_generations());
    if (recovered) recovered();
  });
}

std::vector<policy::GenerationInfo> ContainerService::stored_generations() {
  std::vector<policy::GenerationInfo> infos;
  const Instant now = environment_.clock.now();
  const auto listed = store_->list();
  if (!listed) {
    log::warning("{}: {}", spec_.name.str(), listed.error().message());
    return infos;
  }
  for (const replica::StoredGeneration& stored : *listed) {
    policy::GenerationInfo info;
    info.id = stored.generation;
    info.state = policy::CommitState::kCommitted;
    info.durable = true;
    if (stored.info) {
      info.parent = stored.info->manifest.parent;
      const auto age = environment_.clock.wall() - stored.info->manifest.created;
      info.captured_at = now - std::max<Duration>(age, Duration::zero());
    }
    for (const policy::Mark mark : {policy::Mark::kSuspect, policy::Mark::kCorrupt, policy::Mark::kAbandoned}) {
      const auto found = stored.marks.find(std::string(to_string(mark)));
      if (found == stored.marks.end()) continue;
      info.mark = mark;
      mark_reasons_[info.id] = found->second;
    }
    if (stored.corrupt) {
      info.mark = policy::Mark::kCorrupt;
      mark_reasons_[info.id] = stored.corrupt->message();
    }
    infos.push_back(info);
  }
  return infos;
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
    watch_init(*record_.runtime);
    if (!generations.empty()) parent_ = generations.back().id;
  }
  event.generations = std::move(generations);
  handle(event);
}

// ---- Events in, effects out ----

Status ContainerService::ask(const policy::Event& operator_event) {
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
    void operator()(const policy::HoldGate&) { service.backend_->hold_gate(); }
    void operator()(const policy::OpenGate&) { service.backend_->open_gate(); }
    void operator()(const policy::Terminate&) { service.do_terminate(); }
    void operator()(const policy::Kill&) { service.do_kill(); }
    void operator()(const policy::DiscardGeneration& it) { service.do_discard(it); }
    void operator()(const policy::ReinstateGeneration& it) { service.do_reinstate(it.generation); }
    void operator()(const policy::DeleteGeneration& it) { service.do_delete(it.generation); }
    void operator()(const policy::SetTimer& it) { service.do_timer(it); }
    void operator()(const policy::CancelTimer& it) {
      service.timers_[static_cast<std::size_t>(it.timer)].reset();
    }
    void operator()(const policy::Emit& it) { service.emit(it); }
    void operator()(const policy::DeclareProtected&) {}
    void operator()(const policy::DeclareUnprotected&) {}
    void operator()(const policy::GiveUp&) {}
    void operator()(const policy::Release&) { service.do_release(); }
  };
  std::visit(Performer{*this}, effect);
}

void ContainerService::do_record(const policy::Record& effect) {
  record_.state = effect.state;
  save_record();
}

void ContainerService::save_record() {
  if (removed_) return;
  if (Status made = io::make_directories(paths_.home, 0700); !made) {
    log::error("{}: {}", spec_.name.str(), made.error().message());
    return;
  }
  if (Status written = io::write_file_atomically(paths_.state(), to_json(record_), 0600); !written) {
    log::error("{}: {}; after a restart perdured may know an older state", spec_.name.str(),
               written.error().message());
  }
}

void ContainerService::do_prepare() {
  progress_stage_ = "prepare";
  progress_text_ = "preparing the image";
  const auto probe = record_.first_start_done ? ContainerBackend::AddressProbe::kNo
                                              : ContainerBackend::AddressProbe::kYes;
  auto progress = [&loop = environment_.loop, token = lifetime_.token(), this](std::string_view stage,
                                                                               std::string_view text) {
    loop.post([token, this, stage = std::string(stage), text = std::string(text)] {
      if (!token.alive()) return;
      progress_stage_ = stage;
      progress_text_ = text;
      notify();
    });
  };
  run([backend = backend_, probe, progress] { return backend->prepare(probe, progress); },
      [this](Result<Preparation> prepared) {
        start_error_.reset();
        if (!prepared) {
          start_error_ = prepared.error().code();
          handle(policy::ImageFailed{prepared.error().message(), class_of(prepared.error())});
          return;
        }
        record_.image_digest = prepared->image_digest;
        std::string refusals;
        for (const runtime::Finding& finding : prepared->findings) {
          const std::string line = std::format("{}; {}", finding.what, finding.remedy);
          if (finding.severity == runtime::Finding::Severity::kRefusal) {
            refusals += (refusals.empty() ? "" : "\n") + line;
          } else {
            emit({policy::Severity::kWarning, "warning", line, {}});
          }
        }
        if (!refusals.empty()) {
          start_error_ = ErrorCode::kUnsupported;
          handle(policy::ImageFailed{refusals, policy::FailureClass::kPermanent});
        } else {
          handle(policy::ImageReady{});
        }
      });
}

void ContainerService::do_start() {
  progress_stage_ = "start";
  progress_text_ = "starting";
  parent_.reset();
  run([backend = backend_] { return backend->start(); },
      [this, recovering = failed_at_.has_value()](Result<RuntimeFacts> started) {
        if (!started) {
          start_error_ = started.error().code();
          handle(policy::StartFailed{started.error().message(), class_of(started.error())});
          return;
        }
        record_.runtime = *started;
        record_.first_start_done = true;
        if (recovering) {
          ++record_.restores;
          RestoreReport report;
          report.at = environment_.clock.wall();
          report.reason = failure_reason_;
          report.noticed = *noticed_at_ - *failed_at_;
          report.restored = environment_.clock.now() - *failed_at_;
          last_restore_ = report;
          failed_at_.reset();
        }
        save_record();
        watch_init(*started);
        handle(policy::Started{started->init.pid});
      });
}

void ContainerService::do_capture(const policy::Capture& effect) {
  progress_stage_ = "capture";
  progress_text_ = "taking a checkpoint";
  PERDURE_ASSERT(record_.runtime.has_value());
  cancel_ = std::make_shared<CancelFlag>(false);
  CaptureJob job{backend_, store_, table_, cancel_, effect.generation, *record_.runtime, parent_,
                 store_bandwidth_};
  run(std::move(job), [this, generation = effect.generation](Result<CaptureOutcome> outcome) {
    if (!outcome) {
      ++capture_failures_;
      last_capture_error_ = outcome.error().message();
      const bool for_good = outcome.error().code() == ErrorCode::kUnsupported;
      handle(policy::CaptureFailed{
          generation, outcome.error().message(), remedy_of(outcome.error()),
          for_good ? policy::FailureClass::kPermanent : policy::FailureClass::kTransient, Duration::zero()});
      return;
    }
    ++captures_;
    last_capture_error_.clear();
    last_capture_ = outcome->report;
    parent_ = generation;
    if (outcome->store_bandwidth > 0) store_bandwidth_ = outcome->store_bandwidth;
    const capsule::CaptureStats& stats = outcome->report.stats;
    handle(policy::CaptureFinished{generation, outcome->parent,
                                   {stats.cpu, stats.frozen, outcome->report.kept.count},
                                   policy::CommitState::kCommitted});
    handle(policy::Durable{generation});
  });
}

void ContainerService::do_restore(const policy::Restore& effect) {
  progress_stage_ = "restore";
  progress_text_ = std::format("restoring generation {}", to_string(effect.generation));
  if (!failed_at_) {
    failed_at_ = noticed_at_ = environment_.clock.now();
    failure_reason_ = "operator";
  }
  auto work = [backend = backend_, store = store_, table = table_,
               generation = effect.generation]() -> Result<RestoreResult> {
    PERDURE_ASSIGN(const capsule::CapsuleRef capsule, table->load(generation, *store));
    return backend->restore(*capsule);
  };
  run(std::move(work), [this, effect](Result<RestoreResult> restored) {
    if (!restored) {
      handle(policy::RestoreFailed{effect.generation, failure_of(restored.error()),
                                   restored.error().message()});
      return;
    }
    parent_ = effect.generation;
    record_.runtime = restored->facts;
    ++record_.restores;
    watch_init(restored->facts);
    frames_before_ = restored->frames_before;
    measure_restore(effect, *restored);
    handle(policy::RestoreFinished{effect.generation, restored->facts.init.pid});
    restored_details_.reset();
    save_record();
  });
}

// Keeps what only the shell knows for the event by which the policy tells of the restore.
void ContainerService::measure_restore(const policy::Restore& effect, const RestoreResult& result) {
  const Instant now = environment_.clock.now();
  RestoreReport report;
  report.at = environment_.clock.wall();
  report.reason = failure_reason_;
  report.generation = effect.generation;
  report.connections_reset = result.connections_reset;
  report.noticed = *noticed_at_ - *failed_at_;
  report.restored = now - *failed_at_;
  for (const policy::GenerationInfo& info : policy_.generations()) {
    if (info.id == effect.generation) {
      report.lost = std::max(Duration::zero(), Duration(*failed_at_ - info.captured_at));
    }
  }
  control::v1::Event& details = restored_details_.emplace();
  details.set_text(std::format("; {} after the failure; {} of {} connections were reset",
                               format_duration(*report.restored), result.connections_reset, result.connections));
  details.set_reason(failure_reason_);
  details.set_generation(to_string(effect.generation));
  auto& durations = *details.mutable_durations_ns();
  durations["noticed"] = report.noticed->count();
  durations["restored"] = report.restored->count();
  durations["killed"] = result.killed.count();
  durations["files"] = result.files.count();
  durations["processes"] = result.processes.count();
  if (report.lost) durations["lost"] = report.lost->count();
  last_restore_ = report;
  watch_first_packet(*failed_at_, now + kFirstPacketTime);
  failed_at_.reset();
}

// The first frame that passes the gate after a restore is what the clients wait for. The kernel counts frames,
// it does not report them: the count is looked at every millisecond until it rises.
void ContainerService::watch_first_packet(Instant failed_at, Instant give_up) {
  first_packet_timer_ = environment_.loop.after(kFirstPacketStep, [this, failed_at, give_up] {
    const Instant now = environment_.clock.now();
    if (backend_->frames_passed() == frames_before_) {
      if (now < give_up) watch_first_packet(failed_at, give_up);
      return;
    }
    last_restore_->first_packet = now - failed_at;
    control::v1::Event event;
    event.set_severity(control::v1::SEVERITY_INFO);
    event.set_container(spec_.name.str());
    event.set_kind("first_packet");
    event.set_text(std::format("first packet {} after the failure", format_duration(now - failed_at)));
    (*event.mutable_durations_ns())["first_packet"] = (now - failed_at).count();
    environment_.events.append(std::move(event));
    notify();
  });
}

void ContainerService::do_terminate() {
  run([backend = backend_, signal = spec_.stop.signal] { return backend->terminate(signal); },
      [this](Status terminated) {
        if (!terminated && terminated.error().code() != ErrorCode::kNotFound) {
          log::warning("{}: {}", spec_.name.str(), terminated.error().message());
        }
      });
}

void ContainerService::do_kill() {
  stop_was_kill_ = true;
  run([backend = backend_] { return backend->kill_all(); }, [this](Status killed) {
    if (!killed) log::warning("{}: {}", spec_.name.str(), killed.error().message());
    // Processes without a watched init (a half restore): nobody else would tell.
    if (killed && !process_) handle(policy::ContainerDied{});
  });
}

void ContainerService::do_discard(const policy::DiscardGeneration& effect) {
  mark_reasons_[effect.generation] = effect.reason;
  run([store = store_, effect] {
        return store->mark(effect.generation, policy::to_string(effect.mark), effect.reason);
      },
      [this](Status marked) {
        if (!marked && marked.error().code() != ErrorCode::kNotFound) {
          log::warning("{}: {}", spec_.name.str(), marked.error().message());
        }
      });
}

void ContainerService::do_reinstate(const Generation& generation) {
  mark_reasons_.erase(generation);
  run([store = store_, generation]() -> Status {
        for (const policy::Mark mark : {policy::Mark::kSuspect, policy::Mark::kAbandoned}) {
          PERDURE_TRY(store->unmark(generation, policy::to_string(mark)));
        }
        return {};
      },
      [this](Status unmarked) {
        if (!unmarked && unmarked.error().code() != ErrorCode::kNotFound) {
          log::warning("{}: {}", spec_.name.str(), unmarked.error().message());
        }
      });
}

// One after the other, newest first: what builds on a generation goes before it.
void ContainerService::do_delete(const Generation& generation) {
  mark_reasons_.erase(generation);
  deletions_.push_back(generation);
  if (!deleting_) delete_pending();
}

void ContainerService::delete_pending() {
  deleting_ = true;
  std::vector<Generation> pending = std::exchange(deletions_, {});
  std::ranges::sort(pending, std::greater{}, &Generation::number);
  run([store = store_, table = table_, pending]() {
        std::vector<std::string> failures;
        for (const Generation& generation : pending) {
          Status done = table->forget(generation);
          if (done || done.error().code() == ErrorCode::kNotFound) done = store->remove(generation);
          if (done || done.error().code() == ErrorCode::kNotFound) continue;
          failures.push_back(std::format("delete generation {}: {}", to_string(generation), done.error().message()));
        }
        return failures;
      },
      [this](const std::vector<std::string>& failures) {
        for (const std::string& failure : failures) log::warning("{}: {}", spec_.name.str(), failure);
        deleting_ = false;
        if (!deletions_.empty()) delete_pending();
      });
}

void ContainerService::do_timer(const policy::SetTimer& effect) {
  timers_[static_cast<std::size_t>(effect.timer)] =
      environment_.loop.at(effect.at, [this, timer = effect.timer] { handle(policy::TimerFired{timer}); });
}

void ContainerService::do_release() {
  progress_stage_ = "remove";
  progress_text_ = "removing network, files and capsules";
  for (io::Timer& timer : timers_) timer.reset();
  run(
      [backend = backend_, capsules = capsules_at_release_, table = table_, store = std::move(store_)]() mutable {
        store.reset();  // its lock and its directory go
        return backend->release(capsules);
      },
      [this](Status released) {
        if (!released) {
          release_error_ = released.error().message();
          emit({policy::Severity::kError, "remove-failed",
                std::format("container '{}' is stopped, but not all of it could be removed; "
                            "run 'perdure rm {}' again",
                            spec_.name.str(), spec_.name.str()),
                release_error_});
        }
        removed_ = true;
        notify();
      });
}

void ContainerService::emit(const policy::Emit& effect) {
  control::v1::Event event;
  event.set_severity(to_proto(effect.severity));
  event.set_container(spec_.name.str());
  event.set_kind(effect.kind);
  event.set_text(effect.text);
  event.set_reason(effect.reason);
  if (effect.kind == "restored" && restored_details_) {
    restored_details_->set_text(effect.text + restored_details_->text());
    event.MergeFrom(*restored_details_);
  }
  environment_.events.append(std::move(event));
}

// ---- Deaths ----

void ContainerService::watch_init(const RuntimeFacts& facts) {
  process_watch_.reset();
  process_.reset();
  auto process = runtime::ProcessWatch::open(facts.init);
  if (!process) {
    // Dead already: the same road as a death a moment later.
    environment_.loop.post([this, token = lifetime_.token()] {
      if (token.alive()) init_ended();
    });
    return;
  }
  process_.emplace(*std::move(process));
  auto watch = environment_.loop.watch_readable(process_->fd(), [this] { init_ended(); });
  PERDURE_ASSERT(watch.has_value());
  process_watch_ = *std::move(watch);
}

void ContainerService::process_killed(pid_t pid, int signal, bool is_init, Instant at) {
  if (!failed_at_ || at < *failed_at_) failed_at_ = at;
  if (is_init) return;  // its pidfd tells
  noticed_at_ = environment_.clock.now();
  handle(policy::ProcessKilled{pid, signal});
  if (policy_.phase() == policy::Phase::kProtected || policy_.phase() == policy::Phase::kTrial) {
    failed_at_.reset();
  }
}

void ContainerService::init_ended() {
  process_watch_.reset();
  noticed_at_ = environment_.clock.now();
  if (!failed_at_) failed_at_ = noticed_at_;
  runtime::ProcessEnd end;
  if (process_) {
    if (auto ended = process_->wait(BootClock::now() + kReapTime)) end = *ended;
  }
  record_.exit_status = shell_status(end);
  process_.reset();
  // The kernel kills what is left of the PID namespace with its init; the report waits until that is done.
  run([backend = backend_] { return backend->kill_all(); }, [this, end](Status killed) {
    if (!killed) log::warning("{}: {}", spec_.name.str(), killed.error().message());
    failure_reason_ = policy::to_string(to_policy(end));
    if (record_.state.desired == policy::DesiredState::kRunning) ++record_.failures;
    handle(policy::ContainerDied{to_policy(end)});
    const policy::Phase phase = policy_.phase();
    if (phase != policy::Phase::kRecovering && phase != policy::Phase::kStarting) failed_at_.reset();
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

std::string ContainerService::mark_reason(const Generation& generation) const {
  const auto found = mark_reasons_.find(generation);
  return found == mark_reasons_.end() ? std::string() : found->second;
}

}  // namespace perdure::node
