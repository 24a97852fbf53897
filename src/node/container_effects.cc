// How a container's service performs the policy's effects.
#include <algorithm>
#include <format>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/log.h"
#include "node/container_service.h"
#include "model/spec_yaml.h"
#include "node/policy_terms.h"

namespace perdure::node {
namespace {

// They have all the time that a takeover takes; a start that waited for longer would make one outage two.
constexpr Duration kSponsorPatience = std::chrono::seconds(10);
constexpr Duration kSponsorAgain = std::chrono::milliseconds(20);

}  // namespace

void ContainerService::do_record(const policy::Record& effect) {
  record_.state = effect.state;
  save_record();
}

void ContainerService::do_prepare() {
  progress_stage_ = "prepare";
  progress_text_ = "preparing the image";
  const auto probe = record_.first_start_done ? ContainerBackend::AddressProbe::kNo
                                              : ContainerBackend::AddressProbe::kYes;
  auto progress = [&loop = environment_.loop, token = lifetime_.token(), this](
                      std::string_view stage, std::string_view text) {
    loop.post([token, this, stage = std::string(stage), text = std::string(text)] {
      if (!token.alive()) return;
      progress_stage_ = stage;
      progress_text_ = text;
      notify();
    });
  };
  runner_.run(
      [backend = backend_, probe, progress] { return backend->prepare(probe, progress); },
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

bool ContainerService::comes_up() const {
  const policy::Phase phase = status().phase;
  return phase == policy::Phase::kNew || phase == policy::Phase::kPreparing || phase == policy::Phase::kStarting || phase == policy::Phase::kRecovering;
}

const std::string* ContainerService::sponsor_to_wait_for() const {
  if (environment_.cluster == nullptr || record_.state.desired != policy::DesiredState::kRunning) return nullptr;
  for (const std::string& sponsor : spec_.application.sponsors) {
    const auto name = ContainerName::parse(sponsor);
    if (name && environment_.cluster->is_coming(*name)) return &sponsor;
  }
  return nullptr;
}

// Whether the start waits: after a failure that took both, sponsors are there before those that depend on them.
bool ContainerService::wait_for_sponsors() {
  const Instant now = environment_.clock.now();
  const std::string* missing = sponsor_to_wait_for();
  if (missing != nullptr && !sponsors_awaited_until_) {
    sponsors_awaited_until_ = now + kSponsorPatience;
    progress_stage_ = "start";
    progress_text_ = std::format("waiting for '{}', which it depends on", *missing);
    emit({policy::Severity::kInfo, "waits_for_sponsor",
          std::format("container '{}' is started when '{}', which it depends on, runs; after {} it is started without", spec_.name.str(), *missing,
                      format_duration(kSponsorPatience)),
          {}});
  }
  if (missing != nullptr && now < *sponsors_awaited_until_) {
    sponsor_timer_ = environment_.loop.after(kSponsorAgain, [this] { do_start(); });
    return true;
  }
  if (missing != nullptr) log::warning("{}: started without '{}', which it depends on", spec_.name.str(), *missing);
  sponsors_awaited_until_.reset();
  return false;
}

void ContainerService::do_start() {
  if (wait_for_sponsors()) return;
  progress_stage_ = "start";
  progress_text_ = "starting";
  before_.reset();
  runner_.run([backend = backend_] { return backend->start(); },
              [this, recovering = meter_.under_way()](Result<Life> started) {
                if (!started) {
                  start_error_ = started.error().code();
                  handle(policy::StartFailed{started.error().message(), class_of(started.error())});
                  return;
                }
                record_.runtime = started->facts;
                record_.awaits_word = false;
                record_.first_start_done = true;
                components_.started();
                if (recovering) {
                  ++record_.restores;
                  meter_.started_afresh();
                }
                save_record();
                watch_init(std::move(started->process));
                handle(policy::Started{started->facts.init.pid});
              });
}

void ContainerService::do_capture(const policy::Capture& effect) {
  progress_stage_ = "capture";
  progress_text_ = "taking a checkpoint";
  PERDURE_ASSERT(record_.runtime.has_value());
  cancel_ = std::make_shared<CancelFlag>(false);
  agent_silence_.capture_begins(environment_.clock.now());
  const bool hands_over = effect.kind == policy::CaptureKind::kHandover;
  hands_over_ = hands_over;
  const auto after =
      hands_over ? ContainerBackend::AfterCapture::kStayFrozen : ContainerBackend::AfterCapture::kRunOn;
  CaptureJob job{backend_, generations_.table(), cancel_, effect.generation, *record_.runtime, before_, after};
  auto work = [job = std::move(job), backend = backend_, hands_over]() -> Result<CaptureOutcome> {
    auto outcome = job();
    if (outcome || !hands_over) return outcome;
    // It runs on, wherever that went wrong.
    if (Status resumed = backend->resume(); !resumed) log::error("{}", resumed.error().message());
    backend->open_gate();
    return outcome;
  };
  runner_.run(std::move(work), [this, generation = effect.generation](Result<CaptureOutcome> outcome) {
    if (!outcome) return capture_failed(generation, outcome.error());
    captured(*std::move(outcome));
  });
}

void ContainerService::capture_failed(const Generation& generation, const Error& error) {
  agent_silence_.capture_ended(environment_.clock.now(), std::nullopt);
  ++capture_failures_;
  last_capture_error_ = error.message();
  const bool for_good = error.code() == ErrorCode::kUnsupported;
  handle(policy::CaptureFailed{generation, error.message(), remedy_of(error),
                               for_good ? policy::FailureClass::kPermanent : policy::FailureClass::kTransient,
                               Duration::zero()});
  if (std::exchange(hands_over_, false) && owned_ != nullptr) {
    owned_->handle(policy::ownership::HandoverCaptureFailed{error.message()});
  }
}

void ContainerService::captured(CaptureOutcome outcome) {
  agent_silence_.capture_ended(environment_.clock.now(), outcome.report.stats.frozen);
  ++captures_;
  capture_totals_.frozen += outcome.report.stats.frozen;
  capture_totals_.cpu += outcome.report.stats.cpu;
  if (environment_.on_captured) environment_.on_captured(outcome.report);
  last_capture_error_.clear();
  const bool hands_over = std::exchange(hands_over_, false);
  const Generation generation = outcome.report.generation;
  last_capture_ = outcome.report;
  before_ = generation;
  capsule::CaptureStats stats = outcome.report.stats;
  // What writing and shipping the generations before has cost: it is known only now.
  stats.cpu += std::exchange(shipping_cpu_, Duration::zero());
  handle(policy::CaptureFinished{
      generation, std::nullopt, {stats.cpu, stats.frozen, 0}, policy::CommitState::kProvisional});
  if (hands_over) offer(health_.take_all());
  if (health_.needed() && !hands_over) return offer_when_healthy(outcome);
  offer({{outcome.capsule, outcome.base, outcome.thawed}});
}

void ContainerService::stored(const StoredDurably& stored) {
  shipping_cpu_ += stored.cpu;
  store_trouble_.clear();
  if (last_capture_ && last_capture_->generation == stored.generation) last_capture_->kept = stored.size;
  handle(policy::Durable{stored.generation, stored.parent});
  if (owned_ != nullptr) {
    owned_->handle(policy::ownership::Durable{stored.generation});
  } else {
    commit(stored.generation);
  }
  if (store_holds_more_) remove_what_is_superseded();
}

// What the policy has not been told of goes when it keeps generations of this life only.
void ContainerService::remove_what_is_superseded() {
  constexpr std::ptrdiff_t kEnough = 2;
  const std::vector<policy::GenerationInfo>& kept = policy_.generations();
  const auto is_ours = [this](const policy::GenerationInfo& info) {
    return info.id.term == record_.term && info.id.incarnation == environment_.incarnation;
  };
  const auto is_good = [](const policy::GenerationInfo& info) { return info.durable && info.mark == policy::Mark::kNone; };
  if (!std::ranges::all_of(kept, is_ours) || std::ranges::count_if(kept, is_good) < kEnough) return;
  store_holds_more_ = false;
  generations_.remove_before(std::ranges::min(kept, {}, &policy::GenerationInfo::id).id,
                             [this](const Status& removed) { store_holds_more_ = store_holds_more_ || !removed; });
}

void ContainerService::not_stored(const Generation& generation, const Error& error) {
  if (durable_counts_) {
    // Whoever has asked for it need not wait until it is given up.
    ++capture_failures_;
    last_capture_error_ = error.message();
    handle(policy::CommitFailed{generation, error.message(), class_of(error)});
    return;
  }
  // Standbys may hold it: it is not lost, only not durable.
  if (std::exchange(store_trouble_, error.message()) == error.message()) return;
  emit({policy::Severity::kWarning, "not_durable",
        "a generation could not be written to the durable directory; it is tried again and again", error.message()});
}

void ContainerService::commit(const Generation& generation) {
  log::debug("{}: checkpoint: committing", spec_.name.str());
  if (Status marked = generations_.table()->mark_committed(generation); !marked) {
    log::debug("{}: {}", spec_.name.str(), marked.error().message());
  }
  handle(policy::Committed{generation});
}

void ContainerService::discard(const policy::DiscardGeneration& effect) {
  newer_discarded_ = true;  // what is restored next is older
  health_.discard(effect.generation);
  replication_.discard(effect.generation);
  generations_.mark(effect);
  if (owned_ != nullptr) owned_->handle(policy::ownership::GenerationsDiscarded{{effect.generation}});
}

void ContainerService::do_restore(const policy::Restore& effect) {
  progress_stage_ = "restore";
  progress_text_ = std::format("restoring generation {}", to_string(effect.generation));
  if (!meter_.under_way()) meter_.begin_for_operator();
  with_capsule(effect.generation, [this, effect](const Result<capsule::CapsuleRef>& loaded) {
    const auto failed = [&](policy::RestoreFailure why, std::string reason) {
      handle(policy::RestoreFailed{effect.generation, why, std::move(reason)});
    };
    if (!loaded) return failed(loading_failure(loaded.error()), loaded.error().message());
    // Loading may have taken as long as the storage liked.
    if (policy_.status().phase != policy::Phase::kRecovering) return failed(policy::RestoreFailure::kHost, "it is not wanted any more");
    restore(effect, *loaded);
  });
}

// At once what is in memory, else what its durable directory holds.
void ContainerService::with_capsule(const Generation& generation, std::function<void(const Result<capsule::CapsuleRef>&)> then) {
  if (const auto capsule = generations_.table()->in_memory(generation)) return then(capsule);
  store_runner_.run([store = generations_.store(), table = generations_.table(), generation] { return table->load(generation, *store); },
                    std::move(then));
}

void ContainerService::restore(const policy::Restore& effect, const capsule::CapsuleRef& capsule) {
  auto work = [backend = backend_, capsule] {
    return backend->restore(*capsule, ContainerBackend::RestoreKind::kRolledBack, {});
  };
  runner_.run(std::move(work), [this, effect, capsule](Result<RestoreResult> restored) {
    if (!restored) {
      handle(policy::RestoreFailed{effect.generation, failure_of(restored.error()),
                                   restored.error().message()});
      return;
    }
    before_ = effect.generation;
    if (record_.image_digest.empty()) record_.image_digest = capsule->manifest.image_digest;  // of what was imported nothing has been prepared here
    record_.runtime = restored->life.facts;
    record_.awaits_word = false;
    ++record_.restores;
    watch_init(std::move(restored->life.process));
    meter_.restored(effect.generation, captured_at(effect.generation), *restored);
    handle(policy::RestoreFinished{effect.generation, restored->life.facts.init.pid});
    gone_back_to(capsule);
    meter_.drop_details();
    save_record();
  });
}

// What is newer is discarded by now.
void ContainerService::gone_back_to(const capsule::CapsuleRef& capsule) {
  replication_.restored(capsule, std::exchange(newer_discarded_, false));
  const Generation& generation = capsule->manifest.generation;
  const policy::GenerationInfo* info = policy::find(policy_.generations(), generation);
  if (owned_ != nullptr) owned_->handle(policy::ownership::GoneBackTo{generation, info != nullptr && info->durable});
}

// The standby holds it, or gets it now: what was newer is discarded there too.
void ContainerService::do_fail_over(const policy::FailOver& effect) {
  with_capsule(effect.generation, [this, effect](const Result<capsule::CapsuleRef>& loaded) {
    const auto failed = [&](std::string reason) { handle(policy::HandOverFailed{std::move(reason), record_.term}); };
    if (!loaded) return failed(loaded.error().message());
    if (owned_ == nullptr) return failed("this node is in no cluster any more");
    gone_back_to(*loaded);
    owned_->fail_over({.what = effect, .failed_at = meter_.failed_at(), .noticed_at = meter_.noticed_at()});
  });
}

std::optional<Instant> ContainerService::captured_at(const Generation& generation) const {
  for (const policy::GenerationInfo& info : policy_.generations()) {
    if (info.id == generation) return info.captured_at;
  }
  return std::nullopt;
}

void ContainerService::do_terminate() {
  runner_.run(
      [backend = backend_, signal = spec_.stop.signal] { return backend->terminate(signal); },
      [this](Status terminated) {
        if (!terminated && terminated.error().code() != ErrorCode::kNotFound) {
          log::warning("{}: {}", spec_.name.str(), terminated.error().message());
        }
      });
}

void ContainerService::do_kill() {
  stop_was_kill_ = true;
  runner_.run([backend = backend_] { return backend->kill_all(); },
              [this](Status killed) {
                if (!killed) log::warning("{}: {}", spec_.name.str(), killed.error().message());
                // Processes without a watched init (a half restore): nobody else would tell.
                if (killed && !process_ && !reporting_end_) handle(policy::ContainerDied{});
              });
}

void ContainerService::do_timer(const policy::SetTimer& effect) {
  timers_[static_cast<std::size_t>(effect.timer)] = environment_.loop.at(effect.at, [this, timer = effect.timer] { timer_fired(timer); });
}

void ContainerService::timer_fired(policy::TimerId timer) {
  if (timer == policy::TimerId::kExitGrace && reporting_end_) return;  // init is gone: the report follows
  // Init was killed with the process that was told of, as by a kill of the whole cgroup, and gets no processor: the gate stays closed.
  if (timer == policy::TimerId::kExitGrace && !told_of_init_ && process_ && process_->is_ending()) {
    told_of_init_ = true;
    return handle(policy::ProcessKilled{.pid = process_->process().pid, .signal = SIGKILL, .is_init = true});
  }
  handle(policy::TimerFired{timer});
}

void ContainerService::do_release() {
  progress_stage_ = "remove";
  progress_text_ = "removing network, files and capsules";
  for (io::Timer& timer : timers_) timer.reset();
  end_takeover();
  agent_.reset();
  store_retry_.reset();
  replication_.leave_store();
  runner_.run(
      [backend = backend_, capsules = capsules_at_release_, table = generations_.table(),
       store = generations_.take_store()]() mutable {
        store.reset();  // its lock and its directory go
        return backend->release(capsules);
      },
      [this](Status released) {
        if (!released) {
          release_error_ = released.error().message();
          emit({policy::Severity::kError, "remove_failed",
                std::format("container '{}' is stopped, but not all of it could be removed; "
                            "run 'perdure rm {}' again",
                            spec_.name.str(), spec_.name.str()),
                release_error_});
        }
        remove_shared_capsules();
      });
}

void ContainerService::remove_shared_capsules() {
  const auto finish = [this] {
    removed_ = true;
    notify();
  };
  std::optional<SharedStore> shared;
  if (environment_.cluster != nullptr && capsules_at_release_ == ContainerBackend::Capsules::kDelete) {
    // What is there is the owner's.
    if (owned_ != nullptr) shared = environment_.cluster->shared_store(spec_.name, record_.term);
  }
  if (!shared) return finish();
  progress_text_ = std::format("removing the capsules in '{}'", shared->directory);
  notify();
  store_runner_.run(shared->remove, [this, finish, directory = shared->directory](const Status& removed) {
    if (!removed) {
      release_error_ = removed.error().message();
      emit({policy::Severity::kError, "remove_failed",
            std::format("container '{}' is removed, but its capsules in '{}' are not: remove that directory", spec_.name.str(),
                        directory),
            release_error_});
    }
    finish();
  });
}

void ContainerService::do_hold_gate() {
  backend_->hold_gate();
  if (std::exchange(gate_open_, false)) ++gate_closures_.by_perdured;
}

void ContainerService::do_open_gate() {
  gate_open_ = true;
  gate_opened_at_ = environment_.clock.now();
  closed_by_death_ = false;
  closed_by_any_ = false;
  backend_->open_gate();
}

void ContainerService::do_resume() {
  // Here, not on the pool: what the policy orders next, a capture perhaps, must find it running. A thaw waits for nobody.
  if (Status resumed = backend_->resume(); !resumed) log::error("{}: {}", spec_.name.str(), resumed.error().message());
  do_open_gate();
}

// Another node owns it: what this host had to run it goes, also what lies in its own directory, for the owner writes to its.
void ContainerService::do_leave() {
  progress_stage_ = "leave";
  progress_text_ = "leaving it to its new owner";
  for (io::Timer& timer : timers_) timer.reset();
  process_watch_.reset();
  agent_.reset();
  store_retry_.reset();
  replication_.leave_store();
  runner_.run(
      [backend = backend_, capsules = leave_capsules_, store = generations_.take_store()]() mutable {
        store.reset();
        return backend->release(capsules);
      },
      [this](Status left) {
        if (!left) {
          release_error_ = left.error().message();
          emit({policy::Severity::kError, "leave_failed",
                std::format("what this node had to run container '{}' could not be removed", spec_.name.str()),
                release_error_});
        }
        left_ = true;
        removed_ = true;
        notify();
      });
}

// ---- What the cluster asks of it ----

Replication::Handlers ContainerService::replication_handlers() {
  Replication::Handlers handlers;
  handlers.on_durable = [this](const StoredDurably& it) { stored(it); };
  handlers.on_not_durable = [this](const Generation& generation, const Error& error) { not_stored(generation, error); };
  handlers.on_held = [this](const NodeName& node, const replica::HoldReceipt& receipt) {
    if (owned_ != nullptr) owned_->held(node, receipt);
  };
  handlers.on_failed = [this](const NodeName& node, const Error& error) {
    if (owned_ != nullptr) owned_->shipping_failed(node, error);
  };
  return handlers;
}

void ContainerService::tell(const policy::Event& event) {
  if (const auto* committed = std::get_if<policy::Committed>(&event)) return commit(committed->generation);
  const bool another_owns_it = std::holds_alternative<policy::OwnershipLost>(event) || std::holds_alternative<policy::HandedOver>(event);
  if (taking_ && another_owns_it) return leave_untaken(event);
  handle(event);
}

Status ContainerService::ask_policy(const policy::Event& wish) { return ask(wish); }

std::string ContainerService::spec_yaml() const { return model::to_yaml(spec_); }

std::uint64_t ContainerService::state_bytes() const {
  const auto newest = generations_.table()->newest();
  return newest && newest->capsule ? capsule::full_size(*newest->capsule).count : 0;
}

Status ContainerService::remember(Term term, const std::optional<policy::ownership::HandingOver>& handing_over) {
  record_.term = term;
  record_.left_cluster = false;
  record_.handing_over = handing_over;
  return write_record();
}

void ContainerService::emit(const policy::Emit& effect) {
  control::v1::Event event = event_of(spec_.name, effect);
  if (effect.kind == "restored" || effect.kind == "taken_over" || effect.kind == "failed_over") meter_.add_details(event);
  environment_.events.append(std::move(event));
}

}  // namespace perdure::node
