#include "deploy/what_if.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "deploy/test_support.h"

namespace perdure::deploy {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Failure failure(const std::vector<Failure>& all, const std::string& what) {
  for (const Failure& one : all) {
    if (one.what == what) return one;
  }
  ADD_FAILURE() << "no failure of " << what;
  return all.front();
}

TEST(WhatIf, TheStandbyOfADeadNodeGoesOn) {
  ClusterView view = test::cluster({"a", "b", "c"});
  view.containers.push_back({.name = test::container("shop-redis"), .application = "shop", .owner = test::node("a"), .standbys = {test::node("b")}});
  const Plan plan = test::plan(test::application(test::kPair), view);
  const std::vector<Failure> failures = failures_of(plan);
  ASSERT_EQ(failures.size(), 3U) << "no labels, no other domains";
  const std::size_t redis = test::index_of(plan, "shop-redis");
  const Failure of_a = failure(failures, "node a");
  const auto found = std::ranges::find(of_a.consequences, redis, &Consequence::container);
  ASSERT_NE(found, of_a.consequences.end());
  EXPECT_EQ(found->kind, Consequence::Kind::kGoesOn);
  EXPECT_EQ(plan.problem.nodes[*found->node].name.str(), "b");
  EXPECT_GE(of_a.unprotected, 1U);
}

TEST(WhatIf, ARackTakesAllOfItsNodes) {
  const Plan plan = test::plan(test::application(std::string("placement: {apart: node}\n") + test::kPair), test::cluster({"a r1", "b r1"}));
  const std::vector<Failure> failures = failures_of(plan);
  const Failure rack = failure(failures, "rack r1");
  EXPECT_EQ(rack.nodes.size(), 2U);
  ASSERT_EQ(rack.consequences.size(), 2U);
  for (const Consequence& consequence : rack.consequences) EXPECT_EQ(consequence.kind, Consequence::Kind::kGone);
}

TEST(WhatIf, OtherReplicasServe) {
  const Plan plan = test::plan(
      test::application("placement: {standbys: 0}\ncomponents: [{name: web, command: [web], provides: [{name: site}], replicas: 2}]\n"),
      test::cluster({"a", "b"}));
  const std::vector<Failure> failures = failures_of(plan);
  ASSERT_EQ(failures.size(), 2U);
  for (const Failure& one : failures) {
    ASSERT_EQ(one.consequences.size(), 1U);
    EXPECT_EQ(one.consequences[0].kind, Consequence::Kind::kServedByReplicas);
  }
}

TEST(WhatIf, DependenciesThatBreakAreNamed) {
  ClusterView view = test::cluster({"a r1", "b r1", "c r2"});
  view.containers.push_back({.name = test::container("shop-web"), .application = "shop", .owner = test::node("b")});
  view.containers.push_back({.name = test::container("shop-db"), .application = "shop", .owner = test::node("a"), .standbys = {test::node("c")}});
  const Plan plan = test::plan(test::application(R"(
placement: {apart: rack}
components:
  - {name: web, command: [web], requires: [{interface: db, delay-tolerance: 600us}]}
  - {name: db, command: [db], provides: [{name: db, state: stateful}]}
containers:
  - {name: web, components: [web], checkpoint: {standbys: 0}}
)"), view);
  ASSERT_THAT(plan.errors, IsEmpty());
  ASSERT_EQ(test::owner_of(plan, "shop-web"), "b");
  ASSERT_EQ(test::owner_of(plan, "shop-db"), "a");
  EXPECT_THAT(failure(failures_of(plan), "node a").broken, ElementsAre("shop-web would not be in the rack of shop-db"));
  EXPECT_THAT(failure(failures_of(plan), "node b").broken, IsEmpty()) << "web is gone as well";
}

}  // namespace
}  // namespace perdure::deploy
