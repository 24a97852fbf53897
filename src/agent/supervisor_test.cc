// Proves the supervisor's decisions by lives that can be read, testdata/supervisor.txt: components, what
// happens to them and when, and all that the supervisor wants done. And by random lives: whatever happens,
// nothing is started twice, and the end is an end.
#include "agent/supervisor.h"

#include <csignal>
#include <format>
#include <random>
#include <set>

#include "agent/lived_clock.h"
#include "gtest/gtest.h"
#include "policy/golden_file.h"

namespace perdure::agent {
namespace {

using namespace std::chrono_literals;
using policy::split;

Duration parse_time(const std::string& text) {
  if (text.ends_with("ms")) return std::chrono::milliseconds(std::stoll(text));
  EXPECT_TRUE(text.ends_with("s")) << text;
  return std::chrono::seconds(std::stoll(text));
}

std::string time_text(Instant time) {
  const auto milliseconds = time / 1ms;
  return milliseconds % 1000 == 0 ? std::format("{}s", milliseconds / 1000) : std::format("{}ms", milliseconds);
}

std::size_t index_of(const Configuration& configuration, const std::string& name) {
  for (std::size_t i = 0; i < configuration.components.size(); ++i) {
    if (configuration.components[i].name == name) return i;
  }
  ADD_FAILURE() << "no component " << name;
  return 0;
}

// "db:ready:restart", "init:finished", "db:started:HUP"
Dependency parse_dependency(const Configuration& configuration, const std::string& text) {
  const auto parts = split(text, ':');
  Dependency on{.component = index_of(configuration, parts.at(0))};
  if (parts.size() > 1 && parts[1] == "started") on.until = Until::kStarted;
  if (parts.size() > 1 && parts[1] == "finished") on.until = Until::kFinished;
  if (parts.size() > 2 && parts[2] == "restart") on.on_restart = Dependency::OnRestart::kRestart;
  if (parts.size() > 2 && parts[2] == "HUP") {
    on.on_restart = Dependency::OnRestart::kSignal;
    on.signal = SIGHUP;
  }
  return on;
}

// "component web stateless limit=2 after=db:ready probe=2/1 grace=3s always"
void parse_component(const std::string& line, Configuration& configuration) {
  const auto words = split(line, ' ');
  Component it{.name = words.at(1), .command = {"/bin/" + words.at(1)}, .directory = "/"};
  it.restart = {.always = false, .limit = 3, .window = 60s, .delay = 100ms, .delay_limit = 1s};
  it.stop_deadline = 5s;
  for (const std::string& word : std::vector(words.begin() + 2, words.end())) {
    const auto parts = split(word, '=');
    if (word == "stateless") {
      it.stateful = false;
    } else if (word == "always") {
      it.restart.always = true;
    } else if (parts.at(0) == "limit") {
      it.restart.limit = static_cast<std::uint32_t>(std::stoul(parts.at(1)));
    } else if (parts.at(0) == "after") {
      it.depends_on.push_back(parse_dependency(configuration, parts.at(1)));
    } else if (parts.at(0) == "probe") {  // failures/successes
      const auto numbers = split(parts.at(1), '/');
      it.probe = Probe{.kind = TcpProbe{"127.0.0.1", 80}, .interval = 1s, .timeout = 1s};
      it.probe->failures = static_cast<std::uint32_t>(std::stoul(numbers.at(0)));
      it.probe->successes = static_cast<std::uint32_t>(std::stoul(numbers.at(1)));
    } else if (parts.at(0) == "grace") {
      it.probe->grace = parse_time(parts.at(1));
    } else {
      ADD_FAILURE() << word;
    }
  }
  configuration.components.push_back(std::move(it));
}

// Plays one life; Spawn is answered as a host does that can start everything.
class Life {
 public:
  explicit Life(const Configuration& configuration) : configuration_(configuration), supervisor_(configuration) {}

  void begin() { perform(supervisor_.begin(now_)); }

  // "2s exited web 3"
  void step(const std::string& line) {
    const auto words = split(line, ' ');
    pass_until(parse_time(words.at(0)));
    if (words.size() == 1) return;
    text_ += std::format("{} {}\n", time_text(now_), line.substr(words[0].size() + 1));
    perform(supervisor_.handle(event(words), now_));
  }

  std::string text() {
    text_ += "then";
    for (const ComponentReport& it : supervisor_.report(now_).components) {
      text_ += std::format(" {}={}", it.name, to_string(it.state));
      if (it.restarts > 0) text_ += std::format("({})", it.restarts);
    }
    return text_ + "\n";
  }

