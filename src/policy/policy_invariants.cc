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

bool PolicyWorld::policy_serves() const {
  return policy_runs() || (policy_->phase() == Phase::kMoving && !hand_over_begun());
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
  require(!told_theirs_ && !hand_over_begun(), "nothing is begun that another node may have");
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
  require(!told_theirs_ && !hand_over_begun(), "nothing is deleted that another node may need");
  require(!writing_ || id != writing_base_, "the base of what is being written is kept");
  require(!unknown_ || (id.term == term_ && id.incarnation.value == incarnation_),
          "while ownership is unknown only what is surely its own is deleted");
  if (gone->durable && gone->mark == Mark::kNone) {
    require(std::ranges::any_of(before,
                                [&](const auto& info) {
                                  return info.durable && info.mark == Mark::kNone && info.id > id;
                                }),
            "the newest durable one is kept");
  }
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
  if (phase == Phase::kMoving) {
    require(handing_over_ == armed(TimerId::kMove), "the end of a move is watched");
    require(handing_over_ || capturing || armed(TimerId::kExitGrace) || armed(TimerId::kCommit),
            "a move goes on");
  }
  if (phase == Phase::kLeaving && alive_) {
    require(operation_ != Operation::kNone || armed(TimerId::kKill), "leaving is watched");
  }
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
    require(unknown_ || !alive_ || operation_ != Operation::kNone || armed(TimerId::kStop) ||
                armed(TimerId::kKill),
            "the end of the container is watched");
  }
}

void PolicyWorld::check_gate() {
  const Phase phase = policy_->phase();
  if (policy_serves()) {
    require(alive_ || death_, "what is said to run runs");
    require(gate_ == GateState::kOpen || timers_.contains(TimerId::kExitGrace) || !kills_.empty() ||
                death_ || untouched_,
            "the gate is not left held while the container runs");
  } else if (phase == Phase::kMoving && operation_ == Operation::kCapturing) {
    // The capture locks it when all processes are frozen.
  } else if (phase != Phase::kStopping && phase != Phase::kNew) {
    require(gate_ == GateState::kHeld, "the gate is held while the container does not run");
  }
  require(!frozen_ || gate_ == GateState::kHeld, "what is frozen is silent");
}

void PolicyWorld::check_cluster_state() {
  const Phase phase = policy_->phase();
  const bool under_way = operation_ != Operation::kNone || alive_ || death_;
  const ContainerStatus status = policy_->status();
  require(!told_theirs_ || phase == Phase::kLeaving || phase == Phase::kGone ||
              phase == Phase::kRemoved || phase == Phase::kFailed,
          "what another node owns is left to it");
  require(!frozen_ || told_theirs_ || phase == Phase::kMoving || phase == Phase::kNew,
          "what is frozen moves");
  switch (phase) {
    case Phase::kMoving:
      return require(handing_over_ || alive_ || death_, "what moves runs or is frozen");
    case Phase::kLeaving:
      return require(told_theirs_ && under_way, "leaving goes on");
    case Phase::kGone:
      require(!under_way && timers_.empty() && left_, "nothing is left of what is gone");
      return;
    case Phase::kWaiting:
      require(unknown_ || needs_word_, "waiting waits for something");
      return require(!status.reason.empty() && !status.remedy.empty(),
                     "waiting has a reason and a remedy");
    default:
      return;
  }
}

void PolicyWorld::check_state_reached() {
  const Phase phase = policy_->phase();
  const auto armed = [&](TimerId id) { return timers_.contains(id); };
  const bool under_way = operation_ != Operation::kNone || alive_ || death_;
  check_gate();
  check_progress();
  check_cluster_state();
  const auto list = listing();
  for (const auto& info : list) {
    if (told_theirs_ || hand_over_begun() || phase == Phase::kNew) break;
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
      require(under_way || unknown_, "stopping goes on");
      return require(!alive_ || doomed_ || unknown_ || operation_ != Operation::kNone,
                     "stopping stops");
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
    case Phase::kGone:
      return require(theirs_, "only what another node owns is gone");
    case Phase::kFailed:
      return require(!alive_ && operation_ == Operation::kNone, "nothing hangs once all is healed");
    default:
      require(false, std::format("healed for 90 s, and it is still {}: {}", to_string(status.phase),
                                 status.reason));
  }
}

}  // namespace perdure::policy
