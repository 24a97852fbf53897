// PolicyWorld: performs what the policy wants, and asks whether it may want it.
#include <algorithm>

#include "policy/policy_world.h"

namespace perdure::policy {

void PolicyWorld::on(const PrepareImage&) {
  check_operation_begins();
  check_attempt_is_within_limits();
  operation_ = Operation::kPreparing;
  prepared_ = true;
}

void PolicyWorld::on(const Start&) {
  check_operation_begins();
  require(!unknown_, "nothing is started while ownership is unknown");
  require(!needs_word_, "nothing is started that waits for an operator's word");
  if (!std::exchange(prepared_, false)) check_attempt_is_within_limits();
  check_all_marked_after(std::nullopt);
  operation_ = Operation::kStarting;
  ++tally_.starts;
}

void PolicyWorld::on(const Capture& e) {
  require(operation_ == Operation::kNone, "one operation at a time");
  require(alive_ || death_, "only what runs is captured");
  require(e.generation > highest_, "generations rise");
  require(e.generation.term == term_, "generations carry the owner's term");
  for (const auto& [id, capsule] : store_) {
    require(e.generation.number > id.number, "no number is used again");
  }
  require(!timers_.contains(TimerId::kExitGrace), "no capture while a death may be under way");
  require(options_.statefulness == Statefulness::kStateful,
          "stateless containers are not captured");
  require(recorded_->desired == DesiredState::kRunning, "nothing is captured that is to stop");
  require(!frozen_ && !told_theirs_, "nothing is captured that is handed over");
  const bool handover = e.kind == CaptureKind::kHandover;
  require(handover == (policy_->phase() == Phase::kMoving), "the capture for a move is its last");
  require(handover == hand_over_begun(), "a move is recorded before its capture");
  if (handover) {
    require(recorded_->handing_over->generation == e.generation, "what is handed over is recorded");
    require(!unknown_, "nothing moves while ownership is unknown");
  }
  highest_ = e.generation;
  operation_ = Operation::kCapturing;
  operation_generation_ = e.generation;
  cancelled_ = false;
  capture_base_ = !cluster_ && chance(50) ? base_ : std::nullopt;
  ++tally_.captures;
}

void PolicyWorld::on(const CancelCapture& e) {
  require(operation_ == Operation::kCapturing && e.generation == operation_generation_,
          "only the capture in flight is cancelled");
  cancelled_ = true;
}

void PolicyWorld::on(const Restore& e) {
  check_operation_begins();
  check_restore(e.generation);
  require(!unknown_, "nothing is restored while ownership is unknown");
  require(!needs_word_ || asked_ == e.generation, "only an operator's word is restored");
  if (asked_ != e.generation) check_attempt_is_within_limits();
  operation_ = Operation::kRestoring;
  operation_generation_ = e.generation;
  ++tally_.restores;
}

void PolicyWorld::on(const OpenGate&) {
  require(alive_ || death_, "the gate opens for what runs");
  require(!end_is_known_ || policy_->phase() == Phase::kStopping, "what is on its end stays silent");
  require(!frozen_ && !hand_over_begun(), "the gate stays closed until the move has failed");
  require(!theirs_, "the gate stays closed once another node owns it");
  require(!untouched_, "a gate of unknown ownership is left as it is");
  const bool begins =
      std::holds_alternative<Started>(event_) || std::holds_alternative<RestoreFinished>(event_);
  require(!unknown_ || !begins, "what begins while ownership is unknown stays silent");
  gate_ = GateState::kOpen;
}

void PolicyWorld::on(const Terminate&) {
  require(recorded_->desired != DesiredState::kRunning,
          "the desired state is recorded before a stop");
  require(!unknown_, "no stop begins while ownership is unknown");
  require(!frozen_ && !hand_over_begun(), "what is handed over is not stopped");
  doomed_ = true;
}

void PolicyWorld::on(const Kill&) {
  const bool wanted = recorded_->desired != DesiredState::kRunning || asked_ || half_restored_ ||
                      gave_up_ || told_theirs_;
  require(wanted, "nothing is killed that is wanted");
  require(gate_ == GateState::kHeld || recorded_->desired != DesiredState::kRunning,
          "the gate is held before a kill that a restore follows");
  require(told_theirs_ || (!frozen_ && !handing_over_), "what is handed over is not killed");
  require(!unknown_ || (recorded_->desired != DesiredState::kRunning && doomed_),
          "nothing is killed while ownership is unknown");
  doomed_ = true;
}

void PolicyWorld::on(const DiscardGeneration& e) {
  const auto found = store_.find(e.generation);
  require(found != store_.end(), "only what exists is discarded");
  require(!told_theirs_, "another owner's generations are not marked");
  require(!handing_over_ || e.generation != recorded_->handing_over->generation ||
              std::holds_alternative<HandOverFailed>(event_),
          "what is handed over is not discarded");
  if (writing_ == e.generation) writing_.reset();
  if (found == store_.end()) return;
  require(!e.reason.starts_with("not committed") ||
              found->second.info.state == CommitState::kProvisional,
          "what is superseded has no deadline");
  found->second.info.mark = e.mark;
  if (base_ == e.generation) base_.reset();
  require(e.mark != Mark::kNone && !e.reason.empty(), "a mark has a reason");
}

void PolicyWorld::on(const ReinstateGeneration& e) {
  require(store_.contains(e.generation), "only what exists is reinstated");
  store_[e.generation].info.mark = Mark::kNone;
}

void PolicyWorld::on(const DeleteGeneration& e) {
  check_deletion(e.generation);
  if (writing_ == e.generation) writing_.reset();
  store_.erase(e.generation);
  uncommitted_.erase(e.generation);
  ++tally_.deletions;
}

void PolicyWorld::on(const SetTimer& e) {
  timers_[e.timer] = e.at;
}

void PolicyWorld::on(const Emit& e) {
  require(!e.kind.empty() && !e.text.empty() && !e.kind.contains(' '),
          "an event has a kind and a text");
}

void PolicyWorld::on(const DeclareUnprotected& e) {
  require(!e.reason.empty() && !e.remedy.empty(), "unprotected has a reason and a remedy");
}

void PolicyWorld::on(const GiveUp& e) {
  require(!e.reason.empty() && !e.remedy.empty(), "giving up has a reason and a remedy");
  gave_up_ = true;
  ++tally_.given_up;
}

void PolicyWorld::on(const Release&) {
  require(recorded_->desired == DesiredState::kRemoved,
          "only what an operator removed is released");
  require(!alive_ && !death_ && operation_ == Operation::kNone, "nothing runs that is released");
  require(!told_theirs_ && !unknown_, "only what is owned is released");
  released_ = true;
}

void PolicyWorld::on(const HandOver& e) {
  ++tally_.moves;
  require(!handing_over_, "one hand-over at a time");
  require(hand_over_begun() && recorded_->handing_over->generation == e.generation &&
              recorded_->handing_over->target == e.target,
          "a hand-over is recorded first");
  require(frozen_ || death_, "only what is frozen is handed over");
  require(gate_ == GateState::kHeld, "what is handed over is silent");
  require(operation_ == Operation::kNone && !unknown_, "nothing goes on beside a hand-over");
  require(store_.contains(e.generation) && store_[e.generation].info.mark == Mark::kNone,
          "what is handed over is good");
  handing_over_ = true;
}

void PolicyWorld::on(const FailOver& e) {
  ++tally_.failovers;
  require(!handing_over_, "one hand-over at a time");
  require(hand_over_begun() && recorded_->handing_over->generation == e.generation &&
              recorded_->handing_over->target == e.target,
          "a failover is recorded first");
  require(std::ranges::contains(ready_, e.target), "only who is ready is asked to go on with it");
  require(!alive_ && !death_ && operation_ == Operation::kNone, "nothing runs here that goes on elsewhere");
  require(gate_ == GateState::kHeld && !unknown_ && !needs_word_, "what goes on elsewhere is silent here");
  require(!e.ago.empty() && e.ago.size() <= options_.max_failovers, "failovers stay within the limit");
  const auto list = listing();
  const GenerationInfo* newest = newest_good(list);
  require(newest != nullptr && newest->id == e.generation, "another node goes on with the newest good one");
  require(!e.reason.empty(), "a failover has a reason");
  handing_over_ = true;
}

void PolicyWorld::on(const Resume&) {
  ++tally_.resumed;
  require(!theirs_, "nothing is resumed that another node has");
  require(frozen_ || death_ || std::holds_alternative<HandOverFailed>(event_),
          "only what is frozen is resumed");
  require(!handing_over_, "only an event ends a hand-over");
  require(!half_restored_, "what is half restored is not resumed");
  frozen_ = false;
  gate_ = GateState::kOpen;
}

void PolicyWorld::on(const Leave&) {
  require(told_theirs_, "only what another node owns is left");
  require(!alive_ && !death_ && operation_ == Operation::kNone, "nothing runs that is left");
  left_ = true;
}

}  // namespace perdure::policy
