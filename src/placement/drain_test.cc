// Proves where a drained node's containers go, and in which order: small clusters of plain nodes.
#include "placement/drain.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace perdure::placement {
namespace {

using testing::HasSubstr;

NodeName name(const std::string& text) {
  return NodeName::parse(text).value();
}

NodeView node(const std::string& text, std::uint32_t owned, bool reachable = true) {
  const model::NodeLife life{name(text), Incarnation{1}};
  return {.description = {life, {}, {}, false, false, false, {}, {}, {}, {}, {}, {}},
          .reachable = reachable,
          .held_bytes = 0,
          .owned = owned};
}

MoveQuestion question(std::vector<NodeView> nodes, std::set<NodeName> ready) {
  std::vector<NodeName> present(ready.begin(), ready.end());
  return {.container = {.nodes = std::move(nodes),
                        .owner = name("a"),
                        .present = present,
                        .requirements = {},
                        .refusals = {}},
          .ready = std::move(ready)};
}

TEST(MoveTargetTest, AReadyStandbyComesFirst) {
  const auto asked = question({node("a", 9), node("b", 0), node("c", 5)}, {name("c")});
  EXPECT_EQ(choose_move_target(asked).value(), name("c"));
}

TEST(MoveTargetTest, OfReadyOnesTheOneThatOwnsLeast) {
  const auto asked = question({node("a", 9), node("b", 3), node("c", 2)}, {name("b"), name("c")});
  EXPECT_EQ(choose_move_target(asked).value(), name("c"));
}

TEST(MoveTargetTest, WithoutAReadyOneTheOrderOfTheCandidatesDecides) {
  const auto asked = question({node("a", 9), node("b", 3), node("c", 2)}, {});
  EXPECT_EQ(choose_move_target(asked).value(), name("c"));
}

TEST(MoveTargetTest, AReadyOneOutOfReachIsPassedOver) {
  const auto asked = question({node("a", 9), node("b", 3), node("c", 2, false)}, {name("c")});
  EXPECT_EQ(choose_move_target(asked).value(), name("b"));
}

TEST(MoveTargetTest, NobodyIsNamedWithEveryReason) {
  auto asked = question({node("a", 9), node("b", 3), node("c", 2, false)}, {name("c")});
  asked.container.nodes[1].description.cordoned = true;
  const auto none = choose_move_target(asked);
  ASSERT_FALSE(none.has_value());
  EXPECT_EQ(none.error().code(), ErrorCode::kUnsupported);
  EXPECT_THAT(none.error().message(), HasSubstr("'b': it is cordoned"));
  EXPECT_THAT(none.error().message(), HasSubstr("'c': it cannot be reached"));
}

TEST(MoveTargetTest, AloneItSaysHowToGetAnotherNode) {
  EXPECT_THAT(choose_move_target(question({node("a", 1)}, {})).error().message(),
              HasSubstr("perdure cluster join"));
}

TEST(DrainOrderTest, ReadyOnesFirstThenTheSmallest) {
  const auto container = [](const std::string& text) { return ContainerName::parse(text).value(); };
  const auto order = drain_order({{container("big"), false, 900},
                                  {container("web"), true, 500},
                                  {container("db"), true, 700},
                                  {container("tiny"), false, 1}});
  EXPECT_EQ(order,
            (std::vector{container("web"), container("db"), container("tiny"), container("big")}));
}

}  // namespace
}  // namespace perdure::placement
