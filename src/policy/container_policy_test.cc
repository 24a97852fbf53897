// Proves the life of a container event by event: testdata/life.txt is a play in many scenes, in
// which each line is an event and the expectation is every effect, in order, and the phase reached.
// Timers fire by themselves while a scene waits. The gtest cases below hold what a play shows
// badly.
#include "policy/container_policy.h"

#include <algorithm>
#include <format>
#include <map>
#include <memory>

#include "base/units.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "policy/golden_file.h"

namespace perdure::policy {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

ContainerName name() {
  return ContainerName::parse("web").value();
}

NodeName node(const std::string& text) {
  return NodeName::parse(text).value();
}

class Stage {
 public:
  std::string play(const std::vector<std::string>& lines) {
    output_.clear();
    for (const auto& line : lines) play_line(line);
    const ContainerStatus status = policy_->status();
    output_ += std::format("-> {}{}\n", to_string(status.phase),
                           status.gate == GateState::kOpen ? "" : ", gate held");
    return output_;
  }

 private:
  void play_line(const std::string& line) {
    words_ = split(line, ' ');
    const std::string& verb = words_.front();
    if (verb == "new") {
      begin();
    } else if (verb == "wait") {
      wait(parse_duration(words_.at(1)).value());
    } else {
      tell(event(verb));
    }
  }

  void begin() {
    ContainerOptions options;
    options.trial_delay = 200ms;
    std::uint64_t term = 1;
    for (std::size_t n = 1; n < words_.size(); ++n) {
      const auto parts = split(words_[n], '=');
      const std::string& key = parts.at(0);
      const std::string value = parts.size() > 1 ? parts[1] : "";
      if (key == "stateless") options.statefulness = Statefulness::kStateless;
      if (key == "cold") options.cold_start = ColdStart::kNever;
      if (key == "restart") options.restart = RestartPolicy::kAlways;
      if (key == "interval") options.schedule.interval = parse_duration(value).value();
      if (key == "term") term = std::stoull(value);
      if (key == "uncommitted")
        options.max_uncommitted = static_cast<std::uint32_t>(std::stoul(value));
      if (key == "keep") options.keep_generations = static_cast<std::uint32_t>(std::stoul(value));
    }
    policy_ = std::make_unique<ContainerPolicy>(name(), Term{term}, Incarnation{1}, options);
    timers_.clear();
    now_ = Instant{} + 100s;
  }

  void tell(const Event& event) {
    for (const Effect& effect : policy_->handle(event, now_)) {
      if (const auto* set = std::get_if<SetTimer>(&effect)) {
        timers_[set->timer] = set->at;
      } else if (const auto* cancel = std::get_if<CancelTimer>(&effect)) {
        timers_.erase(cancel->timer);
      } else {
        output_ += to_string(effect, now_) + "\n";
      }
    }
  }

  void wait(Duration duration) {
    const Instant end = now_ + duration;
    for (;;) {
      const auto next = std::ranges::min_element(
          timers_, {}, [](const auto& timer) { return std::pair(timer.second, timer.first); });
      if (next == timers_.end() || next->second > end) break;
      const TimerId id = next->first;
      now_ = std::max(now_, next->second);
      timers_.erase(next);
      output_ +=
          std::format("({} later: {})\n", format_duration(duration - (end - now_)), to_string(id));
      tell(TimerFired{id});
    }
    now_ = end;
  }

  // "4" is 1.1.4, "2:4" is 2.1.4.
  Generation number(std::size_t index) const {
    const auto parts = split(words_.at(index), ':');
    Generation id = generation(std::stoull(parts.back()));
    if (parts.size() > 1) id.term.value = std::stoull(parts.front());
    return id;
  }
  std::string rest(std::size_t from) const {
    std::string text;
    for (std::size_t n = from; n < words_.size(); ++n) text += (n == from ? "" : " ") + words_[n];
    return text;
  }
  FailureClass failure(std::size_t index) const {
    return words_.at(index) == "permanent" ? FailureClass::kPermanent : FailureClass::kTransient;
  }
  ExitStatus exit_status() const {
    const auto parts = split(words_.at(1), ':');
    const int value = std::stoi(parts.at(1));
    return parts.at(0) == "signal" ? ExitStatus::signalled(value) : ExitStatus::exited(value);
  }

