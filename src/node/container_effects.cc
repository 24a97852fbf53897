// How a container's service performs the policy's effects.
#include <format>
#include <memory>
#include <string>
#include <utility>

#include "base/assert.h"
#include "base/log.h"
#include "node/container_service.h"
#include "node/policy_terms.h"

namespace perdure::node {

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

void ContainerService::do_start() {
  progress_stage_ = "start";
  progress_text_ = "starting";
  parent_.reset();
  runner_.run([backend = backend_] { return backend->start(); },
              [this, recovering = meter_.under_way()](Result<Life> started) {
                if (!started) {
                  start_error_ = started.error().code();
                  handle(policy::StartFailed{started.error().message(), class_of(started.error())});
                  return;
                }
                record_.runtime = started->facts;
                record_.first_start_done = true;
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
  CaptureJob job{backend_, generations_.store(), generations_.table(),
                 cancel_,  effect.generation,    *record_.runtime,
                 parent_,  store_bandwidth_,
                 ContainerBackend::AfterCapture::kRunOn};
  runner_.run(
      std::move(job), [this, generation = effect.generation](Result<CaptureOutcome> outcome) {
        if (!outcome) {
          ++capture_failures_;
          last_capture_error_ = outcome.error().message();
          const bool for_good = outcome.error().code() == ErrorCode::kUnsupported;
          handle(policy::CaptureFailed{
              generation, outcome.error().message(), remedy_of(outcome.error()),
              for_good ? policy::FailureClass::kPermanent : policy::FailureClass::kTransient,
              Duration::zero()});
          return;
        }
        ++captures_;
        last_capture_error_.clear();
        last_capture_ = outcome->report;
        parent_ = generation;
        if (outcome->store_bandwidth > 0) store_bandwidth_ = outcome->store_bandwidth;
        const capsule::CaptureStats& stats = outcome->report.stats;
        handle(policy::CaptureFinished{generation,
                                       outcome->parent,
                                       {stats.cpu, stats.frozen, outcome->report.kept.count},
                                       policy::CommitState::kCommitted});
        handle(policy::Durable{generation, outcome->parent});
      });
}

void ContainerService::do_restore(const policy::Restore& effect) {
  progress_stage_ = "restore";
  progress_text_ = std::format("restoring generation {}", to_string(effect.generation));
  if (!meter_.under_way()) meter_.begin_for_operator();
  auto work = [backend = backend_, store = generations_.store(), table = generations_.table(),
               generation = effect.generation]() -> Result<RestoreResult> {
    PERDURE_ASSIGN(const capsule::CapsuleRef capsule, table->load(generation, *store));
    return backend->restore(*capsule, ContainerBackend::RestoreKind::kRolledBack);
  };
  runner_.run(std::move(work), [this, effect](Result<RestoreResult> restored) {
    if (!restored) {
      handle(policy::RestoreFailed{effect.generation, failure_of(restored.error()),
                                   restored.error().message()});
      return;
    }
    parent_ = effect.generation;
    record_.runtime = restored->life.facts;
    ++record_.restores;
    watch_init(std::move(restored->life.process));
    meter_.restored(effect.generation, captured_at(effect.generation), *restored);
    handle(policy::RestoreFinished{effect.generation, restored->life.facts.init.pid});
    meter_.drop_details();
    save_record();
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
                if (killed && !process_) handle(policy::ContainerDied{});
              });
}

void ContainerService::do_timer(const policy::SetTimer& effect) {
  timers_[static_cast<std::size_t>(effect.timer)] = environment_.loop.at(
      effect.at, [this, timer = effect.timer] { handle(policy::TimerFired{timer}); });
}

void ContainerService::do_release() {
  progress_stage_ = "remove";
  progress_text_ = "removing network, files and capsules";
  for (io::Timer& timer : timers_) timer.reset();
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
  if (effect.kind == "restored") meter_.add_details(event);
  environment_.events.append(std::move(event));
}

}  // namespace perdure::node
