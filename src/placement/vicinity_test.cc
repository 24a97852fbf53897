// Proves when a container is too far from what it depends on, by the nodes' labels and where the others are.
#include "placement/vicinity.h"

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace perdure::placement {
namespace {

using Far = std::vector<std::size_t>;
using model::Vicinity;
using model::Within;

NodeName name(std::string_view text) { return NodeName::parse(text).value(); }

PlaceNode node(std::string_view text, std::map<std::string, std::string> labels = {}) {
  return place_of({.life = {name(text), Incarnation{1}}, .labels = std::move(labels)});
}

TEST(VicinityTest, AHostARackAndADataCentreHoldWhatTheirLabelsSay) {
  const std::vector<PlaceNode> nodes = {node("a", {{"data-centre", "east"}, {"rack", "1"}}),
                                                     node("b", {{"data-centre", "east"}, {"rack", "1"}}),
                                                     node("c", {{"data-centre", "east"}, {"rack", "2"}}),
                                                     node("d", {{"data-centre", "west"}, {"rack", "1"}})};
  const std::vector<Vicinity> near = {{{"db"}, Within::kHost}, {{"db"}, Within::kRack}, {{"db"}, Within::kDataCentre}};
  const std::map<std::string, NodeName> at = {{"db", name("a")}};
  EXPECT_EQ(too_far(name("a"), near, at, nodes), Far());
  EXPECT_EQ(too_far(name("b"), near, at, nodes), Far({0}));
  EXPECT_EQ(too_far(name("c"), near, at, nodes), Far({0, 1}));
  EXPECT_EQ(too_far(name("d"), near, at, nodes), Far({0, 1, 2})) << "rack 1 of another data centre is another rack";
  EXPECT_EQ(too_far(name("gone"), near, at, nodes), Far({0, 1, 2}));
  EXPECT_EQ(too_far(name("gone"), near, {{"db", name("gone")}}, nodes), Far());
}

TEST(VicinityTest, WithoutLabelsAllAreInOneRackAndInOneDataCentre) {
  const std::vector<Vicinity> near = {{{"db"}, Within::kHost}, {{"db"}, Within::kRack}, {{"db"}, Within::kDataCentre}};
  const std::map<std::string, NodeName> at = {{"db", name("a")}};
  EXPECT_EQ(too_far(name("b"), near, at, {node("a"), node("b")}), Far({0}));
  EXPECT_EQ(too_far(name("b"), near, at, {node("a", {{"rack", "1"}}), node("b")}), Far({0, 1}))
      << "beside one that has a label, one without is far";
}

TEST(VicinityTest, OneOfSeveralReplicasIsEnough) {
  const std::vector<Vicinity> near = {{{"db-1", "db-2"}, Within::kHost}};
  const std::vector<PlaceNode> nodes = {node("a"), node("b"), node("c")};
  EXPECT_EQ(too_far(name("b"), near, {{"db-1", name("a")}, {"db-2", name("b")}}, nodes), Far());
  EXPECT_EQ(too_far(name("c"), near, {{"db-1", name("a")}, {"db-2", name("b")}}, nodes), Far({0}));
  EXPECT_EQ(too_far(name("c"), near, {}, nodes), Far()) << "none of them is anywhere";
}

}  // namespace
}  // namespace perdure::placement