  // captured N [committed] [<PARENT] [cpu=240ms]
  CaptureFinished captured() const {
    CaptureFinished event{.generation = number(1), .parent = std::nullopt, .stats = {.cpu = 20ms}};
    for (std::size_t n = 2; n < words_.size(); ++n) {
      if (words_[n] == "committed") event.state = CommitState::kCommitted;
      if (words_[n].starts_with('<')) event.parent = generation(std::stoull(words_[n].substr(1)));
      if (words_[n].starts_with("cpu="))
        event.stats.cpu = parse_duration(words_[n].substr(4)).value();
    }
    return event;
  }

  // restarted alive|dead|half [stopped|removed] [begun] [finished] [gave-up] [generations=…]
  //   [handing-over=N] [awaits-word] [stored-unknown]
  DaemonRestarted restarted() const {
    DaemonRestarted event;
    for (std::size_t n = 1; n < words_.size(); ++n) {
      const std::string& word = words_[n];
      if (word == "alive")
        event = {
            .found = DaemonRestarted::Found::kAlive, .pid = 77, .state = {}, .generations = {}};
      if (word == "half") event.found = DaemonRestarted::Found::kHalfRestored;
      if (word == "stopped") event.state.desired = DesiredState::kStopped;
      if (word == "removed") event.state.desired = DesiredState::kRemoved;
      if (word == "begun") event.state.begun = true;
      if (word == "finished") event.state.finished = true;
      if (word == "gave-up") event.state.gave_up = "it kept failing";
      if (word == "awaits-word") event.awaits_word = true;
      if (word == "stored-unknown") event.stored_unknown = true;
      if (word.starts_with("handing-over=")) {
        event.state.handing_over = HandingOver{node("b"), generation(std::stoull(word.substr(13)))};
      }
      if (word == "later-owner") event.generations.back().id.incarnation = Incarnation{9};
      if (word.starts_with("generations=")) event.generations = parse_generations(word.substr(12));
      if (word == "fresh") {
        for (auto& info : event.generations) info.captured_at = now_ - 2s;
      }
    }
    return event;
  }

  // taken-over N PID generations=…: of another incarnation's term 1; this owner has term 2.
  TakenOver taken_over() const {
    TakenOver event{
        .pid = std::stoi(words_.at(2)), .state = {}, .generations = {}, .generation = number(1)};
    event.state.begun = true;
    event.state.handing_over = HandingOver{node("here"), event.generation};
    event.generations = parse_generations(words_.at(3).substr(12));
    if (words_.size() > 4 && words_[4] == "failed-over") {
      event.failed_over = FailedOver{node("a"), "it did not hold there", {Duration{}}};
      return event;
    }
    return event;
  }

  Event event(const std::string& verb) const {
    if (verb == "spec") return SpecAccepted{};
    if (verb == "image-ready") return ImageReady{};
    if (verb == "image-failed") return ImageFailed{rest(2), failure(1)};
    if (verb == "started") return Started{std::stoi(words_.at(1))};
    if (verb == "start-failed") return StartFailed{rest(2), failure(1)};
    if (verb == "captured") return captured();
    if (verb == "capture-failed") {
      return CaptureFailed{
          .generation = number(1), .reason = rest(3), .remedy = "close it", .failure = failure(2)};
    }
    if (verb == "committed") return Committed{number(1)};
    if (verb == "commit-failed") return CommitFailed{number(1), rest(3), failure(2)};
    if (verb == "durable") {
      if (words_.size() == 2) return Durable{number(1)};
      return Durable{number(1), generation(std::stoull(words_[2].substr(1)))};
    }
    if (verb == "taken-over") return taken_over();
    if (verb == "move") return OperatorMove{node(words_.at(1))};
    if (verb == "standbys") {
      StandbysReady ready;
      for (std::size_t n = 1; n < words_.size(); ++n) ready.nodes.push_back(node(words_[n]));
      return ready;
    }
    if (verb == "handed-over") return HandedOver{};
    if (verb == "hand-over-failed") return HandOverFailed{rest(2), Term{std::stoull(words_.at(1))}};
    if (verb == "term") return TermRaised{Term{std::stoull(words_.at(1))}};
    if (verb == "ownership-lost") return OwnershipLost{node("b"), Term{std::stoull(words_.at(1))}};
    if (verb == "ownership-unknown") {
      const bool passing = words_.at(1) == "passing";
      return OwnershipUnknown{rest(passing ? 2 : 1), passing};
    }
    if (verb == "ownership-known") return OwnershipKnown{};
    if (verb == "process-killed")
      return ProcessKilled{std::stoi(words_.at(1)), std::stoi(words_.at(2)), words_.size() > 3 && words_.at(3) == "init"};
    if (verb == "component-restarted") return ComponentRestarted{};
    if (verb == "died") return ContainerDied{exit_status()};
    if (verb == "restored") return RestoreFinished{number(1), std::stoi(words_.at(2))};
    if (verb == "restore-failed") return RestoreFailed{number(1), why(), rest(3)};
    if (verb == "checkpoint") return OperatorCheckpoint{};
    if (verb == "stop") return OperatorStop{};
    if (verb == "start") return OperatorStart{};
    if (verb == "restore") return OperatorRestore{number(1)};
    if (verb == "remove") return OperatorRemove{};
    if (verb == "stored-known") return StoredKnown{parse_generations(words_.at(1))};
    if (verb == "restarted") return restarted();
    ADD_FAILURE() << "what is '" << verb << "'?";
    return SpecAccepted{};
  }

