// Proves when captures start: at the asked interval, stretched by the CPU budget and by slow
// captures, never two at once, without bursts, in phases that differ by name, and with a bounded
// back-off. Time is a number here; a little driver plays captures of given cost.
#include "policy/checkpoint_schedule.h"

#include <set>

#include "gtest/gtest.h"

namespace perdure::policy {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using std::chrono_literals::operator""h;
using std::chrono_literals::operator""min;

ContainerName name(const std::string& text) {
  return ContainerName::parse(text).value();
}

// Plays the shell: starts each capture `late` after it is due and ends it `wall` later.
class Driver {
 public:
  explicit Driver(const ScheduleOptions& options = {}) : schedule_(name("web"), options) {
    schedule_.enable(now_, now_);
  }

  Instant begin() {
    EXPECT_TRUE(schedule_.next().has_value());
    now_ = std::max(now_, *schedule_.next()) + late;
    schedule_.started(now_);
    return now_;
  }
  Instant capture() {
    const Instant start = begin();
    now_ += wall;
    schedule_.finished(now_, cpu);
    schedule_.committed(now_);
    return start;
  }
  void fail(FailureClass failure = FailureClass::kTransient) {
    begin();
    now_ += wall;
    schedule_.failed(now_, cpu, failure);
  }
  Duration until_next() const { return *schedule_.next() - now_; }

