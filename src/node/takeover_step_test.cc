// Proves who waits for what after a restart of the daemon: the living for nobody, the dead for whoever may have their state.
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "node/takeover.h"

namespace perdure::node {
namespace {

using Step = TakeoverStep;

TakeoverFacts found(Found::State state) {
  TakeoverFacts facts;
  facts.found.emplace();
  facts.found->state = state;
  return facts;
}
TakeoverFacts listed(TakeoverFacts facts) {
  facts.stored.emplace();
  return facts;
}
TakeoverFacts ready(TakeoverFacts facts) {
  facts.store_ready = true;
  return listed(std::move(facts));
}
TakeoverFacts late(TakeoverFacts facts) {
  facts.store_late = true;
  return facts;
}
TakeoverFacts asked(TakeoverFacts facts) {
  facts.others_asked = true;
  return facts;
}
TakeoverFacts answered(TakeoverFacts facts, bool with_capsule) {
  facts.elsewhere.emplace();
  if (with_capsule) facts.elsewhere->capsule = std::make_shared<const capsule::Capsule>();
  return asked(std::move(facts));
}

constexpr auto kAlive = Found::State::kAlive;
constexpr auto kDead = Found::State::kNothing;
constexpr TakeoverNeeds kNothing{};
constexpr TakeoverNeeds kState{.state = true, .others = false};
constexpr TakeoverNeeds kBoth{.state = true, .others = true};

TEST(TakeoverStep, TheLivingWaitForAStoreThatHasItsTimeAndForNobodyElse) {
  EXPECT_EQ(next_step({}, kBoth), Step::kWait);
  EXPECT_EQ(next_step(found(kAlive), kBoth), Step::kWait);
  EXPECT_EQ(next_step(late(found(kAlive)), kBoth), Step::kTakeOver);
  EXPECT_EQ(next_step(late(listed(found(kAlive))), kBoth), Step::kTakeOver);
  EXPECT_EQ(next_step(ready(found(kAlive)), kBoth), Step::kTakeOver);
}

TEST(TakeoverStep, TheDeadWaitForTheirState) {
  for (const auto state : {kDead, Found::State::kHalfRestored}) {
    EXPECT_EQ(next_step(found(state), kState), Step::kWait);
    EXPECT_EQ(next_step(late(found(state)), kState), Step::kWaitForStore);
    EXPECT_EQ(next_step(late(listed(found(state))), kState), Step::kReadStore);
    EXPECT_EQ(next_step(ready(found(state)), kState), Step::kTakeOver);
  }
  EXPECT_EQ(next_step(late(found(kDead)), kNothing), Step::kTakeOver);
}

TEST(TakeoverStep, TheDeadAskTheirStandbysOnce) {
  EXPECT_EQ(next_step(ready(found(kDead)), kBoth), Step::kAskOthers);
  EXPECT_EQ(next_step(asked(ready(found(kDead))), kBoth), Step::kWaitForOthers);
  EXPECT_EQ(next_step(answered(ready(found(kDead)), false), kBoth), Step::kTakeOver);
  EXPECT_EQ(next_step(late(found(kDead)), kBoth), Step::kAskOthers);
  EXPECT_EQ(next_step(answered(late(found(kDead)), false), kBoth), Step::kWaitForStore);
  EXPECT_EQ(next_step(answered(late(found(kDead)), true), kBoth), Step::kTakeOver);
}

TEST(TakeoverStep, WhatTheirStandbysHoldIsNotKeptFromThemByAStoreThatStopsAnswering) {
  const TakeoverFacts reading = late(listed(found(kDead)));
  EXPECT_EQ(next_step(reading, kBoth), Step::kAskOthers);
  EXPECT_EQ(next_step(answered(reading, true), kBoth), Step::kTakeOver);
  EXPECT_EQ(next_step(answered(reading, false), kBoth), Step::kReadStore);
}

replica::StoredGeneration stored(std::uint64_t number, std::optional<std::uint64_t> parent = {}) {
  replica::StoredGeneration one;
  one.generation = {Term{1}, Incarnation{1}, number};
  one.info.emplace();
  if (parent) one.info->manifest.parent = Generation{Term{1}, Incarnation{1}, *parent};
  return one;
}
replica::StoredGeneration failing(std::uint64_t number, ErrorCode code) {
  replica::StoredGeneration one;
  one.generation = {Term{1}, Incarnation{1}, number};
  one.corrupt = Error(code, std::to_string(number));
  return one;
}
std::string unreadable(const std::vector<replica::StoredGeneration>& listed) {
  const Error* error = unreadable_now(listed);
  return error == nullptr ? "" : error->message();
}

TEST(Unreadable, IsTheNewestOrWhatItBuildsOn) {
  EXPECT_EQ(unreadable({}), "");
  EXPECT_EQ(unreadable({stored(1), stored(2, 1)}), "");
  EXPECT_EQ(unreadable({stored(1), failing(2, ErrorCode::kIo)}), "2");
  EXPECT_EQ(unreadable({failing(1, ErrorCode::kIo), stored(2, 1), stored(3, 2)}), "1");
  EXPECT_EQ(unreadable({failing(1, ErrorCode::kIo), stored(2, 1), stored(3)}), "") << "nobody needs it";
}

TEST(Unreadable, DamageIsNoReasonToWait) {
  EXPECT_EQ(unreadable({stored(1), failing(2, ErrorCode::kCorrupt)}), "");
  EXPECT_EQ(unreadable({failing(1, ErrorCode::kCorrupt), stored(2, 1)}), "");
  EXPECT_EQ(unreadable({failing(1, ErrorCode::kPermission), failing(2, ErrorCode::kCorrupt), stored(3, 2)}), "1");
  auto marked = stored(3, 2);
  marked.marks["suspect"] = "died at once";
  EXPECT_EQ(unreadable({stored(1), failing(2, ErrorCode::kIo), marked}), "2");
  EXPECT_EQ(unreadable({stored(2, 9)}), "") << "its parent is gone for good";
}

TEST(TakeoverStep, WhatAnotherOwnsIsLeftAsSoonAsItIsKnownWhatIsHere) {
  for (TakeoverFacts facts : {TakeoverFacts(), found(kDead), late(found(kAlive)), ready(found(kDead))}) {
    facts.leaves = policy::OwnershipLost{NodeName::parse("b").value(), Term{2}};
    EXPECT_EQ(next_step(facts, kBoth), facts.found ? Step::kLeave : Step::kWait);
  }
}

}  // namespace
}  // namespace perdure::node
