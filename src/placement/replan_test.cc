// Proves that after the loss of nodes only those move that have lost something: to the first standby that is left, if it can take
// them; and that all the others stay where they are.
#include "placement/replan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

namespace perdure::placement {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

PlaceNode node(const std::string& name, std::uint64_t memory, const std::string& rack = "") {
  return {.name = NodeName::parse(name).value(), .domains = {"", rack, ""}, .capacity = {Bytes{memory}, {8000}, Bytes{1}}};
}

PlaceContainer container(const std::string& name, std::uint64_t memory, std::size_t owner, std::vector<std::size_t> present) {
  return {.name = ContainerName::parse(name).value(),
          .demand = {Bytes{memory}, {1000}, {}},
          .standbys = static_cast<std::uint32_t>(present.size()),
          .owner = owner,
          .present = std::move(present)};
}

TEST(Replan, TheFirstStandbyThatIsLeftTakesOver) {
  const PlacementProblem problem{.nodes = {node("n1", 100), node("n2", 100), node("n3", 100), node("n4", 100)},
                                 .containers = {container("a", 10, 0, {1, 2}), container("b", 10, 3, {0})}};
  const Remainder left = remainder_of(problem, {true, true, false, false});
  EXPECT_THAT(left.nodes, ElementsAre(2, 3));
  EXPECT_EQ(left.problem.containers[0].owner, 0u) << "n3";
  EXPECT_TRUE(left.problem.containers[0].owner_is_gone);
  EXPECT_THAT(left.problem.containers[0].present, IsEmpty());
  EXPECT_EQ(left.problem.containers[1].owner, 1u) << "n4, as before";
  const Placement placement = replan(left.problem);
  EXPECT_THAT(violations_of(left.problem, placement.places), IsEmpty());
  EXPECT_EQ(placement.places[0], (ContainerPlace{.owner = 0, .standbys = {1}}));
  EXPECT_EQ(placement.places[1], (ContainerPlace{.owner = 1, .standbys = {0}}));
  EXPECT_EQ(placement.score.moves, 2u) << "each gets a new standby";
  EXPECT_TRUE(placement.why[0].starts_with("its owner is gone, and it stands by there")) << placement.why[0];
  EXPECT_EQ(placement.why[1], "it runs there");
}

TEST(Replan, WithoutAStandbyItGoesWhereThereIsRoom) {
  const PlacementProblem problem{.nodes = {node("n1", 100), node("n2", 100), node("n3", 5)}, .containers = {container("a", 10, 0, {})}};
  const Remainder left = remainder_of(problem, {true, false, false});
  EXPECT_EQ(left.problem.containers[0].owner, std::nullopt);
  EXPECT_FALSE(left.problem.containers[0].owner_is_gone);
  EXPECT_EQ(replan(left.problem).places[0].owner, 0u);
}

TEST(Replan, WhoHasLostNothingStays) {
  // 'b' could make room for 'a' by moving to n3.
  const PlacementProblem problem{.nodes = {node("n1", 100), node("n2", 100), node("n3", 50)},
                                 .containers = {container("a", 80, 0, {}), container("b", 50, 1, {})}};
  const Remainder left = remainder_of(problem, {true, false, false});
  EXPECT_EQ(replan(left.problem).places[0].owner, std::nullopt);
  EXPECT_EQ(replan(left.problem).places[1].owner, 0u);
  EXPECT_EQ(place(left.problem).places[0].owner, 0u) << "who plans anew finds it";
}

TEST(Replan, WhoRunsComesBeforeWhoIsTakenOver) {
  // The first standby of 'a' is in the rack where its replica 'b' runs.
  PlacementProblem problem{.nodes = {node("n1", 100, "r1"), node("n2", 100, "r2"), node("n3", 100, "r2"), node("n4", 100, "r3")},
                           .containers = {container("a", 20, 0, {1}), container("b", 10, 2, {})},
                           .apart = model::FailureDomain::kRack};
  problem.containers[0].replica_group = problem.containers[1].replica_group = 0;
  const Remainder left = remainder_of(problem, {true, false, false, false});
  const Placement placement = replan(left.problem);
  EXPECT_EQ(placement.places[0].owner, 2u) << "n4";
  EXPECT_EQ(placement.places[1].owner, 1u) << "n3, as before";
  EXPECT_TRUE(placement.why[0].starts_with("it cannot stay on 'n2', which is where it would fail together")) << placement.why[0];
}

}  // namespace
}  // namespace perdure::placement
