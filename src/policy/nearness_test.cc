// When a container follows what it depends on, and when it does not: look by look on a clock of the test's own.
#include "policy/nearness.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace perdure::policy::nearness {
namespace {

using namespace std::chrono_literals;

NodeName node(std::string_view text) { return NodeName::parse(text).value(); }

class NearnessTest : public testing::Test {
 protected:
  using Told = std::vector<std::string>;

  // Effects as text, without emitted text but its kind.
  Told handle(const Event& event) {
    Told told;
    for (const Effect& effect : machine_.handle(event, now_)) {
      const auto* emitted = std::get_if<Emit>(&effect);
      told.push_back(emitted != nullptr ? emitted->kind : to_string(effect));
    }
    return told;
  }
  Told look(const Looked& event) {
    now_ += options_.look_interval;
    return handle(event);
  }
  // The same again and again; all that came of it.
  Told look_for(Duration time, const Looked& event) {
    Told told;
    for (const Instant end = now_ + time; now_ < end;) {
      for (const std::string& it : look(event)) told.push_back(it);
    }
    return told;
  }
  static Looked near(std::string_view at = "a") { return {.sponsors_at = {{"db", node(at)}}, .candidates = {{node("b"), 1}}}; }
  static Looked far(std::vector<Candidate> candidates, std::string_view at = "b") {
    return {.sponsors_at = {{"db", node(at)}}, .too_far = {"'db' is far"}, .candidates = std::move(candidates)};
  }

  const Options options_;
  Nearness machine_{options_};
  Instant now_{1h};
};

TEST_F(NearnessTest, ItFollowsToTheStandbyThatIsCloserOnceTheOtherHasStayed) {
  EXPECT_EQ(look_for(1min, near()), Told());
  const Looked event = far({{node("c"), 1}, {node("b"), 0}});
  EXPECT_EQ(look_for(options_.settle, event), Told());
  EXPECT_EQ(machine_.held_back(), "");
  EXPECT_EQ(look(event), (Told{"follows_sponsors", "hand over to 'b'"}));
  EXPECT_EQ(look_for(1h, event), Told()) << "it is on its way";
}

TEST_F(NearnessTest, WhoIsOnItsWayIsWaitedForAndThenHasToStay) {
  Looked event = far({{node("b"), 0}});
  event.settled = false;
  EXPECT_EQ(look_for(options_.tell_after, event), Told());
  EXPECT_EQ(machine_.held_back(), "one of those that it depends on is on its way");
  EXPECT_EQ(look(event), Told{"far_from_sponsors"});
  event.settled = true;
  EXPECT_EQ(look_for(options_.settle, event), Told());
  event.sponsors_at = {{"db", node("d")}};  // it has failed over again
  EXPECT_EQ(look_for(options_.settle, event), Told());
  EXPECT_EQ(look(event), (Told{"follows_sponsors", "hand over to 'b'"}));
}

TEST_F(NearnessTest, ItNeverGoesWhereItIsNoCloser) {
  const Looked event = far({{node("b"), 1}, {node("c"), 2}});
  EXPECT_EQ(look_for(options_.tell_after, event), Told());
  EXPECT_EQ(machine_.held_back(), "no ready standby is closer to them");
  EXPECT_EQ(look(event), Told{"far_from_sponsors"});
  EXPECT_EQ(look_for(1h, event), Told()) << "told once";
  EXPECT_EQ(look(near("b")), Told{"near_sponsors"});
  EXPECT_TRUE(machine_.too_far().empty());
  EXPECT_EQ(look_for(options_.tell_after, far({})), Told());
  EXPECT_EQ(machine_.held_back(), "no standby is ready to take it");
}

TEST_F(NearnessTest, OfTwoItGoesWhereFewerAreTooFar) {
  Looked event = far({{node("b"), 1}});
  event.too_far = {"'db' is far", "'cache' is far"};
  EXPECT_EQ(look_for(options_.settle, event), Told());
  EXPECT_EQ(look(event), (Told{"follows_sponsors", "hand over to 'b'"}));
}

TEST_F(NearnessTest, WhereAnOperatorHasPutItItStaysUntilTheOtherGoes) {
  EXPECT_EQ(handle(WasPlaced{}), Told());
  EXPECT_EQ(look_for(options_.tell_after, far({{node("b"), 0}})), Told());
  EXPECT_EQ(look(far({{node("b"), 0}})), Told{"far_from_sponsors"});
  EXPECT_EQ(look_for(1h, far({{node("b"), 0}})), Told());
  EXPECT_EQ(look_for(options_.settle, far({{node("c"), 0}}, "c")), Told());
  EXPECT_EQ(look(far({{node("c"), 0}}, "c")), (Told{"follows_sponsors", "hand over to 'c'"}));
}

TEST_F(NearnessTest, WhoIsAwayForAWhileHasNotGoneElsewhere) {
  EXPECT_EQ(handle(WasPlaced{}), Told());
  EXPECT_EQ(look_for(1min, {.candidates = {{node("b"), 0}}}), Told()) << "nothing has been read yet";
  EXPECT_EQ(look_for(options_.tell_after, far({{node("b"), 0}})), Told());
  EXPECT_EQ(look_for(1h, far({{node("b"), 0}})), Told{"far_from_sponsors"});
  EXPECT_EQ(look_for(1min, {}), Told{"near_sponsors"}) << "it is stopped";
  EXPECT_EQ(look_for(options_.tell_after, far({{node("b"), 0}})), Told());
  EXPECT_TRUE(machine_.held_back().starts_with("it was put here")) << "and started again";
  EXPECT_EQ(look_for(options_.settle + options_.look_interval, far({{node("c"), 0}}, "c")), Told({"far_from_sponsors", "follows_sponsors", "hand over to 'c'"}));
}

TEST_F(NearnessTest, AMoveThatFailsIsTriedAgainLater) {
  const Looked event = far({{node("b"), 0}});
  EXPECT_EQ(look_for(options_.settle + options_.look_interval, event), (Told{"follows_sponsors", "hand over to 'b'"}));
  EXPECT_EQ(handle(MoveFailed{"the node is full"}), Told());
  EXPECT_EQ(look(event), Told());
  EXPECT_EQ(machine_.held_back(), "it could not be moved: the node is full");
  EXPECT_EQ(look_for(options_.tell_after - options_.settle, event), Told{"far_from_sponsors"});
  EXPECT_EQ(look_for(options_.move_again, event), (Told{"follows_sponsors", "hand over to 'b'"}));
}

TEST_F(NearnessTest, WhoIsNowhereIsNotFollowed) {
  EXPECT_EQ(look_for(1h, {.candidates = {{node("b"), 0}}}), Told());
}

}  // namespace
}  // namespace perdure::policy::nearness
