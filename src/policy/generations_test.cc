// Proves which generation counts as the newest good one, and that retention deletes nothing that a
// recovery could still need: by a golden table (testdata/retention.txt), and by random lists
// against the rules as properties.
#include "policy/generations.h"

#include <algorithm>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "policy/golden_file.h"

namespace perdure::policy {
namespace {

using ::testing::Contains;
using ::testing::Not;

std::string numbers(const std::vector<Generation>& generations) {
  std::string text;
  for (const auto& id : generations) {
    text += (text.empty() ? "" : " ") + std::to_string(id.number);
  }
  return text.empty() ? "nothing" : text;
}

TEST(GenerationsTest, NewestGoodSkipsProvisionalMarkedAndBrokenChains) {
  const auto newest = [](const std::string& text) -> std::uint64_t {
    const auto list = parse_generations(text);
    const GenerationInfo* found = newest_good(list);
    return found == nullptr ? 0 : found->id.number;
  };
  EXPECT_EQ(newest(""), 0U);
  EXPECT_EQ(newest("1,2,3"), 3U);
  EXPECT_EQ(newest("3,1,2"), 3U) << "the order of the list does not matter";
  EXPECT_EQ(newest("1,2,3p"), 2U);
  EXPECT_EQ(newest("1,2s,3c,4a"), 1U);
  EXPECT_EQ(newest("1,2<1,3<2"), 3U);
  EXPECT_EQ(newest("1,2c,3<2,4<3"), 1U) << "a delta on a corrupt base is lost with it";
  EXPECT_EQ(newest("1,3<2"), 1U) << "a delta on a missing base";
  EXPECT_EQ(newest("1,2p,3<2"), 1U) << "a delta on a base that is not committed";
  EXPECT_EQ(newest("1,2s,3<2"), 3U) << "a suspect base is complete: only its own memory is suspect";
  EXPECT_EQ(newest("1,2<3,3<2"), 1U) << "a circle ends the walk";
}

TEST(GenerationsTest, AChainIsCompleteAwaitedOrLost) {
  const auto chain = [](const std::string& text, std::uint64_t id) {
    return chain_of(parse_generations(text), generation(id));
  };
  EXPECT_EQ(chain("1,2<1", 2), Chain::kComplete);
  EXPECT_EQ(chain("1,2p", 2), Chain::kAwaited);
  EXPECT_EQ(chain("1p,2<1", 2), Chain::kAwaited) << "it has overtaken its base";
  EXPECT_EQ(chain("1pa,2<1,3p<2", 3), Chain::kLost) << "left behind uncommitted";
  EXPECT_EQ(chain("1c,2p<1", 2), Chain::kLost);
  EXPECT_EQ(chain("2p<1", 2), Chain::kLost);
  EXPECT_EQ(chain("1", 2), Chain::kLost);
  EXPECT_EQ(chain("1pd,2<1", 2), Chain::kComplete) << "the directory has its base";
  EXPECT_EQ(chain("1pad,2<1", 2), Chain::kComplete) << "... also one that was left behind";
  EXPECT_EQ(chain("1cd,2<1", 2), Chain::kLost);
  EXPECT_EQ(chain("1,2pd<1", 2), Chain::kAwaited) << "durable is not committed";
  EXPECT_EQ(chain("1,2pad<1", 2), Chain::kLost);
}

// retain keep=3 marked=2 [probation=N] [own=INCARNATION] [term=N] generations -> what goes, newest
// first
TEST(GenerationsTest, RetentionFollowsItsTable) {
  run_golden_file(
      PERDURE_POLICY_TESTDATA "/retention.txt", [](const std::vector<std::string>& input) {
        RetentionRules rules{.term = Term{1}, .incarnation = Incarnation{1}, .on_probation = {}};
        std::vector<GenerationInfo> generations;
        for (const std::string& word : split(input.front(), ' ')) {
          const auto parts = split(word, '=');
          if (parts.front() == "generations") {
            if (parts.size() > 1) generations = parse_generations(parts[1]);
            continue;
          }
          const auto value = static_cast<std::uint32_t>(std::stoul(parts.at(1)));
          if (parts.front() == "keep") rules.keep = value;
          if (parts.front() == "marked") rules.keep_marked = value;
          if (parts.front() == "probation") rules.on_probation = generation(value);
          if (parts.front() == "own") rules.incarnation = Incarnation{value};
          if (parts.front() == "term") rules.term = Term{value};
        }
        return numbers(generations_to_delete(generations, rules)) + "\n";
      });
}

struct RandomList {
  std::vector<GenerationInfo> generations;
  RetentionRules rules;
};

RandomList random_list(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  RandomList list;
  const std::uint64_t count = random() % 14;
  const std::uint64_t own_from = random() % 14;
  for (std::uint64_t n = 1; n <= count; ++n) {
    GenerationInfo info{.id = {Term{1}, Incarnation{n < own_from ? 1U : 2U}, n},
                        .parent = std::nullopt,
                        .state = CommitState::kCommitted};
    if (random() % 3 == 0 && !list.generations.empty()) info.parent = list.generations.back().id;
    if (random() % 8 == 0) info.state = CommitState::kProvisional;
    if (random() % 4 == 0) info.mark = static_cast<Mark>(random() % 4);
    info.durable = random() % 3 == 0;
    list.generations.push_back(info);
  }
  std::ranges::shuffle(list.generations, random);
  list.rules = {.term = Term{1},
                .incarnation = Incarnation{2},
                .keep = static_cast<std::uint32_t>(random() % 5),
                .keep_marked = static_cast<std::uint32_t>(random() % 3),
                .on_probation = std::nullopt};
  if (count > 0 && random() % 3 == 0) {
    list.rules.on_probation = list.generations[random() % count].id;
  }
  return list;
}

bool good(const std::vector<GenerationInfo>& list, const GenerationInfo& info) {
  return info.mark == Mark::kNone && restorable(list, info.id);
}

TEST(GenerationsTest, RetentionNeverDeletesWhatARecoveryNeeds) {
  for (std::uint64_t seed = 0; seed < 5000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const auto [before, rules] = random_list(seed);
    const auto deleted = generations_to_delete(before, rules);
    std::vector<GenerationInfo> after = before;
    std::erase_if(after, [&](const auto& info) { return std::ranges::contains(deleted, info.id); });

    const GenerationInfo* newest = newest_good(before);
    if (newest != nullptr) {
      ASSERT_THAT(deleted, Not(Contains(newest->id)));
    }
    const auto committed = [](const auto& list) {
      return std::ranges::count(list, CommitState::kCommitted, &GenerationInfo::state);
    };
    const auto restorable_ones = [](const auto& list) {
      return std::ranges::count_if(list,
                                   [&](const auto& info) { return restorable(list, info.id); });
    };
    ASSERT_GE(restorable_ones(after), std::min<std::ptrdiff_t>(2, restorable_ones(before)));
    if (rules.keep_marked >= 2) {
      ASSERT_GE(committed(after), std::min<std::ptrdiff_t>(2, committed(before)));
    }
    for (const auto& info : after) {
      if (info.parent) {
        ASSERT_THAT(deleted, Not(Contains(*info.parent))) << "base of a kept delta";
      }
      ASSERT_EQ(restorable(before, info.id), restorable(after, info.id));
    }
    for (const auto& id : deleted) {
      const GenerationInfo& gone = *find(before, id);
      ASSERT_FALSE(gone.state == CommitState::kProvisional && gone.mark == Mark::kNone);
      const bool own = id.incarnation == rules.incarnation;
      const auto newer_own = std::ranges::count_if(before, [&](const auto& other) {
        return good(before, other) && other.id > id && other.id.incarnation == rules.incarnation;
      });
      if (gone.state == CommitState::kCommitted && (good(before, gone) || !own)) {
        ASSERT_GE(newer_own, 2) << "not superseded by two of its own";
      }
      if (rules.on_probation && good(before, gone)) {
        ASSERT_NE(id, *rules.on_probation);
      }
    }
    const auto newest_durable = [](const auto& of, bool any) {
      std::optional<Generation> found;
      for (const auto& info : of) {
        const bool counts = info.durable && (any || info.mark == Mark::kNone);
        if (counts && (!found || *found < info.id)) found = info.id;
      }
      return found;
    };
    for (const bool any : {true, false}) {
      ASSERT_EQ(newest_durable(before, any), newest_durable(after, any));
    }
    ASSERT_TRUE(std::ranges::is_sorted(deleted, std::ranges::greater())) << "newest first";
  }
}

}  // namespace
}  // namespace perdure::policy
