// Proves that containers are placed where they may be: within capacity also after a takeover, close to what they depend on,
// apart from what they must not fail with, and where they were as long as that is possible; that the order of nodes and
// containers means nothing; and, on thousands of random problems, that no rule is ever broken.
#include "placement/place.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>

namespace perdure::placement {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr std::uint64_t kMiB = 1u << 20;

PlaceNode node(const std::string& name, std::uint64_t memory_mib, const std::string& rack = "", std::uint32_t cores = 8) {
  return {.name = NodeName::parse(name).value(),
          .domains = {"", rack, ""},
          .capacity = {Bytes{memory_mib * kMiB}, {cores * 1000}, Bytes{100 * kMiB}}};
}

PlaceContainer container(const std::string& name, std::uint64_t memory_mib, std::uint32_t standbys = 0, std::uint32_t cores = 1) {
  return {.name = ContainerName::parse(name).value(), .demand = {Bytes{memory_mib * kMiB}, {cores * 1000}, {}}, .standbys = standbys};
}

// "a: n1 +n2" for each container.
std::vector<std::string> text(const PlacementProblem& problem, const Placement& placement) {
  std::vector<std::string> all;
  for (std::size_t i = 0; i < placement.places.size(); ++i) {
    const ContainerPlace& it = placement.places[i];
    std::string line = problem.containers[i].name.str() + ":";
    if (it.owner) line += " " + problem.nodes[*it.owner].name.str();
    for (const std::size_t standby : it.standbys) line += " +" + problem.nodes[standby].name.str();
    all.push_back(line);
  }
  return all;
}

Placement placed(const PlacementProblem& problem) {
  Placement placement = place(problem);
  EXPECT_THAT(violations_of(problem, placement.places), IsEmpty());
  EXPECT_EQ(placement.why.size(), problem.containers.size());
  EXPECT_EQ(placement.score, score_of(problem, placement.places));
  return placement;
}

TEST(Place, TheEmptiestNodeTakesTheNext) {
  const PlacementProblem problem{.nodes = {node("n1", 100), node("n2", 100), node("n3", 100)},
                                 .containers = {container("a", 10, 0, 0), container("b", 30, 0, 0), container("c", 20, 0, 0),
                                                container("d", 5, 0, 0)}};
  const Placement placement = placed(problem);
  EXPECT_THAT(text(problem, placement), ElementsAre("a: n3", "b: n1", "c: n2", "d: n3")) << "the largest first";
  EXPECT_EQ(placement.why[0], "the emptiest of 3 that can take it");
}

TEST(Place, WhatRunsStaysWhereItIs) {
  PlacementProblem problem{.nodes = {node("n1", 100), node("n2", 100), node("n3", 100)},
                           .containers = {container("a", 10, 1), container("b", 30)}};
  problem.containers[0].owner = 1;
  problem.containers[0].present = {2};
  problem.containers[1].owner = 1;
  problem.nodes[1].takes_new = false;
  const Placement placement = placed(problem);
  EXPECT_THAT(text(problem, placement), ElementsAre("a: n2 +n3", "b: n2")) << "also on a cordoned node";
  EXPECT_EQ(placement.score.moves, 0u);
  EXPECT_EQ(placement.why[0], "it runs there");
}

TEST(Place, StandbysAreApartAndHaveRoom) {
  PlacementProblem problem{.nodes = {node("n1", 100, "r1"), node("n2", 100, "r1"), node("n3", 20, "r2"), node("n4", 100, "r2")},
                           .containers = {container("a", 60, 1)},
                           .apart = model::FailureDomain::kRack};
  EXPECT_THAT(text(problem, placed(problem)), ElementsAre("a: n1 +n4"));
  problem.containers[0].standbys = 2;
  const Placement placement = placed(problem);
  EXPECT_THAT(text(problem, placement), ElementsAre("a: n1 +n4"));
  EXPECT_EQ(placement.score.missing_standbys, 1u);
  EXPECT_EQ(placement.why[0],
            "the emptiest of 3 that can take it; 1 of 2 standbys, since of the other nodes 4 where it would fail together with its other places");
}

TEST(Place, ProcessorsOfOneTakeoverAreKeptFreeNotOfAll) {
  // n3 can take over what n1 owns or what n2 owns, which never fail both.
  const PlacementProblem problem{.nodes = {node("n1", 100, "", 4), node("n2", 100, "", 4), node("n3", 100, "", 4)},
                                 .containers = {container("a", 10, 1, 2), container("b", 10, 1, 2), container("c", 10, 1, 2)}};
  const Placement placement = placed(problem);
  EXPECT_EQ(placement.score.missing_standbys, 0u);
  const PlacementProblem full{.nodes = {node("n1", 100, "", 4), node("n2", 100, "", 4)},
                              .containers = {container("a", 10, 1, 3), container("b", 10, 1, 3)}};
  const Placement no_room = placed(full);
  EXPECT_EQ(no_room.score.unplaced, 0u);
  EXPECT_EQ(no_room.score.missing_standbys, 2u);
  EXPECT_TRUE(no_room.why[0].ends_with("0 of 1 standbys, since of the other nodes 1 without the processors, 1 where it would fail together "
                                       "with its other places"))
      << no_room.why[0];
}

TEST(Place, DependenciesAreKeptAlsoAfterAFailure) {
  PlacementProblem problem{
      .nodes = {node("n1", 100, "r1"), node("n2", 100, "r1"), node("n3", 100, "r1"), node("n4", 100, "r2"), node("n5", 100, "r2")},
      .containers = {container("db", 40, 1), container("web", 10, 1), container("log", 5)},
      .dependencies = {{1, {0}, Closeness::kRack, {}}, {2, {1}, Closeness::kHost, {}}}};
  const Placement placement = placed(problem);
  EXPECT_THAT(text(problem, placement), ElementsAre("db: n1 +n3", "web: n2 +n1", "log: n2"))
      << "the standbys are in the rack, though the other one is empty";
  EXPECT_EQ(placement.score.broken_by_failures, 0u);
}

TEST(Place, OneReplicaNearIsEnoughAndReplicasAreApart) {
  PlacementProblem problem{.nodes = {node("n1", 100, "r1"), node("n2", 100, "r2"), node("n3", 12, "r3")},
                           .containers = {container("api-1", 10), container("api-2", 10), container("web", 10)},
                           .dependencies = {{2, {0, 1}, Closeness::kRack, {}}},
                           .apart = model::FailureDomain::kRack};
  problem.containers[0].replica_group = problem.containers[1].replica_group = 0;
  EXPECT_THAT(text(problem, placed(problem)), ElementsAre("api-1: n1", "api-2: n2", "web: n1"));
}

TEST(Place, TheMostCriticalFirstAndTheOthersSayWhyNot) {
  PlacementProblem problem{.nodes = {node("n1", 50), node("n2", 10)}, .containers = {container("a", 45), container("b", 30)}};
  problem.containers[1].outage_tolerance = 1s;
  const Placement placement = placed(problem);
  EXPECT_THAT(text(problem, placement), ElementsAre("a:", "b: n1"));
  EXPECT_EQ(placement.why[0], "no node can take it: 2 without the memory");
  EXPECT_EQ(placement.score.unplaced, 1u);
}

TEST(Place, OneThatFindsNoPlaceIsTriedFirst) {
  // b comes before a by its tolerance, and would take the only node of the rack where a has to be with c.
  PlacementProblem problem{.nodes = {node("n1", 50, "r1"), node("n2", 40, "r2")},
                           .containers = {container("a", 50), container("b", 20)}};
  problem.containers[1].outage_tolerance = 1s;
  EXPECT_THAT(text(problem, placed(problem)), ElementsAre("a: n1", "b: n2"));
}

TEST(Place, WhatLacksAPlaceMakesOthersMove) {
  PlacementProblem problem{.nodes = {node("n1", 100), node("n2", 40)}, .containers = {container("a", 30), container("b", 80)}};
  problem.containers[0].owner = 0;
  const Placement placement = placed(problem);
  EXPECT_THAT(text(problem, placement), ElementsAre("a: n2", "b: n1"));
  EXPECT_EQ(placement.score.moves, 2u);
  EXPECT_EQ(placement.why[0], "it cannot stay on 'n1', which is without the memory; the only one that can take it");
}

TEST(Place, WhatStandsByGivesWayToWhatHasNoPlace) {
  PlacementProblem problem{.nodes = {node("n1", 100), node("n2", 100)}, .containers = {container("a", 60, 1), container("b", 60)}};
  problem.containers[0].owner = 0;
  problem.containers[0].present = {1};
  EXPECT_THAT(text(problem, placed(problem)), ElementsAre("a: n1", "b: n2"));
}

TEST(Place, WhatRunsDoesNotMoveForBalance) {
  PlacementProblem problem{.nodes = {node("n1", 100), node("n2", 100)}, .containers = {container("a", 40), container("b", 40)}};
  problem.containers[0].owner = problem.containers[1].owner = 0;
  EXPECT_THAT(text(problem, placed(problem)), ElementsAre("a: n1", "b: n1"));
}

TEST(Place, AGroupThatIsCloseMovesTogether) {
  // In r1 there is room for two of the three; all run there, and 'c' is new.
  PlacementProblem problem{.nodes = {node("n1", 50, "r1"), node("n2", 50, "r1"), node("n3", 50, "r2"), node("n4", 50, "r2"), node("n5", 50, "r2")},
                           .containers = {container("a", 40), container("b", 40), container("c", 40)},
                           .dependencies = {{1, {0}, Closeness::kRack, {}}, {2, {1}, Closeness::kRack, {}}}};
  problem.containers[0].owner = 0;
  problem.containers[1].owner = 1;
  EXPECT_THAT(text(problem, placed(problem)), UnorderedElementsAre(HasSubstr("n3"), HasSubstr("n4"), HasSubstr("n5")));
}

TEST(Place, SumsBeyondWhatCanBeCountedAreTooMuch) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  constexpr std::uint32_t kMostCores = std::numeric_limits<std::uint32_t>::max();
  PlacementProblem problem{.nodes = {node("n1", 100), node("n2", 100)}, .containers = {container("a", 1), container("b", 1)}};
  problem.dependencies = {{1, {0}, Closeness::kHost, {}}};
  for (PlaceContainer& it : problem.containers) it.demand.memory = Bytes{kMost / 2 + 1};
  EXPECT_EQ(placed(problem).score.unplaced, 2u) << "twice a half and one more is nothing, if it wraps around";
  for (PlaceContainer& it : problem.containers) it.demand = {Bytes{1}, {kMostCores / 2 + 1}, {}};
  const Placement placement = placed(problem);
  EXPECT_EQ(placement.score.unplaced, 2u);
  EXPECT_EQ(placement.why[0], "no node can take it: 2 without the processors");
  EXPECT_EQ(loads_of(problem, {{.owner = 0}, {.owner = 0}})[0].cpu.count, kMostCores);
  EXPECT_FALSE(violations_of(problem, {{.owner = 0}, {.owner = 0}}).empty());
}

