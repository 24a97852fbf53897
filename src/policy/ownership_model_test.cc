// Proves that no order of events breaks the rules of docs/cluster.md, "The record" and "A planned
// move": thousands of random lives of a small cluster, played from seeds by OwnershipWorld
// (ownership_world.h), which checks every effect against what the store really says, then heals and
// demands a good end. PERDURE_MODEL_SEEDS=N plays N lives, PERDURE_MODEL_SEED=N one of them again.
// That the invariants bite is mutation_test.py's proof.
#include <cstdlib>
#include <string>

#include "gtest/gtest.h"
#include "policy/ownership_world.h"

namespace perdure::policy {
namespace {

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::stoull(text);
}

TEST(OwnershipModelTest, NoOrderOfEventsBreaksAnInvariant) {
  const std::uint64_t only = from_environment("PERDURE_MODEL_SEED", 0);
  const std::uint64_t first = only != 0 ? only : 1;
  const std::uint64_t last = only != 0 ? only : from_environment("PERDURE_MODEL_SEEDS", 2500);
  OwnershipWorld::Tally sum;
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    OwnershipWorld world(seed);
    ASSERT_TRUE(world.play(100 + static_cast<int>(seed % 7) * 150))
        << world.trace() << "seed " << seed << " breaks: " << world.violation();
    const auto& tally = world.tally();
    sum.swaps += tally.swaps;
    sum.lost_answers += tally.lost_answers;
    sum.commits += tally.commits;
    sum.added += tally.added;
    sum.moved += tally.moved;
    sum.undone += tally.undone;
    sum.failovers += tally.failovers;
    sum.taken_back += tally.taken_back;
    sum.removed += tally.removed;
    sum.restarts += tally.restarts;
  }
  if (only != 0) return;
  // The lives are worth their name: everything happens often.
  RecordProperty("moved", static_cast<int>(sum.moved));
  RecordProperty("taken_back", static_cast<int>(sum.taken_back));
  EXPECT_GT(sum.swaps, last * 3);
  EXPECT_GT(sum.lost_answers, last / 3);
  EXPECT_GT(sum.commits, last * 5);
  EXPECT_GT(sum.added, last);
  EXPECT_GT(sum.moved, last / 4);
  EXPECT_GT(sum.undone, last / 8);
  EXPECT_GT(sum.failovers, last / 4);
  EXPECT_GT(sum.taken_back, last / 20);
  EXPECT_GT(sum.removed, last / 30);
  EXPECT_GT(sum.restarts, last);
}

TEST(OwnershipModelTest, TheSameSeedPlaysTheSameLife) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    OwnershipWorld one(seed);
    OwnershipWorld two(seed);
    one.play(300);
    two.play(300);
    ASSERT_EQ(one.trace(), two.trace());
  }
}

}  // namespace
}  // namespace perdure::policy
