// ContainerPolicy: captures, commits, what protected means, and what may be deleted.
#include <algorithm>
#include <format>

#include "base/assert.h"
#include "policy/container_policy.h"

namespace perdure::policy {
namespace {

bool awaits_commit(const GenerationInfo& generation) {
  return generation.state == CommitState::kProvisional && generation.mark == Mark::kNone;
}

std::string_view remedy_or_default(const std::string& remedy, FailureClass failure) {
  if (!remedy.empty()) return remedy;
  return failure == FailureClass::kPermanent
             ? "change the container so that it does without what is named, or ask for a "
               "checkpoint "
               "when that is gone"
             : "nothing needs to be done if it passes; it is tried again and again";
}

}  // namespace

GenerationInfo* ContainerPolicy::known(const Generation& id) {
  const auto found = std::ranges::find(generations_, id, &GenerationInfo::id);
  return found == generations_.end() ? nullptr : &*found;
}

// ---- Capture ----

void ContainerPolicy::advance_captures() {
  const bool blocked = options_.statefulness == Statefulness::kStateless ||
                       timer(TimerId::kExitGrace) || uncommitted() >= options_.max_uncommitted;
  if (!blocked && schedule_.due(now_)) {
    begin_capture();
  } else if (!blocked && schedule_.next()) {
    arm(TimerId::kCapture, *schedule_.next());
    return;
  }
  disarm(TimerId::kCapture);
}

std::size_t ContainerPolicy::uncommitted() const {
  return static_cast<std::size_t>(std::ranges::count_if(generations_, awaits_commit));
}

void ContainerPolicy::begin_capture() {
  PERDURE_ASSERT(operation_ == Operation::kNone && alive_);
  capture_kind_ = phase_ == Phase::kMoving  ? CaptureKind::kHandover
                  : phase_ == Phase::kTrial ? CaptureKind::kTrial
                  : schedule_.requested()   ? CaptureKind::kRequested
                                            : CaptureKind::kPeriodic;
  operation_ = Operation::kCapturing;
  operation_generation_ = {term_, incarnation_, next_number_++};
  operation_since_ = now_;
  if (schedule_.requested()) announced_ = operation_generation_;
  schedule_.started(now_);
  effects_.push_back(Capture{operation_generation_, capture_kind_});
}

void ContainerPolicy::cancel_capture() {
  if (timer(TimerId::kCaptureEnd)) return;
  effects_.push_back(CancelCapture{operation_generation_});
  arm(TimerId::kCaptureEnd, now_ + options_.capture_end_deadline);
}

void ContainerPolicy::on(const CaptureFinished& event) {
  if (operation_ != Operation::kCapturing || event.generation != operation_generation_) return;
  operation_ = Operation::kNone;
  disarm(TimerId::kCaptureEnd);
  schedule_.finished(now_, event.stats.cpu);
  if (leaving()) return;  // nobody will go back to it
  generations_.push_back({.id = event.generation,
                          .parent = event.parent,
                          .state = event.state,
                          .captured_at = operation_since_});
  GenerationInfo& generation = generations_.back();
  leave_orphans();
  if (frozen()) {
    if (event.state == CommitState::kCommitted) commit(generation);
    hand_over();
  } else if (generation.mark != Mark::kNone) {
    fail_orphan();
  } else if (event.state == CommitState::kCommitted) {
    commit(generation);  // complete, whatever became of the container since
  } else if (!serving()) {
    discard(generation, Mark::kAbandoned, "not committed when the container ended");
  } else {
    await_oldest_commit();
  }
  if (running()) announce_pace();
}

// A delta whose base was discarded while it was taken.
void ContainerPolicy::fail_orphan() {
  if (!serving()) return;
  schedule_.commit_failed(now_, FailureClass::kTransient);
  count_failure("the generation that it builds on was not committed",
                "nothing needs to be done: the next one is complete in itself",
                FailureClass::kTransient);
  apply_retention();
}

void ContainerPolicy::on(const CaptureFailed& event) {
  if (operation_ != Operation::kCapturing || event.generation != operation_generation_) return;
  operation_ = Operation::kNone;
  disarm(TimerId::kCaptureEnd);
  schedule_.failed(now_, event.cpu, event.failure);
  if (announced_ == event.generation) announced_.reset();
  if (serving() || frozen()) count_failure(event.reason, event.remedy, event.failure);
  if (frozen()) fail_move("its last checkpoint could not be taken: " + event.reason);
}

void ContainerPolicy::on(const OperatorCheckpoint&) {
  schedule_.request(now_);
}

// The interval in force is worth an event when it moves by a quarter, or by a tenth and another
// reason sets it.
void ContainerPolicy::announce_pace() {
  Pace pace = schedule_.pace();
  if (pace.reason == PaceReason::kRetry || pace.reason == PaceReason::kRequested) return;
  const Duration before = announced_pace_.interval;
  const Duration change = pace.interval > before ? pace.interval - before : before - pace.interval;
  const bool first = announced_pace_.reason == PaceReason::kOff;
  const Duration bound = pace.reason == announced_pace_.reason ? before / 4 : before / 10;
  const bool silent = first ? pace.reason == PaceReason::kAsked : change <= bound;
  if (!silent) emit(Severity::kInfo, "interval", "checkpoints " + pace.text);
  if (first || !silent) announced_pace_ = std::move(pace);
}

// ---- Commit ----

void ContainerPolicy::on(const Committed& event) {
  GenerationInfo* generation = known(event.generation);
  if (generation == nullptr || generation->state == CommitState::kCommitted) return;
  commit(*generation);
}

void ContainerPolicy::commit(GenerationInfo& generation) {
  generation.state = CommitState::kCommitted;
  if (generation.mark != Mark::kNone) return;
  const Generation id = generation.id;
  for (auto& older : generations_) {
    if (older.id < id && awaits_commit(older)) older.state = CommitState::kCommitted;
  }
  if (!serving() && !frozen()) return;
  announce_commit();
  if (serving()) await_oldest_commit();
  const GenerationInfo* newest = newest_good(generations_);
  if (newest == nullptr || newest->id < id) return;  // handed over, and its base here is lost
  set_fresh(newest->captured_at);
  last_error_.clear();
  last_remedy_.clear();
  schedule_.committed(now_);
  if (move_) {
    move_->committed = true;
    return;
  }
  if (phase_ != Phase::kProtected) {
    become_protected(newest->id,
                     std::format("generation {} is committed", perdure::to_string(newest->id)));
  }
  apply_retention();
}

// Of the checkpoint that an operator asked for, or of a newer one.
void ContainerPolicy::announce_commit() {
  const GenerationInfo* asked = announced_ ? known(*announced_) : nullptr;
  if (asked == nullptr || asked->state != CommitState::kCommitted) return;
  if (asked->mark == Mark::kNone) {
    emit(Severity::kInfo, "committed",
         std::format("generation {} is committed, as an operator asked",
                     perdure::to_string(*announced_)));
  }
  announced_.reset();
}

Instant ContainerPolicy::commit_due(const GenerationInfo& generation) const {
  return std::max(generation.captured_at, commits_awaited_since_) + options_.commit_deadline;
}

void ContainerPolicy::await_oldest_commit() {
  const auto oldest = std::ranges::find_if(generations_, awaits_commit);
  if (oldest == generations_.end()) {
    disarm(TimerId::kCommit);
  } else {
    arm(TimerId::kCommit, std::max(now_, commit_due(*oldest)));
  }
}

void ContainerPolicy::on(const CommitFailed& event) {
  fail_commit(event.generation, event.reason, event.failure);
}

void ContainerPolicy::fail_commit(const Generation& id, const std::string& reason,
                                  FailureClass failure) {
  GenerationInfo* generation = known(id);
  if (generation == nullptr || !awaits_commit(*generation) || leaving()) return;
  // Whoever may have the container by now builds on it; the end of the move decides.
  if (persistent_.handing_over && persistent_.handing_over->generation == id) return;
  discard(*generation, Mark::kAbandoned, reason);
  leave_orphans();
  if (announced_ == id) announced_.reset();
  if (!serving()) return;
  await_oldest_commit();
  schedule_.commit_failed(now_, failure);
  count_failure(reason, "mend the store that the reason names; it is tried again and again",
                failure);
  apply_retention();
}

void ContainerPolicy::fail_late_commits() {
  std::vector<Generation> late;
  for (const auto& generation : generations_) {
    if (awaits_commit(generation) && commit_due(generation) <= now_) {
      late.push_back(generation.id);
    }
  }
  for (const auto& id : late) {
    fail_commit(
        id,
        std::format("not committed {} after its freeze", format_duration(options_.commit_deadline)),
        FailureClass::kTransient);
  }
}

void ContainerPolicy::on(const Durable& event) {
  GenerationInfo* generation = known(event.generation);
  if (generation == nullptr || generation->durable) return;
  const GenerationInfo before = *generation;
  generation->durable = true;
  generation->parent = event.parent;
  const GenerationInfo* base = event.parent ? known(*event.parent) : nullptr;
  const bool base_is_there = !event.parent || (base != nullptr && base->durable);
  const bool lost = before.mark == Mark::kNone && chain_of(generations_, before.id) == Chain::kLost;
  if (base_is_there && !lost) return;
  // In memory it is complete; in the directory it is worth nothing.
  *generation = before;
  emit(Severity::kWarning, "not_durable",
       std::format("generation {} was written as a delta, and its base is not there any more",
                   perdure::to_string(before.id)));
}

// ---- Protection ----

void ContainerPolicy::count_failure(const std::string& reason, const std::string& remedy,
                                    FailureClass failure) {
  last_error_ = reason;
  last_remedy_ = remedy_or_default(remedy, failure);
  const std::uint32_t row = schedule_.failures_in_row();
  emit(Severity::kWarning, "capture_failed", "no checkpoint; " + schedule_.pace().text, reason);
  if (move_) {
    move_->captures_fail |= failure == FailureClass::kPermanent;
    return;
  }
  if (failure == FailureClass::kPermanent || row >= options_.failures_until_unprotected) {
    become_unprotected(last_error_, last_remedy_);
  }
}

void ContainerPolicy::become_protected(const Generation& generation, const std::string& text) {
  set_phase(Phase::kProtected);
  effects_.push_back(DeclareProtected{generation});
  emit(Severity::kInfo, "protected", "protected: " + text);
}

void ContainerPolicy::protect_by_newest() {
  const GenerationInfo* newest = newest_good(generations_);
  if (newest == nullptr) {
    set_phase(Phase::kTrial, "a checkpoint of it is not committed yet");
    return;
  }
  become_protected(newest->id, std::format("generation {} is what it would go back to",
                                           perdure::to_string(newest->id)));
}

void ContainerPolicy::become_unprotected(const std::string& reason, const std::string& remedy) {
  if (phase_ == Phase::kUnprotected && reason_ == reason) return;
  set_phase(Phase::kUnprotected, reason, remedy);
  effects_.push_back(DeclareUnprotected{reason, remedy});
  emit(Severity::kError, "unprotected", "not protected; " + remedy, reason);
}

Duration ContainerPolicy::age_limit() const {
  return std::max(options_.age_limit_floor, schedule_.interval() * options_.age_limit_intervals);
}

void ContainerPolicy::set_fresh(Instant since) {
  fresh_since_ = since;
  too_old_at_ = since + age_limit();
}

void ContainerPolicy::watch_age() {
  if (phase_ == Phase::kUnprotected || options_.statefulness == Statefulness::kStateless) {
    disarm(TimerId::kAge);
    return;
  }
  // An interval that shrinks makes nothing old that was taken under the longer one.
  too_old_at_ = std::max(too_old_at_, fresh_since_ + age_limit());
  if (now_ < too_old_at_) {
    arm(TimerId::kAge, too_old_at_);
    return;
  }
  disarm(TimerId::kAge);
  become_unprotected(
      std::format("no checkpoint was committed for {}{}", format_duration(now_ - fresh_since_),
                  last_error_.empty() ? "" : "; the last error: " + last_error_),
      last_remedy_.empty() ? "look whether the host is overloaded or its store is slow; it is "
                             "tried again and again"
                           : last_remedy_);
}

// ---- Generations that are passed over, and those that go ----

void ContainerPolicy::discard(GenerationInfo& generation, Mark mark, const std::string& reason) {
  generation.mark = mark;
  effects_.push_back(DiscardGeneration{generation.id, mark, reason});
}

void ContainerPolicy::leave_uncommitted(const std::string& reason) {
  for (auto& generation : generations_) {
    if (awaits_commit(generation)) discard(generation, Mark::kAbandoned, reason);
  }
  leave_orphans();
}

// Deltas that can never be restored are no candidates, nor bases of the next ones.
void ContainerPolicy::leave_orphans() {
  for (auto& generation : generations_) {
    const bool handed =
        persistent_.handing_over && persistent_.handing_over->generation == generation.id;
    if (handed) continue;  // its receiver has it complete
    if (generation.mark == Mark::kNone && chain_of(generations_, generation.id) == Chain::kLost) {
      discard(generation, Mark::kAbandoned,
              "a base of it is corrupt, missing or was never committed");
    }
  }
}

void ContainerPolicy::abandon_after(std::optional<Generation> kept, const std::string& reason) {
  for (auto& generation : generations_) {
    if (generation.mark != Mark::kNone || (kept && generation.id <= *kept)) continue;
    discard(generation, Mark::kAbandoned, reason);
  }
}

void ContainerPolicy::apply_retention() {
  const RetentionRules rules{
      .term = term_,
      .incarnation = incarnation_,
      .keep = options_.keep_generations,
      .keep_marked = options_.keep_marked,
      .on_probation = probation_ ? std::optional(probation_->restored) : std::nullopt};
  for (const Generation& id : generations_to_delete(generations_, rules)) {
    // Another owner's may be what another owner needs.
    const bool own = id.term == term_ && id.incarnation == incarnation_;
    if (ownership_unknown_ && !own) continue;
    effects_.push_back(DeleteGeneration{id});
    std::erase_if(generations_, [&](const auto& generation) { return generation.id == id; });
  }
}

}  // namespace perdure::policy
