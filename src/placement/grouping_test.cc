// Proves which components share a container and why, what follows for the containers, and that a model that cannot be
// grouped is refused by name.
#include "placement/grouping.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "model/application/application_yaml.h"

namespace perdure::placement {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

model::Application application(const std::string& components) {
  auto read = model::read_application("application: shop\ncomponents:\n" + components, "app", "/srv");
  EXPECT_TRUE(read.has_value()) << read.error().message();
  return read.value();
}

Grouping group(const std::string& components) { return group_components(application(components)); }

std::vector<std::string> names(const Grouping& grouping) {
  std::vector<std::string> all;
  for (const PlannedContainer& container : grouping.containers) {
    std::string text = container.name.str() + ":";
    for (const std::size_t component : container.components) text += " " + std::to_string(component);
    all.push_back(text);
  }
  return all;
}

TEST(Distance, TheWidestThatIsBorne) {
  const model::Latencies latencies;
  EXPECT_EQ(closeness_within({}, latencies), Closeness::kAnywhere);
  EXPECT_EQ(closeness_within(1s, latencies), Closeness::kAnywhere);
  EXPECT_EQ(closeness_within(100ms, latencies), Closeness::kAnywhere) << "not above is within";
  EXPECT_EQ(closeness_within(99ms, latencies), Closeness::kDataCentre);
  EXPECT_EQ(closeness_within(1ms, latencies), Closeness::kRack);
  EXPECT_EQ(closeness_within(200us, latencies), Closeness::kHost);
  EXPECT_EQ(closeness_within(100us, latencies), Closeness::kContainer);
  EXPECT_EQ(closeness_within(49us, latencies), std::nullopt);
}

TEST(Grouping, ComponentsHaveContainersOfTheirOwn) {
  const Grouping grouping = group(
      "  - {name: db, command: [/db], provides: [{name: sql, state: stateful, state-sensitivity: 500ms}], resources: {memory: 1GiB}}\n"
      "  - {name: web, command: [/web], requires: [{interface: sql, outage-tolerance: 5s}], resources: {cpu: 0.5, disk: 1MiB}}\n");
  EXPECT_THAT(grouping.conflicts, IsEmpty());
  EXPECT_THAT(names(grouping), ElementsAre("shop-db: 0", "shop-web: 1"));
  EXPECT_EQ(grouping.containers[0].state, model::StateKind::kStateful);
  EXPECT_EQ(grouping.containers[0].state_sensitivity, 500ms);
  EXPECT_EQ(grouping.containers[0].outage_tolerance, 5s);
  EXPECT_EQ(grouping.containers[0].demand, (Demand{Bytes{1u << 30}, {}, {}}));
  EXPECT_EQ(grouping.containers[0].why, "by itself: no dependency asks for company");
  EXPECT_EQ(grouping.containers[1].state, model::StateKind::kStateless);
  EXPECT_EQ(grouping.containers[1].outage_tolerance, std::nullopt);
  EXPECT_EQ(grouping.containers[1].demand, (Demand{{}, {500}, Bytes{1u << 20}}));
  EXPECT_THAT(grouping.dependencies, ElementsAre(ContainerDependency{1, {0}, Closeness::kAnywhere, 5s}));
}

TEST(Grouping, WhatBearsNoDistanceSharesAContainer) {
  const Grouping grouping = group(
      "  - {name: a, command: [/a], requires: [{interface: c, delay-tolerance: 60us}], resources: {memory: 1MiB}}\n"
      "  - {name: b, command: [/b], provides: [{name: b, state: stateful}], requires: [{interface: d, delay-tolerance: 180us, outage-tolerance: 2s}]}\n"
      "  - {name: c, command: [/c], provides: [{name: c}], requires: [{interface: b, delay-tolerance: 100us}, {interface: d, delay-tolerance: 1ms}],"
      " resources: {memory: 2MiB}}\n"
      "  - {name: d, command: [/d], provides: [{name: d}]}\n");
  EXPECT_THAT(grouping.conflicts, IsEmpty());
  EXPECT_THAT(names(grouping), ElementsAre("shop-a: 0 1 2", "shop-d: 3"));
  EXPECT_EQ(grouping.containers[0].state, model::StateKind::kStateful);
  EXPECT_EQ(grouping.containers[0].demand.memory.count, 3u << 20);
  EXPECT_EQ(grouping.containers[0].why, "'a' and 'c' bear 60 us at most; 'c' and 'b' bear 100 us at most");
  EXPECT_THAT(grouping.dependencies, ElementsAre(ContainerDependency{0, {1}, Closeness::kHost, 2s})) << "the closest of both";
}

TEST(Grouping, LatenciesAreThoseOfTheModel) {
  const std::string components =
      "  - {name: db, command: [/db], provides: [{name: sql}]}\n"
      "  - {name: web, command: [/web], requires: [{interface: sql, delay-tolerance: 100us}]}\n";
  EXPECT_THAT(names(group(components)), ElementsAre("shop-db: 0 1"));
  const Grouping fast = group(components + "placement: {latency: {host: 60us, rack: 90us}}\n");
  EXPECT_THAT(names(fast), ElementsAre("shop-db: 0", "shop-web: 1"));
  EXPECT_EQ(fast.dependencies.front().within, Closeness::kRack);
}

TEST(Grouping, WhatTheModelPutsTogetherIsTogetherAndMayGrow) {
  const Grouping grouping = group(
      "  - {name: a, command: [/a], provides: [{name: a}]}\n"
      "  - {name: b, command: [/b]}\n"
      "  - {name: c, command: [/c], requires: [{interface: a, delay-tolerance: 100us}]}\n"
      "containers:\n"
      "  - {name: front, components: [b, a]}\n");
  EXPECT_THAT(grouping.conflicts, IsEmpty());
  EXPECT_THAT(names(grouping), ElementsAre("shop-front: 0 1 2"));
  EXPECT_EQ(grouping.containers[0].settings, 0u);
  EXPECT_EQ(grouping.containers[0].why, "as the model says; 'c' and 'a' bear 100 us at most");
}

TEST(Grouping, EachReplicaIsAContainer) {
  const Grouping grouping = group(
      "  - {name: db, command: [/db], provides: [{name: sql, state: stateful}]}\n"
      "  - {name: api, command: [/api], replicas: 2, provides: [{name: api}], requires: [{interface: sql, outage-tolerance: 9s}]}\n"
      "  - {name: web, command: [/web], requires: [{interface: api, delay-tolerance: 1ms, outage-tolerance: 4s}]}\n");
  EXPECT_THAT(grouping.conflicts, IsEmpty());
  EXPECT_THAT(names(grouping), ElementsAre("shop-db: 0", "shop-api-1: 1", "shop-api-2: 1", "shop-web: 2"));
  EXPECT_THAT(grouping.dependencies, ElementsAre(ContainerDependency{1, {0}, Closeness::kAnywhere, 9s},
                                                 ContainerDependency{2, {0}, Closeness::kAnywhere, 9s},
                                                 ContainerDependency{3, {1, 2}, Closeness::kRack, 4s}));
  EXPECT_EQ(grouping.containers[2].outage_tolerance, 4s);
}

TEST(Grouping, WhatCannotBeKeptIsRefusedByName) {
  EXPECT_THAT(group("  - {name: a, command: [/a], provides: [{name: a}]}\n"
                    "  - {name: b, command: [/b], requires: [{interface: a, delay-tolerance: 10us}]}\n")
                  .conflicts,
              ElementsAre("'b' and 'a' are to be within 10 us, and even in one container they are 50 us apart: raise the delay tolerance"));
  EXPECT_THAT(group("  - {name: a, command: [/a], provides: [{name: a}]}\n"
                    "  - {name: b, command: [/b], requires: [{interface: a, delay-tolerance: 60us}]}\n"
                    "containers: [{name: one, components: [a]}, {name: two, components: [b]}]\n")
                  .conflicts,
              ElementsAre("'b' and 'a' bear 60 us at most, which only one container keeps, and the model puts them into 'two' and 'one': put "
                          "them together, or raise the delay tolerance"));
  EXPECT_THAT(group("  - {name: a, command: [/a], replicas: 2, provides: [{name: a}]}\n"
                    "  - {name: b, command: [/b], requires: [{interface: a, delay-tolerance: 60us}]}\n")
                  .conflicts,
              ElementsAre("'b' and 'a' bear 60 us at most, which only one container keeps, and 'a' has 2 replicas, each in a container of its "
                          "own: remove them, or raise the delay tolerance"));
  EXPECT_THAT(group("  - {name: a, command: [/a], provides: [{name: a, port: 80}], artefact: {packages: [redis]}}\n"
                    "  - {name: b, command: [/b], provides: [{name: b, port: 80}], requires: [{interface: a, delay-tolerance: 60us}],"
                    " artefact: {oci: /img}}\n")
                  .conflicts,
              ElementsAre("'a' and 'b' have to share a container, and both listen at port 80: give one of them another port",
                          "'a' and 'b' have to share a container, and bring different root file systems: use packages for both, or name "
                          "the same one"));
  EXPECT_THAT(group("  - {name: a, command: [/a], provides: [{name: a}]}\n"
                    "  - {name: b, command: [/b], provides: [{name: b}], requires: [{interface: a, delay-tolerance: 60us}]}\n"
                    "  - {name: c, command: [/c], requires: [{interface: b, delay-tolerance: 60us}]}\n"
                    "containers: [{name: one, components: [a]}, {name: two, components: [c]}]\n")
                  .conflicts,
              ElementsAre("containers 'one' and 'two' have to be one, since their components bear no greater delay: put them together"));
  EXPECT_THAT(group("  - {name: a, command: [/a]}\n"
                    "  - {name: b, command: [/b]}\n"
                    "containers: [{name: a, components: [b]}]\n")
                  .conflicts,
              ElementsAre("'shop-a' would be the name of two containers: rename 'b'"));
}

TEST(Grouping, OneContainerHasNoMoreComponentsThanItMay) {
  std::string chain;
  for (int i = 0; i < 33; ++i) {
    chain += "  - {name: c" + std::to_string(i) + ", command: [/c], provides: [{name: i" + std::to_string(i) + "}]";
    if (i > 0) chain += ", requires: [{interface: i" + std::to_string(i - 1) + ", delay-tolerance: 60us}]";
    chain += "}\n";
  }
  EXPECT_THAT(group(chain).conflicts, ElementsAre("33 components have to share a container, and 32 can: raise a delay tolerance"));
}

}  // namespace
}  // namespace perdure::placement
