#include "deploy/changes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "deploy/test_support.h"
#include "model/spec_yaml.h"

namespace perdure::deploy {
namespace {

using ::testing::ElementsAre;
using Kind = Change::Kind;

model::ContainerSpec spec(const std::string& name, const std::string& command = "run") {
  model::ContainerSpec made{.name = test::container(name)};
  made.root_filesystem = model::DirectoryRoot{"/srv/root"};
  made.command = {command};
  made.application.name = "shop";
  return made;
}

ContainerFacts facts(const model::ContainerSpec& spec, const std::string& owner, std::vector<std::string> sponsors = {}) {
  return {.name = spec.name, .application = spec.application.name.value_or(""), .owner = test::node(owner),
          .spec_yaml = model::to_yaml(spec), .sponsors = std::move(sponsors)};
}

placement::ContainerDependency depends(std::size_t dependent, std::vector<std::size_t> sponsors) {
  return {.dependent = dependent, .sponsors = std::move(sponsors)};
}

std::vector<std::pair<Kind, std::string>> words(const std::vector<Change>& changes) {
  std::vector<std::pair<Kind, std::string>> all;
  for (const Change& change : changes) all.emplace_back(change.kind, change.name.str());
  return all;
}

TEST(Changes, SponsorsComeBeforeTheirDependants) {
  const std::vector<model::ContainerSpec> wanted{spec("shop-a"), spec("shop-b"), spec("shop-c")};
  const std::vector<NodeName> owners(3, test::node("n"));
  const auto changes = changes_of("shop", wanted, owners, {depends(0, {1}), depends(1, {2})}, test::cluster({"n"}));
  EXPECT_THAT(words(changes), ElementsAre(std::pair(Kind::kCreate, "shop-c"), std::pair(Kind::kCreate, "shop-b"), std::pair(Kind::kCreate, "shop-a")));
}

TEST(Changes, ACircleIsCutAtItsFirst) {
  const std::vector<model::ContainerSpec> wanted{spec("shop-a"), spec("shop-b")};
  const auto changes = changes_of("shop", wanted, {test::node("n"), test::node("n")}, {depends(0, {1}), depends(1, {0})}, test::cluster({"n"}));
  EXPECT_THAT(words(changes), ElementsAre(std::pair(Kind::kCreate, "shop-a"), std::pair(Kind::kCreate, "shop-b")));
}

TEST(Changes, WhatIsAsPlannedStaysAndTheRestIsSaid) {
  ClusterView view = test::cluster({"n", "m"});
  view.containers = {facts(spec("shop-same"), "n"), facts(spec("shop-moved"), "m"), facts(spec("shop-changed", "old"), "n"),
                     facts(spec("shop-gone"), "n", {"shop-same"}), facts(spec("shop-gone-too"), "n", {"shop-gone"})};
  model::ContainerSpec foreign = spec("foreign");
  foreign.application.name.reset();
  view.containers.push_back(facts(foreign, "n"));
  const std::vector<model::ContainerSpec> wanted{spec("shop-same"), spec("shop-moved"), spec("shop-changed", "new")};
  const std::vector<NodeName> owners(3, test::node("n"));
  const auto changes = changes_of("shop", wanted, owners, {}, view);
  EXPECT_THAT(words(changes), ElementsAre(std::pair(Kind::kRemove, "shop-gone-too"), std::pair(Kind::kRemove, "shop-gone"),
                                          std::pair(Kind::kKeep, "shop-same"), std::pair(Kind::kMove, "shop-moved"),
                                          std::pair(Kind::kReplace, "shop-changed")));
  EXPECT_THAT(changes[4].differs, ElementsAre("command"));
  EXPECT_EQ(changes[3].from, test::node("m"));
}

TEST(Changes, OtherStandbysAreNoReasonToBeginAnew) {
  ClusterView view = test::cluster({"n"});
  view.containers = {facts(spec("shop-a"), "n")};
  model::ContainerSpec wanted = spec("shop-a");
  wanted.checkpoint.standby_nodes = {"m"};
  EXPECT_THAT(words(changes_of("shop", {wanted}, {test::node("n")}, {}, view)), ElementsAre(std::pair(Kind::kKeep, "shop-a")));
}

TEST(Changes, ASpecificationThatIsNotKnownIsNotTakenForAnotherOne) {
  ClusterView view = test::cluster({"n"});
  view.containers = {facts(spec("shop-a"), "dead")};
  view.containers[0].spec_yaml.clear();  // its owner is away
  const auto changes = changes_of("shop", {spec("shop-a")}, {test::node("n")}, {}, view);
  EXPECT_THAT(words(changes), ElementsAre(std::pair(Kind::kMove, "shop-a")));
}

}  // namespace
}  // namespace perdure::deploy
