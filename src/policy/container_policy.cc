#include "policy/container_policy.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <format>
#include <utility>

#include "base/assert.h"

namespace perdure::policy {

std::string_view to_string(Phase phase) {
  switch (phase) {
    case Phase::kNew:
      return "new";
    case Phase::kPreparing:
      return "preparing";
    case Phase::kStarting:
      return "starting";
    case Phase::kTrial:
      return "trial";
    case Phase::kProtected:
      return "protected";
    case Phase::kUnprotected:
      return "unprotected";
    case Phase::kRecovering:
      return "recovering";
    case Phase::kStopping:
      return "stopping";
    case Phase::kStopped:
      return "stopped";
    case Phase::kRemoved:
      return "removed";
    case Phase::kFailed:
      return "failed";
    case Phase::kMoving:
      return "moving";
    case Phase::kLeaving:
      return "leaving";
    case Phase::kGone:
      return "gone";
    case Phase::kWaiting:
      return "waiting";
  }
  return "?";
}

ContainerPolicy::ContainerPolicy(ContainerName name, Term term, Incarnation incarnation,
                                 const ContainerOptions& options)
    : name_(std::move(name)),
      term_(term),
      incarnation_(incarnation),
      options_(options),
      schedule_(name_, options.schedule) {
  PERDURE_ASSERT(validate(options).has_value());
}

std::vector<Effect> ContainerPolicy::handle(const Event& event, Instant now) {
  now_ = std::max(now_, now);
  effects_.clear();
  const auto is = [&]<typename... T>() { return (std::holds_alternative<T>(event) || ...); };
  const bool first = is.operator()<SpecAccepted, DaemonRestarted, TakenOver>();
  const bool any_time = is.operator()<OwnershipUnknown, OwnershipKnown, TermRaised, StandbysReady>();
  const bool ended = phase_ == Phase::kRemoved || phase_ == Phase::kGone;
  if (const Status admitted = admit(event); !admitted) {
    emit(Severity::kWarning, "refused", admitted.error().message());
  } else if (!ended && (any_time || first == (phase_ == Phase::kNew))) {
    std::visit([this](const auto& e) { on(e); }, event);
    reconcile();
  }
  return std::exchange(effects_, {});
}

// ---- Start ----

void ContainerPolicy::on(const SpecAccepted&) {
  persistent_ = {
      .desired = DesiredState::kRunning, .begun = true, .finished = false, .gave_up = {}};
  record();
  begin_start();
}

// A cold start begins a new life: recovery never goes back behind it, only an operator may.
void ContainerPolicy::begin_start() {
  abandon_after(std::nullopt, "the container was started afresh");
  awaits_word_ = false;
  began_anew_ = stored_unknown_;
  operation_since_ = now_;
  if (image_ready_) {
    operation_ = Operation::kStarting;
    set_phase(Phase::kStarting);
    effects_.push_back(Start{});
  } else {
    operation_ = Operation::kPreparing;
    set_phase(Phase::kPreparing);
    effects_.push_back(PrepareImage{});
  }
}

void ContainerPolicy::on(const ImageReady&) {
  if (operation_ != Operation::kPreparing) return;
  operation_ = Operation::kNone;
  image_ready_ = true;
}

void ContainerPolicy::on(const ImageFailed& event) {
  if (operation_ != Operation::kPreparing) return;
  start_again_later("the image cannot be prepared: " + event.reason, event.failure);
}

void ContainerPolicy::on(const StartFailed& event) {
  if (operation_ != Operation::kStarting) return;
  start_again_later("it cannot be started: " + event.reason, event.failure);
}

void ContainerPolicy::start_again_later(std::string reason, FailureClass failure) {
  operation_ = Operation::kNone;
  if (phase_ != Phase::kPreparing && phase_ != Phase::kStarting)
    return;  // it is not wanted any more
  emit(Severity::kError, "start_failed", reason);
  if (failure == FailureClass::kPermanent) {
    give_up(reason, "mend what it names, then start the container");
    return;
  }
  question_ = {};
  question_.trouble = RecoveryQuestion::Trouble::kStartFailed;
  delay_attempts();
  set_phase(Phase::kRecovering, std::move(reason));
}

void ContainerPolicy::on(const Started& event) {
  if (operation_ != Operation::kStarting) return;
  operation_ = Operation::kNone;
  alive_ = true;
  pid_ = event.pid;
  cold_life_ = true;
  failed_attempts_ = 0;
  life_began_ = now_;
  set_fresh(now_);
}

void ContainerPolicy::finish_start() {
  open_gate();
  emit(Severity::kInfo, "started", std::format("started as process {}", pid_));
  if (options_.statefulness == Statefulness::kStateless) {
    become_protected({}, "stateless: it is started afresh when it fails");
    return;
  }
  schedule_.enable(now_, now_ + options_.trial_delay);
  set_phase(Phase::kTrial, "its first checkpoint is not committed yet");
}

void ContainerPolicy::on(const OperatorStart&) {
  persistent_ = {
      .desired = DesiredState::kRunning, .begun = true, .finished = false, .gave_up = {}};
  record();
  forget_failures();
  if (phase_ == Phase::kStopped) {
    begin_start();
    return;
  }
  // It was given up, yet its state may still be there: an operator who wants it fresh stops it
  // first.
  question_ = {};
  question_.trouble = RecoveryQuestion::Trouble::kOperatorStart;
  killing_ = false;
  resume_.reset();
  asked_restore_.reset();
  set_phase(Phase::kRecovering, "an operator starts it again");
}

// An operator's word: what failed before does not count any more.
void ContainerPolicy::forget_failures() {
  restores_.clear();
  failovers_.clear();
  refused_by_.clear();
  failed_attempts_ = short_lives_ = failed_in_place_ = 0;
  next_attempt_ = next_cold_start_ = now_;
}

// ---- Processes that are killed ----

void ContainerPolicy::on(const ProcessKilled& event) {
  gate_ = GateState::kHeld;
  if (!alive_) return;
  if (event.is_init && serving()) {
    hold_gate();  // it may have been opened for another death before this one was told
    killed_process_ = event;
    arm(TimerId::kExitGrace, now_ + options_.kill_deadline);
  } else if (phase_ == Phase::kStopping && !killing_) {
    open_gate();  // what it has to say while it shuts down is wanted
  } else if (serving() && !timer(TimerId::kExitGrace)) {
    killed_process_ = event;
    arm(TimerId::kExitGrace, now_ + options_.exit_grace);
  } else if (frozen()) {
    killed_process_ = event;
  }
}

// The killed process was a component's, and has its successor: init lives on on purpose.
void ContainerPolicy::on(const ComponentRestarted&) {
  if (!alive_ || !serving() || !timer(TimerId::kExitGrace) || killed_process_.is_init) return;
  disarm(TimerId::kExitGrace);
  open_gate();
}

// ---- Stop ----

void ContainerPolicy::on(const OperatorStop& event) {
  stop_deadline_ = event.deadline;
  // One that is stopping already is given the new time from now on, or killed right away.
  if (terminating_ && !killing_ && event.deadline) arm(TimerId::kStop, now_ + *event.deadline);
  stop_as(DesiredState::kStopped);
}
void ContainerPolicy::on(const OperatorRemove&) {
  stop_deadline_.reset();
  stop_as(DesiredState::kRemoved);
}

void ContainerPolicy::stop_as(DesiredState desired) {
  persistent_.desired = desired;
  persistent_.finished = false;
  persistent_.gave_up.clear();
  record();
  asked_restore_.reset();
  probation_.reset();
  resume_.reset();
  held_back_.reset();
  if (phase_ == Phase::kFailed) terminating_ = killing_ = false;
  schedule_.disable();
  if (alive_ && timer(TimerId::kExitGrace)) open_gate();
  set_phase(Phase::kStopping, desired == DesiredState::kRemoved ? "an operator removes it"
                                                                : "an operator stopped it");
}

void ContainerPolicy::advance_stopping() {
  const bool waits = operation_ != Operation::kNone && operation_ != Operation::kCapturing;
  if (waits) return;
  if (alive_) {
    // A stop that has begun goes on; none is begun on a guess.
    if (terminating_ || killing_ || ownership_unknown_) return;
    if (half_restored_) {
      kill();
      return;
    }
    terminating_ = true;
    effects_.push_back(Terminate{});
    arm(TimerId::kStop, now_ + stop_deadline_.value_or(options_.stop_deadline));
    return;
  }
  if (operation_ == Operation::kCapturing) {
    cancel_capture();
    return;
  }
  if (gate_ == GateState::kOpen) hold_gate();
  if (persistent_.desired == DesiredState::kRemoved && ownership_unknown_) return;
  const std::string reason = reason_;
  if (persistent_.desired == DesiredState::kRemoved) {
    set_phase(Phase::kRemoved, reason);
    emit(Severity::kInfo, "removed", "removed");
    effects_.push_back(Release{});
  } else {
    set_phase(Phase::kStopped, reason);
    emit(Severity::kInfo, "stopped", "stopped", reason);
  }
}

void ContainerPolicy::kill() {
  killing_ = true;
  disarm(TimerId::kStop);
  effects_.push_back(Kill{});
  arm(TimerId::kKill, now_ + options_.kill_deadline);
}

// Something of this container hangs in the kernel. Nothing may be begun beside it; should it end
// after all, reconcile() goes on where it stopped.
void ContainerPolicy::fail_stuck(const std::string& reason, const std::string& remedy) {
  // A second thing that hangs does not change what the first one interrupted.
  if (!resume_) resume_ = Interrupted{phase_, reason_};
  fail_with(reason, remedy);
}

// ---- The state reached, and what it lacks ----

void ContainerPolicy::reconcile() {
  for (Phase before = phase_;; before = phase_) {
    step();
    if (phase_ == before) return;
  }
}

void ContainerPolicy::step() {
  switch (phase_) {
    case Phase::kPreparing:
      if (operation_ == Operation::kNone && !held_back()) begin_start();
      return;
    case Phase::kStarting:
      if (operation_ == Operation::kNone && !held_back()) finish_start();
      return;
    case Phase::kMoving:
      advance_move();
      return;
    case Phase::kLeaving:
      advance_leaving();
      return;
    case Phase::kWaiting:
      advance_waiting();
      return;
    case Phase::kTrial:
    case Phase::kProtected:
    case Phase::kUnprotected:
      watch_age();
      advance_captures();
      return;
    case Phase::kRecovering:
      advance_recovery();
      return;
    case Phase::kStopping:
      advance_stopping();
      return;
    case Phase::kFailed:
      if (!resume_ || alive_ || operation_ != Operation::kNone) return;
      set_phase(resume_->phase, resume_->reason);
      resume_.reset();
      return;
    default:
      return;
  }
}

bool ContainerPolicy::running() const {
  return phase_ == Phase::kTrial || phase_ == Phase::kProtected || phase_ == Phase::kUnprotected;
}

bool ContainerPolicy::serving() const {
  return running() || (phase_ == Phase::kMoving && move_->stage == Move::Stage::kBegins);
}

void ContainerPolicy::set_phase(Phase phase, std::string reason, std::string remedy) {
  if (phase != phase_) phase_since_ = now_;
  phase_ = phase;
  reason_ = std::move(reason);
  remedy_ = std::move(remedy);
  if (!serving()) {
    for (const TimerId id : {TimerId::kCapture, TimerId::kAge, TimerId::kCommit,
                             TimerId::kExitGrace, TimerId::kProbation}) {
      disarm(id);
    }
  }
  if (phase != Phase::kRecovering) disarm(TimerId::kRestartDelay);
  if (phase != Phase::kStopping) disarm(TimerId::kStop);
  if (phase != Phase::kMoving) disarm(TimerId::kMove);
}

void ContainerPolicy::on(const TimerFired& event) {
  std::optional<Instant>& at = timer(event.timer);
  if (!at) return;
  if (now_ < *at) {
    effects_.push_back(SetTimer{event.timer, *at});
    return;
  }
  at.reset();
  switch (event.timer) {
    case TimerId::kCapture:
    case TimerId::kAge:
    case TimerId::kRestartDelay:
      return;  // reconcile() looks at the time
    case TimerId::kMove:
      warn_of_move();
      return;
    case TimerId::kCommit:
      fail_late_commits();
      return;
    case TimerId::kExitGrace: {
      const char* signal = ::sigabbrev_np(killed_process_.signal);
      if (killed_process_.is_init) {
        arm(TimerId::kExitGrace, now_ + options_.kill_deadline);
        emit(Severity::kError, "process_killed",
             std::format("the container's first process was killed by signal {} ({}) and is not gone after {}",
                         killed_process_.signal, signal ? signal : "unknown", format_duration(options_.kill_deadline)),
             "look for processes of the container that hang in the kernel (state D), often on a dead file system, or "
             "that a debugger holds; recovery goes on by itself when they end");
        return;
      }
      open_gate();
      emit(Severity::kWarning, "process_killed",
           std::format("process {}{} was killed by signal {} ({}); the container's init lives on, so "
                       "its output was resumed after {}",
                       killed_process_.pid,
                       killed_process_.command.empty() ? "" : std::format(" ('{}')", killed_process_.command),
                       killed_process_.signal, signal ? signal : "unknown", format_duration(options_.exit_grace)),
           gate_untouched_ ? "not yet: who owns it is not known" : "");
      return;
    }
    case TimerId::kProbation:
      probation_.reset();
      failed_in_place_ = 0;
      return;
    case TimerId::kCaptureEnd:
      fail_stuck(std::format("the capture of generation {} has not ended {} after it was cancelled",
                             perdure::to_string(operation_generation_),
                             format_duration(options_.capture_end_deadline)),
                 "look for a criu process that hangs in the kernel (state D), often on a dead file "
                 "system; recovery goes on by itself when it ends");
      return;
    case TimerId::kStop:
      kill();
      return;
    case TimerId::kKill:
      fail_stuck(
          std::format("processes are left {} after SIGKILL",
                      format_duration(options_.kill_deadline)),
          "look for processes that hang in the kernel (state D), often on a dead file system; "
          "perdure goes on by itself when they end");
      return;
  }
}

// ---- Effects ----

void ContainerPolicy::record() {
  if (recorded_ == persistent_) return;
  recorded_ = persistent_;
  effects_.push_back(Record{persistent_});
}

void ContainerPolicy::hold_gate() {
  gate_ = GateState::kHeld;
  effects_.push_back(HoldGate{});
}

void ContainerPolicy::open_gate() {
  if (gate_untouched_) return;
  gate_ = GateState::kOpen;
  effects_.push_back(OpenGate{});
}

void ContainerPolicy::arm(TimerId id, Instant at) {
  if (timer(id) == at) return;
  timer(id) = at;
  effects_.push_back(SetTimer{id, at});
}

void ContainerPolicy::disarm(TimerId id) {
  if (!timer(id)) return;
  timer(id).reset();
  effects_.push_back(CancelTimer{id});
}

void ContainerPolicy::emit(Severity severity, std::string kind, std::string text,
                           std::string reason) {
  effects_.push_back(Emit{severity, std::move(kind), std::move(text), std::move(reason)});
}

}  // namespace perdure::policy
