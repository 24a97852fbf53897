// PolicyWorld: a cluster around the host. Standbys commit what is captured, the durable directory
// is written behind them, and the record says who owns the container.
#include "policy/policy_world.h"

namespace perdure::policy {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

void PolicyWorld::step_in_cluster() {
  switch (draw(16)) {
    case 15:
      return tell_ready();
    case 0:
      return raise_term();
    case 1:
      if (unknown_ || theirs_) return;
      return forget_ownership();
    case 2:
    case 3:
      return unknown_ ? learn_ownership() : void();
    case 4:
      return chance(5) ? lose_ownership() : void();
    case 5:
    case 6:
      return handing_over_ ? end_hand_over(!chance(failing_percent_)) : void();
    case 7:
      return policy_->phase() == Phase::kWaiting && !unknown_ ? give_word() : void();
    case 8:
    case 9:
    case 10:
      return policy_runs() ? tell(OperatorMove{NodeName::parse("b").value()}) : void();
    default:
      return write_directory();
  }
}

// One is written at a time, against the newest one that is there.
void PolicyWorld::write_directory() {
  if (writing_) {
    const Generation id = *std::exchange(writing_, std::nullopt);
    const auto found = store_.find(id);
    if (found == store_.end()) return;
    found->second.info.parent = std::exchange(writing_base_, std::nullopt);
    return make_durable(id);
  }
  std::optional<Generation> newest;
  for (const auto& [id, capsule] : store_) {
    const bool there = capsule.info.durable;
    if (there && capsule.info.mark == Mark::kNone) writing_base_ = id;
    if (!there && capsule.info.mark == Mark::kNone) newest = id;
  }
  if (chance(30)) writing_base_.reset();
  writing_ = newest;
  if (!newest || (writing_base_ && *writing_base_ > *newest)) writing_base_.reset();
}

// What was written against a base that is not there is worth nothing, and removed.
void PolicyWorld::make_durable(const Generation& id) {
  GenerationInfo& info = store_.at(id).info;
  const std::optional<Generation> base = info.parent;
  info.durable = true;
  const bool base_is_there = !base || (store_.contains(*base) && store_.at(*base).info.durable);
  const bool lost = info.mark == Mark::kNone && chain_of(listing(), id) == Chain::kLost;
  if (!base_is_there || lost) info.durable = false;
  if (cluster_ && !info.durable) info.parent.reset();
  const bool durable = info.durable;
  tell(Durable{id, base});
  const GenerationInfo* known = find(policy_->generations(), id);
  require(released_ || known == nullptr || known->durable == durable,
          "durable is what can be restored from the directory");
}

void PolicyWorld::tell_ready() {
  ready_.clear();
  if (chance(80)) ready_.push_back(NodeName::parse("b").value());
  if (chance(40)) ready_.push_back(NodeName::parse("c").value());
  tell(StandbysReady{ready_});
}

void PolicyWorld::raise_term() {
  if (theirs_ || handing_over_) return;
  term_.value += 1 + draw(2);
  tell(TermRaised{term_});
}

// ---- Who owns it ----

void PolicyWorld::forget_ownership() {
  unknown_ = true;
  ++tally_.waits;
  const bool passing = chance(30);
  tell(OwnershipUnknown{chance(50) ? "there is no record" : "the record is older", passing});
}

void PolicyWorld::learn_ownership() {
  if (theirs_) return lose_ownership();
  unknown_ = untouched_ = false;
  const auto restored = std::exchange(pending_, std::nullopt);
  const bool was_asked = restored && asked_ == restored;
  if (was_asked) asked_.reset();
  tell(OwnershipKnown{});
  if (!restored || !policy_runs()) return;
  needs_word_ = false;
  if (was_asked) check_all_marked_after(restored);
  if (options_.probation > 0s) probation_ = {*restored, highest_.number + 1};
}

void PolicyWorld::lose_ownership() {
  theirs_ = told_theirs_ = true;
  unknown_ = untouched_ = needs_word_ = false;
  asked_.reset();
  pending_.reset();
  probation_.reset();
  // The end of a hand-over may be reported all the same.
  const bool late = std::exchange(handing_over_, false);
  if (!late) ++term_.value;
  tell(OwnershipLost{NodeName::parse("b").value(), term_});
  if (late && chance(50)) tell(HandedOver{});
}

void PolicyWorld::end_hand_over(bool well) {
  handing_over_ = false;
  if (well || theirs_) {
    ++tally_.handed_over;
    theirs_ = told_theirs_ = true;
    unknown_ = untouched_ = needs_word_ = false;
    const Generation handed = recorded_->handing_over->generation;
    for (auto& [id, capsule] : store_) {
      const bool taken = id <= handed && capsule.info.mark == Mark::kNone;
      if (taken) capsule.info.state = CommitState::kCommitted;
    }
    probation_.reset();
    ++term_.value;
    return tell(HandedOver{});
  }
  if (chance(70)) term_.value += 2;  // the target's, and the source's again
  unknown_ = untouched_ = false;
  failures_in_row_ = 0;
  if (!alive_) probation_.reset();
  tell(HandOverFailed{"the target does not answer", term_});
}

// The operator's word, for a container that waits for it.
void PolicyWorld::give_word() {
  const auto list = listing();
  std::optional<Generation> wanted;
  for (const auto& info : list) {
    if (restorable(list, info.id)) wanted = info.id;
  }
  const Event word = wanted ? Event{OperatorRestore{*wanted}} : Event{OperatorStop{}};
  require(policy_->admit(word).has_value(), "an operator's word is taken");
  note_operator(word);
  tell(word);
}

// ---- The daemon and the container come and go ----

// The memory of a daemon ends with it; what its standbys hold may be lost too.
void PolicyWorld::lose_memory(DaemonRestarted& event) {
  if (!cluster_) return;
  const bool dead = event.found != DaemonRestarted::Found::kAlive;
  event.awaits_word = chance(20);
  needs_word_ = event.awaits_word && dead && recorded_->begun;
  std::erase_if(store_, [&](const auto& entry) {
    const GenerationInfo& info = entry.second.info;
    const bool on_standby = info.state == CommitState::kCommitted && !event.awaits_word;
    return !info.durable && !on_standby;
  });
}

// It has been moved here, from a node that has captured it last.
void PolicyWorld::arrive() {
  ++tally_.arrivals;
  forget_daemon();
  const Generation id{term_, Incarnation{0x900}, highest_.number + 1 + draw(3)};
  store_[id] = {.info = {.id = id, .parent = std::nullopt, .captured_at = now_},
                .poisoned = chance(20)};
  if (chance(50)) store_[id].info.state = CommitState::kCommitted;
  ++term_.value;
  policy_ = std::make_unique<ContainerPolicy>(ContainerName::parse("moved").value(), term_,
                                              Incarnation{++incarnation_}, options_);
  PersistentState state;
  state.begun = true;
  if (chance(30)) state.handing_over = HandingOver{NodeName::parse("here").value(), id};
  recorded_ = state;
  highest_ = id;
  base_.reset();
  alive_ = true;
  poisoned_ = store_[id].poisoned;
  gate_ = GateState::kHeld;
  half_restored_ = doomed_ = frozen_ = handing_over_ = free_attempt_ = false;
  theirs_ = left_ = unknown_ = untouched_ = needs_word_ = false;
  TakenOver event{.pid = 300, .state = state, .generations = listing(), .generation = id};
  if (options_.statefulness == Statefulness::kStateful && chance(30)) event.failed_over = FailedOver{NodeName::parse("there").value(), "it died twice", {Duration{}}};
  for (auto& [other, capsule] : store_) {
    if (capsule.info.mark == Mark::kNone) capsule.info.state = CommitState::kCommitted;
  }
  uncommitted_.clear();
  tell(event);
  require(policy_->phase() == Phase::kProtected, "what has moved here is protected at once");
  require(!hand_over_begun(), "the source's move is not this node's");
  if (options_.statefulness == Statefulness::kStateful) {
    require(operation_ == Operation::kCapturing, "what has moved here is captured at once");
  }
  if (options_.probation > 0s) {
    probation_ = {id, highest_.number + 1, event.failed_over ? Probation::After::kRestore : Probation::After::kMove};
  }
}

}  // namespace perdure::policy