  Duration cpu = 20ms;
  Duration wall = 30ms;
  Duration late = 0ms;
  Instant now_{};
  CheckpointSchedule schedule_;
};

TEST(CheckpointScheduleTest, KeepsTheAskedIntervalFromDueTimeToDueTime) {
  Driver driver;
  driver.late = 7ms;  // late timers do not add up
  const Instant first = driver.capture();
  for (int n = 1; n <= 100; ++n) EXPECT_EQ(driver.capture(), first + n * 1s);
  EXPECT_EQ(driver.schedule_.pace().reason, PaceReason::kAsked);
  EXPECT_EQ(driver.schedule_.pace().text, "every 1 s: as the spec asks for");
}

TEST(CheckpointScheduleTest, SaysWhenTheStateSensitivityAsked) {
  Driver driver({.interval = 500ms, .interval_source = IntervalSource::kStateSensitivity});
  EXPECT_EQ(driver.schedule_.pace().text, "every 500 ms: half of the state sensitivity");
}

TEST(CheckpointScheduleTest, StretchesTheIntervalToTheCpuBudgetAndSaysWhy) {
  Driver driver;
  driver.cpu = 240ms;
  driver.wall = 250ms;
  driver.capture();
  EXPECT_EQ(driver.schedule_.interval(), 1200ms);
  EXPECT_EQ(driver.schedule_.pace().reason, PaceReason::kCpuBudget);
  EXPECT_EQ(driver.schedule_.pace().text,
            "every 1.2 s instead of 1 s: a capture costs 240 ms CPU, budget 20 %");
  const Instant first = driver.capture();
  for (int n = 1; n <= 50; ++n) EXPECT_EQ(driver.capture(), first + n * 1200ms);
}

TEST(CheckpointScheduleTest, StaysWithinTheBudgetWhateverCapturesCost) {
  for (const std::uint32_t percent : {1U, 5U, 20U, 50U, 100U}) {
    for (const Duration cpu : {1ms, 13ms, 77ms, 500ms, 3000ms}) {
      Driver driver({.interval = 100ms, .cpu_budget_percent = percent});
      driver.cpu = cpu;
      driver.wall = cpu;
      driver.capture();
      const Instant start = driver.capture();
      const int count = 50;
      Instant last = start;
      for (int n = 0; n < count; ++n) last = driver.capture();
      EXPECT_LE(cpu * count * 100, (last - start) * percent)
          << percent << " % and " << to_milliseconds(cpu) << " ms";
    }
  }
}

TEST(CheckpointScheduleTest, OneOutlierChangesNothingAndAChangeIsFollowedBothWays) {
  Driver driver;
  for (int n = 0; n < 8; ++n) driver.capture();
  driver.cpu = 900ms;
  driver.capture();
  EXPECT_EQ(driver.schedule_.interval(), 1s);
  driver.cpu = 20ms;
  for (int n = 0; n < 8; ++n) driver.capture();
  driver.cpu = 300ms;
  for (int n = 0; n < 4; ++n) driver.capture();
  EXPECT_EQ(driver.schedule_.interval(), 1500ms);
  driver.cpu = 20ms;
  for (int n = 0; n < 5; ++n) driver.capture();
  EXPECT_EQ(driver.schedule_.interval(), 1s) << "shrinks back when captures are cheaper";
}

TEST(CheckpointScheduleTest, LeavesTheContainerAsMuchTimeAsACaptureTakes) {
  Driver driver;
  driver.wall = 800ms;
  driver.capture();
  EXPECT_EQ(driver.schedule_.interval(), 1600ms);
  EXPECT_EQ(driver.schedule_.pace().reason, PaceReason::kDuration);
  EXPECT_EQ(
      driver.schedule_.pace().text,
      "every 1.6 s instead of 1 s: a capture takes 800 ms, and the container gets as much time "
      "to itself");
}

TEST(CheckpointScheduleTest, NeverTwoAtATime) {
  Driver driver;
  driver.begin();
  EXPECT_TRUE(driver.schedule_.in_flight());
  EXPECT_EQ(driver.schedule_.next(), std::nullopt);
  EXPECT_FALSE(driver.schedule_.due(driver.now_ + 24h));
  EXPECT_DEATH(driver.schedule_.started(driver.now_), "in_flight_");
}

TEST(CheckpointScheduleTest, NoBurstAfterAPauseAndThePhaseIsKept) {
  Driver driver;
  const Instant first = driver.capture();
  driver.late = 10'300ms;  // nobody came for ten beats
  const Instant delayed = driver.capture();
  EXPECT_EQ(delayed, first + 1s + 10'300ms);
  driver.late = 0ms;
  EXPECT_EQ(driver.capture(), first + 12s);
  driver.late = 800ms;  // so late that the next beat would leave less than half an interval
  EXPECT_EQ(driver.capture(), first + 13'800ms);
  driver.late = 0ms;
  EXPECT_EQ(driver.capture(), first + 15s);
}

TEST(CheckpointScheduleTest, NamesDecideThePhaseSoThatContainersDoNotFreezeTogether) {
  std::set<Duration> phases;
  for (int n = 0; n < 64; ++n) {
    const std::string text = "web-" + std::to_string(n);
    CheckpointSchedule schedule(name(text), {});
    schedule.enable(Instant{});
    const Duration phase = *schedule.next() - Instant{};
    EXPECT_GT(phase, 0s);
    EXPECT_LE(phase, 1s);
    phases.insert(phase / 1ms / 50 * 50ms);
    CheckpointSchedule again(name(text), {});
    again.enable(Instant{});
    EXPECT_EQ(again.next(), schedule.next()) << "the same on every host";
  }
  EXPECT_GE(phases.size(), 15U) << "64 names spread over 20 slots of 50 ms";
}

TEST(CheckpointScheduleTest, FailuresBackOffToABoundAndNeverEndTheTrying) {
  Driver driver;
  driver.capture();
  std::vector<Duration> delays;
  for (int n = 0; n < 12; ++n) {
    driver.fail();
    delays.push_back(driver.until_next());
  }
  const std::vector<Duration> expected{100ms,  200ms, 400ms, 800ms, 1600ms, 3200ms,
                                       6400ms, 10s,   10s,   10s,   10s,    10s};
  EXPECT_EQ(delays, expected);
  EXPECT_EQ(driver.schedule_.pace().reason, PaceReason::kRetry);
  EXPECT_EQ(
      driver.schedule_.pace().text,
      "again 10 s after the last failure (12 in a row); then every 1 s: as the spec asks for");
  driver.capture();
  EXPECT_EQ(driver.schedule_.failures_in_row(), 0U);
  EXPECT_LE(driver.until_next(), 1500ms) << "one success ends it";
}

TEST(CheckpointScheduleTest, APermanentFailureIsTriedAtTheSlowestPace) {
  Driver driver;
  driver.fail(FailureClass::kPermanent);
  EXPECT_EQ(driver.until_next(), 10s);
  Driver hourly({.interval = 1h});
  hourly.fail(FailureClass::kPermanent);
  EXPECT_EQ(hourly.until_next(), 1h) << "not more often than it would be captured anyway";
}

TEST(CheckpointScheduleTest, FailedAttemptsCountAgainstTheBudgetToo) {
  Driver driver;
  driver.cpu = 200ms;
  driver.fail();
  EXPECT_EQ(driver.until_next(), 1s) << "200 ms at 20 %, not the 100 ms of the first retry";
}

TEST(CheckpointScheduleTest, OnlyACommitEndsABackOff) {
  Driver driver;
  driver.fail();
  driver.begin();
  driver.now_ += 30ms;
  driver.schedule_.finished(driver.now_, 20ms);
  EXPECT_EQ(driver.schedule_.failures_in_row(), 1U);
  driver.schedule_.commit_failed(driver.now_, FailureClass::kTransient);
  EXPECT_EQ(driver.schedule_.failures_in_row(), 2U);
  EXPECT_EQ(driver.until_next(), 200ms);
}

TEST(CheckpointScheduleTest, ARequestIsTakenAtOnceEvenInABackOff) {
  Driver driver;
  const Instant first = driver.capture();
  driver.now_ += 400ms;
  driver.schedule_.request(driver.now_);
  EXPECT_TRUE(driver.schedule_.due(driver.now_));
  EXPECT_EQ(driver.schedule_.pace().reason, PaceReason::kRequested);
  driver.capture();
  EXPECT_EQ(driver.capture(), first + 1s) << "and changes nothing for the next beat";
  for (int n = 0; n < 9; ++n) driver.fail(FailureClass::kPermanent);
  driver.schedule_.request(driver.now_);
  EXPECT_EQ(driver.until_next(), 0s);
}

TEST(CheckpointScheduleTest, ARequestDuringACaptureIsTakenOnceAfterIt) {
  Driver driver;
  driver.begin();
  driver.schedule_.request(driver.now_);
  driver.schedule_.request(driver.now_);
  driver.now_ += 30ms;
  driver.schedule_.finished(driver.now_, 20ms);
  EXPECT_EQ(driver.until_next(), 0s);
  driver.capture();
  EXPECT_GT(driver.until_next(), 500ms);
}

TEST(CheckpointScheduleTest, ARequestBeforeTheFirstBeatLeavesThatWhereItIs) {
  CheckpointSchedule schedule(name("web"), {});
  schedule.enable(Instant{}, Instant{} + 900ms);
  schedule.request(Instant{} + 50ms);
  schedule.started(Instant{} + 50ms);
  schedule.finished(Instant{} + 80ms, 20ms);
  EXPECT_EQ(*schedule.next(), Instant{} + 900ms);
}

TEST(CheckpointScheduleTest, DisabledNothingIsDueAndARequestIsNotKept) {
  Driver driver;
  driver.capture();
  driver.schedule_.disable();
  driver.schedule_.request(driver.now_);
  EXPECT_EQ(driver.schedule_.next(), std::nullopt);
  EXPECT_EQ(driver.schedule_.pace().reason, PaceReason::kOff);
  driver.schedule_.enable(driver.now_);
  EXPECT_GT(driver.until_next(), 0s);
}

TEST(CheckpointScheduleTest, AbsurdMeasurementsDoNotOverflow) {
  Driver driver({.interval = 24h, .cpu_budget_percent = 1});
  driver.cpu = Duration::max();
  driver.capture();
  EXPECT_EQ(driver.schedule_.interval(), 84 * 72min) << "an hour at most is believed: 100 h, in "
                                                        "steps of a twentieth of the interval";
  driver.cpu = Duration::min();
  for (int n = 0; n < 5; ++n) driver.capture();
  EXPECT_EQ(driver.schedule_.interval(), 24h);
}

}  // namespace
}  // namespace perdure::policy
