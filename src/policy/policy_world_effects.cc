// PolicyWorld: performs what the policy wants, and asks whether it may want it.
#include "policy/policy_world.h"

namespace perdure::policy {

void PolicyWorld::on(const PrepareImage&) {
  check_operation_begins();
  check_attempt_is_within_limits();
  operation_ = Operation::kPreparing;
}

void PolicyWorld::on(const Start&) {
  check_operation_begins();
  if (!std::holds_alternative<ImageReady>(event_)) check_attempt_is_within_limits();
  check_all_marked_after(std::nullopt);
  operation_ = Operation::kStarting;
  ++tally_.starts;
}

void PolicyWorld::on(const Capture& e) {
  require(operation_ == Operation::kNone, "one operation at a time");
  require(alive_ || death_, "only what runs is captured");
  require(e.generation > highest_, "generations rise");
  for (const auto& [id, capsule] : store_) {
    require(e.generation.number > id.number, "no number is used again");
  }
  require(!timers_.contains(TimerId::kExitGrace), "no capture while a death may be under way");
  require(options_.statefulness == Statefulness::kStateful,
          "stateless containers are not captured");
  require(recorded_->desired == DesiredState::kRunning, "nothing is captured that is to stop");
  highest_ = e.generation;
  operation_ = Operation::kCapturing;
  operation_generation_ = e.generation;
  cancelled_ = false;
  capture_base_ = chance(50) ? base_ : std::nullopt;
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
  if (asked_ != e.generation) check_attempt_is_within_limits();
  operation_ = Operation::kRestoring;
  operation_generation_ = e.generation;
  ++tally_.restores;
}

void PolicyWorld::on(const OpenGate&) {
  require(alive_ || death_, "the gate opens for what runs");
  gate_ = GateState::kOpen;
}

void PolicyWorld::on(const Terminate&) {
  require(recorded_->desired != DesiredState::kRunning,
          "the desired state is recorded before a stop");
  doomed_ = true;
}

void PolicyWorld::on(const Kill&) {
  const bool wanted =
      recorded_->desired != DesiredState::kRunning || asked_ || half_restored_ || gave_up_;
  require(wanted, "nothing is killed that is wanted");
  require(gate_ == GateState::kHeld || recorded_->desired != DesiredState::kRunning,
          "the gate is held before a kill that a restore follows");
  doomed_ = true;
}

void PolicyWorld::on(const DiscardGeneration& e) {
  const auto found = store_.find(e.generation);
  require(found != store_.end(), "only what exists is discarded");
  if (found == store_.end()) return;
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
  released_ = true;
}

}  // namespace perdure::policy
