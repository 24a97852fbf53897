#include "policy/policy_world.h"

#include <algorithm>
#include <format>

namespace perdure::policy {

using std::chrono_literals::operator""h;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

namespace {

constexpr std::size_t kTraceLines = 80;

ContainerOptions random_options(std::mt19937_64& random) {
  const auto draw = [&](std::uint64_t below) {
    return static_cast<std::uint32_t>(random() % below);
  };
  ContainerOptions options;
  options.schedule.interval = std::array<Duration, 3>{500ms, 1s, 5s}[draw(3)];
  options.statefulness = draw(12) == 0 ? Statefulness::kStateless : Statefulness::kStateful;
  options.cold_start = draw(3) == 0 ? ColdStart::kNever : ColdStart::kAllowed;
  options.restart = draw(3) == 0 ? RestartPolicy::kAlways : RestartPolicy::kOnFailure;
  options.blame = draw(3) == 0 ? Blame::kNotSigkill : Blame::kAnyDeath;
  options.probation = std::array<Duration, 3>{0s, 3s, 10s}[draw(3)];
  options.exit_grace = draw(4) == 0 ? 0ms : 20ms;
  options.stop_deadline = draw(4) == 0 ? 0s : 10s;
  options.max_restores = 1 + draw(6);
  options.max_in_place = 1 + draw(3);
  options.max_failovers = draw(3);
  options.max_uncommitted = 1 + draw(3);
  options.keep_generations = 2 + draw(3);
  options.keep_marked = draw(4);
  return options;
}

std::string name_of(const std::uint64_t seed) {
  return "c" + std::to_string(seed % 100);
}

}  // namespace

PolicyWorld::PolicyWorld(std::uint64_t seed)
    : random_(seed), options_(random_options(random_)), now_(Instant{} + 1h) {
  policy_ = std::make_unique<ContainerPolicy>(ContainerName::parse(name_of(seed)).value(), term_,
                                              Incarnation{incarnation_}, options_);
  failing_percent_ = std::array{5U, 30U, 70U}[draw(3)];
  cluster_ = seed % 2 == 0;
}

bool PolicyWorld::play(int steps) {
  if (cluster_ && chance(30)) {
    arrive();
  } else {
    tell(SpecAccepted{});
  }
  for (int n = 0; n < steps && violation_.empty(); ++n) step();
  if (violation_.empty()) heal();
  if (violation_.empty()) check_healed();
  if (violation_.empty()) ++tally_.ends[policy_->phase()];
  return violation_.empty();
}

// ---- What happens ----

void PolicyWorld::step() {
  if (released_) return send_stray();
  if (left_) return chance(30) ? arrive() : send_stray();
  if (cluster_ && chance(20)) return step_in_cluster();
  const bool well = !chance(failing_percent_);
  switch (draw(16)) {
    case 0:
    case 1:
    case 2:
    case 3:
      return finish_operation(well);
    case 4:
    case 5:
      return deliver_death();
    case 6:
    case 7:
      return settle_commit(well);
    case 8:
    case 9:
    case 10:
    case 11:
      return fire_timer();
    case 12:
      return strike();
    case 13:
      return chance(policy_->phase() == Phase::kRecovering ? 80 : 40)
                 ? ask_something()
                 : pass_time(1ms * static_cast<int>(draw(400)));
    case 14:
      return chance(15) ? restart_daemon() : pass_time(1ms * static_cast<int>(draw(20)));
    default:
      return chance(50) ? send_stray() : pass_time(1ms * static_cast<int>(draw(3000)));
  }
}

// Something dies, or is known by now to have died.
void PolicyWorld::strike() {
  if (!kills_.empty() && chance(70)) {
    return tell_kill();
  }
  if (end_is_known_ && chance(20)) return tell(ComponentRestarted{});  // told before, heard later
  if (!alive_) return;
  if (!frozen_ && !doomed_ && kills_.empty() && chance(10)) return tell(ComponentRestarted{});
  if (frozen_) return chance(20) ? kill_container(ExitStatus::signalled(9)) : void();
  if (doomed_) return kill_container(chance(50) ? ExitStatus::exited(0) : ExitStatus::signalled(9));
  if (poisoned_ ? chance(90) : chance(25)) {
    switch (draw(4)) {
      case 0:
        return kill_container(ExitStatus::exited(static_cast<int>(draw(3))));
      case 1:
        return kill_container(ExitStatus::signalled(9));
      default:
        return kill_container(ExitStatus::signalled(11));
    }
  }
  if (chance(20)) poisoned_ = true;
  gate_ = GateState::kHeld;  // the exit hook
  kills_.push_back({static_cast<pid_t>(100 + draw(10)), 11});
}

void PolicyWorld::kill_container(ExitStatus status) {
  note("  (it " + to_string(status) + ")");
  alive_ = frozen_ = false;
  death_ = status;
  if (status.kind == ExitStatus::Kind::kSignalled) {
    gate_ = GateState::kHeld;
    if (chance(50)) kills_.push_back({1, status.value, true});
  }
}

void PolicyWorld::tell_kill() {
  const ProcessKilled killed = kills_.front();
  kills_.erase(kills_.begin());
  if (killed.is_init && policy_serves()) end_is_known_ = true;
  tell(killed);
}

void PolicyWorld::deliver_death() {
  if (!death_) return;
  end_is_known_ = false;
  std::erase_if(kills_, [](const ProcessKilled& killed) { return killed.is_init; });  // its number is nobody's any more
  const ExitStatus status = *std::exchange(death_, std::nullopt);
  doomed_ = half_restored_ = poisoned_ = untouched_ = false;
  base_.reset();
  pending_.reset();
  const bool moves = policy_->phase() == Phase::kMoving;
  const bool was_running = policy_runs();
  const bool voluntary = status == ExitStatus::exited(0);
  const bool lived = was_running || moves || policy_->phase() == Phase::kWaiting;
  if (lived && voluntary && options_.restart == RestartPolicy::kAlways) free_attempt_ = true;
  const auto probation =
      was_running || moves ? std::exchange(probation_, std::nullopt) : std::nullopt;
  const auto suspects = [&] {
    return std::ranges::count_if(
        store_, [](const auto& entry) { return entry.second.info.mark == Mark::kSuspect; });
  };
  const auto before = suspects();
  tell(ContainerDied{status});
  if (probation && probation->after == Probation::After::kMove) {
    return require(suspects() == before, "a death after a move blames nothing");
  }
  const bool blamed = probation && was_running && !voluntary &&
                      !(options_.blame == Blame::kNotSigkill && status == ExitStatus::signalled(9));
  if (!blamed) return;
  for (const auto& [id, capsule] : store_) {
    const bool since = id > probation->restored && id.number >= probation->first_number;
    if (capsule.info.state != CommitState::kCommitted || (id != probation->restored && !since))
      continue;
    require(capsule.info.mark != Mark::kNone,
            "a death on probation marks " + perdure::to_string(id));
  }
}

void PolicyWorld::finish_operation(bool well) {
  const FailureClass failure = chance(80) ? FailureClass::kTransient : FailureClass::kPermanent;
  switch (operation_) {
    case Operation::kNone:
      return;
    case Operation::kPreparing:
      operation_ = Operation::kNone;
      if (!well) prepared_ = false;
      return well ? tell(ImageReady{}) : tell(ImageFailed{"no such image", failure});
    case Operation::kStarting:
      operation_ = Operation::kNone;
      if (!well) return tell(StartFailed{"no such file", failure});
      alive_ = true;
      doomed_ = poisoned_ = free_attempt_ = needs_word_ = false;
      failures_in_row_ = 0;
      base_.reset();
      return tell(Started{100});
    case Operation::kCapturing:
      return finish_capture(well && (cancelled_ || !alive_ ? chance(30) : true));
    case Operation::kRestoring:
      return finish_restore(well);
  }
}

void PolicyWorld::finish_capture(bool well) {
  operation_ = Operation::kNone;
  const Generation id = operation_generation_;
  const bool handover = hand_over_begun() && recorded_->handing_over->generation == id;
  if (!well) {
    if (policy_runs() || policy_->phase() == Phase::kMoving) ++failures_in_row_;
    return tell(
        CaptureFailed{.generation = id,
                      .reason = "in-flight connection",
                      .remedy = "",
                      .failure = chance(90) ? FailureClass::kTransient : FailureClass::kPermanent,
                      .cpu = 1ms * static_cast<int>(draw(50))});
  }
  CaptureFinished finished{.generation = id, .parent = std::nullopt, .stats = {}};
  finished.stats.cpu = 1ms * static_cast<int>(draw(60));
  finished.parent = capture_base_;
  if (chance(cluster_ ? 5 : 50)) finished.state = CommitState::kCommitted;
  base_ = id;
  if (handover) {
    frozen_ = alive_;
    gate_ = GateState::kHeld;
  }
  store_[id] = {
      .info = {.id = id, .parent = finished.parent, .state = finished.state, .captured_at = now_},
      .corrupt_on_disk = !healed_ && chance(10),
      .poisoned = poisoned_};
  if (finished.state == CommitState::kProvisional) {
    uncommitted_.insert(id);
  } else {
    note_commit(id);
  }
  tell(finished);
}

void PolicyWorld::finish_restore(bool well) {
  operation_ = Operation::kNone;
  const Generation id = operation_generation_;
  const bool was_asked = asked_ == id;
  if (was_asked && !unknown_) asked_.reset();
  if (!capsule_is_sound(id))
    return tell(RestoreFailed{id, RestoreFailure::kCorrupt, "digest differs"});
  if (!well) {
    const auto why = std::array{RestoreFailure::kMissingFiles, RestoreFailure::kCriu,
                                RestoreFailure::kHost}[draw(3)];
    if (why == RestoreFailure::kHost) free_attempt_ = true;
    return tell(RestoreFailed{id, why, "it did not work"});
  }
  alive_ = true;
  failures_in_row_ = 0;
  doomed_ = free_attempt_ = false;
  poisoned_ = store_.at(id).poisoned;
  if (!cluster_) base_ = id;
  if (unknown_) pending_ = id;
  tell(RestoreFinished{id, 200});
  if (policy_runs()) needs_word_ = false;
  if (policy_runs() && was_asked) check_all_marked_after(id);
  if (policy_runs() && options_.probation > 0s) probation_ = {id, highest_.number + 1};
}

void PolicyWorld::settle_commit(bool well) {
  if (uncommitted_.empty()) return;
  const Generation id =
      *std::next(uncommitted_.begin(), static_cast<std::ptrdiff_t>(draw(uncommitted_.size())));
  uncommitted_.erase(id);
  const GenerationInfo& info = store_.at(id).info;
  const bool superseded = info.state == CommitState::kCommitted;
  if (well) {
    note_commit(id);
    tell(Committed{id});
    if (!cluster_ && chance(30) && store_.contains(id)) make_durable(id);
  } else {
    if (base_ == id && !superseded) base_.reset();
    if (policy_serves() && !superseded && info.mark == Mark::kNone) ++failures_in_row_;
    tell(CommitFailed{id, "no space",
                      chance(80) ? FailureClass::kTransient : FailureClass::kPermanent});
  }
}

void PolicyWorld::note_commit(const Generation& id) {
  store_.at(id).info.state = CommitState::kCommitted;
  if (store_.at(id).info.mark == Mark::kNone) {
    for (auto& [older, capsule] : store_) {
      if (older < id && capsule.info.mark == Mark::kNone) {
        capsule.info.state = CommitState::kCommitted;
      }
    }
  }
  const auto list = listing();
  const GenerationInfo* newest = newest_good(list);
  if (newest != nullptr && newest->id >= id) failures_in_row_ = 0;
}

void PolicyWorld::fire_timer() {
  if (timers_.empty()) return;
  const auto next = std::ranges::min_element(
      timers_, {}, [](const auto& timer) { return std::pair(timer.second, timer.first); });
  const TimerId id = next->first;
  firings_at_this_instant_ = next->second > now_ ? 0 : firings_at_this_instant_ + 1;
  require(firings_at_this_instant_ < 50, "timers do not fire for ever at one instant");
  now_ = std::max(now_, next->second);
  timers_.erase(next);
  if (id == TimerId::kProbation) probation_.reset();
  tell(TimerFired{id});
}

void PolicyWorld::pass_time(Duration duration) {
  now_ += duration;
  firings_at_this_instant_ = 0;
}

// ---- Operators, strays, and a daemon that is killed ----

void PolicyWorld::ask_something() {
  Event event = OperatorCheckpoint{};
  switch (draw(cluster_ ? 14 : 10)) {
    case 0:
      if (chance(20)) event = OperatorRemove{};
      break;
    case 1:
    case 2:
      event = chance(70) ? OperatorStop{} : OperatorStop{1s * static_cast<int>(draw(4))};
      break;
    case 3:
    case 4:
    case 5:
      event = OperatorStart{};
      break;
    case 6:
    case 7:
    case 8: {
      if (store_.empty()) return;
      const auto wanted =
          std::next(store_.begin(), static_cast<std::ptrdiff_t>(draw(store_.size())));
      event = OperatorRestore{wanted->first};
      // Now and then a delta of what is being restored, whose fate it shares.
      for (const auto& [id, capsule] : store_) {
        const bool delta =
            operation_ == Operation::kRestoring && capsule.info.parent == operation_generation_;
        if (delta && chance(60)) event = OperatorRestore{id};
      }
      break;
    }
    case 10:
    case 11:
    case 12:
    case 13:
      event = OperatorMove{NodeName::parse("b").value()};
      break;
    default:
      break;
  }
  const Phase before = policy_->phase();
  const bool admitted = policy_->admit(event).has_value();
  if (admitted) note_operator(event);
  tell(event);
  require(admitted || policy_->phase() == before, "what is refused changes nothing");
}

void PolicyWorld::note_operator(const Event& event) {
  if (std::holds_alternative<OperatorCheckpoint>(event)) return;
  if (std::holds_alternative<OperatorMove>(event)) return;
  prepared_ = false;
  if (std::holds_alternative<OperatorStart>(event) && policy_->phase() == Phase::kStopped) {
    needs_word_ = false;  // a new life
  }
  asked_.reset();
  probation_.reset();
  if (std::holds_alternative<OperatorStart>(event)) free_attempt_ = true;
  if (const auto* restore = std::get_if<OperatorRestore>(&event)) asked_ = restore->generation;
  if (std::holds_alternative<OperatorStart>(event) || asked_) attempts_.clear();
}

void PolicyWorld::send_stray() {
  const Generation id{Term{1}, Incarnation{incarnation_}, 1 + draw(highest_.number + 5)};
  if (operation_ != Operation::kNone && id == operation_generation_) return;
  if (store_.contains(id)) return;
  const std::array<Event, 11> strays{
      SpecAccepted{},
      CaptureFinished{
          .generation = id, .parent = std::nullopt, .stats = {}, .state = CommitState::kCommitted},
      Committed{id},
      CommitFailed{id, "late"},
      RestoreFinished{id, 7},
      RestoreFailed{id, RestoreFailure::kCriu, "late"},
      DaemonRestarted{},
      TakenOver{.pid = 7, .state = {}, .generations = {}, .generation = id},
      Durable{id},
      handing_over_ ? Event{Committed{id}} : Event{HandedOver{}},
      handing_over_ ? Event{Committed{id}} : Event{HandOverFailed{"late", Term{1}}}};
  tell(strays[draw(strays.size())]);
}

DaemonRestarted::Found PolicyWorld::what_is_left() {
  using Found = DaemonRestarted::Found;
  if (operation_ == Operation::kStarting) alive_ = chance(50);
  if (operation_ == Operation::kRestoring && chance(60)) {
    alive_ = true;
    return Found::kHalfRestored;
  }
  if (half_restored_ && alive_) return Found::kHalfRestored;
  return alive_ ? Found::kAlive : Found::kDead;
}

void PolicyWorld::restart_daemon() {
  ++tally_.restarts;
  DaemonRestarted event{
      .found = what_is_left(), .pid = 100, .state = *recorded_, .generations = {}};
  for (const Generation& id : uncommitted_) {
    if (chance(50)) store_.at(id).info.state = CommitState::kCommitted;
  }
  uncommitted_.clear();
  lose_memory(event);
  event.generations = listing();
  forget_daemon();
  half_restored_ = event.found == DaemonRestarted::Found::kHalfRestored;
  handing_over_ = hand_over_begun();
  free_attempt_ = !recorded_->begun;
  if (!alive_) doomed_ = false;
  policy_ = std::make_unique<ContainerPolicy>(ContainerName::parse("again").value(), term_,
                                              Incarnation{++incarnation_}, options_);
  // A daemon that has not read the record says so first.
  unknown_ = false;
  if (cluster_ && (theirs_ || chance(30))) forget_ownership();
  untouched_ = unknown_ && event.found == DaemonRestarted::Found::kAlive;
  tell(event);
}

// What a daemon knows ends with it.
void PolicyWorld::forget_daemon() {
  operation_ = Operation::kNone;
  death_.reset();
  kills_.clear();
  end_is_known_ = false;
  timers_.clear();
  attempts_.clear();
  asked_.reset();
  pending_.reset();
  probation_.reset();
  writing_.reset();
  writing_base_.reset();
  failures_in_row_ = 0;
  gave_up_ = cancelled_ = prepared_ = told_theirs_ = false;
}

// From here on nothing fails but what is broken already: corrupt capsules and poisoned states.
void PolicyWorld::heal() {
  note("  (healed)");
  healed_ = true;
  const Instant end = now_ + 90s;
  while (now_ < end && violation_.empty() && heal_one()) {
  }
}

// False: nothing is left to happen.
bool PolicyWorld::heal_one() {
  if (!kills_.empty()) {
    tell_kill();
  } else if (death_) {
    deliver_death();
  } else if (operation_ != Operation::kNone) {
    pass_time(20ms);
    finish_operation(true);
  } else if (handing_over_) {
    end_hand_over(chance(50));
  } else if (unknown_) {
    learn_ownership();
  } else if (alive_ && (doomed_ || poisoned_)) {
    pass_time(5ms);
    kill_container(ExitStatus::signalled(doomed_ ? 15 : 11));
  } else if (!uncommitted_.empty()) {
    settle_commit(true);
  } else if (policy_->phase() == Phase::kWaiting) {
    give_word();
  } else if (!timers_.empty()) {
    fire_timer();
  } else {
    return false;
  }
  return true;
}

// ---- The policy ----

void PolicyWorld::tell(const Event& event) {
  event_ = event;
  note(std::format("{} {}", format_duration(now_.time_since_epoch() - 1h), to_string(event)));
  for (const Effect& effect : policy_->handle(event, now_)) {
    note("      " + to_string(effect, now_));
    require(!left_, "nothing follows when it has left");
    std::visit([this](const auto& e) { on(e); }, effect);
  }
  if (violation_.empty()) check_state_reached();
}

void PolicyWorld::note(std::string line) {
  trace_.push_back(std::move(line));
  if (trace_.size() > kTraceLines) trace_.pop_front();
}

std::string PolicyWorld::trace() const {
  std::string text;
  for (const auto& line : trace_) text += line + "\n";
  return text;
}

}  // namespace perdure::policy
