// Proves what an owner may believe of its standbys' grants, and when a standby may believe that its
// owner is silent: LeaseHolder and LeaseGranter each by itself, with times written out. That the two
// agree whatever happens to their messages and clocks is proved by sim/.
#include <algorithm>
#include <optional>
#include <set>

#include "gtest/gtest.h"
#include "policy/lease_granter.h"
#include "policy/lease_holder.h"
#include "policy/lease_timing.h"

namespace perdure::policy::lease {
namespace {

using std::chrono_literals::operator""h;
using std::chrono_literals::operator""min;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""ns;
using std::chrono_literals::operator""s;
using std::chrono_literals::operator""us;
using model::NodeLife;

const ContainerName kWeb = ContainerName::parse("web").value();
const NodeLife kOwner{NodeName::parse("a").value(), Incarnation{1}};
const NodeLife kStandby{NodeName::parse("b").value(), Incarnation{2}};
const NodeLife kOther{NodeName::parse("c").value(), Incarnation{3}};
constexpr Term kTerm{7};
constexpr Instant kStart = Instant{} + 100s;
constexpr Timing kTiming{.heartbeat = 50ms, .grant = 250ms, .margin = 50ms};

template <typename T, typename Effect>
std::optional<T> last(const std::vector<Effect>& effects) {
  std::optional<T> found;
  for (const Effect& effect : effects) {
    if (const auto* it = std::get_if<T>(&effect)) found = *it;
  }
  return found;
}

// ---- The owner's side ----

class LeaseHolderTest : public testing::Test {
 protected:
  LeaseHolder holder_{kOwner, kTiming};

