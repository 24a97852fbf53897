// Ownership: a planned move from the source's side (docs/cluster.md, "A planned move").
#include <algorithm>
#include <format>
#include <utility>

#include "policy/ownership.h"

namespace perdure::policy::ownership {

bool Ownership::is_target(const NodeName& node) const {
  return move_.target && move_.target->node == node;
}

// Not what the target has written when it found this node silent: then this one is no standby of it, and takes nothing back.
bool Ownership::own_move(const Record& record) const {
  return move_.step >= MoveStep::kSwapping && is_target(record.owner.node) &&
         record.term == Term{move_.term.value + 1} && record.phase != model::RecordPhase::kStarting;
}

// ---- Begin ----

std::optional<Refuse> Ownership::objection(const MoveAsked& event) const {
  const auto refuse = [](std::string why) { return Refuse{"move", std::move(why)}; };
  const std::string target = std::format("'{}'", event.target.str());
  if (move_.step != MoveStep::kNone) {
    return refuse(std::format("it is being moved to '{}'", move_.target->node.str()));
  }
  if (!owning()) {
    return refuse(knowledge_ == OwnershipKnowledge::kUnknown ? reason_
                                                             : "this node does not own it now");
  }
  if (event.target == identity_.self.node) return refuse("it is on " + target + " already");
  if (wish_ || record_->desired != DesiredState::kRunning) {
    return refuse("it is stopped, or about to be; only a running one can be moved");
  }
  if (const auto found = not_candidates_.find(event.target); found != not_candidates_.end()) {
    return refuse(target + " cannot take it: " + found->second);
  }
  const Peer* p = find_peer(event.target);
  if (p == nullptr || !p->up) return refuse(target + " cannot be reached");
  return std::nullopt;
}

void Ownership::on(const MoveAsked& event) {
  if (auto no = objection(event)) {
    effects_.push_back(*std::move(no));
    return;
  }
  move_ = {};
  move_.step = MoveStep::kEnlisting;
  move_.target = Life{event.target, *peer(event.target).incarnation};
  move_.deadline = now_ + options_.prepare_limit;
  move_.term = term_;
}

std::vector<NodeName> Ownership::ready_standbys() const {
  std::vector<NodeName> ready;
  if (!owning() || move_.step != MoveStep::kNone) return ready;
  for (const NodeName& node : candidates_) {
    const Life* standby = record_->standby(node);
    const Peer* p = standby == nullptr ? nullptr : live_peer(*standby);
    if (p != nullptr && !p->ends) ready.push_back(node);
  }
  return ready;
}

void Ownership::on(const FailOverAsked& event) {
  const std::vector<NodeName> ready = ready_standbys();
  if (wish_ || !std::ranges::contains(ready, event.target)) {
    effects_.push_back(HandOverFailed{wish_ ? "an operator wants something else of it"
                                            : std::format("'{}' does not stand by now", event.target.str()),
                                      term_});
    return;
  }
  move_ = {};
  move_.step = MoveStep::kEnlisting;
  move_.fails_over = true;
  move_.target = Life{event.target, *peer(event.target).incarnation};
  move_.generation = event.generation;
  move_.deadline = now_ + options_.failover_limit;
  move_.term = term_;
}

void Ownership::on(const MovePrepared& event) {
  const bool awaited = move_.step == MoveStep::kPreparing || (move_.step == MoveStep::kFreezing && move_.fails_over);
  if (!awaited || !is_target(event.target)) return;
  if (!event.refusal.empty()) return fail_move("it is refused: " + event.refusal);
  move_.prepared = true;
}

void Ownership::on(const HandoverCaptured& event) {
  if (move_.step != MoveStep::kFreezing || move_.fails_over) {
    // Too late: it must not stay frozen for a move that is over.
    if (!frozen()) effects_.push_back(HandOverFailed{"the move was given up", term_});
    return;
  }
  if (identity_.statefulness == Statefulness::kStateful) {
    generations_.insert(event.generation);
    captured_at_[event.generation] = now_;
  }
  remember_handing_over(event.generation);
  move_.step = MoveStep::kShipping;
}

void Ownership::remember_handing_over(const Generation& generation) {
  move_.generation = generation;
  move_.standbys = record_->standbys;
  move_.remembered = true;
  effects_.push_back(Remember{HandingOver{.target = *move_.target,
                                          .generation = generation,
                                          .term = move_.term,
                                          .standbys = move_.standbys}});
}

void Ownership::on(const HandoverCaptureFailed& event) {
  if (move_.step != MoveStep::kFreezing || move_.fails_over) return;
  move_.step = MoveStep::kPreparing;  // it runs
  fail_move("the last capture failed: " + event.reason);
}

// A life to come would find its record name the target, and not know that it may take it back.
void Ownership::on(const NotRemembered& event) {
  if (!move_.remembered || move_.step == MoveStep::kHandedOver || !move_.failure.empty()) return;
  move_.failure = "this node cannot write down that it hands it over: " + event.reason;
}

// ---- Word from the target ----

void Ownership::on(const Taken& event) {
  if (!is_target(event.target) || !record_ || event.term != record_->term) return;
  if (move_.step != MoveStep::kTaking) return;
  if (event.error.empty()) {
    read_wanted_ = true;  // the record is the truth
    return;
  }
  move_.failure = std::format("'{}' could not take it: {}", event.target.str(), event.error);
  move_.step = MoveStep::kTakingBack;
}

void Ownership::on(const TargetCommitted& event) {
  if (move_.step < MoveStep::kSwapping || event.term <= move_.term) return;
  move_.target_committed = true;
  if (move_.step != MoveStep::kHandedOver) read_wanted_ = true;  // it must have begun to run
}

// It may be dead, with all that it has not shipped yet. What was handed over is held here as by any standby, which takes over from
// that; the frozen copy, which must never speak again, would only be in the way. So it is when another standby has found the target
// silent, and is silent itself before it runs it.
void Ownership::on(const TargetSilent& event) {
  const bool another_takes_it = knowledge_ == OwnershipKnowledge::kSuspended && move_.step >= MoveStep::kTaking;
  if (move_.step != MoveStep::kHandedOver && !another_takes_it) return;
  if (event.held < move_.generation || !std::ranges::contains(record_->standbys, identity_.self)) return;
  const std::string owner = std::format("'{}'", record_->owner.node.str());
  emit(Severity::kWarning, "target_silent",
       owner + " is silent, and nothing that was captured since the move is here: the frozen copy is killed, and what was handed over is "
               "what this node takes over with");
  if (another_takes_it) effects_.push_back(MoveFailed{move_.target->node, owner + " has taken it over, and is silent"});
  effects_.push_back(EndCopy{});
  end();
}

// ---- Step by step ----

void Ownership::watch_target() {
  const std::string name = std::format("'{}'", move_.target->node.str());
  const bool live = live_peer(*move_.target) != nullptr;
  if (live) {
    move_.target_gone.reset();
  } else if (!move_.target_gone) {
    move_.target_gone = now_;
  }
  if (!move_.failure.empty()) return;
  const Peer* p = find_peer(move_.target->node);
  const bool restarted = p != nullptr && p->up && p->incarnation != move_.target->incarnation;
  // Once the record names it, a lost connection alone says little: it may be about to run.
  const Duration patience =
      move_.step == MoveStep::kTaking && !restarted ? options_.standby_silence : Duration{};
  if (restarted) {
    move_.failure = name + " was restarted";
  } else if (!live && now_ - *move_.target_gone >= patience) {
    move_.failure = name + " cannot be reached";
  } else if (now_ >= move_.deadline) {
    move_.failure = move_.step > MoveStep::kFreezing || (frozen() && !move_.fails_over)
                        ? std::format("{} did not run it within {}", name,
                                           format_duration(options_.move_limit))
                             : name + " was not ready in time";
  }
}

void Ownership::advance_move() {
  if (move_.step == MoveStep::kHandedOver && move_.target_committed) {
    effects_.push_back(EndCopy{});
    return end();
  }
  if (move_.step == MoveStep::kNone || move_.step == MoveStep::kHandedOver) return;
  if (knowledge_ != OwnershipKnowledge::kKnown) return;
  watch_target();
  const bool undone = !move_.failure.empty();
  const bool settled = store_ != StoreStep::kSwapping && store_ != StoreStep::kReading && !doubt_;
  if (move_.step == MoveStep::kTaking) {
    if (undone) {
      move_.step = MoveStep::kTakingBack;
    } else if (!move_.told && live_peer(*move_.target) != nullptr) {
      move_.told = true;
      effects_.push_back(TellTake{*move_.target, record_->term, *move_.generation, revision_});
    }
    return;
  }
  if (move_.step == MoveStep::kTakingBack) return;
  if (undone) {
    if (move_.step != MoveStep::kSwapping || settled) fail_move(move_.failure);
    return;
  }
  Peer& target = peer(move_.target->node);
  const bool recorded = std::ranges::contains(record_->standbys, *move_.target);
  if (move_.fails_over && !recorded && move_.step < MoveStep::kShipping) return fail_move("it does not stand by any more");
  const std::optional<Generation> needed = move_.fails_over ? std::max(move_.generation, committed_) : committed_;
  const bool caught_up = recorded ? holds(target) >= needed : ready(target);
  switch (move_.step) {
    case MoveStep::kEnlisting:
      if (move_.fails_over) {
        // Written down before the target is asked, so that it is known whether it could be before the record changes; from here
        // on that keeps its standbys.
        if (!caught_up || !settled) return;
        move_.term = term_;
        remember_handing_over(*move_.generation);
        move_.step = MoveStep::kFreezing;
        effects_.push_back(AskPrepare{move_.target->node});
      } else if (caught_up) {
        move_.step = MoveStep::kPreparing;
        effects_.push_back(AskPrepare{move_.target->node});
      } else if (!recorded && target.role == Role::kNone && !target.dismissing &&
                 !possible_standbys().contains(move_.target->node)) {
        if (target.not_before > now_ && !target.refusal.empty() && move_.asked) {
          return fail_move("it is refused: " + target.refusal);
        }
        move_.asked = true;
        target.role = Role::kEnlisting;
        target.has_ours = true;
        effects_.push_back(Enlist{move_.target->node});
      }
      return;
    case MoveStep::kPreparing:
      if (!recorded && settled && target.role == Role::kNone) {
        return fail_move(target.refusal.empty() ? "it does not stand by any more" : "it is refused: " + target.refusal);
      }
      if (!move_.prepared || !settled || !caught_up) return;
      move_.step = MoveStep::kFreezing;
      move_.term = term_;
      move_.deadline = now_ + options_.move_limit;
      effects_.push_back(BeginHandover{move_.target->node});
      return;
    case MoveStep::kFreezing:
      if (!move_.fails_over || !move_.prepared) return;
      move_.deadline = now_ + options_.move_limit;
      move_.step = MoveStep::kShipping;
      return;
    case MoveStep::kShipping:
      if (identity_.statefulness == Statefulness::kStateful && holds(target) < move_.generation) {
        return;
      }
      move_.step = MoveStep::kSwapping;
      return;
    default:
      return;
  }
}

OwnershipRecord Ownership::handover_record() const {
  Record record = *record_;
  record.owner = *move_.target;
  record.term = Term{record.term.value + 1};
  record.phase = model::RecordPhase::kMoving;
  record.standbys = {identity_.self};
  for (const Life& standby : record_->standbys) {
    if (standby.node != move_.target->node) record.standbys.push_back(standby);
  }
  return record;
}

OwnershipRecord Ownership::take_back_record() const {
  Record record = *record_;
  record.owner = identity_.self;
  record.term = Term{record.term.value + 1};
  record.phase = model::RecordPhase::kRunning;
  record.standbys.clear();
  for (const Life& standby : move_.standbys) {
    // One that is only out of reach still holds what it has acknowledged.
    const Peer* p = find_peer(standby.node);
    const bool restarted = p != nullptr && p->incarnation && p->incarnation != standby.incarnation;
    if (!restarted) record.standbys.push_back(standby);
  }
  return record;
}

// ---- Ends ----

// Nobody else has been named the owner, and no swap of ours that would do so can come any more.
void Ownership::fail_move(std::string reason) {
  const Move move = std::exchange(move_, {});
  if (move.step >= MoveStep::kFreezing || move.fails_over) effects_.push_back(HandOverFailed{reason, term_});
  if (move.remembered) effects_.push_back(Remember{});
  if (!move.fails_over) {  // ContainerPolicy tells of those
    emit(Severity::kWarning, "move_failed",
         std::format("not moved to '{}': {}", move.target->node.str(), reason));
  }
  effects_.push_back(MoveFailed{move.target->node, std::move(reason)});
}

// The record names this node again, under a higher term.
void Ownership::finish_move_back() {
  effects_.push_back(TellTerm{move_.target->node, term_});
  move_.step = MoveStep::kSwapping;
  fail_move(move_.failure.empty() ? "the record names this node again" : move_.failure);
}

void Ownership::handed_over() {
  move_.step = MoveStep::kHandedOver;
  move_.failure.clear();
  knowledge_ = OwnershipKnowledge::kKnown;
  emit(Severity::kInfo, "moved",
       std::format("it runs on '{}', under term {}", move_.target->node.str(), term_.value));
  effects_.push_back(HandedOver{*move_.target, term_});
}

}  // namespace perdure::policy::ownership
