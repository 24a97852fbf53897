// Proves what a planned restart of perdured means for grants: the gate stays open for as long as it was asked for and no longer, the
// standby waits it out, and the next life goes back to grants of the usual length without silencing anybody.
//
// How: an owner's LeaseHolder and two standbys' LeaseGranters with a clock of the test's.
#include <chrono>
#include <map>
#include <optional>
#include <variant>
#include <vector>

#include "gmock/gmock.h"
#include "policy/lease_granter.h"
#include "policy/lease_holder.h"

namespace perdure::policy::lease {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

NodeName node(std::string_view name) { return NodeName::parse(name).value(); }
const ContainerName kWeb = ContainerName::parse("web").value();
const model::NodeLife kB{node("b"), Incarnation{2}};
const model::NodeLife kC{node("c"), Incarnation{3}};
constexpr Term kTerm{7};
constexpr Timing kTiming{};

class LeaseRestartTest : public ::testing::Test {
 protected:
  LeaseRestartTest() { now_ = Instant{} + 1h; }

  static model::NodeLife owner(std::uint64_t life) { return {node("a"), Incarnation{life}}; }
  void begin_life(std::uint64_t life, std::optional<Instant> inherited = {}, std::vector<model::NodeLife> standbys = {kB}) {
    holder_.emplace(owner(life), kTiming);
    take(holder_->need(kWeb, {.term = kTerm, .required = std::move(standbys), .asked = {}, .inherited = inherited}, now_));
  }
  void name_owner(std::uint64_t life) {
    for (auto& [name, granter] : granters_) {
      granter.watch(kWeb, Charge{owner(life), kTerm, Charge::Role::kStandby}, now_);
    }
  }
  // One beat: what is sent arrives at those that hear, and is answered at once.
  void beat(std::vector<model::NodeLife> who = {kB, kC}) {
    now_ += kTiming.heartbeat;
    for (const HolderEffect& effect : take(holder_->tick(now_))) {
      const auto* sent = std::get_if<SendHeartbeat>(&effect);
      if (sent == nullptr) continue;
      last_ = sent->heartbeat;
      for (const model::NodeLife& life : who) {
        if (life.node == sent->to) hear(life, sent->heartbeat);
      }
    }
  }
  void hear(const model::NodeLife& life, const Heartbeat& heartbeat) {
    for (const GranterEffect& effect : granters_.at(life.node).on(heartbeat, now_)) {
      if (const auto* grant = std::get_if<SendGrant>(&effect)) take(holder_->on(grant->grant, now_));
      if (const auto* given = std::get_if<LongGrantGiven>(&effect)) given_.push_back(*given);
      if (const auto* back = std::get_if<LongGrantGivenBack>(&effect)) given_back_.push_back(back->owner);
    }
  }
  std::vector<HolderEffect> take(std::vector<HolderEffect> effects) {
    for (const HolderEffect& effect : effects) {
      if (const auto* set = std::get_if<SetGate>(&effect)) gate_ = set->deadline;
      if (std::holds_alternative<LongGrantsHeld>(effect)) held_ = true;
      if (const auto* stopped = std::get_if<GrantsStopped>(&effect)) stopped_.push_back(stopped->from);
    }
    return effects;
  }
  bool is_told_silent(const model::NodeLife& life) {
    for (const GranterEffect& effect : granters_.at(life.node).tick(now_)) {
      if (std::holds_alternative<OwnerSilent>(effect)) return true;
    }
    return false;
  }
  // From now on, how long a standby waits for an owner that says nothing more.
  Duration waits(const model::NodeLife& life) {
    const Instant begin = now_;
    while (now_ - begin < 1min && !is_told_silent(life)) now_ += 10ms;
    return now_ - begin;
  }