  void need(std::vector<NodeLife> required, std::optional<Instant> inherited = {}) {
    holder_.need(kWeb, {.term = kTerm, .required = std::move(required), .asked = {}, .inherited = inherited},
                 kStart);
  }
  Heartbeat beat(Instant now, const NodeLife& to = kStandby) {
    for (const HolderEffect& effect : holder_.tick(now)) {
      const auto* sent = std::get_if<SendHeartbeat>(&effect);
      if (sent != nullptr && sent->to == to.node) return sent->heartbeat;
    }
    ADD_FAILURE() << "no heartbeat to " << to.node.str();
    return {.from = kOwner, .sequence = 0, .grant = {}, .rows = {}};
  }
  static Grant answer(const Heartbeat& heartbeat, const NodeLife& from = kStandby) {
    return {.from = from,
            .to = heartbeat.from.incarnation,
            .sequence = heartbeat.sequence,
            .grant = heartbeat.grant,
            .rows = heartbeat.rows};
  }
  Instant deadline() const { return holder_.deadline(kWeb).value(); }
};

TEST_F(LeaseHolderTest, WithoutAStandbyTheGateIsOpen) {
  need({});
  EXPECT_EQ(deadline(), kOpen);
}

TEST_F(LeaseHolderTest, NothingIsOpenBeforeTheFirstGrant) {
  need({kStandby});
  EXPECT_EQ(deadline(), kShut);
}

TEST_F(LeaseHolderTest, AGrantCountsFromWhenTheHeartbeatWasSent) {
  need({kStandby});
  const Heartbeat sent = beat(kStart);
  const auto effects = holder_.on(answer(sent), kStart + 100ms);
  EXPECT_EQ(last<SetGate>(effects)->deadline, kStart + 250ms);
  EXPECT_EQ(deadline(), kStart + 250ms);
}

TEST_F(LeaseHolderTest, TheGateNeedsTheGrantOfEveryStandby) {
  need({kStandby, kOther});
  const auto effects = holder_.tick(kStart);
  std::vector<Heartbeat> sent;
  for (const HolderEffect& effect : effects) {
    if (const auto* it = std::get_if<SendHeartbeat>(&effect)) sent.push_back(it->heartbeat);
  }
  ASSERT_EQ(sent.size(), 2U);
  holder_.on(answer(sent[0], kStandby), kStart + 1ms);
  EXPECT_EQ(deadline(), kShut);
  holder_.on(answer(sent[1], kOther), kStart + 2ms);
  EXPECT_EQ(deadline(), kStart + 250ms);
}

TEST_F(LeaseHolderTest, ALateGrantRenewsNothing) {
  need({kStandby});
  const Heartbeat first = beat(kStart);
  const Heartbeat second = beat(kStart + 50ms);
  holder_.on(answer(second), kStart + 60ms);
  const auto effects = holder_.on(answer(first), kStart + 70ms);
  EXPECT_EQ(last<SetGate>(effects)->deadline, kStart + 300ms) << "the newer one still counts";
}

TEST_F(LeaseHolderTest, AGrantThatComesAfterItsEndOpensNothing) {
  need({kStandby});
  const Heartbeat sent = beat(kStart);
  const auto effects = holder_.on(answer(sent), kStart + 400ms);
  EXPECT_EQ(deadline(), kStart + 250ms) << "an absolute time, which has passed";
  EXPECT_FALSE(last<GrantsFlow>(effects));
}

TEST_F(LeaseHolderTest, ADelayedGrantOfAnOldBeatIsIgnored) {
  need({kStandby});
  const Heartbeat old = beat(kStart);
  Instant now = kStart;
  for (int n = 0; n < 64; ++n) beat(now += 50ms);
  EXPECT_TRUE(holder_.on(answer(old), now).empty());
  EXPECT_EQ(deadline(), kShut);
}

TEST_F(LeaseHolderTest, AnAnswerToAnEarlierLifeRenewsNothing) {
  need({kStandby});
  Grant grant = answer(beat(kStart));
  grant.to = Incarnation{kOwner.incarnation.value - 1};
  EXPECT_TRUE(holder_.on(grant, kStart + 1ms).empty());
  EXPECT_EQ(deadline(), kShut);
}

TEST_F(LeaseHolderTest, AGrantOfAnotherLifeThanTheRecordNamesRenewsNothing) {
  need({kStandby});
  Grant grant = answer(beat(kStart));
  grant.from.incarnation = Incarnation{9};
  holder_.on(grant, kStart + 1ms);
  EXPECT_EQ(deadline(), kShut);
}

TEST_F(LeaseHolderTest, AGrantOfAnotherTermRenewsNothing) {
  need({kStandby});
  Grant grant = answer(beat(kStart));
  grant.rows.front().term = Term{kTerm.value - 1};
  holder_.on(grant, kStart + 1ms);
  EXPECT_EQ(deadline(), kShut);
}

TEST_F(LeaseHolderTest, ASequenceThatWasNeverSentRenewsNothing) {
  need({kStandby});
  Grant grant = answer(beat(kStart));
  grant.sequence += 1;
  EXPECT_TRUE(holder_.on(grant, kStart + 1ms).empty());
  grant.sequence = 0;
  EXPECT_TRUE(holder_.on(grant, kStart + 1ms).empty());
}

TEST_F(LeaseHolderTest, MoreThanWasAskedForIsNotBelieved) {
  need({kStandby});
  Grant grant = answer(beat(kStart));
  grant.grant = 10s;
  holder_.on(grant, kStart + 1ms);
  EXPECT_EQ(deadline(), kStart + 250ms);
}

TEST_F(LeaseHolderTest, ANewTermNeedsNewGrants) {
  need({kStandby});
  holder_.on(answer(beat(kStart)), kStart + 1ms);
  const auto effects =
      holder_.need(kWeb, {.term = Term{8}, .required = {kStandby}, .asked = {}}, kStart + 2ms);
  EXPECT_EQ(last<SetGate>(effects)->deadline, kShut);
}

TEST_F(LeaseHolderTest, WhoIsNeededBesideBringsTheGrantsThatItHasGivenAsALearner) {
  holder_.need(kWeb, {.term = kTerm, .required = {}, .asked = {kStandby}}, kStart);
  holder_.on(answer(beat(kStart)), kStart + 1ms);
  EXPECT_EQ(deadline(), kOpen);
  const auto effects =
      holder_.need(kWeb, {.term = kTerm, .required = {kStandby}, .asked = {}}, kStart + 2ms);
  EXPECT_EQ(last<SetGate>(effects)->deadline, kStart + 250ms) << "before need() returns";
}

TEST_F(LeaseHolderTest, WhatIsInheritedCountsForThoseThatStoodByThen) {
  need({kStandby, kOther}, kStart + 120ms);
  EXPECT_EQ(deadline(), kStart + 120ms);
  holder_.on(answer(beat(kStart)), kStart + 10ms);
  EXPECT_EQ(deadline(), kStart + 120ms) << "the other one has not granted again";
}

TEST_F(LeaseHolderTest, WhatIsInheritedBoundsTheGateWithoutAStandbyToo) {
  need({}, kStart + 120ms);
  EXPECT_EQ(deadline(), kStart + 120ms) << "a swap of the earlier life may still name one";
  need({});
  EXPECT_EQ(deadline(), kOpen);
}

TEST_F(LeaseHolderTest, WhatIsForgottenIsLeftToItsDeadlineAndWhatIsShutIsShutAtOnce) {
  need({kStandby});
  const Heartbeat sent = beat(kStart);
  holder_.forget(kWeb);
  EXPECT_TRUE(holder_.on(answer(sent), kStart + 1ms).empty());
  EXPECT_EQ(last<SetGate>(holder_.shut(kWeb))->deadline, kShut);
}

TEST_F(LeaseHolderTest, FlowAndItsEndAreToldOnce) {
  need({kStandby});
  const Heartbeat sent = beat(kStart);
  EXPECT_EQ(last<GrantsFlow>(holder_.on(answer(sent), kStart + 1ms))->from, kStandby);
  EXPECT_FALSE(last<GrantsFlow>(holder_.on(answer(beat(kStart + 50ms)), kStart + 51ms)));
  EXPECT_FALSE(last<GrantsStopped>(holder_.tick(kStart + 100ms)));
  EXPECT_FALSE(last<GrantsStopped>(holder_.tick(kStart + 150ms)));
  EXPECT_EQ(last<GrantsStopped>(holder_.tick(kStart + 200ms))->from, kStandby)
      << "half a grant after the last heartbeat that was answered had been sent";
  EXPECT_FALSE(last<GrantsStopped>(holder_.tick(kStart + 250ms)));
}

TEST_F(LeaseHolderTest, WhoHadNothingToAnswerIsNotSilent) {
  need({kStandby});
  holder_.on(answer(beat(kStart)), kStart + 1ms);
  EXPECT_FALSE(last<GrantsStopped>(holder_.tick(kStart + 10s))) << "this thread has not run";
}

TEST_F(LeaseHolderTest, TheGateIsSetBeforeAnybodyHearsOfTheGrant) {
  need({kStandby});
  const auto effects = holder_.on(answer(beat(kStart)), kStart + 1ms);
  ASSERT_EQ(effects.size(), 2U);
  EXPECT_TRUE(std::holds_alternative<SetGate>(effects[0]));
  EXPECT_TRUE(std::holds_alternative<GrantsFlow>(effects[1]));
}

TEST_F(LeaseHolderTest, ALongGrantIsHeldWhenEveryContainerHasIt) {
  need({kStandby});
  holder_.on(answer(beat(kStart)), kStart + 1ms);
  holder_.ask_long(kLongGrant);
  const Heartbeat sent = beat(kStart + 2ms);
  EXPECT_EQ(sent.grant, kLongGrant);
  EXPECT_TRUE(last<LongGrantsHeld>(holder_.on(answer(sent), kStart + 3ms)));
  EXPECT_EQ(deadline(), kStart + 2ms + kLongGrant);
}

// ---- The standby's side ----

class LeaseGranterTest : public testing::Test {
 protected:
  LeaseGranter granter_{kStandby, kTiming};
  Charge charge_{.owner = kOwner, .term = kTerm, .role = Charge::Role::kStandby};
  std::uint64_t sequence_ = 0;
  Instant ticked_ = kStart;

