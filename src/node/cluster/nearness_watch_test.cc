// Proves that all containers that have to be close to others are looked at again and again, that what comes of it reaches the right
// container, and that an answer which comes too late reaches nobody.
//
// How: where others are and moves are made up; the loop and the looks are real, and quick.
#include "node/cluster/nearness_watch.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "io/test_support.h"

namespace perdure::node {
namespace {

namespace near = policy::nearness;
using std::chrono_literals::operator""h;
using std::chrono_literals::operator""ms;
using ::testing::ElementsAre;

ContainerName name_of(std::string_view text) { return ContainerName::parse(text).value(); }
NodeName node_of(std::string_view text) { return NodeName::parse(text).value(); }
const std::vector<model::Vicinity> kNearDb = {{{"db"}, model::Within::kHost}};

class NearnessWatchTest : public ::testing::Test {
 protected:
  NearnessWatchTest() {
    watch_ = std::make_unique<NearnessWatch>(
        NearnessWatch::Environment{.loop = *loop_,
                                   .clock = clock_,
                                   .events = events_,
                                   .look =
                                       [this](const ContainerName& name, const std::vector<model::Vicinity>& vicinities) {
                                         EXPECT_EQ(vicinities, kNearDb);
                                         ++looks_;
                                         return name == name_of("far") ? far_ : near::Looked{.sponsors_at = far_.sponsors_at};
                                       },
                                   .hand_over =
                                       [this](const ContainerName& name, const NodeName& target, NearnessWatch::Failed failed) {
                                         moved_.emplace_back(name.str() + " to " + target.str(), std::move(failed));
                                       }},
        near::Options{.look_interval = 2ms, .settle = 5ms, .move_again = 1h, .tell_after = 5ms});
  }

  [[nodiscard]] bool until(const std::function<bool()>& condition) { return loop_->run_until(condition, io::kTestTime); }
  void pass_looks(unsigned count) {
    const unsigned before = looks_;
    ASSERT_TRUE(until([&] { return looks_ >= before + count; }));
  }
  control::v1::ContainerStatus status(const std::string& name) {
    control::v1::ContainerStatus filled;
    watch_->fill(filled, name_of(name));
    return filled;
  }
  std::vector<std::string> kinds() {
    std::vector<std::string> told;
    for (const auto& event : events_.recent()) told.push_back(event.container() + " " + event.kind());
    return told;
  }

  const SystemClock clock_;
  std::unique_ptr<io::Loop> loop_ = io::Loop::create().value();
  EventLog events_ = EventLog::open({}, clock_).value();
  near::Looked far_{.sponsors_at = {{"db", node_of("b")}}, .too_far = {"'db' is far"}, .candidates = {{node_of("b"), 0}}};
  unsigned looks_ = 0;
  std::vector<std::pair<std::string, NearnessWatch::Failed>> moved_;
  std::unique_ptr<NearnessWatch> watch_;
};

TEST_F(NearnessWatchTest, TheOneThatIsFarFollowsAndTheOtherStays) {
  watch_->watch(name_of("close"), kNearDb);
  watch_->watch(name_of("far"), kNearDb);
  watch_->watch(name_of("alone"), {});
  ASSERT_TRUE(until([&] { return !moved_.empty(); }));
  EXPECT_EQ(moved_.front().first, "far to b");
  EXPECT_THAT(kinds(), ElementsAre("far follows_sponsors"));
  EXPECT_THAT(status("far").too_far(), ElementsAre("'db' is far"));
  EXPECT_EQ(status("far").too_far_reason(), "");
  EXPECT_EQ(status("close").too_far_size() + status("alone").too_far_size(), 0);
  pass_looks(20);
  EXPECT_EQ(moved_.size(), 1u);
}

TEST_F(NearnessWatchTest, AMoveThatFailsIsTold) {
  watch_->watch(name_of("far"), kNearDb);
  ASSERT_TRUE(until([&] { return !moved_.empty(); }));
  moved_.front().second("no room there");
  ASSERT_TRUE(until([&] { return std::ranges::contains(kinds(), "far far_from_sponsors"); }));
  EXPECT_EQ(status("far").too_far_reason(), "it could not be moved: no room there");
}

TEST_F(NearnessWatchTest, AnAnswerForOneThatIsWatchedAnewReachesNobody) {
  watch_->watch(name_of("far"), kNearDb);
  ASSERT_TRUE(until([&] { return !moved_.empty(); }));
  watch_->watch(name_of("far"), kNearDb);
  moved_.front().second("too late");
  ASSERT_TRUE(until([&] { return moved_.size() == 2; })) << "the new one is not held back";
  watch_->forget(name_of("far"));
  moved_.back().second("much too late");
  EXPECT_EQ(status("far").too_far_size(), 0);
}

TEST_F(NearnessWatchTest, WhatAnOperatorHasPlacedStays) {
  watch_->watch(name_of("far"), kNearDb);
  watch_->was_placed(name_of("far"));
  ASSERT_TRUE(until([&] { return std::ranges::contains(kinds(), "far far_from_sponsors"); }));
  EXPECT_TRUE(moved_.empty());
  EXPECT_THAT(status("far").too_far_reason(), ::testing::HasSubstr("it was put here"));
}

}  // namespace
}  // namespace perdure::node
