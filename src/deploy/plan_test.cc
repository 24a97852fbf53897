#include "deploy/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "deploy/test_support.h"

namespace perdure::deploy {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(Plan, OwnersAndStandbysHaveDifferentNodes) {
  const Plan plan = test::plan(test::application(test::kPair), test::cluster({"a", "b", "c"}));
  EXPECT_THAT(plan.errors, IsEmpty());
  EXPECT_THAT(plan.warnings, IsEmpty());
  for (const placement::ContainerPlace& place : plan.placement.places) {
    ASSERT_TRUE(place.owner);
    ASSERT_EQ(place.standbys.size(), 1U);
    EXPECT_NE(place.standbys[0], *place.owner);
  }
  EXPECT_THAT(placement::violations_of(plan.problem, plan.placement.places), IsEmpty());
}

TEST(Plan, WithoutASecondNodeItWarns) {
  const Plan plan = test::plan(test::application(test::kPair), test::cluster({"a"}));
  EXPECT_TRUE(plan.possible());
  EXPECT_THAT(plan.warnings, ElementsAre(HasSubstr("shop-web' has 0 of 1 standbys"), HasSubstr("shop-redis' has 0 of 1 standbys")));
}

TEST(Plan, WithoutANodeItIsImpossible) {
  ClusterView view = test::cluster({"a"});
  view.nodes[0].reachable = false;
  EXPECT_THAT(test::plan(test::application(test::kPair), view).errors, ElementsAre(HasSubstr("no node of the cluster can be reached")));
}

TEST(Plan, WhatRunsStaysWhereItIs) {
  ClusterView view = test::cluster({"a", "b", "c"});
  view.containers.push_back({.name = test::container("shop-redis"), .application = "shop", .owner = test::node("c"), .standbys = {test::node("b")}});
  const Plan plan = test::plan(test::application(test::kPair), view);
  EXPECT_EQ(test::owner_of(plan, "shop-redis"), "c");
  EXPECT_EQ(plan.placement.score.moves, 0U);
}

TEST(Plan, OfADeadNodeItGoesToWhoStandsBy) {
  ClusterView view = test::cluster({"a", "b", "c"});
  view.nodes[2].reachable = false;
  view.containers.push_back({.name = test::container("shop-redis"), .application = "shop", .owner = test::node("c"), .standbys = {test::node("b")}});
  const Plan plan = test::plan(test::application(test::kPair), view);
  const auto& place = plan.placement.places[test::index_of(plan, "shop-redis")];
  ASSERT_TRUE(place.owner);
  EXPECT_EQ(test::owner_of(plan, "shop-redis"), "b");
  EXPECT_EQ(plan.placement.why[test::index_of(plan, "shop-redis")], "its owner is gone, and it stands by there");
}

TEST(Plan, WhatOthersHaveReservedIsNotGivenOutAgain) {
  ClusterView view = test::cluster({"a", "b", "c"});
  // 9 GiB are usable; redis needs one of them as owner, and one where it stands by.
  for (const char* name : {"a", "b"}) {
    view.containers.push_back({.name = test::container(std::string("foreign-") + name), .owner = test::node(name),
                               .reserved = {.memory = Bytes{(std::uint64_t{9} << 30) - (std::uint64_t{512} << 20)}}});
  }
  const Plan plan = test::plan(test::application(test::kPair), view);
  EXPECT_EQ(test::owner_of(plan, "shop-redis"), "c");
  EXPECT_THAT(plan.warnings, ElementsAre(HasSubstr("'shop-redis' has 0 of 1 standbys")));
}

TEST(Plan, WhatNoNodeCanHoldIsAnError) {
  const Plan plan = test::plan(test::application("components: [{name: big, command: [big], resources: {memory: 20GiB}}]\n"), test::cluster({"a", "b"}));
  EXPECT_THAT(plan.errors, ElementsAre(HasSubstr("'shop-big' has no place")));
}

TEST(Plan, ALabelThatIsMissedIsNamed) {
  const Plan plan = test::plan(test::application(R"(
components:
  - {name: web, command: [web], requires: [{interface: db, delay-tolerance: 600us}]}
  - {name: db, command: [db], provides: [{name: db}]}
placement: {standbys: 0}
)"), test::cluster({"a r1", "b"}));
  EXPECT_THAT(plan.warnings, ElementsAre(HasSubstr("asks for one rack, and b has no label rack")));
}

TEST(Plan, WithoutAnyLabelAllNodesAreTakenToBeTogether) {
  const Plan plan = test::plan(test::application(R"(
components:
  - {name: web, command: [web], requires: [{interface: db, delay-tolerance: 600us}], replicas: 2}
  - {name: db, command: [db], provides: [{name: db}]}
placement: {standbys: 0}
)"), test::cluster({"a", "b"}));
  EXPECT_THAT(plan.errors, IsEmpty());
  EXPECT_THAT(plan.warnings, ElementsAre(HasSubstr("no node has a label rack"), HasSubstr("no node has a label data-centre")));
}

TEST(Plan, AForeignContainerOfTheSameNameIsNotTouched) {
  ClusterView view = test::cluster({"a", "b"});
  view.containers.push_back({.name = test::container("shop-web"), .owner = test::node("a")});
  view.containers.push_back({.name = test::container("shop-redis"), .application = "other", .owner = test::node("a")});
  EXPECT_THAT(test::plan(test::application(test::kPair), view).errors,
              ElementsAre(HasSubstr("'shop-web' is there already and belongs to no application"),
                          HasSubstr("'shop-redis' is there already and belongs to application 'other'")));
}

TEST(Plan, AddressesOfOthersAreNotGivenOut) {
  ClusterView view = test::cluster({"a", "b"});
  view.containers.push_back({.name = test::container("foreign"), .owner = test::node("a"),
                             .addresses = {model::IpAddress::parse("192.0.2.20").value()}});
  const Plan plan = test::plan(test::application(test::kPair), view);
  EXPECT_EQ(model::to_string(*plan.addresses[0]), "192.0.2.21/24");
}

}  // namespace
}  // namespace perdure::deploy
