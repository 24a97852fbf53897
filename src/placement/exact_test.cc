// Proves that place() is as good as an exact solver, CBC, on random problems of up to 12 containers and 6 nodes from fixed seeds:
// it finds a place for all where there is one, and nothing is better by more than 5 %. The objectives of Score are solved one after
// the other, each with those before it held at what place() has reached (testing/exact.h): as most are small counts, that means the
// same count, and 5 % of the balance.
#include "placement/testing/exact.h"

#include <gtest/gtest.h>

#include <format>
#include <random>

#include "placement/place.h"

namespace perdure::placement::testing {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kMiB = 1u << 20;
constexpr double kMostGap = 0.05;
constexpr std::chrono::minutes kTime{20};  // ten seconds, where nothing else runs

class ExactTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!has_exact_solver()) GTEST_SKIP() << "there is no program 'cbc': install coinor-cbc";
  }

  // Containers: from hardly more than nothing to more than there is room for. Two nodes each have all labels in common.
  static PlacementProblem random_problem(unsigned seed) {
    std::mt19937 random(seed);
    const auto draw = [&](std::size_t least, std::size_t most) { return least + random() % (most - least + 1); };
    PlacementProblem problem{.apart = draw(0, 2) == 0 ? model::FailureDomain::kServer : draw(0, 3) == 0 ? model::FailureDomain::kRack : model::FailureDomain::kNode};
    const std::size_t nodes = draw(2, 6);
    for (std::size_t i = 0; i < nodes; ++i) {
      const std::size_t machine = i / 2;
      PlaceNode node{.name = NodeName::parse(std::format("n{}", i)).value(),
                     .domains = {std::format("d{}", machine / 2), std::format("r{}", machine), std::format("s{}", machine)},
                     .capacity = {Bytes{draw(60, 200) * kMiB}, {static_cast<std::uint32_t>(1000 * draw(4, 16))}, Bytes{100 * kMiB}}};
      if (seed % 3 == 0 && machine == 1) node.domains[1].clear();
      node.takes_new = draw(0, 9) != 0;
      problem.nodes.push_back(std::move(node));
    }
    const std::size_t containers = draw(2, 12);
    const std::size_t largest = 600 / containers;
    for (std::size_t i = 0; i < containers; ++i) {
      PlaceContainer container{.name = ContainerName::parse(std::format("c{}", i)).value(),
                               .demand = {Bytes{draw(1, largest) * kMiB}, {static_cast<std::uint32_t>(500 * draw(0, 6))}, Bytes{draw(0, 20) * kMiB}},
                               .standbys = static_cast<std::uint32_t>(draw(0, 2))};
      if (draw(0, 1) == 0) container.outage_tolerance = std::chrono::milliseconds(100 * draw(1, 5));
      if (draw(0, 3) == 0) container.replica_group = draw(0, 1);
      if (seed % 2 == 0 && draw(0, 2) != 0) container.owner = draw(0, nodes - 1);
      if (container.owner && draw(0, 1) == 0) container.present = {(*container.owner + 1) % nodes};
      for (std::size_t sponsor = 0; sponsor < i; ++sponsor) {
        if (draw(0, 8) != 0) continue;
        ContainerDependency dependency{i, {sponsor}, static_cast<Closeness>(draw(1, 4)), {}};
        if (sponsor > 0 && draw(0, 3) == 0) dependency.sponsors.insert(dependency.sponsors.begin(), sponsor - 1);
        problem.dependencies.push_back(std::move(dependency));
      }
      problem.containers.push_back(std::move(container));
    }
    return problem;
  }
};

std::string text(const Levels& levels) {
  std::string all;
  for (std::size_t level = 0; level < kLevels; ++level) all += std::format("{}{} {:.4g}", level == 0 ? "" : ", ", kLevelNames.at(level), levels.at(level));
  return all;
}

// In parts, which can be run beside each other.
class ExactPartTest : public ExactTest, public ::testing::WithParamInterface<unsigned> {};
constexpr unsigned kParts = 6;

TEST_P(ExactPartTest, PlaceIsAsGoodAsAnExactSolver) {
  for (unsigned seed = GetParam(); seed < 60; seed += kParts) {
    const PlacementProblem problem = random_problem(seed);
    const Placement placement = place(problem);
    const auto exact = solve_exactly({.problem = problem, .found = placement.places, .accepted_gap = kMostGap, .time_for_all = kTime});
    ASSERT_TRUE(exact) << "seed " << seed << ": " << exact.error().message();
    EXPECT_TRUE(exact->finished) << "seed " << seed << ": not within the time";
    EXPECT_EQ(exact->flaw, "") << "seed " << seed;
    EXPECT_LE(exact->gap, kMostGap) << "seed " << seed << ": " << text(levels_of(placement.score)) << "; solver: " << text(exact->best);
  }
}
INSTANTIATE_TEST_SUITE_P(Seeds, ExactPartTest, ::testing::Range(0U, kParts));

// What is found in no step at all can be beaten: the solver does look.
TEST_F(ExactTest, WhatIsNotSearchedForIsBeaten) {
  std::size_t beaten = 0;
  for (unsigned seed = 2; seed < 20; seed += 2) {
    const PlacementProblem problem = random_problem(seed);
    const Placement placement = place(problem, {.steps = 0});
    const auto exact = solve_exactly({.problem = problem, .found = placement.places, .accepted_gap = kMostGap, .time_for_all = kTime});
    ASSERT_TRUE(exact) << "seed " << seed << ": " << exact.error().message();
    EXPECT_EQ(exact->flaw, "") << "seed " << seed;
    if (exact->gap > kMostGap) ++beaten;
  }
  EXPECT_GE(beaten, 3U);
}

}  // namespace
}  // namespace perdure::placement::testing
