// Proves which steps and ends of takeovers are counted, each once.
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

  std::vector<std::string> told_;
  TakeoverTracker meter_{{.on_step =
                              [this](Step step, Duration since) {
                                told_.push_back(std::format("{} {}", word(step), format_duration(since)));
                              },
                          .on_end = [this](End end) { told_.emplace_back(word(end)); }}};
};

TEST_F(TakeoverMeterTest, EveryStepIsToldOnce) {
  meter_.begun(container());
  for (int i = 0; i < 2; ++i) {
    meter_.reached(container(), Step::kNoticed, 300ms);
    meter_.reached(container(), Step::kSwapped, 320ms);
    meter_.reached(container(), Step::kRestored, 410ms);
  }
  meter_.ended(container(), End::kCompleted);
  meter_.ended(container(), End::kLost);  // whatever is tidied up afterwards
  meter_.reached(container(), Step::kFirstPacket, 412ms);
  meter_.reached(container(), Step::kFirstPacket, 500ms);
  EXPECT_EQ(told_, (std::vector<std::string>{"noticed 300 ms", "swapped 320 ms", "restored 410 ms", "completed",
                                             "first_packet 412 ms"}));
}

TEST_F(TakeoverMeterTest, OneThatCameToNothingHasNoFirstPacket) {
  for (const End end : {End::kLost, End::kFailed}) {
    told_.clear();
    meter_.begun(container());
    meter_.reached(container(), Step::kNoticed, 300ms);
    meter_.reached(container(), Step::kFirstPacket, 350ms);  // of a life before
    meter_.ended(container(), end);
    meter_.reached(container(), Step::kFirstPacket, 400ms);
    EXPECT_EQ(told_, (std::vector<std::string>{"noticed 300 ms", std::string(word(end))}));
  }
}

TEST_F(TakeoverMeterTest, WhatWasNotBegunIsIgnored) {
  meter_.reached(container(), Step::kNoticed, 1ms);
  meter_.reached(container(), Step::kFirstPacket, 1ms);
  meter_.ended(container(), End::kCompleted);
  EXPECT_TRUE(told_.empty());
}

TEST_F(TakeoverMeterTest, OneThatIsBegunAnewEndsTheOneBefore) {
  meter_.begun(container());
  meter_.begun(container());
  meter_.ended(container(), End::kCompleted);
  meter_.begun(container());  // which has its end
  EXPECT_EQ(told_, (std::vector<std::string>{"lost", "completed"}));
}

TEST_F(TakeoverMeterTest, FirstPacketsThatNeverComeTakeNoRoom) {
  for (std::size_t i = 0; i <= kMaxAwaitedPackets; ++i) {
    const ContainerName name = container(std::format("c{:05}", i));
    meter_.begun(name);
    meter_.ended(name, End::kCompleted);
  }
  told_.clear();
  meter_.reached(container("c00000"), Step::kFirstPacket, 1ms);
  EXPECT_TRUE(told_.empty());
  meter_.reached(container("c00001"), Step::kFirstPacket, 1ms);
  EXPECT_EQ(told_, (std::vector<std::string>{"first_packet 1 ms"}));
}

}  // namespace
}  // namespace perdure::node