 private:
  Event event(const std::vector<std::string>& words) {
    const std::string& what = words.at(1);
    const std::size_t index = words.size() > 2 && what != "signal" ? index_of(configuration_, words[2]) : 0;
    if (what == "exited") return Exited{.component = index, .value = std::stoi(words.at(3))};
    if (what == "killed") {
      return Exited{.component = index, .how = Exited::How::kSignalled, .value = std::stoi(words.at(3)), .core = words.size() > 4};
    }
    if (what == "passed") return ProbeEnded{.component = index, .run = runs_[index], .passed = true, .begun_realtime_ns = 1};
    if (what == "failed") return ProbeEnded{.component = index, .run = runs_[index], .passed = false, .reason = "127.0.0.1:80: refused"};
    if (what == "stop") return StopRequested{};
    if (what == "restored") return Interrupted{};
    if (what == "checkpoint") return ProbeRequested{};
    if (what == "signal") return SignalReceived{std::stoi(words.at(2))};
    ADD_FAILURE() << what;
    return TimePassed{};
  }

  void pass_until(Instant until) {
    for (auto next = supervisor_.next_deadline(); next && *next < until; next = supervisor_.next_deadline()) {
      ASSERT_GE(*next, now_);
      now_ = *next;
      perform(supervisor_.handle(TimePassed{}, now_));
    }
    ASSERT_GE(until, now_);
    now_ = until;
  }

  void perform(const std::vector<Effect>& effects) {
    for (const Effect& effect : effects) {
      text_ += std::format("  {} {}\n", time_text(now_), to_string(effect, configuration_));
      if (const auto* probe = std::get_if<BeginProbe>(&effect)) runs_[probe->component] = probe->run;
    }
    for (const Effect& effect : effects) {
      if (const auto* spawn = std::get_if<Spawn>(&effect)) perform(supervisor_.handle(Spawned{spawn->component, ++pids_}, now_));
    }
  }

  const Configuration& configuration_;
  Supervisor supervisor_;
  Instant now_{};
  std::map<std::size_t, std::uint32_t> runs_;
  std::int32_t pids_ = 1;
  std::string text_;
};

TEST(SupervisorTest, LivesAreAsInTheTable) {
  policy::run_golden_file(PERDURE_AGENT_TESTDATA "/supervisor.txt", [](const std::vector<std::string>& lines) {
    Configuration configuration;
    std::size_t i = 0;
    for (; i < lines.size() && lines[i].starts_with("component "); ++i) parse_component(lines[i], configuration);
    const auto read_back = parse_configuration(to_text(configuration));
    EXPECT_EQ(read_back.value, configuration) << read_back.error;
    Life life(configuration);
    life.begin();
    for (; i < lines.size(); ++i) life.step(lines[i]);
    return life.text();
  });
}

// ---- Random lives ----

Configuration random_configuration(std::mt19937& random) {
  Configuration configuration;
  const auto chance = [&](int percent) { return static_cast<int>(random() % 100) < percent; };
  const std::size_t count = 1 + random() % 5;
  for (std::size_t i = 0; i < count; ++i) {
    Component it{.name = std::format("c{}", i), .command = {"/c"}, .directory = "/", .stateful = chance(30)};
    it.restart = {.always = chance(20), .limit = static_cast<std::uint32_t>(random() % 4), .window = 10s, .delay = 50ms, .delay_limit = 400ms};
    it.stop_deadline = std::chrono::milliseconds(random() % 2000);
    for (std::size_t on = 0; on < i; ++on) {
      if (!chance(40)) continue;
      it.depends_on.push_back({.component = on,
                               .until = static_cast<Until>(random() % 3),
                               .on_restart = static_cast<Dependency::OnRestart>(random() % 3),
                               .signal = SIGHUP});
    }
    if (chance(60)) {
      it.probe = Probe{.kind = TcpProbe{"127.0.0.1", 80}, .interval = 200ms, .timeout = 100ms, .failures = 1 + static_cast<std::uint32_t>(random() % 3),
                       .successes = 1 + static_cast<std::uint32_t>(random() % 2), .grace = std::chrono::milliseconds(random() % 1000)};
    }
    configuration.components.push_back(std::move(it));
  }
  return configuration;
}

class RandomLife {
 public:
  RandomLife(const Configuration& configuration, std::mt19937& random)
      : configuration_(configuration), supervisor_(configuration), random_(random) {
    perform(supervisor_.begin(now_));
  }

  void turn() {
    if (ended_) return;
    now_ += std::chrono::milliseconds(random_() % 120);
    if (const auto next = supervisor_.next_deadline(); next && *next < now_) {
      now_ = std::max(*next, then_);
    }
    then_ = now_;
    handle(happening());
  }
  void stop() {
    handle(StopRequested{});
    for (int i = 0; i < 2000 && !ended_; ++i) {
      if (const auto next = supervisor_.next_deadline()) now_ = std::max(now_, *next);
      handle(TimePassed{});
      while (!ended_ && !killed_.empty()) die(*killed_.begin(), Exited::How::kSignalled, SIGKILL);
    }
    EXPECT_TRUE(ended_) << "it was asked to stop and does not end";
  }
  bool ended() const { return ended_.has_value(); }