TEST(Place, NothingAndNowhere) {
  EXPECT_THAT(placed({}).places, IsEmpty());
  const PlacementProblem problem{.containers = {container("a", 1, 1)}};
  const Placement placement = placed(problem);
  EXPECT_EQ(placement.score.unplaced, 1u);
  EXPECT_EQ(placement.why[0], "no node can take it: there is no node");
}

// ---- Random problems ----

// The address sanitizer, which takes six times as long, finds what it looks for in a part of them as well.
#ifdef __SANITIZE_ADDRESS__
constexpr unsigned kEvery = 7;
#else
constexpr unsigned kEvery = 1;
#endif

class RandomProblem {
 public:
  explicit RandomProblem(unsigned seed) : random_(seed) {}
  PlacementProblem make(std::size_t most_nodes, std::size_t most_containers) {
    PlacementProblem problem;
    problem.apart = static_cast<model::FailureDomain>(draw(0, 3));
    const std::size_t nodes = draw(1, most_nodes);
    for (std::size_t i = 0; i < nodes; ++i) {
      PlaceNode it = node("n" + std::to_string(i), draw(20, 200), draw(0, 3) == 0 ? "" : "r" + std::to_string(draw(0, 2)), static_cast<std::uint32_t>(draw(2, 16)));
      if (draw(0, 1) == 0) it.domains[0] = "d" + std::to_string(draw(0, 1));
      if (draw(0, 1) == 0) it.domains[2] = "s" + std::to_string(draw(0, 3));
      it.takes_new = draw(0, 9) != 0;
      problem.nodes.push_back(std::move(it));
    }
    const std::size_t containers = draw(0, most_containers);
    for (std::size_t i = 0; i < containers; ++i) {
      PlaceContainer it = container("c" + std::to_string(i), draw(1, 60), static_cast<std::uint32_t>(draw(0, 2)), static_cast<std::uint32_t>(draw(0, 3)));
      if (draw(0, 1) == 0) it.outage_tolerance = std::chrono::milliseconds(draw(10, 5000));
      if (draw(0, 3) == 0) it.replica_group = draw(0, 1);
      if (draw(0, 2) == 0) it.owner = draw(0, nodes - 1);
      if (draw(0, 2) == 0) it.present = {draw(0, nodes - 1)};
      for (std::size_t sponsor = 0; sponsor < i; ++sponsor) {
        if (draw(0, 9) != 0) continue;
        ContainerDependency dependency{i, {sponsor}, static_cast<Closeness>(draw(1, 4)), {}};
        if (sponsor > 0 && draw(0, 3) == 0) dependency.sponsors.insert(dependency.sponsors.begin(), sponsor - 1);
        problem.dependencies.push_back(std::move(dependency));
      }
      problem.containers.push_back(std::move(it));
    }
    return problem;
  }
  std::size_t draw(std::size_t least, std::size_t most) { return std::uniform_int_distribution<std::size_t>(least, most)(random_); }
  std::mt19937& random() { return random_; }

