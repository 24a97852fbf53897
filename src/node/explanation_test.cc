// Proves which events make a recovery, and what is told of it.
#include "node/explanation.h"

#include <gtest/gtest.h>

#include <chrono>
#include <deque>
#include <format>

namespace perdure::node {
namespace {

namespace v1 = control::v1;
using std::chrono_literals::operator""s;

class ExplanationTest : public ::testing::Test {
 protected:
  v1::Event& at(std::int64_t ms, const std::string& kind, const std::string& text = {}, const std::string& reason = {}) {
    v1::Event& event = events_.emplace_back();
    event.set_time_unix_ms(ms);
    event.set_kind(kind);
    event.set_text(text);
    event.set_reason(reason);
    return event;
  }
  void restored(std::int64_t ms, const std::string& generation) {
    v1::Event& event = at(ms, "restored", "restored from generation " + generation);
    event.set_generation(generation);
    (*event.mutable_durations_ns())["restored"] = 40'000'000;
  }

  // "container restored 3 steps died restoring restored; evidence process_killed; took 40 ms; why"
  std::string told(Duration probation = 10s) const {
    std::vector<const v1::Event*> all;
    for (const v1::Event& event : events_) all.push_back(&event);
    const auto recovery = last_recovery(all, probation);
    if (!recovery) return "none";
    std::string text = v1::RecoveryScope_Name(recovery->scope()).substr(15) + " " + v1::RecoveryOutcome_Name(recovery->outcome()).substr(17);
    if (!recovery->generation().empty()) text += " " + recovery->generation();
    text += ";";
    for (const v1::Event& step : recovery->steps()) text += " " + step.kind();
    if (recovery->evidence_size() > 0) text += "; before:";
    for (const v1::Event& seen : recovery->evidence()) text += " " + seen.kind();
    return text + std::format("; {} ms; {}", recovery->took_ns() / 1'000'000, recovery->decision());
  }

