// Proves when an agent counts as silent for too long: after the time that it could have spoken in, whatever else has
// passed meanwhile.
#include "node/agent_silence.h"

#include "gtest/gtest.h"

namespace perdure::node {
namespace {

using namespace std::chrono_literals;
using Counts = AgentSilence::Counts;

class AgentSilenceTest : public testing::Test {
 protected:
  AgentSilenceTest() { silence_.begin(now_); }

  // One look each second.
  std::optional<Duration> pass(Duration time, Counts counts = Counts::kYes) {
    std::optional<Duration> silent;
    for (const Instant end = now_ + time; now_ < end && !silent;) {
      now_ += kAgentLookEvery;
      silent = silence_.look(now_, counts);
    }
    return silent;
  }

  Instant now_ = Instant(5000s);
  AgentSilence silence_;
};

TEST_F(AgentSilenceTest, WhoReportsIsNotSilent) {
  for (int i = 0; i < 100; ++i) {
    silence_.heard(now_);
    EXPECT_EQ(pass(9s), std::nullopt);
  }
}

TEST_F(AgentSilenceTest, TheSilenceIsToldOnceWithItsLength) {
  silence_.heard(now_);
  EXPECT_EQ(pass(9s), std::nullopt);
  EXPECT_EQ(pass(1s), 10s);
  EXPECT_EQ(pass(100s), std::nullopt) << "it has been told";
  silence_.heard(now_);
  EXPECT_EQ(pass(10s), 10s);
}

TEST_F(AgentSilenceTest, TheFirstReportIsDueSooner) {
  EXPECT_EQ(pass(4s), std::nullopt);
  EXPECT_EQ(pass(1s), 5s);
  silence_.begin(now_);
  EXPECT_EQ(pass(10s), 5s) << "restored, and stands still again";
}

TEST_F(AgentSilenceTest, AFrozenContainerDoesNotCount) {
  silence_.heard(now_);
  EXPECT_EQ(pass(6s), std::nullopt);
  EXPECT_EQ(pass(1h, Counts::kNo), std::nullopt);
  EXPECT_EQ(pass(3s), std::nullopt);
  EXPECT_EQ(pass(1s), 10s);
}

TEST_F(AgentSilenceTest, OfACaptureOnlyTheTimeItWasFrozenDoesNotCount) {
  silence_.heard(now_);
  silence_.capture_begins(now_);
  EXPECT_EQ(pass(30s), std::nullopt) << "nobody knows yet";
  silence_.capture_ended(now_, 25s);
  EXPECT_EQ(pass(4s), std::nullopt);
  EXPECT_EQ(pass(1s), 10s);
}

TEST_F(AgentSilenceTest, OfACaptureThatFailedNothingCounts) {
  silence_.heard(now_);
  EXPECT_EQ(pass(5s), std::nullopt);
  silence_.capture_begins(now_);
  EXPECT_EQ(pass(30s), std::nullopt);
  silence_.capture_ended(now_, std::nullopt);
  EXPECT_EQ(pass(4s), std::nullopt);
  EXPECT_EQ(pass(1s), 10s);
}

TEST_F(AgentSilenceTest, CapturesWithoutAPauseHideNoSilence) {
  silence_.heard(now_);
  for (int i = 0; i < 9; ++i) {
    silence_.capture_begins(now_);
    EXPECT_EQ(pass(1s), std::nullopt);
    silence_.capture_ended(now_, 10ms);
  }
  EXPECT_EQ(silence_.look(now_ + 1090ms, Counts::kYes), 10s);
}

TEST_F(AgentSilenceTest, WhileNobodyLookedNobodyCouldHaveHeard) {
  silence_.heard(now_);
  now_ += 1h;  // the host slept, or perdured was stopped
  EXPECT_EQ(silence_.look(now_, Counts::kYes), std::nullopt);
  EXPECT_EQ(pass(8s), std::nullopt);
  EXPECT_EQ(pass(1s), 10s);
}

TEST_F(AgentSilenceTest, HowLongItLastsIsKnownBefore) {
  silence_.heard(now_);
  EXPECT_EQ(pass(4s), std::nullopt);
  EXPECT_EQ(silence_.lasts(now_), 4s);
  EXPECT_EQ(pass(4s, Counts::kNo), std::nullopt);
  EXPECT_EQ(silence_.lasts(now_), 4s);
  silence_.heard(now_);
  EXPECT_EQ(silence_.lasts(now_), 0s);
}

TEST_F(AgentSilenceTest, WhoHasEndedIsNotWaitedFor) {
  silence_.end();
  EXPECT_EQ(silence_.lasts(now_ + 1h), 0s);
  EXPECT_EQ(pass(100s), std::nullopt);
}

}  // namespace
}  // namespace perdure::node