 private:
  std::mt19937 random_;
};

// Little effort, so that there is time for many problems.
constexpr Effort kLittle{.steps = 3000};

TEST(Place, NoRuleIsEverBroken) {
  for (unsigned seed = 0; seed < 1500; seed += kEvery) {
    const PlacementProblem problem = RandomProblem(seed).make(8, 20);
    const Placement placement = place(problem, seed % 300 == 0 ? Effort{} : kLittle);
    ASSERT_THAT(violations_of(problem, placement.places), IsEmpty()) << "seed " << seed;
    ASSERT_EQ(placement.score, score_of(problem, placement.places)) << "seed " << seed;
  }
}

TEST(Place, WhatWasFoundIsFoundAgain) {
  std::size_t moved = 0;
  for (unsigned seed = 0; seed < 200; seed += kEvery) {
    PlacementProblem problem = RandomProblem(seed).make(8, 20);
    const Placement first = place(problem, seed % 20 == 0 ? Effort{} : kLittle);
    for (std::size_t i = 0; i < problem.containers.size(); ++i) {
      problem.containers[i].owner = first.places[i].owner;
      problem.containers[i].present = first.places[i].standbys;
    }
    const Placement again = place(problem, seed % 20 == 0 ? Effort{} : kLittle);
    ASSERT_EQ(again.places, first.places) << "seed " << seed;
    moved += first.score.moves;
  }
  EXPECT_GT(moved, 200u / kEvery) << "the problems are none";
}

