// Proves that the simulation is worth believing: a seed plays the same run whenever it is played, much
// happens in it, and with each guard of the protocol switched off it finds what the guard is for. That
// thousands of seeds break no rule is perdure_sim's proof (ctest: sim.seeds).
#include "sim/simulation.h"

#include <algorithm>
#include <string>

#include "gtest/gtest.h"

namespace perdure::sim {
namespace {

TEST(SimulationTest, TheSameSeedPlaysTheSameRun) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    SimulationOptions options;
    options.seed = seed;
    options.tracing = Tracing::kAll;
    Simulation one(options);
    Simulation other(options);
    one.run();
    other.run();
    ASSERT_FALSE(one.trace().empty());
    ASSERT_EQ(one.trace(), other.trace()) << "seed " << seed;
  }
}

TEST(SimulationTest, TheTraceChangesNothing) {
  SimulationOptions options;
  options.seed = 3;
  Simulation silent(options);
  options.tracing = Tracing::kAll;
  Simulation traced(options);
  silent.run();
  traced.run();
  EXPECT_EQ(silent.tally().events, traced.tally().events);
  EXPECT_EQ(silent.tally().swaps, traced.tally().swaps);
}

TEST(SimulationTest, TheNumbersOfNodesAndContainersCanBeGiven) {
  SimulationOptions options;
  options.nodes = 7;
  options.containers = 9;
  Simulation simulation(options);
  EXPECT_FALSE(simulation.run());
  EXPECT_GT(simulation.tally().commits, 9U);
}

TEST(SimulationTest, MuchHappens) {
  Tally sum;
  constexpr std::uint64_t kSeeds = 150;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SimulationOptions options;
    options.seed = seed;
    options.nodes = 4;
    options.containers = 3;
    Simulation simulation(options);
    const auto violation = simulation.run();
    ASSERT_FALSE(violation) << "seed " << seed << ": " << violation->rule << ": "
                            << violation->detail;
    sum += simulation.tally();
  }
  EXPECT_GT(sum.swaps, kSeeds * 10);
  EXPECT_GT(sum.lost_answers, kSeeds / 2);
  EXPECT_GT(sum.commits, kSeeds * 10);
  EXPECT_GT(sum.takeovers, kSeeds);
  EXPECT_GT(sum.recoveries, kSeeds / 20);
  EXPECT_GT(sum.takers_lost, kSeeds / 4);
  EXPECT_GT(sum.words, 0U);
  EXPECT_GT(sum.crashes, kSeeds);
  EXPECT_GT(sum.pauses, kSeeds / 2);
  EXPECT_GT(sum.cuts, kSeeds);
}

class SabotageTest : public testing::TestWithParam<Sabotage> {};

// The bound is several times what each of them needs.
TEST_P(SabotageTest, IsFoundOut) {
  constexpr std::uint64_t kSeeds = 400;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SimulationOptions options;
    options.seed = seed;
    options.sabotage = GetParam();
    options.nodes = 4;
    options.containers = 3;
    Simulation simulation(options);
    const auto violation = simulation.run();
    if (!violation) continue;
    RecordProperty("seed", static_cast<int>(seed));
    RecordProperty("rule", violation->rule);
    options.sabotage = Sabotage::kNone;
    Simulation sound(options);
    EXPECT_FALSE(sound.run()) << "seed " << seed << " breaks a rule with every guard in place";
    return;
  }
  FAIL() << "with the guard '" << to_string(GetParam()) << "' switched off, " << kSeeds
         << " seeds break no rule";
}

INSTANTIATE_TEST_SUITE_P(EveryGuard, SabotageTest, testing::ValuesIn(kSabotages),
                         [](const auto& guard) {
                           std::string name(to_string(guard.param));
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

TEST(SabotageWordTest, AWordThatIsNoneNamesThoseThereAre) {
  const auto parsed = parse_sabotage("everything");
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().code(), ErrorCode::kInvalid);
  EXPECT_NE(parsed.error().message().find("absolute-deadline"), std::string::npos);
  for (const Sabotage sabotage : kSabotages) EXPECT_EQ(parse_sabotage(to_string(sabotage)), sabotage);
}

}  // namespace
}  // namespace perdure::sim
