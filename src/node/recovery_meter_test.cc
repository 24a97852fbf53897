// Proves what a recovery's report counts from where, with a clock that the test moves and a gate whose frames
// it counts.
#include "node/recovery_meter.h"

#include "gtest/gtest.h"
#include "io/test_support.h"
#include "node/testing/fake_backend.h"

namespace perdure::node {
namespace {

using std::chrono_literals::operator""ms;

class RecoveryMeterTest : public ::testing::Test {
 protected:
  static ContainerName name() { return ContainerName::parse("web").value(); }
  static Generation generation() { return Generation{Term{1}, Incarnation{1}, 7}; }
  static RestoreResult result(std::uint32_t connections, std::uint32_t reset) {
    RestoreResult result;
    result.connections = connections;
    result.connections_reset = reset;
    return result;
  }

  ManualClock clock_;
  std::unique_ptr<io::Loop> loop_ = io::Loop::create().value();
  EventLog events_ = EventLog::open({}, clock_).value();
  std::shared_ptr<testing::FakeBackend> backend_ =
      std::make_shared<testing::FakeBackend>(model::ContainerSpec{.name = name()});
  int changes_ = 0;
  RecoveryMeter meter_{{*loop_, clock_, events_}, name(), backend_, [this] { ++changes_; }};
};

TEST_F(RecoveryMeterTest, CountsFromTheEarliestReportOfTheDeath) {
  clock_.advance(1000ms);
  const Instant death = clock_.now();
  const Instant captured = death - 300ms;
  clock_.advance(5ms);
  meter_.failed(clock_.now());
  meter_.failed(death);  // the reports of several processors may come in any order
  meter_.noticed();
  meter_.ended("killed");
  clock_.advance(95ms);
  meter_.restored(generation(), captured, result(3, 1));

  ASSERT_TRUE(meter_.last());
  EXPECT_FALSE(meter_.under_way());
  EXPECT_EQ(meter_.last()->reason, "killed");
  EXPECT_EQ(meter_.last()->generation, generation());
  EXPECT_EQ(meter_.last()->noticed, 5ms);
  EXPECT_EQ(meter_.last()->restored, 100ms);
  EXPECT_EQ(meter_.last()->lost, 300ms);
  EXPECT_EQ(meter_.last()->connections_reset, 1u);
  EXPECT_FALSE(meter_.last()->first_packet);
}

TEST_F(RecoveryMeterTest, SplicedConnectionsAreToldIfThereAreAny) {
  for (const std::uint32_t spliced : {0u, 2u}) {
    meter_.noticed();
    RestoreResult restored = result(3, 1);
    restored.connections_spliced = spliced;
    meter_.restored(generation(), std::nullopt, restored);
    control::v1::Event event;
    meter_.add_details(event);
    EXPECT_EQ(event.text().contains("1 of 3 connections were reset, 2 spliced"), spliced == 2) << event.text();
    EXPECT_EQ(event.text().contains("spliced"), spliced == 2) << event.text();
    meter_.drop_details();
  }
}

TEST_F(RecoveryMeterTest, TheFirstFrameThatLeavesIsReported) {
  meter_.noticed();
  backend_->pass_frame();  // of the old life
  RestoreResult after_one_frame;
  after_one_frame.frames_before = 1;
  meter_.restored(generation(), std::nullopt, after_one_frame);
  clock_.advance(20ms);
  backend_->pass_frame();
  ASSERT_TRUE(loop_->run_until([this] { return changes_ > 0; }, io::kTestTime));
  EXPECT_EQ(meter_.last()->first_packet, 20ms);
  ASSERT_EQ(events_.recent().size(), 1u);
  EXPECT_EQ(events_.recent()[0].kind(), "first_packet");
}

TEST_F(RecoveryMeterTest, TheEventOfARestoreGetsItsDurationsUntilTheyAreDropped) {
  meter_.begin_for_operator();
  clock_.advance(40ms);
  meter_.restored(generation(), std::nullopt, result(2, 0));
  control::v1::Event event;
  event.set_text("restored");
  meter_.add_details(event);
  EXPECT_EQ(event.text(), "restored; 40 ms after the failure; 0 of 2 connections were reset");
  EXPECT_EQ(event.reason(), "operator");
  EXPECT_EQ(event.durations_ns().at("restored"), Duration(40ms).count());
  EXPECT_FALSE(event.durations_ns().contains("lost"));

  meter_.drop_details();
  control::v1::Event later;
  meter_.add_details(later);
  EXPECT_EQ(later.text(), "");
}

TEST_F(RecoveryMeterTest, ATakeoverCountsFromTheLastSignOfLife) {
  clock_.advance(1000ms);
  const Instant heard = clock_.now();
  const TakeoverTimes times{.from = NodeName::parse("alpha").value(),
                            .last_heard = heard,
                            .noticed = heard + 300ms,
                            .swapped = heard + 320ms,
                            .restored = heard + 400ms};
  clock_.advance(405ms);
  meter_.taken_over(times, generation(), heard - 200ms, result(2, 0));
  ASSERT_TRUE(meter_.last());
  EXPECT_EQ(meter_.last()->taken_from, times.from);
  EXPECT_EQ(meter_.last()->noticed, 300ms);
  EXPECT_EQ(meter_.last()->swapped, 320ms);
  EXPECT_EQ(meter_.last()->restored, 400ms);
  EXPECT_EQ(meter_.last()->lost, 200ms);
  clock_.advance(5ms);
  backend_->pass_frame();
  ASSERT_TRUE(loop_->run_until([this] { return changes_ > 0; }, io::kTestTime));
  EXPECT_EQ(events_.recent().back().durations_ns().at("first_packet"), Duration(410ms).count());
  EXPECT_EQ(events_.recent().back().durations_ns().at("swapped"), Duration(320ms).count()) << "which says that it was a takeover";

  meter_.noticed();  // a recovery in place is none
  meter_.restored(generation(), std::nullopt, result(0, 0));
  EXPECT_FALSE(meter_.last()->taken_from || meter_.last()->swapped);
}

TEST_F(RecoveryMeterTest, AStartFromTheBeginningIsARecoveryWithoutGeneration) {
  meter_.noticed();
  clock_.advance(70ms);
  meter_.started_afresh();
  EXPECT_EQ(meter_.last()->restored, 70ms);
  EXPECT_FALSE(meter_.last()->generation);
  EXPECT_FALSE(meter_.under_way());
}

TEST_F(RecoveryMeterTest, AFailureThatCameToNothingIsForgotten) {
  meter_.failed(clock_.now());
  EXPECT_TRUE(meter_.under_way());
  meter_.forget();
  EXPECT_FALSE(meter_.under_way());
  EXPECT_FALSE(meter_.last());
}

}  // namespace
}  // namespace perdure::node