  RestoreFailure why() const {
    const std::string& word = words_.at(2);
    return word == "corrupt"   ? RestoreFailure::kCorrupt
           : word == "missing" ? RestoreFailure::kMissingFiles
           : word == "host"    ? RestoreFailure::kHost
                               : RestoreFailure::kCriu;
  }

  std::unique_ptr<ContainerPolicy> policy_;
  std::map<TimerId, Instant> timers_;
  Instant now_{};
  std::vector<std::string> words_;
  std::string output_;
};

TEST(ContainerPolicyTest, LivesAsThePlaySays) {
  Stage stage;
  run_golden_file(PERDURE_POLICY_TESTDATA "/life.txt",
                  [&](const std::vector<std::string>& lines) { return stage.play(lines); });
}

TEST(ContainerPolicyTest, EventsThatDoNotFitAreIgnoredInEveryPhase) {
  const std::vector<Event> strays{
      ImageReady{},
      Started{5},
      CaptureFinished{.generation = generation(99), .parent = std::nullopt, .stats = {}},
      CaptureFailed{.generation = generation(99), .reason = "x", .remedy = ""},
      Committed{generation(99)},
      CommitFailed{generation(99), "x"},
      Durable{generation(99)},
      RestoreFinished{generation(99), 5},
      RestoreFailed{generation(99), RestoreFailure::kCriu, "x"},
      TimerFired{TimerId::kKill},
      TimerFired{TimerId::kMove},
      HandedOver{},
      HandOverFailed{"x", Term{1}},
      TermRaised{Term{1}},
      OwnershipKnown{},
      TakenOver{.pid = 5, .state = {}, .generations = {}, .generation = generation(99)},
      SpecAccepted{}};
  ContainerPolicy policy(name(), Term{1}, Incarnation{1}, {});
  Instant now = Instant{} + 1s;
  const auto expect_no_effect = [&] {
    for (const Event& stray : strays) {
      // What the phase waits for is no stray in it.
      if (policy.phase() == Phase::kPreparing && std::holds_alternative<ImageReady>(stray))
        continue;
      if (policy.phase() == Phase::kStarting && std::holds_alternative<Started>(stray)) continue;
      EXPECT_TRUE(policy.handle(stray, now).empty())
          << to_string(stray) << " in " << to_string(policy.phase());
    }
  };
  policy.handle(SpecAccepted{}, now);
  expect_no_effect();
  policy.handle(ImageReady{}, now);
  expect_no_effect();
  policy.handle(Started{5}, now);
  expect_no_effect();
  policy.handle(TimerFired{TimerId::kCapture}, now += 200ms);
  expect_no_effect();
  policy.handle(CaptureFinished{.generation = generation(1),
                                .parent = std::nullopt,
                                .stats = {},
                                .state = CommitState::kCommitted},
                now);
  EXPECT_EQ(policy.phase(), Phase::kProtected);
  expect_no_effect();
  policy.handle(ContainerDied{ExitStatus::signalled(9)}, now);
  EXPECT_EQ(policy.phase(), Phase::kRecovering);
  expect_no_effect();
  policy.handle(OperatorRemove{}, now);
  policy.handle(RestoreFailed{generation(1), RestoreFailure::kCriu, "x"}, now);
  EXPECT_EQ(policy.phase(), Phase::kRemoved);
  expect_no_effect();
}

TEST(ContainerPolicyTest, ATimerThatFiresEarlyIsSetAgain) {
  ContainerPolicy policy(name(), Term{1}, Incarnation{1}, {});
  const Instant now = Instant{} + 1s;
  policy.handle(SpecAccepted{}, now);
  policy.handle(ImageReady{}, now);
  policy.handle(Started{5}, now);
  const auto effects = policy.handle(TimerFired{TimerId::kCapture}, now + 100ms);
  ASSERT_EQ(effects.size(), 1U);
  EXPECT_EQ(to_string(effects.front(), now), "set-timer capture +200 ms");
}

TEST(ContainerPolicyTest, AStopHasTheOperatorsDeadline) {
  ContainerPolicy policy(name(), Term{1}, Incarnation{1}, {});
  const Instant now = Instant{} + 1s;
  const auto stop_timer = [&](const std::vector<Effect>& effects) -> std::string {
    for (const Effect& effect : effects) {
      const auto* timer = std::get_if<SetTimer>(&effect);
      if (timer != nullptr && timer->timer == TimerId::kStop) return to_string(effect, now);
    }
    return "none";
  };
  policy.handle(SpecAccepted{}, now);
  policy.handle(ImageReady{}, now);
  policy.handle(Started{5}, now);
  EXPECT_EQ(stop_timer(policy.handle(OperatorStop{3s}, now)), "set-timer stop +3 s");
  EXPECT_EQ(stop_timer(policy.handle(OperatorStop{}, now)), "none") << "it goes on as it was";
  EXPECT_EQ(stop_timer(policy.handle(OperatorStop{0s}, now)), "set-timer stop +0 us");
}

TEST(ContainerPolicyTest, AnOperatorIsToldWhyNot) {
  ContainerPolicy policy(name(), Term{1}, Incarnation{1}, {});
  const auto why_not = [&](const Event& event) -> std::string {
    const Status status = policy.admit(event);
    return status ? "admitted" : status.error().message();
  };
  EXPECT_EQ(why_not(OperatorStop{}), "stop container 'web': it is new");
  policy.handle(SpecAccepted{}, Instant{} + 1s);
  EXPECT_EQ(why_not(OperatorCheckpoint{}),
            "checkpoint container 'web': it is preparing; only a running one can be captured");
  EXPECT_EQ(why_not(OperatorStart{}), "start container 'web': it is preparing");
  EXPECT_EQ(why_not(OperatorRestore{generation(4)}),
            "restore container 'web': generation 1.1.4 is not known");
  EXPECT_EQ(policy.admit(OperatorRestore{generation(4)}).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(why_not(OperatorStop{}), "admitted");
  EXPECT_EQ(why_not(ContainerDied{}), "admitted");
}

TEST(ContainerPolicyTest, AMoveIsRefusedWithItsReason) {
  const auto why_not = [](const ContainerPolicy& policy) -> std::string {
    const Status status = policy.admit(OperatorMove{node("b")});
    return status ? "admitted" : status.error().message();
  };
  ContainerPolicy policy(name(), Term{1}, Incarnation{1}, {});
  EXPECT_EQ(why_not(policy), "move container 'web': it is new");
  const Instant now = Instant{} + 1s;
  policy.handle(SpecAccepted{}, now);
  EXPECT_EQ(why_not(policy),
            "move container 'web': it is preparing; only a running one can be moved");
  policy.handle(ImageReady{}, now);
  policy.handle(Started{5}, now);
  EXPECT_EQ(why_not(policy), "admitted");
  policy.handle(OwnershipUnknown{"there is no record"}, now);
  EXPECT_EQ(
      why_not(policy),
      "move container 'web': who owns it is not known (there is no record); if it runs nowhere "
      "else and never will: perdure cluster recover web");

  // Nobody is sent first to a command for emergencies by what has ended when he reads of it.
  policy.handle(OwnershipUnknown{.reason = "node 'node2' is becoming its owner", .passing = true}, now);
  EXPECT_EQ(why_not(policy),
            "move container 'web': who owns it is not known yet (node 'node2' is becoming its owner); "
            "try again in some seconds; if that does not help and it runs nowhere else: perdure cluster recover web");
  policy.handle(OwnershipUnknown{"the record is older"}, now);
  EXPECT_THAT(why_not(policy), testing::HasSubstr("perdure cluster recover web"));

  ContainerOptions options;
  options.statefulness = Statefulness::kStateless;
  ContainerPolicy stateless(name(), Term{1}, Incarnation{1}, options);
  stateless.handle(SpecAccepted{}, now);
  stateless.handle(ImageReady{}, now);
  stateless.handle(Started{5}, now);
  EXPECT_EQ(why_not(stateless),
            "move container 'web': it is stateless: stop it here and start it there");
}

// What the target's shell forgets must not become a generation that nobody has.
TEST(ContainerPolicyTest, ATargetWithoutTheSourcesGenerationsIsOnTrial) {
  ContainerPolicy policy(name(), Term{2}, Incarnation{1}, {});
  const Instant now = Instant{} + 1s;
  const auto effects = policy.handle(
      TakenOver{.pid = 5, .state = {}, .generations = {}, .generation = generation(41)}, now);
  EXPECT_EQ(policy.phase(), Phase::kTrial);
  EXPECT_EQ(policy.status().gate, GateState::kOpen);
  const auto captures = std::ranges::find_if(
      effects, [](const Effect& effect) { return std::holds_alternative<Capture>(effect); });
  ASSERT_NE(captures, effects.end());
  EXPECT_EQ(to_string(*captures, now), "capture 2.1.42 trial") << "numbers go on";
}

TEST(ContainerPolicyTest, StatusSaysThatNobodyKnowsTheOwner) {
  ContainerPolicy policy(name(), Term{1}, Incarnation{1}, {});
  const Instant now = Instant{} + 1s;
  policy.handle(SpecAccepted{}, now);
  policy.handle(ImageReady{}, now);
  policy.handle(Started{5}, now);
  policy.handle(OwnershipUnknown{"there is no record"}, now);
  EXPECT_EQ(
      policy.status().reason,
      "its first checkpoint is not committed yet; who owns it is not known: there is no record");
  EXPECT_EQ(policy.status().remedy, "perdure cluster recover web, if it runs nowhere else");
  const auto effects =
      policy.handle(OwnershipUnknown{.reason = "node 'node2' is becoming its owner", .passing = true}, now);
  const auto told = std::ranges::find_if(effects, [](const Effect& effect) { return std::holds_alternative<Emit>(effect); });
  ASSERT_NE(told, effects.end());
  EXPECT_EQ(to_string(*told, now),
            "emit warning ownership_unknown: who owns it is not known: nothing is killed, started or restored "
            "[node 'node2' is becoming its owner]");
  EXPECT_EQ(policy.status().remedy,
            "it settles by itself; if not: perdure cluster recover web, if it runs nowhere else");
}

TEST(ContainerPolicyTest, StatusTellsWhatAFailureNowWouldLose) {
  ContainerPolicy policy(name(), Term{1}, Incarnation{1}, {});
  Instant now = Instant{} + 1s;
  policy.handle(SpecAccepted{}, now);
  policy.handle(ImageReady{}, now);
  policy.handle(Started{5}, now);
  EXPECT_EQ(policy.status().fresh_since, std::nullopt);
  const Instant frozen = now += 200ms;
  policy.handle(TimerFired{TimerId::kCapture}, now);
  policy.handle(
      CaptureFinished{.generation = generation(1), .parent = std::nullopt, .stats = {.cpu = 20ms}},
      now += 30ms);
  policy.handle(Committed{generation(1)}, now += 5ms);
  policy.handle(Durable{generation(1)}, now += 40ms);
  const ContainerStatus status = policy.status();
  EXPECT_EQ(status.phase, Phase::kProtected);
  EXPECT_EQ(status.pid, 5);
  EXPECT_EQ(status.fresh_since, frozen) << "the state is as old as its freeze";
  EXPECT_EQ(status.newest_good->id, generation(1));
  EXPECT_EQ(status.newest_durable, generation(1));
  EXPECT_EQ(status.pace.text, "every 1 s: as the spec asks for");
}

}  // namespace
}  // namespace perdure::policy
