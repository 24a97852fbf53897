// Proves that the most critical containers are restored first, never more at once than the budget, that a place is kept for one that
// is on its way and not for longer than it may take, and that whatever the order of events, every container has its turn.
#include "policy/restore_turns.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <format>
#include <map>
#include <random>
#include <string>

namespace perdure::policy {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using State = PendingRestore::State;

constexpr Instant kNow = Instant(Duration(1h));

ContainerName named(const std::string& name) { return ContainerName::parse(name).value(); }

PendingRestore one(const std::string& name, Duration tolerance, State state = State::kReady, Duration silent = 0ms) {
  return {named(name), tolerance, kNow - silent, state, kNow + kPlaceKept};
}

std::vector<std::string> begin(const std::vector<PendingRestore>& pending, std::size_t budget, Instant now = kNow) {
  std::vector<std::string> names;
  for (const ContainerName& name : next_restores(pending, budget, now).begin) names.push_back(name.str());
  return names;
}

TEST(RestoreTurns, TheShortestToleranceIsFirst) {
  const std::vector pending{one("a", 10s), one("b", 1s), one("c", 5s)};
  EXPECT_THAT(begin(pending, 2), ElementsAre("b", "c"));
  EXPECT_THAT(begin(pending, 3), ElementsAre("b", "c", "a"));
  EXPECT_THAT(begin(pending, 20), ElementsAre("b", "c", "a"));
}

TEST(RestoreTurns, OfEqualOnesTheLongerSilentAndThenTheName) {
  EXPECT_THAT(begin({one("b", 1s), one("a", 1s), one("c", 1s, State::kReady, 3ms)}, 3), ElementsAre("c", "a", "b"));
}

TEST(RestoreTurns, WhatRunsCountsAndIsNotPutOff) {
  EXPECT_THAT(begin({one("a", 1h, State::kRunning), one("b", 1s), one("c", 2s)}, 2), ElementsAre("b"));
  EXPECT_THAT(begin({one("a", 1h, State::kRunning), one("b", 1h, State::kRunning), one("c", 2s)}, 2), IsEmpty());
}

TEST(RestoreTurns, APlaceIsKeptForWhatComesAndIsMoreCritical) {
  const std::vector pending{one("a", 10s), one("b", 1s, State::kComing), one("c", 20s, State::kComing)};
  EXPECT_THAT(begin(pending, 1), IsEmpty());
  EXPECT_THAT(begin(pending, 2), ElementsAre("a")) << "there is one for it beside the one that is kept";
  EXPECT_EQ(next_restores(pending, 1, kNow).look_again, kNow + kPlaceKept);
  EXPECT_THAT(begin(pending, 1, kNow + kPlaceKept), ElementsAre("a")) << "nobody waits for a slow etcd";
  EXPECT_THAT(begin({one("a", 10s), one("c", 20s, State::kComing)}, 1), ElementsAre("a"));
}

TEST(RestoreTurns, WhoWaitsKnowsHowManyAreBeforeIt) {
  const std::vector pending{one("a", 10s), one("b", 1s, State::kComing), one("c", 5s), one("d", 2s, State::kRunning)};
  EXPECT_EQ(waiting_before(pending, named("b"), kNow), 0u);
  EXPECT_EQ(waiting_before(pending, named("c"), kNow), 1u);
  EXPECT_EQ(waiting_before(pending, named("a"), kNow), 2u);
  EXPECT_EQ(waiting_before(pending, named("a"), kNow + kPlaceKept), 1u);
}

// Containers that become ready and end in any order.
TEST(RestoreTurns, EveryOneHasItsTurnAndNeverMoreAtOnceThanTheBudget) {
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    const auto pick = [&](std::size_t below) { return static_cast<std::size_t>(random()) % below; };
    const std::size_t budget = 1 + pick(4);
    std::vector<PendingRestore> pending;
    for (std::size_t i = 0, count = 1 + pick(25); i < count; ++i) {
      pending.push_back(one(std::format("c{}", i), std::chrono::seconds(1 + pick(5)), State::kComing));
    }
    const auto in = [&](State state) { return static_cast<std::size_t>(std::ranges::count(pending, state, &PendingRestore::state)); };
    Instant now = kNow;
    for (std::size_t steps = 0; !pending.empty(); ++steps) {
      ASSERT_LT(steps, 1000u) << "seed " << seed;
      const RestoreTurns turns = next_restores(pending, budget, now);
      for (const ContainerName& name : turns.begin) {
        const auto begun = std::ranges::find(pending, name, &PendingRestore::container);
        ASSERT_EQ(begun->state, State::kReady);
        for (const PendingRestore& other : pending) {
          const bool passed_over = other.state == State::kReady && comes_before(other, *begun) && !std::ranges::contains(turns.begin, other.container);
          ASSERT_FALSE(passed_over) << "seed " << seed;
        }
        begun->state = State::kRunning;
      }
      ASSERT_LE(in(State::kRunning), budget) << "seed " << seed;
      ASSERT_TRUE(in(State::kRunning) > 0 || in(State::kReady) == 0 || turns.look_again) << "it waits for nothing, seed " << seed;
      PendingRestore& chosen = pending[pick(pending.size())];
      if (chosen.state == State::kComing) {
        chosen.state = State::kReady;
      } else if (chosen.state == State::kRunning) {
        pending.erase(pending.begin() + (&chosen - pending.data()));
      } else {
        now += 10ms;
      }
    }
  }
}

}  // namespace
}  // namespace perdure::policy