  Instant now_{};
  Instant gate_ = kShut;
  bool held_ = false;
  std::vector<model::NodeLife> stopped_;
  std::vector<LongGrantGiven> given_;
  std::vector<model::NodeLife> given_back_;
  Heartbeat last_{.from = owner(1), .sequence = 0, .grant = {}, .rows = {}};
  std::optional<LeaseHolder> holder_;
  std::map<NodeName, LeaseGranter> granters_{{kB.node, LeaseGranter(kB, kTiming)}, {kC.node, LeaseGranter(kC, kTiming)}};
};

// ---- Before the end of a life ----

TEST_F(LeaseRestartTest, LongGrantsAreThereWhenEveryStandbyHasGivenOne) {
  name_owner(1);
  begin_life(1, {}, {kB, kC});
  beat();
  holder_->ask_long(30s);
  beat({kB});
  EXPECT_FALSE(held_);
  EXPECT_THAT(holder_->missing_long_grants(now_), ElementsAre(LeaseHolder::Missing{kWeb, kC}));
  beat({kB, kC});
  EXPECT_TRUE(held_);
  EXPECT_THAT(holder_->missing_long_grants(now_), IsEmpty());
  EXPECT_EQ(gate_, now_ + 30s) << "from when the heartbeat was sent";
}

TEST_F(LeaseRestartTest, AContainerWithoutAStandbyNeedsNone) {
  begin_life(1, {}, {});
  holder_->ask_long(30s);
  beat();
  EXPECT_TRUE(held_);
  EXPECT_EQ(gate_, kOpen);
}

TEST_F(LeaseRestartTest, NoGrantIsAskedForThatIsShorterThanUsualOrTooLong) {
  name_owner(1);
  begin_life(1);
  holder_->ask_long(1ms);
  beat();
  EXPECT_EQ(last_.grant, kTiming.grant);
  holder_->ask_long(1h);
  beat();
  EXPECT_EQ(last_.grant, kLongestGrant);
}

TEST_F(LeaseRestartTest, AStandbyWaitsALongGrantOutAndSaysSo) {
  name_owner(1);
  begin_life(1);
  beat();
  EXPECT_FALSE(granters_.at(kB.node).waits_long_until(kWeb, now_));
  holder_->ask_long(30s);
  beat();
  beat();
  ASSERT_EQ(given_.size(), 1U) << "told once";
  EXPECT_EQ(given_.front().owner, owner(1));
  EXPECT_EQ(given_.front().grant, 30s);
  EXPECT_EQ(granters_.at(kB.node).waits_long_until(kWeb, now_), now_ + wait_after(30s, kTiming.margin));
  const Duration waited = waits(kB);
  EXPECT_GE(waited, wait_after(30s, kTiming.margin));
  EXPECT_LT(waited, wait_after(30s, kTiming.margin) + 2 * kTiming.heartbeat);
}

// ---- The next life ----

class NextLifeTest : public LeaseRestartTest {
 protected:
  NextLifeTest() {
    name_owner(1);
    begin_life(1, {}, {kB, kC});
    beat();
    holder_->ask_long(30s);
    beat();
    left_ = gate_;
    now_ += 2s;  // it takes so long to begin
    begin_life(2, left_, {kB, kC});
  }
  Instant left_{};
};

TEST_F(NextLifeTest, TheGateStaysAsItWasUntilTheStandbysAnswer) {
  EXPECT_EQ(gate_, left_);
  beat();  // the record names the former life still: nobody answers
  EXPECT_EQ(gate_, left_);
  EXPECT_FALSE(last_.rows.at(0).former_given_back);
  name_owner(2);
  beat({kB});
  EXPECT_EQ(gate_, now_ + kTiming.grant) << "the earliest of what is needed";
  beat({kB, kC});
  EXPECT_EQ(gate_, now_ + kTiming.grant);
}

TEST_F(NextLifeTest, AfterTheFirstAnswerOneThatDiesIsTakenOverAsUsual) {
  name_owner(2);
  beat();
  EXPECT_GE(waits(kB), 20s) << "it does not know yet that the gate goes by its new grants";
  beat();
  beat();
  EXPECT_TRUE(last_.rows.at(0).former_given_back);
  EXPECT_THAT(given_back_, ElementsAre(owner(2))) << "once, by the one that had not given up";
  const Duration waited = waits(kC);
  EXPECT_GE(waited, wait_after(kTiming.grant, kTiming.margin));
  EXPECT_LT(waited, wait_after(kTiming.grant, kTiming.margin) + 2 * kTiming.heartbeat);
}

TEST_F(NextLifeTest, WhatAnotherLifeGivesBackIsWaitedForAllTheSame) {
  name_owner(2);
  Heartbeat foreign{.from = owner(9), .sequence = 1, .grant = kTiming.grant, .rows = {{kWeb, kTerm, true}}};
  hear(kB, foreign);
  foreign.from = owner(2);
  foreign.rows = {{kWeb, Term{kTerm.value - 1}, true}};
  hear(kB, foreign);
  EXPECT_GE(waits(kB), 20s);
  EXPECT_THAT(given_back_, IsEmpty());
}

TEST_F(NextLifeTest, AStandbyIsGivenTimeForItsFirstAnswer) {
  while (now_ - left_ + 30s < 2s + kFirstAnswer - 2 * kTiming.heartbeat) beat({});
  EXPECT_THAT(stopped_, IsEmpty());
  name_owner(2);
  beat({kB});
  for (int i = 0; i < 5; ++i) beat({kB});
  EXPECT_THAT(stopped_, ElementsAre(kC)) << "it is dropped, and the gate is not shut meanwhile";
  EXPECT_GT(gate_, now_);
}

TEST_F(LeaseRestartTest, WhatIsInheritedAndEndsSoonIsNotWaitedFor) {
  begin_life(2, now_ + 1s);
  const Instant ends = gate_;
  while (stopped_.empty() && now_ < ends + 1s) beat({});
  EXPECT_THAT(stopped_, ElementsAre(kB));
  EXPECT_LE(now_, ends - kTiming.grant + kTiming.heartbeat) << "before the gate shuts";
}

TEST_F(LeaseRestartTest, AGateThatIsShutIsInheritedAsShut) {
  begin_life(2, kShut);
  EXPECT_EQ(gate_, kShut);
  beat({});
  beat({});
  beat({});
  beat({});
  EXPECT_THAT(stopped_, ElementsAre(kB));
}

}  // namespace
}  // namespace perdure::policy::lease