  std::deque<v1::Event> events_;
};

TEST_F(ExplanationTest, WhatNeverFailedHasNothingToExplain) {
  at(0, "started", "started as process 100");
  at(10, "protected");
  at(500, "capture_failed", "in-flight connection");
  at(90'000, "stopped");
  EXPECT_EQ(told(), "none");
}

TEST_F(ExplanationTest, ADeathIsFollowedToItsFirstPacket) {
  at(0, "started");
  at(5'000, "process_killed", "process 7 was killed");
  at(6'000, "died", "the container was killed by signal 9 (KILL)");
  at(6'001, "restoring", "it was killed by signal 9 (KILL): back to generation 1.1.3");
  restored(6'040, "1.1.3");
  at(6'040, "protected");
  (*at(6'043, "first_packet").mutable_durations_ns())["first_packet"] = 43'000'000;
  at(9'000, "interval");
  EXPECT_EQ(told(), "CONTAINER RESTORED 1.1.3; died restoring restored first_packet; before: process_killed; 40 ms; "
                    "it was killed by signal 9 (KILL): back to generation 1.1.3");
}

TEST_F(ExplanationTest, WhatFailsAgainOnProbationIsPartOfIt) {
  at(0, "died", "it was killed");
  at(1, "restoring", "back to generation 1.1.3");
  restored(40, "1.1.3");
  at(240, "died", "it was killed");
  at(240, "passed_over", "generation 1.1.3 is suspect");
  at(241, "restoring", "back to generation 1.1.2");
  restored(290, "1.1.2");
  EXPECT_EQ(told(), "CONTAINER RESTORED 1.1.2; died restoring restored died passed_over restoring restored; 290 ms; "
                    "back to generation 1.1.2");
  EXPECT_EQ(told(Duration(100'000'000)), "CONTAINER RESTORED 1.1.2; died passed_over restoring restored; 50 ms; back to generation 1.1.2")
      << "with a shorter probation it had held before";
}

TEST_F(ExplanationTest, AComponentThatItsAgentStartedAgainIsARecovery) {
  at(0, "component_failing", "'web' does not answer");
  at(900, "component_restarted", "'web' is started again", "was killed");
  EXPECT_EQ(told(), "COMPONENT RESTARTED; component_restarted; before: component_failing; 0 ms; 'web' is started again: it was killed");
  at(20'000, "component_restarted", "'web' was started again");
  at(80'000, "component_failed", "'web' failed");
  at(80'001, "died", "it failed with its component 'web'");
  at(80'002, "restoring", "back to generation 1.1.9");
  restored(80'100, "1.1.9");
  EXPECT_EQ(told(), "CONTAINER RESTORED 1.1.9; component_failed died restoring restored; before: component_restarted; 100 ms; "
                    "back to generation 1.1.9")
      << "what is older than a minute says nothing";
}

TEST_F(ExplanationTest, AFailoverIsToldOnBothNodes) {
  at(0, "died");
  at(1, "restoring", "back to generation 1.1.3");
  at(30, "restore_failed", "generation 1.1.3 was not restored");
  at(31, "restoring", "back to generation 1.1.3");
  at(60, "restore_failed", "generation 1.1.3 was not restored");
  at(61, "failing_over", "node 'b' goes on", "after 2 restores in a row here that did not hold");
  at(61, "of_another_kind");
  at(160, "moved", "it runs on 'b'");
  at(900, "gone", "nothing of it runs here any more");
  EXPECT_EQ(told(), "CONTAINER GONE; died restoring restore_failed restoring restore_failed failing_over moved; 160 ms; "
                    "after 2 restores in a row here that did not hold");
  events_.clear();
  at(0, "gone");
  at(150, "failed_over", "node 'a' could not keep it running", "after 2 restores in a row here that did not hold");
  EXPECT_EQ(told(), "CONTAINER FAILED_OVER; failed_over; 0 ms; after 2 restores in a row here that did not hold");
}

TEST_F(ExplanationTest, ATakeoverIsTheNodesFailure) {
  at(300, "taken_over", "taken over from 'a', which has fallen silent");
  EXPECT_EQ(told(), "NODE TAKEN_OVER; taken_over; 0 ms; taken over from 'a', which has fallen silent");
}

TEST_F(ExplanationTest, WhatIsNotOverIsSaidToBeUnderWay) {
  at(0, "died");
  at(1, "waiting", "its durable directory does not answer");
  EXPECT_EQ(told(), "CONTAINER WAITS; died waiting; 1 ms; its durable directory does not answer");
  at(900, "restoring", "back to generation 1.1.1");
  EXPECT_EQ(told(), "CONTAINER UNDER_WAY; died waiting restoring; 900 ms; back to generation 1.1.1");
  at(950, "failed", "given up");
  EXPECT_EQ(told(), "CONTAINER GIVEN_UP; died waiting restoring failed; 950 ms; given up");
}

TEST_F(ExplanationTest, AnOperatorsRestoreIsNoFailure) {
  at(0, "restoring", "an operator asked for generation 1.1.2");
  restored(60, "1.1.2");
  EXPECT_EQ(told(), "OPERATOR RESTORED 1.1.2; restoring restored; 60 ms; an operator asked for generation 1.1.2");
}

TEST_F(ExplanationTest, WhatPerdureFoundDeadIsAFailure) {
  at(0, "found", "perdured has restarted and found the container dead");
  at(1, "restoring", "it was found dead: back to generation 1.1.2");
  restored(60, "1.1.2");
  EXPECT_EQ(told(), "CONTAINER RESTORED 1.1.2; restoring restored; before: found; 59 ms; it was found dead: back to generation 1.1.2");
}

TEST_F(ExplanationTest, AColdStartEndsWithTheStart) {
  at(0, "died");
  at(1, "cold_start", "it is started without its state", "no good generation is left");
  at(300, "started");
  at(310, "died");
  EXPECT_EQ(told(), "CONTAINER UNDER_WAY; died; 0 ms; ") << "a new life's failure is a new one";
  events_.pop_back();
  EXPECT_EQ(told(), "CONTAINER COLD_START; died cold_start started; 300 ms; no good generation is left");
}

TEST_F(ExplanationTest, OfVeryManyStepsTheFirstAndTheNewestAreTold) {
  at(0, "died");
  for (int n = 0; n < 500; ++n) at(n, "restore_failed");
  at(600, "failed");
  std::vector<const v1::Event*> all;
  for (const v1::Event& event : events_) all.push_back(&event);
  const auto recovery = last_recovery(all, 10s);
  ASSERT_TRUE(recovery);
  EXPECT_LE(recovery->steps_size(), 101);
  EXPECT_EQ(recovery->steps(0).kind(), "died");
  EXPECT_EQ(recovery->steps(recovery->steps_size() - 1).kind(), "failed");
}

}  // namespace
}  // namespace perdure::node
