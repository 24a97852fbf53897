// Proves which steps of a takeover are counted, once each, and which one is remembered. The clock is the test's.
#include "node/takeover_meter.h"

#include <format>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace perdure::node {
namespace {

using Step = TakeoverMeter::Step;
using End = TakeoverMeter::End;
using std::chrono_literals::operator""ms;

class TakeoverMeterTest : public ::testing::Test {
 protected:
  static ContainerName container(std::string_view name = "web") { return ContainerName::parse(name).value(); }
  static NodeName node(std::string_view name = "alpha") { return NodeName::parse(name).value(); }

  ManualClock clock_;
  std::vector<std::string> told_;
  TakeoverLog log_{clock_,
                   {.on_step =
                        [this](Step step, Duration since) {
                          told_.push_back(std::format("{} {}", word(step), format_duration(since)));
                        },
                    .on_end = [this](End end) { told_.emplace_back(word(end)); }}};
};

TEST_F(TakeoverMeterTest, EveryStepIsToldAndRemembered) {
  clock_.advance(1000ms);
  log_.begun(container(), node());
  const WallTime begun = clock_.wall();
  clock_.advance(500ms);
  log_.reached(container(), Step::kNoticed, 300ms);
  log_.reached(container(), Step::kSwapped, 320ms);
  log_.reached(container(), Step::kRestored, 410ms);
  EXPECT_EQ(log_.last(container()), nullptr);
  log_.ended(container(), End::kCompleted);
  log_.reached(container(), Step::kFirstPacket, 412ms);
  EXPECT_EQ(told_, (std::vector<std::string>{"noticed 300 ms", "swapped 320 ms", "restored 410 ms", "completed",
                                             "first_packet 412 ms"}));
  const TakeoverRecord* last = log_.last(container());
  ASSERT_NE(last, nullptr);
  EXPECT_EQ(last->former, node());
  EXPECT_EQ(last->at, begun);
  EXPECT_EQ(last->step(Step::kNoticed), 300ms);
  EXPECT_EQ(last->step(Step::kSwapped), 320ms);
  EXPECT_EQ(last->step(Step::kRestored), 410ms);
  EXPECT_EQ(last->step(Step::kFirstPacket), 412ms);
}

TEST_F(TakeoverMeterTest, OneThatCameToNothingIsCountedNotRemembered) {
  log_.begun(container(), node());
  log_.reached(container(), Step::kNoticed, 300ms);
  log_.ended(container(), End::kLost);
  log_.reached(container(), Step::kFirstPacket, 400ms);
  EXPECT_EQ(told_, (std::vector<std::string>{"noticed 300 ms", "lost"}));
  EXPECT_EQ(log_.last(container()), nullptr);
}

TEST_F(TakeoverMeterTest, WhatWasNotBegunAndWhatComesTwiceIsIgnored) {
  log_.reached(container(), Step::kNoticed, 1ms);
  log_.ended(container(), End::kCompleted);
  EXPECT_TRUE(told_.empty());
  log_.begun(container(), node());
  log_.reached(container(), Step::kNoticed, 2ms);
  log_.reached(container(), Step::kNoticed, 3ms);
  log_.ended(container(), End::kCompleted);
  log_.ended(container(), End::kFailed);
  EXPECT_EQ(told_, (std::vector<std::string>{"noticed 2 ms", "completed"}));
  EXPECT_EQ(log_.last(container())->step(Step::kNoticed), 2ms);
}

TEST_F(TakeoverMeterTest, OneThatIsBegunAnewEndsTheOneBefore) {
  log_.begun(container(), node("alpha"));
  log_.begun(container(), node("beta"));
  log_.ended(container(), End::kCompleted);
  EXPECT_EQ(told_, (std::vector<std::string>{"failed", "completed"}));
  EXPECT_EQ(log_.last(container())->former, node("beta"));
}

TEST_F(TakeoverMeterTest, WhatIsRememberedIsBounded) {
  for (std::size_t i = 0; i <= kMaxTakeoverRecords; ++i) {
    clock_.advance(1ms);
    log_.begun(container(std::format("c{}", i)), node());
    log_.ended(container(std::format("c{}", i)), End::kCompleted);
  }
  EXPECT_EQ(log_.last(container("c0")), nullptr) << "of the longest ago";
  EXPECT_NE(log_.last(container("c1")), nullptr);
  EXPECT_NE(log_.last(container(std::format("c{}", kMaxTakeoverRecords))), nullptr);
}

}  // namespace
}  // namespace perdure::node
