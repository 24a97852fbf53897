// Proves that no order of events breaks the policy's invariants: thousands of random lives, played
// from seeds by PolicyWorld (policy_world.h), which checks every effect and every state reached
// (policy_invariants.cc), then heals and demands a good end. PERDURE_MODEL_SEEDS=N plays N lives,
// PERDURE_MODEL_SEED=N one of them again. That the invariants bite is mutation_test.py's proof.
#include <cstdlib>
#include <string>

#include "gtest/gtest.h"
#include "policy/policy_world.h"

namespace perdure::policy {
namespace {

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::stoull(text);
}

TEST(PolicyModelTest, NoOrderOfEventsBreaksAnInvariant) {
  const std::uint64_t only = from_environment("PERDURE_MODEL_SEED", 0);
  const std::uint64_t first = only != 0 ? only : 1;
  const std::uint64_t last = only != 0 ? only : from_environment("PERDURE_MODEL_SEEDS", 4000);
  PolicyWorld::Tally sum;
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    PolicyWorld world(seed);
    ASSERT_TRUE(world.play(50 + static_cast<int>(seed % 7) * 50))
        << world.trace() << "seed " << seed << " breaks: " << world.violation();
    const auto& tally = world.tally();
    sum.captures += tally.captures;
    sum.restores += tally.restores;
    sum.starts += tally.starts;
    sum.given_up += tally.given_up;
    sum.deletions += tally.deletions;
    sum.restarts += tally.restarts;
    sum.moves += tally.moves;
    sum.failovers += tally.failovers;
    sum.handed_over += tally.handed_over;
    sum.resumed += tally.resumed;
    sum.arrivals += tally.arrivals;
    sum.waits += tally.waits;
    for (const auto& [phase, count] : tally.ends) sum.ends[phase] += count;
  }
  RecordProperty("restores", static_cast<int>(sum.restores));
  if (only != 0) return;
  // The lives are worth their name: everything happens often.
  EXPECT_GT(sum.captures, last * 20);
  EXPECT_GT(sum.restores, last);
  EXPECT_GT(sum.starts, last);
  EXPECT_GT(sum.given_up, last / 20);
  EXPECT_GT(sum.deletions, last);
  EXPECT_GT(sum.restarts, last / 2);
  EXPECT_GT(sum.moves, last / 4);
  EXPECT_GT(sum.failovers, last / 100);
  EXPECT_GT(sum.handed_over, last / 10);
  EXPECT_GT(sum.resumed, last / 20);
  EXPECT_GT(sum.arrivals, last / 4);
  EXPECT_GT(sum.waits, last / 4);
  for (const Phase end :
       {Phase::kProtected, Phase::kStopped, Phase::kRemoved, Phase::kFailed, Phase::kGone}) {
    EXPECT_GT(sum.ends[end], last / 50) << to_string(end);
  }
}

TEST(PolicyModelTest, TheSameSeedPlaysTheSameLife) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    PolicyWorld one(seed);
    PolicyWorld two(seed);
    one.play(150);
    two.play(150);
    ASSERT_EQ(one.trace(), two.trace());
  }
}

}  // namespace
}  // namespace perdure::policy
