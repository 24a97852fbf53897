// When an owner that hears nothing of the addresses of `network.reachability` hands its container over, and when it does not: round
// by round on a clock of the test's own.
#include "policy/reachability.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace perdure::policy::reachability {
namespace {

using namespace std::chrono_literals;

model::IpAddress ip(std::string_view text) { return model::IpAddress::parse(text).value(); }
NodeName node(std::string_view text) { return NodeName::parse(text).value(); }

class ReachabilityTest : public testing::Test {
 protected:
  // Effects as text, without emitted text but its kind.
  std::vector<std::string> handle(const Event& event) {
    std::vector<std::string> told;
    for (const Effect& effect : machine_.handle(event, now_)) {
      const auto* emitted = std::get_if<Emit>(&effect);
      told.push_back(emitted != nullptr ? emitted->kind : to_string(effect));
    }
    return told;
  }
  std::vector<std::string> round(const std::set<model::IpAddress>& answered, std::vector<NodeName> candidates = {node("b")}) {
    now_ += options_.probe_interval;
    return handle(Probed{answered, std::move(candidates)});
  }
  // Rounds without an answer for so long; what came of the last one.
  std::vector<std::string> silence(Duration time, const std::vector<NodeName>& candidates = {node("b")}) {
    std::vector<std::string> last;
    for (const Instant end = now_ + time; now_ < end;) last = round({}, candidates);
    return last;
  }
  std::vector<std::string> answer(std::string_view from, std::uint64_t question, Reaches reaches) {
    return handle(StandbyAnswered{node(from), question, reaches});
  }

  using Told = std::vector<std::string>;
  const Options options_;
  const model::IpAddress router_ = ip("10.1.0.1");
  const model::IpAddress other_ = ip("fe80::1");
  Reachability machine_{{router_, other_}, options_};
  Instant now_{1h};
};

TEST_F(ReachabilityTest, AStandbyThatReachesAnAddressGetsTheContainer) {
  EXPECT_EQ(machine_.state(), State::kUnknown);
  EXPECT_EQ(round({router_}), Told());
  EXPECT_EQ(machine_.state(), State::kReachable);
  EXPECT_EQ(silence(options_.silence), Told()) << "the first silent round begins it";
  EXPECT_EQ(round({}), (Told{"unreachable", "ask 'b' #1"}));
  EXPECT_EQ(machine_.state(), State::kUnreachable);
  EXPECT_EQ(answer("b", 1, Reaches::kYes), (Told{"handed_over", "hand over to 'b'"}));
  EXPECT_EQ(silence(1h), Told()) << "it is on its way";
}

TEST_F(ReachabilityTest, OneAddressThatAnswersIsEnough) {
  for (int i = 0; i < 20; ++i) EXPECT_EQ(round({i % 2 == 0 ? router_ : other_}), Told());
  const auto rows = machine_.addresses();
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].state, State::kUnreachable);
  EXPECT_EQ(rows[0].last_answer, now_ - options_.probe_interval);
  EXPECT_EQ(rows[1].state, State::kReachable);
}

TEST_F(ReachabilityTest, AnAnswerBeginsTheSilenceAnew) {
  EXPECT_EQ(silence(options_.silence), Told());
  EXPECT_EQ(round({other_}), Told());
  EXPECT_EQ(silence(options_.silence), Told());
}

TEST_F(ReachabilityTest, AHaltOfPerduredIsNoSilence) {
  EXPECT_EQ(round({}), Told());
  now_ += 1h;
  EXPECT_EQ(round({}), Told()) << "the second round only";
  EXPECT_EQ(round({}), (Told{"unreachable", "ask 'b' #1"}));
}

TEST_F(ReachabilityTest, WhatCannotBeAskedIsNotSilent) {
  silence(options_.silence);
  EXPECT_EQ(handle(ProbeFailed{"no bridge"}), Told());
  EXPECT_EQ(machine_.state(), State::kUnknown);
  EXPECT_EQ(machine_.addresses().front().state, State::kUnknown);
  EXPECT_EQ(silence(options_.silence), Told());
}

TEST_F(ReachabilityTest, NothingIsGainedWhereNoStandbyReachesThem) {
  const std::vector<NodeName> both{node("b"), node("c")};
  silence(options_.silence, both);
  EXPECT_EQ(round({}, both), (Told{"unreachable", "ask 'b' #1", "ask 'c' #1"}));
  EXPECT_EQ(answer("b", 1, Reaches::kNo), Told());
  EXPECT_EQ(answer("c", 1, Reaches::kNo), Told{"unreachable_everywhere"});
  EXPECT_NE(machine_.held_back(), "");
  EXPECT_EQ(silence(options_.ask_again - options_.probe_interval, both), Told());
  EXPECT_EQ(round({}, both), (Told{"ask 'b' #2", "ask 'c' #2"}));
  EXPECT_EQ(answer("b", 2, Reaches::kNo), Told());
  EXPECT_EQ(answer("c", 2, Reaches::kNo), Told()) << "it has been told";
  silence(options_.ask_again, both);
  EXPECT_EQ(answer("c", 3, Reaches::kYes), (Told{"handed_over", "hand over to 'c'"}));
  EXPECT_EQ(answer("b", 3, Reaches::kYes), Told()) << "it goes to one";
}

TEST_F(ReachabilityTest, WithoutAReadyStandbyItStays) {
  silence(options_.silence, {});
  EXPECT_EQ(round({}, {}), Told{"unreachable"});
  EXPECT_EQ(machine_.held_back(), "no standby is ready to take it");
  EXPECT_EQ(round({}), Told{"ask 'b' #1"}) << "as soon as one is";
}

TEST_F(ReachabilityTest, AnAnswerThatComesTooLateMovesNothing) {
  silence(options_.silence + options_.probe_interval);
  EXPECT_EQ(round({router_}), Told{"reachable"});
  EXPECT_EQ(answer("b", 1, Reaches::kYes), Told());
  silence(options_.silence + options_.probe_interval);
  EXPECT_EQ(answer("b", 1, Reaches::kYes), Told()) << "to the former question";
  EXPECT_EQ(answer("c", 2, Reaches::kYes), Told()) << "of one that was not asked";
  EXPECT_EQ(answer("b", 2, Reaches::kYes), (Told{"handed_over", "hand over to 'b'"}));
}

TEST_F(ReachabilityTest, WhatCameBecauseItsFormerOwnerReachedNobodyStaysForAWhile) {
  EXPECT_EQ(handle(CameFromUnreachable{}), Told());
  const Instant came = now_;
  silence(options_.silence);
  EXPECT_EQ(round({}), Told{"unreachable"});
  EXPECT_NE(machine_.held_back(), "");
  EXPECT_EQ(silence(came + options_.stay - options_.probe_interval - now_), Told());
  EXPECT_EQ(round({}), Told{"ask 'b' #1"});
}

TEST_F(ReachabilityTest, AMoveThatFailedIsNotTriedAgainAtOnce) {
  silence(options_.silence + options_.probe_interval);
  answer("b", 1, Reaches::kYes);
  EXPECT_EQ(handle(MoveFailed{"no room"}), Told());
  const Instant failed = now_;
  EXPECT_EQ(silence(failed + options_.move_again - options_.probe_interval - now_), Told());
  EXPECT_NE(machine_.held_back().find("no room"), std::string::npos);
  EXPECT_EQ(round({}), Told{"ask 'b' #2"});
}

}  // namespace
}  // namespace perdure::policy::reachability