 private:
  Event happening() {
    const std::size_t index = random_() % configuration_.components.size();
    const int what = static_cast<int>(random_() % 100);
    if (!killed_.empty() && what < 50) return exit_of(*killed_.begin(), Exited::How::kSignalled, SIGKILL);
    if (runs_.contains(index) && what < 80) {
      const std::uint32_t run = runs_[index];
      runs_.erase(index);
      return ProbeEnded{.component = index, .run = run, .passed = random_() % 4 != 0, .begun_realtime_ns = 1, .reason = "no"};
    }
    if (alive_.contains(index) && what < 85) return exit_of(index, Exited::How::kExited, static_cast<int>(random_() % 2));
    if (what < 87) return Interrupted{};
    if (what < 90) return ProbeRequested{};
    return TimePassed{};
  }
  Exited exit_of(std::size_t index, Exited::How how, int value) {
    alive_.erase(index);
    killed_.erase(index);
    return Exited{.component = index, .how = how, .value = value};
  }
  void die(std::size_t index, Exited::How how, int value) { handle(exit_of(index, how, value)); }

  void handle(const Event& event) { perform(supervisor_.handle(event, now_)); }

  void perform(const std::vector<Effect>& effects) {
    for (const Effect& effect : effects) {
      ASSERT_FALSE(ended_) << "something is wanted after the end";
      if (const auto* spawn = std::get_if<Spawn>(&effect)) {
        ASSERT_TRUE(alive_.insert(spawn->component).second) << "started beside itself";
      } else if (const auto* signal = std::get_if<SendSignal>(&effect)) {
        if (alive_.contains(signal->component) && signal->signal != SIGHUP) killed_.insert(signal->component);
      } else if (const auto* probe = std::get_if<BeginProbe>(&effect)) {
        ASSERT_TRUE(alive_.contains(probe->component)) << "what does not run is probed";
        ASSERT_FALSE(runs_.contains(probe->component)) << "two probes at once";
        runs_[probe->component] = probe->run;
      } else if (const auto* cancel = std::get_if<CancelProbe>(&effect)) {
        runs_.erase(cancel->component);
      } else if (const auto* finish = std::get_if<Finish>(&effect)) {
        if (finish->ending.code == 0) {
          ASSERT_TRUE(alive_.empty()) << "finished beside what runs";
        }
        ended_ = finish->ending;
      }
    }
    for (const Effect& effect : effects) {
      if (const auto* spawn = std::get_if<Spawn>(&effect)) {
        if (random_() % 20 == 0) {
          perform(supervisor_.handle(exit_of(spawn->component, Exited::How::kNotStarted, 0), now_));
        } else {
          perform(supervisor_.handle(Spawned{spawn->component, 100 + static_cast<std::int32_t>(spawn->component)}, now_));
        }
      }
    }
  }

  const Configuration& configuration_;
  Supervisor supervisor_;
  std::mt19937& random_;
  Instant now_{};
  Instant then_{};
  std::set<std::size_t> alive_;
  std::set<std::size_t> killed_;  // asked to end
  std::map<std::size_t, std::uint32_t> runs_;
  std::optional<Ending> ended_;
};

TEST(SupervisorTest, RandomLivesEndAndStartNothingTwice) {
  int ended = 0;
  int stopped = 0;
  for (unsigned seed = 1; seed <= 3000 && !HasFatalFailure(); ++seed) {
    SCOPED_TRACE(std::format("seed {}", seed));
    std::mt19937 random(seed);
    const Configuration configuration = random_configuration(random);
    RandomLife life(configuration, random);
    for (int i = 0; i < 30; ++i) life.turn();
    (life.ended() ? ended : stopped) += 1;
    if (!life.ended()) life.stop();
  }
  EXPECT_GT(ended, 300) << "lives that end by themselves";
  EXPECT_GT(stopped, 300) << "... and that are stopped";
}

// ---- Time ----

TEST(LivedClockTest, AFreezeIsNotLived) {
  LivedClock clock(1000s, 5000s);
  EXPECT_FALSE(clock.advance(1000s + 15ms, 5000s + 15ms, 20ms));
  EXPECT_EQ(clock.lived(), 15ms);
  EXPECT_FALSE(clock.advance(1003s, 5003s, 20ms)) << "frozen: both clocks went on";
  EXPECT_EQ(clock.lived(), 45ms) << "a wait of 20 ms, and what a busy host may add";
}

TEST(LivedClockTest, ARestoreIsNoticed) {
  LivedClock clock(1000s, 5000s);
  EXPECT_TRUE(clock.advance(1000s + 5ms, 5000s + 900ms, 20ms)) << "the monotonic clock goes on from the checkpoint";
  EXPECT_EQ(clock.lived(), 5ms);
  EXPECT_TRUE(clock.advance(1000s + 6ms, 4990s, 20ms)) << "somebody has set the clock";
  EXPECT_FALSE(clock.advance(1000s + 26ms, 4990s + 21ms, 20ms)) << "slewing";
}

}  // namespace
}  // namespace perdure::agent