TEST(Place, EachSaysWhyItIsThereAndNotElsewhere) {
  std::size_t emptier = 0;
  for (unsigned seed = 0; seed < 100; ++seed) {
    const Placement placement = place(RandomProblem(seed).make(8, 20), kLittle);
    for (const std::string& why : placement.why) {
      EXPECT_FALSE(why.empty());
      if (why.contains("is emptier, but ")) ++emptier;
    }
  }
  EXPECT_GT(emptier, 10u);
}

TEST(Place, TheOrderOfNodesMeansNothing) {
  for (unsigned seed = 0; seed < 500; seed += kEvery) {
    RandomProblem random(seed);
    const PlacementProblem problem = random.make(8, 12);
    const Effort effort = seed % 100 == 0 ? Effort{} : kLittle;
    std::vector<std::size_t> order(problem.nodes.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::shuffle(order, random.random());
    PlacementProblem other = problem;
    std::vector<std::size_t> new_index(order.size());
    for (std::size_t i = 0; i < order.size(); ++i) {
      other.nodes[i] = problem.nodes[order[i]];
      new_index[order[i]] = i;
    }
    for (PlaceContainer& it : other.containers) {
      if (it.owner) it.owner = new_index[*it.owner];
      for (std::size_t& standby : it.present) standby = new_index[standby];
    }
    EXPECT_EQ(text(problem, place(problem, effort)), text(other, place(other, effort))) << "seed " << seed;
  }
}

// Failure by failure, dependency by dependency, as Score says.
std::size_t broken_one_by_one(const PlacementProblem& problem, const Places& places) {
  std::vector<std::size_t> failing = failing_domains_of(problem);
  std::ranges::sort(failing);
  failing.erase(std::ranges::unique(failing).begin(), failing.end());
  std::size_t broken = 0;
  for (const std::size_t failed : failing) {
    const auto is_gone = [&](std::size_t node) { return share_domain(problem.nodes[node], problem.nodes[failed], problem.apart); };
    std::vector<std::optional<std::size_t>> where;
    for (const ContainerPlace& place : places) {
      where.push_back(place.owner);
      if (!place.owner || !is_gone(*place.owner)) continue;
      const auto next = std::ranges::find_if_not(place.standbys, is_gone);
      where.back() = next == place.standbys.end() ? std::nullopt : std::optional(*next);
    }
    for (const ContainerDependency& dependency : problem.dependencies) broken += is_kept(problem, dependency, where) ? 0 : 1;
  }
  return broken;
}

TEST(Place, WhatFailuresBreakIsCountedInFull) {
  std::size_t broken = 0;
  for (unsigned seed = 0; seed < 1000; ++seed) {
    RandomProblem random(seed);
    const PlacementProblem problem = random.make(8, 12);
    Places places(problem.containers.size());  // anywhere, whether allowed or not
    for (ContainerPlace& place : places) {
      if (random.draw(0, 4) != 0) place.owner = random.draw(0, problem.nodes.size() - 1);
      for (std::size_t i = random.draw(0, 2); i > 0; --i) place.standbys.push_back(random.draw(0, problem.nodes.size() - 1));
    }
    const std::size_t expected = broken_one_by_one(problem, places);
    ASSERT_EQ(score_of(problem, places).broken_by_failures, expected) << "seed " << seed;
    broken += expected;
  }
  EXPECT_GT(broken, 1000u) << "the problems are none";
}

// All places of all containers, one after the other; the least that stays without one.
std::size_t least_unplaced(const PlacementProblem& problem, Places& places, std::size_t at) {
  if (at == places.size()) {
    return violations_of(problem, places).empty()
               ? static_cast<std::size_t>(std::ranges::count_if(places, [](const ContainerPlace& it) { return !it.owner; }))
               : places.size() + 1;
  }
  std::size_t least = places.size() + 1;
  places[at].owner.reset();
  least = std::min(least, least_unplaced(problem, places, at + 1));
  for (std::size_t node = 0; node < problem.nodes.size(); ++node) {
    places[at].owner = node;
    least = std::min(least, least_unplaced(problem, places, at + 1));
  }
  places[at].owner.reset();
  return least;
}

TEST(Place, NoMoreIsLeftOutThanHasToBe) {
  for (unsigned seed = 0; seed < 300; seed += kEvery) {
    const PlacementProblem problem = RandomProblem(seed).make(3, 5);
    Places places(problem.containers.size());
    EXPECT_EQ(place(problem, {.steps = 50'000}).score.unplaced, least_unplaced(problem, places, 0)) << "seed " << seed;
  }
}

}  // namespace
}  // namespace perdure::placement
