// Proves: how a cluster's timing is written, and that a change of it while grants are given opens no gate for longer than its
// standbys wait, tells nobody silent who answers, and closes no gate that was kept open before.
#include "policy/lease_timing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>

#include "policy/lease_granter.h"
#include "policy/lease_holder.h"

namespace perdure::policy::lease {
namespace {

using namespace std::chrono_literals;

constexpr Timing kSlow{.heartbeat = 1s, .grant = 5s, .margin = 500ms};

std::string refusal(std::string_view text) {
  const auto parsed = parse_timing(text);
  return parsed ? "" : parsed.error().message();
}

TEST(LeaseTiming, ItIsWrittenAsANameOrAsThreeDurations) {
  EXPECT_EQ(parse_timing("default").value(), Timing{});
  EXPECT_EQ(parse_timing("fast").value(), kFastTiming);
  EXPECT_EQ(parse_timing("100ms,500ms,50ms").value(), (Timing{.heartbeat = 100ms, .grant = 500ms, .margin = 50ms}));
  EXPECT_EQ(name_of(Timing{}), "default");
  EXPECT_EQ(name_of(kFastTiming), "fast");
  EXPECT_EQ(name_of(kSlow), "custom");
  EXPECT_EQ(time_to_notice(kFastTiming), 100'080us);
}

TEST(LeaseTiming, WhatIsNoneIsRefusedByNameAndRule) {
  for (const std::string_view text : {"", "slow", "1s", "1s,2s", "50ms,250ms,50ms,1s", "fast,1s"}) {
    EXPECT_TRUE(refusal(text).contains("neither 'default' nor 'fast'")) << text << ": " << refusal(text);
    EXPECT_TRUE(refusal(text).contains(text)) << refusal(text);
  }
  EXPECT_TRUE(refusal("50,250ms,50ms").contains("timing '50,250ms,50ms'")) << refusal("50,250ms,50ms");
  EXPECT_TRUE(refusal("1ms,250ms,50ms").contains("heartbeats every 1 ms")) << refusal("1ms,250ms,50ms");
  EXPECT_TRUE(refusal("50ms,100ms,50ms").contains("grants of 100 ms")) << refusal("50ms,100ms,50ms");
  EXPECT_TRUE(refusal("50ms,250ms,300ms").contains("a margin of 300 ms")) << refusal("50ms,250ms,300ms");
}

// An owner and a standby, and what is under way between them.
class Pair {
 public:
  Pair(const Timing& timing, Duration delay) : delay_(delay), holder_(owner_, timing), granter_(standby_, timing) {
    granter_.watch(name_, Charge{owner_, Term{1}, Charge::Role::kStandby}, now_);
    perform(holder_.need(name_, {.term = Term{1}, .required = {standby_}, .asked = {}}, now_));
  }

  void owner_uses(const Timing& timing) { holder_.use(timing, now_); }
  void standby_uses(const Timing& timing) { granter_.use(timing); }
  void cut() { cut_ = true; }
  void lose_one() { lose_one_ = true; }
  // Heartbeats are only lost while this is true.
  bool silent() const { return silent_; }
  bool stopped() const { return stopped_; }
  bool gate_open() const { return holder_.deadline(name_).value() > now_; }
  Instant now() const { return now_; }

  // In steps of a millisecond. The gate may be open only while the standby has not given up waiting.
  void run(Duration time) {
    for (const Instant end = now_ + time; now_ < end;) {
      now_ += 1ms;
      deliver();
      perform(holder_.tick(now_));
      perform(granter_.tick(now_));
      if (silent_) {
        ASSERT_FALSE(gate_open());
      }
    }
  }

 private:
  template <typename Message>
  struct UnderWay {
    Instant arrives;
    Message message;
  };

  void deliver() {
    while (!heartbeats_.empty() && heartbeats_.front().arrives <= now_) {
      perform(granter_.on(heartbeats_.front().message, now_));
      heartbeats_.pop_front();
    }
    while (!grants_.empty() && grants_.front().arrives <= now_) {
      perform(holder_.on(grants_.front().message, now_));
      grants_.pop_front();
    }
  }
  void perform(const std::vector<HolderEffect>& effects) {
    for (const HolderEffect& effect : effects) {
      if (const auto* beat = std::get_if<SendHeartbeat>(&effect); beat != nullptr && !cut_) {
        if (!std::exchange(lose_one_, false)) heartbeats_.push_back({now_ + delay_, beat->heartbeat});
      }
      if (std::holds_alternative<GrantsStopped>(effect)) stopped_ = true;
    }
  }
  void perform(const std::vector<GranterEffect>& effects) {
    for (const GranterEffect& effect : effects) {
      if (const auto* grant = std::get_if<SendGrant>(&effect); grant != nullptr && !cut_) {
        grants_.push_back({now_ + delay_, grant->grant});
      }
      if (std::holds_alternative<OwnerSilent>(effect)) silent_ = true;
    }
  }

  const ContainerName name_ = ContainerName::parse("web").value();
  const model::NodeLife owner_{NodeName::parse("a").value(), Incarnation{1}};
  const model::NodeLife standby_{NodeName::parse("b").value(), Incarnation{2}};
  const Duration delay_;
  Instant now_{std::chrono::hours(1)};
  LeaseHolder holder_;
  LeaseGranter granter_;
  std::deque<UnderWay<Heartbeat>> heartbeats_;
  std::deque<UnderWay<Grant>> grants_;
  bool cut_ = false, lose_one_ = false, silent_ = false, stopped_ = false;
};

constexpr std::array kTimings{Timing{}, kFastTiming, kSlow};

TEST(LeaseTiming, AChangeTellsNobodySilentWhoAnswers) {
  for (const Timing& before : kTimings) {
    for (const Timing& after : kTimings) {
      for (int phase = 0; phase < 60; ++phase) {
        Pair pair(before, 8ms);
        pair.run(2 * before.grant + std::chrono::milliseconds(phase * 17));
        pair.owner_uses(after);
        pair.standby_uses(after);
        pair.run(2 * std::max(before.grant, after.grant));
        ASSERT_FALSE(pair.stopped()) << name_of(before) << " to " << name_of(after) << ", phase " << phase;
        ASSERT_FALSE(pair.silent()) << name_of(before) << " to " << name_of(after) << ", phase " << phase;
        ASSERT_TRUE(pair.gate_open()) << name_of(before) << " to " << name_of(after) << ", phase " << phase;
      }
    }
  }
}

// The first heartbeat that asks for long grants is lost: the next one must not be that far away.
TEST(LeaseTiming, AHeartbeatThatIsLostWhileGrantsGrowSilencesNobody) {
  Pair pair(kFastTiming, 2ms);
  pair.run(1s);
  pair.owner_uses(kSlow);
  pair.lose_one();
  for (int i = 0; i < 2000; ++i) {
    pair.run(1ms);
    ASSERT_TRUE(pair.gate_open()) << i;
  }
}

// Whoever changes first, and whenever the two are cut: the gate has closed before the standby gives up waiting.
TEST(LeaseTiming, NoChangeOpensAGateForLongerThanItsStandbyWaits) {
  std::mt19937 random(7);
  const auto upto = [&](int most) { return std::chrono::milliseconds(std::uniform_int_distribution(0, most)(random)); };
  for (int life = 0; life < 300; ++life) {
    Pair pair(kTimings[static_cast<std::size_t>(life) % kTimings.size()], 1ms + upto(5));
    pair.run(upto(1500));
    for (int change = 0; change < 3; ++change) {
      const Timing& after = kTimings[random() % kTimings.size()];
      if (random() % 2 == 0) {
        pair.owner_uses(after);
        pair.run(upto(300));
        pair.standby_uses(after);
      } else {
        pair.standby_uses(after);
        pair.run(upto(300));
        pair.owner_uses(after);
      }
      if (change == 2) pair.cut();
      pair.run(upto(400));
    }
    pair.run(12s);
    ASSERT_TRUE(pair.silent()) << life;
  }
}

TEST(LeaseTiming, ASmallerMarginHoldsForGrantsThatAreGivenAfterTheChange) {
  const ContainerName name = ContainerName::parse("web").value();
  const model::NodeLife owner{NodeName::parse("a").value(), Incarnation{1}};
  LeaseGranter granter({NodeName::parse("b").value(), Incarnation{2}}, kSlow);
  const Instant begin{std::chrono::hours(1)};
  granter.watch(name, Charge{owner, Term{1}, Charge::Role::kStandby}, begin);
  granter.on(Heartbeat{.from = owner, .sequence = 1, .grant = kSlow.grant, .rows = {{name, Term{1}}}}, begin);
  granter.use(kFastTiming);
  const Instant end = begin + wait_after(kSlow.grant, kSlow.margin);
  for (Instant now = begin; now < end; now += kFastTiming.heartbeat) EXPECT_TRUE(granter.tick(now).empty());
  const auto effects = granter.tick(end + kFastTiming.heartbeat);
  ASSERT_EQ(effects.size(), 1U);
  EXPECT_TRUE(std::holds_alternative<OwnerSilent>(effects.front()));
}

}  // namespace
}  // namespace perdure::policy::lease
