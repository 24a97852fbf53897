// Proves that a standby becomes the owner when the owner is silent, and at no other time; that the former owner lets go; and what is
// restored.
//
// How: nodes with everything above the seams in one process (testing/cluster_world.h). A node whose heartbeats are paused hangs:
// it neither sends nor answers any, and what it runs goes on.
#include <algorithm>
#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "node/testing/cluster_world.h"

namespace perdure::node::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

class TakeoverWorldTest : public ClusterWorld {
 protected:
  TakeoverWorldTest() {
    timing_ = {.heartbeat = std::chrono::milliseconds(20),
               .grant = std::chrono::milliseconds(400),
               .margin = std::chrono::milliseconds(50)};
  }
  void protect() {
    begin("a");
    begin("b");
    node("a").run("web");
    ASSERT_TRUE(until([&] { return runs_on("a", "web") && caught_up("a", "b", "web"); }));
  }
  std::vector<std::string> kinds(const std::string& name) {
    std::vector<std::string> all;
    for (const control::v1::Event& event : node(name).events().recent()) all.push_back(event.kind());
    return all;
  }
  const control::v1::Event* event(const std::string& name, const std::string& kind) {
    const control::v1::Event* found = nullptr;
    for (const control::v1::Event& one : node(name).events().recent()) {
      if (one.kind() == kind) found = &one;
    }
    return found;
  }
  bool gate_is_open(const std::string& name) {
    FakeBackend& there = backend(name, "web");
    return there.gate_is_open() && there.deadline() > clock_.now();
  }
};

TEST_F(TakeoverWorldTest, AnOwnerThatHangsIsTakenOverAndLetsGoWhenItIsBack) {
  protect();
  const Term before = node("a").record("web")->term;
  node("a").leases().pause(true);
  ASSERT_TRUE(until([&] { return runs_on("b", "web"); }));
  EXPECT_FALSE(gate_is_open("a")) << "it has fallen silent by itself";
  EXPECT_TRUE(gate_is_open("b"));
  EXPECT_EQ(node("b").record("web")->term.value, before.value + 1);
  const control::v1::Event* taken = event("b", "taken_over");
  ASSERT_NE(taken, nullptr);
  EXPECT_THAT(taken->text(), HasSubstr("from 'a', which has fallen silent"));
  for (const char* step : {"noticed", "swapped", "restored", "lost"}) EXPECT_TRUE(taken->durations_ns().contains(step)) << step;
  node("a").leases().pause(false);
  ASSERT_TRUE(until([&] { return node("a").service("web") == nullptr && caught_up("b", "a", "web"); }))
      << "the former owner stands by";
  EXPECT_THAT(kinds("a"), Contains("ownership_lost"));
  ASSERT_TRUE(until([&] { return !gate_is_open("a"); }));
}

TEST_F(TakeoverWorldTest, WhatIsRestoredIsTheNewestThatIsHeld) {
  protect();
  node("a").leases().pause(true);
  std::optional<Generation> held;
  ASSERT_TRUE(until([&] {
    if (!node("b").service("web") && node("b").held("web")) held = node("b").held("web")->newest->generation;
    return runs_on("b", "web");
  }));
  const auto calls = backend("b", "web").calls();
  ASSERT_TRUE(held);
  EXPECT_THAT(calls, Contains("restore " + to_string(*held)));
}

TEST_F(TakeoverWorldTest, AStandbyThatHangsDoesNotSilenceTheOwner) {
  protect();
  node("b").leases().pause(true);
  ASSERT_TRUE(until([&] { return node("a").record("web")->standbys.empty(); }));
  ASSERT_TRUE(until([&] { return backend("a", "web").deadline() == Instant::max(); }));
  EXPECT_TRUE(gate_is_open("a"));
  EXPECT_THAT(kinds("a"), Contains("standby_dropped"));
  EXPECT_THAT(kinds("b"), Not(Contains("taken_over")));
  node("b").leases().pause(false);
  ASSERT_TRUE(until([&] { return caught_up("a", "b", "web"); })) << "it is back";
}

TEST_F(TakeoverWorldTest, AGateWithStandbysHasADeadlineThatIsRenewed) {
  protect();
  const Instant deadline = backend("a", "web").deadline();
  ASSERT_LT(deadline, Instant::max());
  ASSERT_TRUE(until([&] { return backend("a", "web").deadline() > deadline; }));
}

TEST_F(TakeoverWorldTest, WhatCannotBeRestoredGivesItsPlaceToTheOneBefore) {
  protect();
  int failures = 1;
  backend("b", "web").on_restore([&]() -> Status {
    if (failures-- > 0) return fail(ErrorCode::kCorrupt, "the newest does not verify");
    return {};
  });
  ASSERT_TRUE(until([&] { return node("b").standbys().table().restorable(container_name("web")).size() > 1; }));
  node("a").leases().pause(true);
  ASSERT_TRUE(until([&] { return runs_on("b", "web"); }));
  EXPECT_THAT(kinds("b"), Contains("passed_over"));
}

TEST_F(TakeoverWorldTest, WhereNothingHeldCanBeRestoredOthersAreAsked) {
  protect();
  node("b").elsewhere = node("a").service("web")->newest_in_memory();
  ASSERT_TRUE(node("b").elsewhere);
  std::atomic<int> refused = 0;
  const std::size_t held = node("b").standbys().table().restorable(container_name("web")).size();
  backend("b", "web").on_restore([&, held]() -> Status {
    if (refused++ < static_cast<int>(held) + 1) return fail(ErrorCode::kCorrupt, "it does not verify");
    return {};
  });
  node("a").leases().pause(true);
  ASSERT_TRUE(until([&] { return node("b").service("web") != nullptr; })) << "it is the owner, whatever it can restore";
  ASSERT_TRUE(until([&] { return runs_on("b", "web"); }));
  EXPECT_EQ(node("b").record("web")->owner, node("b").self());
}

TEST_F(TakeoverWorldTest, AStoppedContainerIsNotTakenOver) {
  protect();
  node("a").owned("web")->handle(own::DesiredAsked{model::DesiredState::kStopped});
  ASSERT_TRUE(until([&] { return node("b").record("web")->desired == model::DesiredState::kStopped; }));
  node("a").leases().pause(true);
  ASSERT_TRUE(until([&] {
    const auto all = kinds("b");
    return std::ranges::contains(all, "not_taken_over");
  }));
  EXPECT_EQ(node("b").record("web")->owner.node, node_name("a"));
  EXPECT_THAT(kinds("b"), Not(Contains("taken_over")));
}

TEST_F(TakeoverWorldTest, OfTwoStandbysOneTakesOverAndTheOtherStandsBy) {
  standbys_wanted_ = 2;
  begin("a");
  begin("b");
  begin("c");
  node("a").run("web");
  ASSERT_TRUE(until([&] { return caught_up("a", "b", "web") && caught_up("a", "c", "web"); }));
  node("a").leases().pause(true);
  ASSERT_TRUE(until([&] { return runs_on("b", "web") || runs_on("c", "web"); }));
  const std::string owner = runs_on("b", "web") ? "b" : "c";
  const std::string other = owner == "b" ? "c" : "b";
  ASSERT_TRUE(until([&] { return caught_up(owner, other, "web"); }));
  ASSERT_TRUE(until([&] { return gate_is_open(owner); }));
  EXPECT_EQ(node(other).service("web"), nullptr);
}

}  // namespace
}  // namespace perdure::node::testing
