// ContainerPolicy: deaths, restores, and what a restarted daemon finds.
#include <algorithm>
#include <csignal>
#include <format>
#include <tuple>
#include <utility>

#include "base/assert.h"
#include "policy/container_policy.h"

namespace perdure::policy {

// ---- A death ----

void ContainerPolicy::on(const ContainerDied& event) {
  if (!alive_) return;
  const bool waited =
      phase_ == Phase::kWaiting && (held_back_->phase == Phase::kStarting || restored_.has_value());
  const bool expected = !serving() && !frozen() && !waited;
  alive_ = terminating_ = killing_ = half_restored_ = false;
  pid_ = -1;
  restored_.reset();
  hold_gate();
  disarm(TimerId::kStop);
  disarm(TimerId::kKill);
  if (leaving()) return;
  if (phase_ == Phase::kMoving && move_->stage == Move::Stage::kHandsOver) {
    // Whoever may have it by now builds on what was captured last.
    question_ = {};
    question_.status = event.status;
    emit(Severity::kWarning, "died_moving",
         "the frozen container " + to_string(event.status) + "; it goes on where the record says");
    return;
  }
  const auto left_behind = uncommitted();
  leave_uncommitted("not committed when the container ended");
  if (expected) return;  // reconcile() goes on
  if (move_) {
    emit(Severity::kWarning, "move_failed",
         std::format("it was not moved to node '{}'", move_->target.str()), "it has ended");
    move_.reset();
    persistent_.handing_over.reset();
    record();
  }
  follow_death(event.status, left_behind);
}

void ContainerPolicy::follow_death(ExitStatus status, std::size_t left_behind) {
  schedule_.disable();
  if (operation_ == Operation::kCapturing) cancel_capture();
  question_ = {};
  question_.status = status;
  question_.probation = std::exchange(probation_, std::nullopt);
  const bool restored_in_vain =
      question_.probation && question_.probation->after == Probation::After::kRestore && !finished_by_itself(question_);
  failed_in_place_ = restored_in_vain ? failed_in_place_ + 1 : 0;
  refused_by_.clear();
  const bool short_life = cold_life_ && now_ - life_began_ < options_.restart_delay_limit;
  short_lives_ = short_life ? short_lives_ + 1 : 0;
  next_cold_start_ = now_ + restart_delay(short_lives_);
  if (status == ExitStatus::exited(0)) {
    emit(Severity::kInfo, "exited", "the container " + to_string(status));
  } else {
    emit(Severity::kError, "died", "the container " + to_string(status),
         left_behind == 0   ? ""
         : left_behind == 1 ? "a capture since the newest committed one was left behind"
                            : std::format("{} captures since the newest committed one were left behind", left_behind));
  }
  const RecoveryDecision decision = decide();
  if (decision.action == RecoveryDecision::Action::kStayStopped) {
    persistent_.desired = DesiredState::kStopped;
    persistent_.finished = true;
    record();
    set_phase(Phase::kStopping, decision.reason);
  } else {
    set_phase(Phase::kRecovering, decision.reason);
  }
}

// ---- Recovery, one step at a time ----

void ContainerPolicy::advance_recovery() {
  if (operation_ == Operation::kCapturing) cancel_capture();
  if (restored_) {
    if (!held_back()) finish_restore();
    return;
  }
  if (alive_ && operation_ != Operation::kRestoring) {
    if (!killing_ && !held_back()) kill();
    return;
  }
  if (operation_ != Operation::kNone) return;
  if (held_back()) return;
  if (asked_restore_ && !restorable(generations_, *asked_restore_)) {
    // Its base turned out to be corrupt while it waited.
    emit(Severity::kWarning, "refused",
         std::format("generation {} cannot be restored any more: a base of it is corrupt",
                     perdure::to_string(*asked_restore_)));
    asked_restore_.reset();
  }
  if (asked_restore_) {
    begin_restore(*asked_restore_);
    return;
  }
  if (awaits_word_) {
    held_back_.reset();
    wait_for(Waiting::kWord);
    emit(Severity::kError, "waiting", reason_, remedy_);
    return;
  }
  const RecoveryDecision decision = decide();
  if (misses_stored(decision)) return;
  const bool cold = decision.action == RecoveryDecision::Action::kColdStart;
  const bool here = cold || decision.action == RecoveryDecision::Action::kRestore;
  const Instant earliest = cold ? std::max(next_attempt_, next_cold_start_) : next_attempt_;
  if (now_ < earliest && here) {
    arm(TimerId::kRestartDelay, earliest);
    return;
  }
  disarm(TimerId::kRestartDelay);
  perform(decision);
}

// A cold start, or giving up, for want of a generation that may well be stored.
bool ContainerPolicy::misses_stored(const RecoveryDecision& decision) {
  using Action = RecoveryDecision::Action;
  const bool for_want = decision.action == Action::kColdStart || decision.action == Action::kGiveUp;
  if (!stored_unknown_ || !for_want || finished_by_itself(question_) || options_.statefulness == Statefulness::kStateless) return false;
  if (newest_good(generations_) != nullptr) return false;
  if (std::exchange(stored_missed_, true)) return true;
  reason_ = decision.trouble + ", and its durable directory, which may hold its state, does not answer";
  remedy_ = "mend the durable directory; it goes on by itself";
  emit(Severity::kError, "waiting", reason_, remedy_);
  return true;
}

void ContainerPolicy::on(const StoredKnown& event) {
  stored_unknown_ = stored_missed_ = false;
  const bool before_a_cold_start = std::exchange(began_anew_, false);
  for (const GenerationInfo& stored : event.generations) {
    // A later owner's are his: whoever stored them, the record will say so.
    const bool later = std::tie(stored.id.term, stored.id.incarnation) > std::tie(term_, incarnation_);
    if (later || known(stored.id) != nullptr) continue;
    next_number_ = std::max(next_number_, stored.id.number + 1);
    GenerationInfo& added = generations_.emplace_back(stored);
    if (before_a_cold_start && added.mark == Mark::kNone)
      discard(added, Mark::kAbandoned, "the container was started afresh");
  }
  std::ranges::sort(generations_, {}, &GenerationInfo::id);
  if (serving()) apply_retention();
}

void ContainerPolicy::perform(const RecoveryDecision& decision) {
  // What the host lacks says nothing of the container: a full disk, say, is waited for.
  const bool host_could_not = question_.trouble == RecoveryQuestion::Trouble::kRestoreFailed && question_.failure == RestoreFailure::kHost;
  const bool counts =
      question_.trouble != RecoveryQuestion::Trouble::kOperatorStart && !finished_by_itself(question_) && !host_could_not;
  switch (decision.action) {
    case RecoveryDecision::Action::kRestore:
      if (counts) count_restore();
      reason_ = decision.reason;
      emit(Severity::kInfo, "restoring", decision.reason);
      begin_restore(*decision.generation);
      return;
    case RecoveryDecision::Action::kFailOver:
      fail_over(decision);
      return;
    case RecoveryDecision::Action::kColdStart:
      if (counts) count_restore();
      emit(Severity::kWarning, "cold_start", "it is started without its state", decision.reason);
      begin_start();
      return;
    case RecoveryDecision::Action::kGiveUp:
      give_up(decision.reason, decision.remedy);
      return;
    case RecoveryDecision::Action::kStayStopped:
      set_phase(Phase::kStopping, decision.reason);
      return;
  }
}

std::uint32_t ContainerPolicy::within(const std::deque<Instant>& times, Duration window, Instant now) {
  return static_cast<std::uint32_t>(std::ranges::count_if(times, [&](Instant at) { return at + window > now; }));
}

// What it has been told, what the spec says and what has happened before; the generations are referred to.
void ContainerPolicy::complete(RecoveryQuestion& question, Instant now) const {
  question.desired = persistent_.desired;
  question.statefulness = options_.statefulness;
  question.cold_start = options_.cold_start;
  question.restart = options_.restart;
  question.blame = options_.blame;
  question.restores_in_window = within(restores_, options_.restore_window, now);
  question.max_restores = options_.max_restores;
  question.restore_window = options_.restore_window;
  question.failed_in_place = failed_in_place_;
  question.max_in_place = options_.max_in_place;
  question.failovers_in_window = within(failovers_, options_.failover_window, now);
  question.max_failovers = options_.max_failovers;
  question.failover_window = options_.failover_window;
  question.other_node.reset();
  question.no_other_node.clear();
  if (others_) {
    const auto willing = std::ranges::find_if(*others_, [&](const NodeName& node) { return !std::ranges::contains(refused_by_, node); });
    if (willing != others_->end()) question.other_node = *willing;
    question.no_other_node = others_->empty() ? "no standby is ready" : "no standby that is ready goes on with it";
  }
  question.generations = generations_;
}

std::optional<RecoveryDecision> ContainerPolicy::if_it_died(Instant now) const {
  if (!running()) return std::nullopt;
  RecoveryQuestion question;
  question.status = ExitStatus::signalled(SIGKILL);
  question.probation = probation_;
  complete(question, now);
  const bool in_vain = probation_ && probation_->after == Probation::After::kRestore;
  question.failed_in_place = in_vain ? failed_in_place_ + 1 : 0;
  return decide_recovery(question);
}

// Answers question_ and applies what the failure says of generations; asking again changes nothing.
RecoveryDecision ContainerPolicy::decide() {
  forget_old_restores();
  forget_old_failovers();
  complete(question_, now_);
  RecoveryDecision decision = decide_recovery(question_);
  question_.generations = {};
  for (const auto& marked : decision.marks) {
    if (GenerationInfo* generation = known(marked.id)) {
      discard(*generation, marked.mark, decision.trouble);
      emit(Severity::kWarning, "passed_over",
           std::format("generation {} is {} and will not be restored by itself",
                       perdure::to_string(marked.id), to_string(marked.mark)),
           decision.trouble);
    }
  }
  if (!decision.marks.empty()) leave_orphans();
  return decision;
}

void ContainerPolicy::begin_restore(const Generation& generation) {
  PERDURE_ASSERT(operation_ == Operation::kNone && !alive_);
  operation_ = Operation::kRestoring;
  operation_generation_ = generation;
  operation_since_ = now_;
  effects_.push_back(Restore{generation});
}

void ContainerPolicy::give_up(const std::string& reason, const std::string& remedy) {
  persistent_.gave_up = reason;
  record();
  fail_with(reason, remedy);
}

// The gate closes, and the reason is said.
void ContainerPolicy::fail_with(const std::string& reason, const std::string& remedy) {
  hold_gate();
  effects_.push_back(GiveUp{reason, remedy});
  emit(Severity::kError, "failed", reason, remedy);
  set_phase(Phase::kFailed, reason, remedy);
}

// Before the next try after `in_row` bad ones.
Duration ContainerPolicy::restart_delay(std::uint32_t in_row) const {
  if (in_row == 0) return Duration::zero();
  Duration delay = std::min(options_.restart_delay_first, options_.restart_delay_limit);
  for (std::uint32_t n = 1; n < in_row && delay < options_.restart_delay_limit; ++n) {
    delay = std::min(delay * 2, options_.restart_delay_limit);
  }
  return delay;
}

void ContainerPolicy::delay_attempts() {
  next_attempt_ = now_ + restart_delay(++failed_attempts_);
}

void ContainerPolicy::forget_old_restores() {
  while (!restores_.empty() && restores_.front() + options_.restore_window <= now_) {
    restores_.pop_front();
  }
}

// ---- A restore ends ----

void ContainerPolicy::on(const RestoreFinished& event) {
  if (operation_ != Operation::kRestoring || event.generation != operation_generation_) return;
  operation_ = Operation::kNone;
  alive_ = true;
  pid_ = event.pid;
  cold_life_ = false;
  life_began_ = now_;
  failed_attempts_ = 0;
  if (phase_ != Phase::kRecovering) return;
  if (asked_restore_ && *asked_restore_ != event.generation)
    return;  // an operator wants another one
  restored_ = event.generation;
}

void ContainerPolicy::finish_restore() {
  const Generation restored = *std::exchange(restored_, std::nullopt);
  awaits_word_ = false;
  set_fresh(now_);
  if (asked_restore_) {
    asked_restore_.reset();
    if (GenerationInfo* generation = known(restored);
        generation != nullptr && generation->mark != Mark::kNone) {
      generation->mark = Mark::kNone;
      effects_.push_back(ReinstateGeneration{restored});
    }
    abandon_after(restored, std::format("an operator went back to generation {}",
                                        perdure::to_string(restored)));
  }
  open_gate();
  if (options_.probation > Duration::zero()) {
    probation_ = Probation{restored, next_number_};
    arm(TimerId::kProbation, now_ + options_.probation);
  }
  schedule_.enable(now_);
  emit(Severity::kInfo, "restored",
       std::format("restored from generation {} in {}", perdure::to_string(restored),
                   format_duration(now_ - operation_since_)));
  become_protected(restored, std::format("generation {} is what it would go back to",
                                         perdure::to_string(restored)));
  apply_retention();
}

void ContainerPolicy::on(const RestoreFailed& event) {
  if (operation_ != Operation::kRestoring || event.generation != operation_generation_) return;
  operation_ = Operation::kNone;
  if (phase_ != Phase::kRecovering) return;
  if (asked_restore_ == event.generation) asked_restore_.reset();
  question_ = {};
  question_.trouble = RecoveryQuestion::Trouble::kRestoreFailed;
  question_.failed_generation = event.generation;
  question_.failure = event.why;
  // What is damaged is so everywhere.
  if (event.why != RestoreFailure::kCorrupt) ++failed_in_place_;
  if (event.why == RestoreFailure::kHost) delay_attempts();
  emit(Severity::kError, "restore_failed",
       std::format("generation {} was not restored ({})", perdure::to_string(event.generation),
                   to_string(event.why)),
       event.reason);
  decide();
}

void ContainerPolicy::on(const OperatorRestore& event) {
  persistent_ = {
      .desired = DesiredState::kRunning, .begun = true, .finished = false, .gave_up = {}};
  record();
  hold_gate();
  forget_failures();
  probation_.reset();
  resume_.reset();
  held_back_.reset();
  schedule_.disable();
  asked_restore_ = event.generation;
  if (phase_ == Phase::kFailed) killing_ = false;
  if (phase_ != Phase::kRecovering) question_ = {};
  leave_uncommitted("not committed when an operator went back");
  std::string reason =
      std::format("an operator asked for generation {}", perdure::to_string(event.generation));
  emit(Severity::kInfo, "restoring", reason);
  set_phase(Phase::kRecovering, std::move(reason));
}

// ---- A restarted daemon ----

std::optional<Generation> ContainerPolicy::of_later_owner() const {
  const Generation mine{term_, incarnation_, next_number_};
  for (const auto& generation : generations_) {
    if (generation.id >= mine) return generation.id;
  }
  return std::nullopt;
}

// Not ours to touch: neither killed nor let speak.
bool ContainerPolicy::fails_for_later_owner() {
  const auto later = of_later_owner();
  if (!later) return false;
  fail_with(std::format("generation {} was taken by a later owner than this perdured (term {}, "
                        "incarnation {:x})",
                        perdure::to_string(*later), term_.value, incarnation_.value),
            "find out which perdured owns the container before anything is restored here");
  return true;
}

// It runs: from here on it is captured.
void ContainerPolicy::resume_watch() {
  life_began_ = now_;
  set_fresh(now_);
  if (options_.statefulness == Statefulness::kStateless) {
    become_protected({}, "stateless: it is started afresh when it fails");
    return;
  }
  schedule_.enable(now_);
  const GenerationInfo* newest = newest_good(generations_);
  if (newest != nullptr) set_fresh(std::min(now_, newest->captured_at));
  if (newest == nullptr || now_ >= fresh_since_ + age_limit()) {
    set_phase(Phase::kTrial, "its first checkpoint under this perdured is not committed yet");
    return;
  }
  become_protected(newest->id, std::format("generation {} is what it would go back to",
                                           perdure::to_string(newest->id)));
}

void ContainerPolicy::on(const DaemonRestarted& event) {
  using Found = DaemonRestarted::Found;
  persistent_ = event.state;
  recorded_ = event.state;
  gate_ = GateState::kOpen;  // not known: what is wanted is ordered in any case
  generations_ = event.generations;
  std::ranges::sort(generations_, {}, &GenerationInfo::id);
  for (const auto& generation : generations_) {
    next_number_ = std::max(next_number_, generation.id.number + 1);
  }
  alive_ = event.found != Found::kDead;
  pid_ = event.pid;
  half_restored_ = event.found == Found::kHalfRestored;
  gate_untouched_ = ownership_unknown_ && event.found == Found::kAlive;
  stored_unknown_ = event.stored_unknown;
  awaits_word_ = event.awaits_word && event.found != Found::kAlive;
  const bool moving = persistent_.handing_over.has_value();
  if (!moving) {
    if (fails_for_later_owner()) return;
    if (event.found == Found::kDead) hold_gate();
    leave_uncommitted("not committed when perdured ended");
  }
  emit(Severity::kInfo, "found",
       std::format("perdured has restarted and found the container {}",
                   event.found == Found::kAlive  ? "alive"
                   : event.found == Found::kDead ? "dead"
                                                 : "half restored"));
  if (moving) {
    await_move(*persistent_.handing_over);
  } else if (persistent_.desired != DesiredState::kRunning) {
    set_phase(Phase::kStopping,
              persistent_.finished ? "it has finished by itself" : "an operator stopped it");
  } else if (event.found == Found::kAlive) {
    persistent_.gave_up.clear();
    record();
    open_gate();  // what closed it may have happened while nobody listened
    resume_watch();
  } else if (!persistent_.begun) {
    on(SpecAccepted{});
  } else if (event.found == Found::kDead && !persistent_.gave_up.empty()) {
    fail_with(persistent_.gave_up, "find out why it kept failing, then start it");
  } else {
    question_ = {};
    if (half_restored_) hold_gate();
    // Recovery kills first what is left of it.
    set_phase(Phase::kRecovering, half_restored_ ? "perdured ended in the middle of a restore"
                                                 : "it was found dead when perdured restarted");
  }
}

}  // namespace perdure::policy