  Heartbeat beat(Term term = kTerm, const NodeLife& from = kOwner) {
    return {.from = from, .sequence = ++sequence_, .grant = kTiming.grant, .rows = {{kWeb, term}}};
  }
  bool grants(const Heartbeat& heartbeat, Instant now) {
    return last<SendGrant>(granter_.on(heartbeat, now)).has_value();
  }
  // Its thread runs all the time: until `now`, is silence told?
  bool silent(Instant now) {
    bool told = false;
    while (ticked_ < now) {
      ticked_ = std::min(ticked_ + kTiming.heartbeat, now);
      told = told || last<OwnerSilent>(granter_.tick(ticked_)).has_value();
    }
    return told;
  }
  static Duration wait() { return wait_after(kTiming.grant, kTiming.margin); }
};

TEST_F(LeaseGranterTest, NothingIsGrantedWithoutACharge) { EXPECT_FALSE(grants(beat(), kStart)); }

TEST_F(LeaseGranterTest, AGrantIsWaitedOutWithItsMarginAndTheDriftOfClocks) {
  granter_.watch(kWeb, charge_, kStart);
  ASSERT_TRUE(grants(beat(), kStart + 10s));
  EXPECT_FALSE(silent(kStart + 10s + wait() - 1ns));
  EXPECT_TRUE(silent(kStart + 10s + wait()));
  EXPECT_EQ(wait(), 250ms + 250us + 50ms);
}

TEST_F(LeaseGranterTest, AnOwnerThatWasNeverHeardOfIsGivenTheTimeOfAGrant) {
  granter_.watch(kWeb, charge_, kStart);
  EXPECT_FALSE(silent(kStart + wait() - 1ns));
  EXPECT_TRUE(silent(kStart + wait()));
}

TEST_F(LeaseGranterTest, WhoWasPausedItselfGivesTheOwnerOneMoreHeartbeat) {
  granter_.watch(kWeb, charge_, kStart);
  granter_.tick(kStart);
  EXPECT_FALSE(last<OwnerSilent>(granter_.tick(kStart + 10s)));
  EXPECT_FALSE(last<OwnerSilent>(granter_.tick(kStart + 10s + kTiming.heartbeat - 1ns)));
  EXPECT_TRUE(last<OwnerSilent>(granter_.tick(kStart + 10s + kTiming.heartbeat)));
}

TEST_F(LeaseGranterTest, NothingIsGrantedAfterSilenceUntilResumed) {
  granter_.watch(kWeb, charge_, kStart);
  ASSERT_TRUE(silent(kStart + 1s));
  EXPECT_TRUE(granter_.withholds(kWeb));
  const auto effects = granter_.on(beat(), kStart + 2s);
  EXPECT_FALSE(last<SendGrant>(effects));
  EXPECT_TRUE(last<OwnerHeard>(effects));
  EXPECT_FALSE(last<OwnerHeard>(granter_.on(beat(), kStart + 2s))) << "it is told once";
  EXPECT_FALSE(silent(kStart + 3s)) << "it is told once";
  granter_.resume(kWeb, kStart + 4s);
  EXPECT_FALSE(granter_.withholds(kWeb));
  EXPECT_TRUE(grants(beat(), kStart + 4s));
}

TEST_F(LeaseGranterTest, AfterAResumptionTheOwnerIsGivenTheTimeOfAGrant) {
  granter_.watch(kWeb, charge_, kStart);
  ASSERT_TRUE(silent(kStart + 1s));
  granter_.resume(kWeb, kStart + 2s);
  EXPECT_FALSE(silent(kStart + 2s + wait() - 1ns));
  EXPECT_TRUE(silent(kStart + 2s + wait()));
}

TEST_F(LeaseGranterTest, ALearnerGrantsAndTakesNothingOver) {
  charge_.role = Charge::Role::kLearner;
  granter_.watch(kWeb, charge_, kStart);
  EXPECT_TRUE(grants(beat(), kStart));
  EXPECT_EQ(granter_.next_tick(), Instant::max());
  EXPECT_FALSE(silent(kStart + 10s));
}

TEST_F(LeaseGranterTest, AnotherRoleUnderTheSameOwnerDoesNotGrantAgain) {
  granter_.watch(kWeb, charge_, kStart);
  ASSERT_TRUE(silent(kStart + 1s));
  charge_.role = Charge::Role::kLearner;
  granter_.watch(kWeb, charge_, kStart + 1s);
  EXPECT_FALSE(grants(beat(), kStart + 1s)) << "a swap may be under way";
}

TEST_F(LeaseGranterTest, AnotherLifeOfTheOwnerIsNotAnswered) {
  granter_.watch(kWeb, charge_, kStart);
  EXPECT_FALSE(grants(beat(kTerm, {kOwner.node, Incarnation{9}}), kStart));
}

TEST_F(LeaseGranterTest, ALowerTermIsNotAnsweredAndAHigherOneIsTold) {
  granter_.watch(kWeb, charge_, kStart);
  EXPECT_TRUE(granter_.on(beat(Term{6}), kStart).empty());
  const auto effects = granter_.on(beat(Term{8}), kStart);
  EXPECT_FALSE(last<SendGrant>(effects));
  EXPECT_EQ(last<TermUnknown>(effects)->term, Term{8});
}

TEST_F(LeaseGranterTest, WhatWasGrantedToAFormerOwnerIsWaitedOut) {
  granter_.watch(kWeb, charge_, kStart);
  Heartbeat asks_long = beat();
  asks_long.grant = kLongGrant;
  ASSERT_TRUE(grants(asks_long, kStart));
  charge_ = {.owner = kOther, .term = Term{8}, .role = Charge::Role::kStandby};
  granter_.watch(kWeb, charge_, kStart + 1s);
  EXPECT_FALSE(silent(kStart + kLongGrant));
  EXPECT_TRUE(silent(kStart + wait_after(kLongGrant, kTiming.margin)));
}

TEST_F(LeaseGranterTest, NoGrantIsLongerThanTheLongest) {
  granter_.watch(kWeb, charge_, kStart);
  Heartbeat greedy = beat();
  greedy.grant = 24h;
  const auto granted = last<SendGrant>(granter_.on(greedy, kStart));
  ASSERT_TRUE(granted);
  EXPECT_EQ(granted->grant.grant, kLongestGrant);
}

TEST_F(LeaseGranterTest, WhatIsNoChargeAnyMoreIsForgottenWhenItsGrantHasEnded) {
  granter_.watch(kWeb, charge_, kStart);
  ASSERT_TRUE(grants(beat(), kStart));
  granter_.watch(kWeb, std::nullopt, kStart + 1ms);
  EXPECT_FALSE(grants(beat(), kStart + 2ms));
  granter_.watch(kWeb, charge_, kStart + 3ms);
  EXPECT_FALSE(silent(kStart + wait() - 1ns)) << "what was granted before is waited out";
}

TEST_F(LeaseGranterTest, AnOwnerThatHearsNoAnswersIsAnsweredNoMoreAndSoIsSilent) {
  granter_.watch(kWeb, charge_, kStart);
  Instant now = kStart;
  while (now < kStart + 2 * kTiming.grant) {
    ASSERT_TRUE(grants(beat(), now));
    now += kTiming.heartbeat;
  }
  EXPECT_FALSE(grants(beat(), now));
  EXPECT_TRUE(silent(now + wait()));
  granter_.resume(kWeb, now + wait());
  EXPECT_TRUE(grants(beat(), now + wait())) << "it is given the time to hear again";
}

TEST_F(LeaseGranterTest, AnOwnerThatHearsAnswersIsAnsweredOnAndOn) {
  granter_.watch(kWeb, charge_, kStart);
  Heartbeat heard = beat();
  for (Instant now = kStart; now < kStart + 10 * kTiming.grant; now += kTiming.heartbeat) {
    ASSERT_TRUE(grants(heard, now));
    ++heard.answered;
  }
}

TEST_F(LeaseGranterTest, ALearnerAnswersWhoeverHearsIt) {
  charge_.role = Charge::Role::kLearner;
  granter_.watch(kWeb, charge_, kStart);
  for (Instant now = kStart; now < kStart + 10 * kTiming.grant; now += kTiming.heartbeat) ASSERT_TRUE(grants(beat(), now));
}

// ---- Times ----

TEST(LeaseTimingTest, TheDefaultsAreSound) {
  EXPECT_TRUE(check(Timing{}));
  EXPECT_TRUE(check(kFastTiming));
}

TEST(LeaseTimingTest, WhatMakesNoSenseIsRefusedWithItsReason) {
  const auto refused = [](const Timing& timing, std::string_view what) {
    const Status status = check(timing);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code(), ErrorCode::kInvalid);
    EXPECT_NE(status.error().message().find(what), std::string::npos) << status.error().message();
  };
  refused({.heartbeat = 1ms}, "heartbeats");
  refused({.heartbeat = 6s, .grant = 60s}, "heartbeats");
  refused({.heartbeat = 100ms, .grant = 250ms}, "grants");
  refused({.grant = 10min}, "grants");
  refused({.margin = 1ms}, "a margin");
  refused({.margin = 300ms}, "a margin");
}

}  // namespace
}  // namespace perdure::policy::lease
