// ContainerPolicy: what the record says of this owner (docs/cluster.md, "The record", rule 4).
#include <algorithm>
#include <format>
#include <utility>

#include "policy/container_policy.h"

namespace perdure::policy {

// ---- The container comes from another node ----

void ContainerPolicy::on(const TakenOver& event) {
  know_ownership();
  recorded_ = event.state;
  persistent_ = {.desired = DesiredState::kRunning,  // the source's move is not this node's
                 .begun = true,
                 .finished = false,
                 .gave_up = {}};
  record();
  generations_ = event.generations;
  std::ranges::sort(generations_, {}, &GenerationInfo::id);
  next_number_ = event.generation.number + 1;
  for (const auto& generation : generations_) {
    next_number_ = std::max(next_number_, generation.id.number + 1);
  }
  alive_ = true;
  pid_ = event.pid;
  life_began_ = now_;
  if (fails_for_later_owner()) return;
  for (auto& generation : generations_) {
    // The target holds it and the source is it: nothing that is older can come in its place.
    const bool taken = generation.id <= event.generation && generation.mark == Mark::kNone;
    if (taken) generation.state = CommitState::kCommitted;
  }
  leave_uncommitted("not part of the move");
  if (event.failed_over) {
    for (const Duration ago : event.failed_over->ago) failovers_.push_back(now_ - ago);
    emit(Severity::kWarning, "failed_over",
         std::format("node '{}' could not keep it running; it goes on here from generation {} and runs as process {}",
                     event.failed_over->from.str(), perdure::to_string(event.generation), event.pid),
         event.failed_over->reason);
  } else if (event.silent_owner) {
    emit(Severity::kWarning, "taken_over",
         std::format("taken over from '{}', {}, with generation {}; runs as process {}", event.silent_owner->str(),
                     event.ordered_by.empty() ? "which has fallen silent" : "as ordered by " + event.ordered_by,
                     perdure::to_string(event.generation), event.pid));
  } else {
    emit(Severity::kInfo, "arrived",
         std::format("it has moved here, from generation {}, and runs as process {}",
                     perdure::to_string(event.generation), event.pid));
  }
  open_gate();
  set_fresh(now_);
  if (options_.statefulness == Statefulness::kStateless) {
    become_protected({}, "stateless: it is started afresh when it fails");
    return;
  }
  schedule_.enable(now_, now_);
  if (!restorable(generations_, event.generation)) {
    set_phase(Phase::kTrial, "its first checkpoint on this node is not committed yet");
    return;
  }
  if (options_.probation > Duration::zero()) {
    // What has failed over has lived well nowhere yet.
    probation_ = Probation{event.generation, next_number_, event.failed_over ? Probation::After::kRestore : Probation::After::kMove};
    arm(TimerId::kProbation, now_ + options_.probation);
  }
  become_protected(event.generation, std::format("generation {} is what it would go back to",
                                                 perdure::to_string(event.generation)));
}

// ---- The term ----

void ContainerPolicy::on(const TermRaised& event) {
  raise_term(event.term);
}

void ContainerPolicy::on(const StandbysReady& event) {
  others_ = event.nodes;
}

// Numbers go on as they were, so that the order of generations does too.
void ContainerPolicy::raise_term(Term raised) {
  term_ = std::max(term_, raised);
}

// ---- Another owner ----

bool ContainerPolicy::leaving() const {
  const Phase phase = phase_ == Phase::kFailed && resume_ ? resume_->phase : phase_;
  return phase == Phase::kLeaving || phase == Phase::kGone;
}

void ContainerPolicy::on(const OwnershipLost& event) {
  if (leaving()) return;
  know_ownership();
  hold_gate();
  emit(Severity::kError, "ownership_lost",
       std::format("node '{}' owns it under term {} and runs it; what is left of it here is killed",
                   event.owner.str(), event.term.value));
  // What hangs is killed and cancelled once more, and watched.
  if (phase_ == Phase::kFailed) killing_ = false;
  resume_.reset();
  held_back_.reset();
  move_.reset();
  restored_.reset();
  asked_restore_.reset();
  probation_.reset();
  schedule_.disable();
  set_phase(Phase::kLeaving, std::format("node '{}' owns it", event.owner.str()));
}

// Its generations are the new owner's: none is marked or deleted.
void ContainerPolicy::advance_leaving() {
  if (operation_ == Operation::kCapturing) cancel_capture();
  if (alive_) {
    const bool waits = operation_ != Operation::kNone && operation_ != Operation::kCapturing;
    if (!waits && !killing_) kill();
    return;
  }
  if (operation_ != Operation::kNone) return;
  set_phase(Phase::kGone, reason_);
  emit(Severity::kInfo, "gone", "nothing of it runs here any more", reason_);
  effects_.push_back(Leave{});
}

// ---- No owner that is known ----

void ContainerPolicy::on(const OwnershipUnknown& event) {
  if (leaving()) return;
  const bool news = ownership_unknown_ != event.reason;
  ownership_unknown_ = event.reason;
  ownership_settles_ = event.passing;
  if (!news || phase_ == Phase::kNew) return;  // a daemon that has just begun is about to read it
  emit(event.passing ? Severity::kWarning : Severity::kError, "ownership_unknown",
       "who owns it is not known: nothing is killed, started or restored", event.reason);
  if (phase_ == Phase::kWaiting && waiting_ == Waiting::kOwnership) wait_for(waiting_);
}

void ContainerPolicy::on(const OwnershipKnown&) {
  if (!ownership_unknown_) return;
  know_ownership();
  emit(Severity::kInfo, "ownership_known", "its record names this node");
  // What closed it may have happened while nobody listened.
  if (serving() && !timer(TimerId::kExitGrace)) open_gate();
}

void ContainerPolicy::know_ownership() {
  ownership_unknown_.reset();
  gate_untouched_ = false;
}

std::string ContainerPolicy::recover_command() const { return "perdure cluster recover " + name_.str(); }

bool ContainerPolicy::held_back() {
  if (!ownership_unknown_) return false;
  held_back_ = Interrupted{phase_, reason_};
  wait_for(Waiting::kOwnership);
  emit(ownership_settles_ ? Severity::kWarning : Severity::kError, "waiting", reason_, remedy_);
  return true;
}

void ContainerPolicy::wait_for(Waiting what) {
  waiting_ = what;
  if (what == Waiting::kOwnership) {
    const std::string_view otherwise = ownership_settles_
                                           ? "it settles by itself; if not, and if it runs nowhere else: "
                                           : "it goes on by itself when its record names this node; if it "
                                             "runs nowhere else and never will: ";
    set_phase(Phase::kWaiting, "who owns it is not known: " + *ownership_unknown_,
              std::string(otherwise) + recover_command());
    return;
  }
  const GenerationInfo* newest = newest_good(generations_);
  set_phase(Phase::kWaiting,
            std::format("no standby holds its memory any more; {}",
                        newest == nullptr ? "no good generation is left"
                                          : std::format("going back to generation {} may lose what "
                                                        "was committed since",
                                                        perdure::to_string(newest->id))),
            "waits for an operator: " + recover_command());
}

void ContainerPolicy::advance_waiting() {
  if (waiting_ == Waiting::kWord || ownership_unknown_) return;
  const Interrupted before = *std::exchange(held_back_, std::nullopt);
  set_phase(before.phase, before.reason);
}

}  // namespace perdure::policy
