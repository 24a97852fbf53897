// PolicyWorld: what must hold whatever happens. Written from the rules (docs/recovery.md), not from
// the policy's code; only newest_good() and restorable(), which have their own tests, are shared.
#include <algorithm>
#include <format>

#include "policy/policy_world.h"

namespace perdure::policy {

void PolicyWorld::require(bool holds, const std::string& what) {
  if (!holds && violation_.empty()) violation_ = what;
}

bool PolicyWorld::policy_runs() const {
  const Phase phase = policy_->phase();
  return phase == Phase::kTrial || phase == Phase::kProtected || phase == Phase::kUnprotected;
}

std::vector<GenerationInfo> PolicyWorld::listing() const {
  std::vector<GenerationInfo> list;
  for (const auto& [id, capsule] : store_) list.push_back(capsule.info);
  return list;
}

bool PolicyWorld::capsule_is_sound(const Generation& id) const {
  for (std::optional<Generation> next = id; next;) {
    const auto found = store_.find(*next);
    if (found == store_.end() || found->second.corrupt_on_disk) return false;
    next = found->second.info.parent;
  }
  return true;
}

// Preparing, starting, restoring.
void PolicyWorld::check_operation_begins() {
  require(operation_ == Operation::kNone, "one operation at a time");
  require(!alive_ && !death_, "nothing is begun beside a living container");
  require(gate_ == GateState::kHeld, "the gate is held until the container runs");
  require(recorded_ && recorded_->desired == DesiredState::kRunning,
          "nothing is begun that is not wanted to run");
  require(recorded_ && recorded_->gave_up.empty(), "nothing is begun after giving up");
}

void PolicyWorld::check_restore(const Generation& id) {
  const auto list = listing();
  const GenerationInfo* generation = find(list, id);
  require(generation != nullptr, "only what exists is restored");
  if (generation == nullptr) return;
  require(generation->state == CommitState::kCommitted, "only what is committed is restored");
  require(generation->mark != Mark::kCorrupt, "what is corrupt is never restored");
  require(restorable(list, id), "only what is complete is restored");
  if (asked_ == id) return;  // an operator's word goes above suspicion
  require(generation->mark == Mark::kNone, "what is marked is not restored by itself");
  for (const auto& other : list) {
    require(other.id <= id || other.mark != Mark::kNone || !restorable(list, other.id),
            "the newest good one is restored");
  }
}

void PolicyWorld::check_attempt_is_within_limits() {
  if (std::exchange(free_attempt_, false)) return;
  while (!attempts_.empty() && attempts_.front() + options_.restore_window <= now_)
    attempts_.pop_front();
  attempts_.push_back(now_);
  require(attempts_.size() <= options_.max_restores,
          "restores and cold starts stay within the limit");
}

void PolicyWorld::check_deletion(const Generation& id) {
  const auto before = listing();
  const GenerationInfo* gone = find(before, id);
  require(gone != nullptr, "only what exists is deleted");
  if (gone == nullptr) return;
  require(operation_ != Operation::kRestoring || id != operation_generation_,
          "what is being restored is not deleted");
  require(gone->state == CommitState::kCommitted || gone->mark != Mark::kNone,
          "what may still be committed is not deleted");
  auto after = before;
  std::erase_if(after, [&](const auto& info) { return info.id == id; });
  const auto usable = [](const auto& list) {
    return std::ranges::count_if(list, [&](const auto& info) { return restorable(list, info.id); });
  };
  require(usable(after) >= std::min<std::ptrdiff_t>(2, usable(before)),
          "two restorable ones are kept");
  for (const auto& info : after) {
    require(info.parent != id || info.mark != Mark::kNone || !restorable(before, info.id),
            "the base of a good delta is kept");
  }
  if (probation_ && gone->mark == Mark::kNone) {
    require(id != probation_->restored, "what is on probation is kept");
  }
}

void PolicyWorld::on(const DeclareProtected& e) {
  if (options_.statefulness == Statefulness::kStateless) return;
  const auto list = listing();
  const GenerationInfo* generation = find(list, e.generation);
  require(
      generation != nullptr && generation->mark == Mark::kNone && restorable(list, e.generation),
      "protected means that a good generation is committed");
}

// A life that began elsewhere must not be gone back to.
void PolicyWorld::check_all_marked_after(std::optional<Generation> kept) {
  for (const auto& info : listing()) {
    require(info.mark != Mark::kNone || (kept && info.id <= *kept),
            "what was left behind is marked: " + perdure::to_string(info.id));
  }
}

// Whatever is waited for is watched by a timer.
void PolicyWorld::check_progress() {
  const Phase phase = policy_->phase();
  const auto armed = [&](TimerId id) { return timers_.contains(id); };
  const bool capturing = operation_ == Operation::kCapturing;
  if (policy_runs() && options_.statefulness == Statefulness::kStateful) {
    require(capturing || armed(TimerId::kCapture) || armed(TimerId::kExitGrace) ||
                armed(TimerId::kCommit),
            "captures go on");
    require(phase == Phase::kUnprotected || armed(TimerId::kAge), "the age is watched");
    require(phase == Phase::kUnprotected || failures_in_row_ < options_.failures_until_unprotected,
            "so many failures are no protection");
  }
  if (phase == Phase::kRecovering || phase == Phase::kStopping) {
    require(!capturing || alive_ || death_ || armed(TimerId::kCaptureEnd),
            "the end of a cancelled capture is watched");
    require(
        !alive_ || operation_ != Operation::kNone || armed(TimerId::kStop) || armed(TimerId::kKill),
        "the end of the container is watched");
  }
}

void PolicyWorld::check_state_reached() {
  const Phase phase = policy_->phase();
  const auto armed = [&](TimerId id) { return timers_.contains(id); };
  const bool under_way = operation_ != Operation::kNone || alive_ || death_;
  if (policy_runs()) {
    require(alive_ || death_, "what is said to run runs");
    require(gate_ == GateState::kOpen || armed(TimerId::kExitGrace) || !kills_.empty() || death_,
            "the gate is not left held while the container runs");
  } else if (phase != Phase::kStopping && phase != Phase::kNew) {
    require(gate_ == GateState::kHeld, "the gate is held while the container does not run");
  }
  check_progress();
  const auto list = listing();
  for (const auto& info : list) {
    require(info.mark != Mark::kNone || chain_of(list, info.id) != Chain::kLost,
            "what can never be restored is marked: " + perdure::to_string(info.id));
  }
  switch (phase) {
    case Phase::kProtected:
      require(newest_good(list) != nullptr || options_.statefulness == Statefulness::kStateless,
              "protected means that there is something to go back to");
      return;
    case Phase::kUnprotected:
      require(!policy_->status().reason.empty() && !policy_->status().remedy.empty(),
              "unprotected has a reason and a remedy");
      return;
    case Phase::kPreparing:
      return require(operation_ == Operation::kPreparing, "preparing prepares");
    case Phase::kStarting:
      return require(operation_ == Operation::kStarting, "starting starts");
    case Phase::kRecovering:
      require(under_way || armed(TimerId::kRestartDelay), "recovering goes on");
      return require(!alive_ || doomed_ || operation_ != Operation::kNone,
                     "what is to be restored is killed first");
    case Phase::kStopping:
      require(under_way, "stopping goes on");
      return require(!alive_ || doomed_ || operation_ != Operation::kNone, "stopping stops");
    case Phase::kFailed:
      require(gave_up_ && !policy_->status().reason.empty() && !policy_->status().remedy.empty(),
              "failed has a reason and a remedy");
      return;
    case Phase::kStopped:
    case Phase::kRemoved:
      require(!under_way, "nothing is left of what has stopped");
      require(timers_.empty(), "no timer is left of what has stopped");
      return require(phase != Phase::kRemoved || released_, "removed is released");
    default:
      return;
  }
}

// The end of every story: running and protected, stopped as somebody wanted, or failed with a
// reason.
void PolicyWorld::check_healed() {
  const ContainerStatus status = policy_->status();
  switch (status.phase) {
    case Phase::kProtected:
      require(gate_ == GateState::kOpen && alive_, "a healed container runs and speaks");
      return;
    case Phase::kStopped:
      return require(recorded_->desired == DesiredState::kStopped, "only what is to be stopped is");
    case Phase::kRemoved:
      return;
    case Phase::kFailed:
      return require(!alive_ && operation_ == Operation::kNone, "nothing hangs once all is healed");
    default:
      require(false, std::format("healed for 90 s, and it is still {}: {}", to_string(status.phase),
                                 status.reason));
  }
}

}  // namespace perdure::policy
