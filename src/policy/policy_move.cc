// ContainerPolicy: a planned move, as its source sees it (docs/cluster.md, "A planned move"), and a failover, which is the same
// without a last capture: nothing of the container runs here.
//
// Once HandOver was ordered only an event may say who has the container: whoever resumed the frozen
// copy on a guess could let it speak beside the one that has been restored elsewhere.
#include <algorithm>
#include <format>
#include <utility>

#include "base/assert.h"
#include "policy/container_policy.h"

namespace perdure::policy {

void ContainerPolicy::on(const OperatorMove& event) {
  emit(Severity::kInfo, "moving", std::format("it moves to node '{}'", event.target.str()));
  move_ = Move{
      .target = event.target, .stage = Move::Stage::kBegins, .before = {phase_, reason_, remedy_}};
  disarm(TimerId::kCapture);
  disarm(TimerId::kAge);
  set_phase(Phase::kMoving, std::format("to node '{}'", event.target.str()));
}

bool ContainerPolicy::frozen() const {
  return phase_ == Phase::kMoving && move_->stage != Move::Stage::kBegins;
}

void ContainerPolicy::advance_move() {
  if (move_->stage != Move::Stage::kBegins) return;
  if (ownership_unknown_) {
    fail_move("who owns it is not known: " + *ownership_unknown_);
    return;
  }
  // What is frozen with a backlog stays frozen until that has been shipped.
  const bool waits = operation_ != Operation::kNone || timer(TimerId::kExitGrace) ||
                     uncommitted() >= options_.max_uncommitted;
  if (waits) return;
  move_->stage = Move::Stage::kCaptures;
  move_->frozen_since = now_;
  disarm(TimerId::kCommit);
  disarm(TimerId::kProbation);
  // Before the freeze: a write to the disk would make it longer.
  persistent_.handing_over = HandingOver{move_->target, {term_, incarnation_, next_number_}};
  record();
  begin_capture();
}

// The capture for the move has finished; the processes are frozen, the gate is locked.
void ContainerPolicy::hand_over() {
  gate_ = GateState::kHeld;
  move_->captures_fail = false;
  if (ownership_unknown_) {
    gate_ = GateState::kOpen;
    effects_.push_back(Resume{});
    fail_move("who owns it is not known: " + *ownership_unknown_);
    return;
  }
  move_->stage = Move::Stage::kHandsOver;
  effects_.push_back(HandOver{operation_generation_, move_->target});
  arm(TimerId::kMove, now_ + options_.move_warning);
}

void ContainerPolicy::fail_over(const RecoveryDecision& decision) {
  const NodeName target = *decision.node;
  const Generation generation = *decision.generation;
  emit(Severity::kWarning, "failing_over",
       std::format("it does not hold here: node '{}' goes on with generation {}", target.str(), perdure::to_string(generation)),
       decision.reason);
  failovers_.push_back(now_);
  std::vector<Duration> ago;
  for (const Instant at : failovers_) ago.push_back(now_ - at);
  move_ = Move{.target = target,
               .stage = Move::Stage::kHandsOver,
               .before = {},
               .frozen_since = now_,
               .fails_over = true};
  persistent_.handing_over = HandingOver{target, generation};
  record();
  set_phase(Phase::kMoving, decision.reason);
  effects_.push_back(FailOver{generation, target, decision.reason, std::move(ago)});
  arm(TimerId::kMove, now_ + options_.move_warning);
}

// It is this node's still, and it goes on here as if that node had not been there.
void ContainerPolicy::fail_back(const std::string& reason) {
  refused_by_.push_back(move_->target);
  std::erase(failovers_, move_->frozen_since);
  emit(Severity::kWarning, "failover_failed", std::format("node '{}' did not go on with it", move_->target.str()), reason);
  question_ = {};
  question_.trouble = RecoveryQuestion::Trouble::kFailoverFailed;
  question_.refused_by = move_->target;
  question_.refusal = reason;
  move_.reset();
  set_phase(Phase::kRecovering, std::format("node '{}' did not go on with it", refused_by_.back().str()));
}

void ContainerPolicy::forget_old_failovers() {
  while (!failovers_.empty() && failovers_.front() + options_.failover_window <= now_) failovers_.pop_front();
}

// The record is not read by whoever fires a timer: it says how things are, and changes nothing.
void ContainerPolicy::warn_of_move() {
  arm(TimerId::kMove, now_ + options_.move_warning);
  emit(
      Severity::kWarning, "move_unknown",
      std::format("it is not known yet whether node '{}' has it; the copy here stays {} and silent "
                  "until its record can be read",
                  move_->target.str(), alive_ ? "frozen" : "dead"),
      "look whether this node reaches etcd");
}

void ContainerPolicy::on(const HandedOver&) {
  if (phase_ != Phase::kMoving || move_->stage != Move::Stage::kHandsOver) return;
  const Generation handed = persistent_.handing_over->generation;
  for (auto& generation : generations_) {
    const bool taken = generation.id <= handed && generation.mark == Mark::kNone;
    if (taken) generation.state = CommitState::kCommitted;
  }
  emit(Severity::kInfo, "moved",
       std::format("it runs on node '{}' now, from generation {}", move_->target.str(),
                   perdure::to_string(handed)),
       move_->fails_over ? "it did not hold here" : "");
  know_ownership();
  set_phase(Phase::kLeaving, std::format("it has moved to node '{}'", move_->target.str()));
  move_.reset();
}

void ContainerPolicy::on(const HandOverFailed& event) {
  raise_term(event.term);
  if (phase_ != Phase::kMoving || move_->stage != Move::Stage::kHandsOver) return;
  know_ownership();
  const bool resumes_captures = alive_ && !move_->found;
  if (alive_) {
    gate_ = GateState::kOpen;
    effects_.push_back(Resume{});
  }
  persistent_.handing_over.reset();
  record();
  if (resumes_captures) {
    schedule_.enable(now_, now_);
    end_move(event.reason);
    return;
  }
  if (move_->fails_over) return fail_back(event.reason);
  leave_uncommitted("not committed when the move failed");
  emit(Severity::kWarning, "move_failed",
       std::format("it was not moved to node '{}'", move_->target.str()), event.reason);
  move_.reset();
  if (alive_) {
    resume_watch();
    schedule_.enable(now_, now_);
  } else {
    follow_death(question_.status);
  }
}

// Before anything was handed over: nobody else can have it.
void ContainerPolicy::fail_move(const std::string& reason) {
  persistent_.handing_over.reset();
  record();
  end_move(reason);
}

// The container runs and speaks again, as before the move.
void ContainerPolicy::end_move(const std::string& reason) {
  PERDURE_ASSERT(move_ && alive_);
  const Move move = *std::exchange(move_, std::nullopt);
  emit(Severity::kWarning, "move_failed",
       std::format("it was not moved to node '{}'; it runs on here", move.target.str()), reason);
  set_phase(move.before.phase, move.before.reason, move.before.remedy);
  if (move.stage != Move::Stage::kBegins) {
    // Nothing was lost, nor could be committed, while nothing ran.
    too_old_at_ += now_ - move.frozen_since;
    commits_awaited_since_ = now_;
  }
  leave_orphans();
  await_oldest_commit();
  if (gate_ == GateState::kHeld) arm(TimerId::kExitGrace, now_ + options_.exit_grace);
  if (probation_) arm(TimerId::kProbation, now_ + options_.probation);
  const bool too_many = schedule_.failures_in_row() >= options_.failures_until_unprotected;
  if (move.captures_fail || too_many) {
    become_unprotected(last_error_, last_remedy_);
  } else if (move.before.phase == Phase::kProtected || move.committed) {
    protect_by_newest();
  }
}

// A daemon that finds the container frozen does not know more than the one before it.
void ContainerPolicy::await_move(const HandingOver& moving) {
  question_ = {};
  move_ = Move{.target = moving.target,
               .stage = Move::Stage::kHandsOver,
               .before = {},
               .frozen_since = now_,
               .found = true};
  hold_gate();
  set_phase(Phase::kMoving, std::format("to node '{}'", moving.target.str()));
  arm(TimerId::kMove, now_ + options_.move_warning);
}

}  // namespace perdure::policy
