// Proves that the table keeps the newest committed generation whatever else happens, that memory
// stays within its budget, and that it comes back from the store after a restart of the daemon.
#include "replica/generation_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "capsule/format/test_capsules.h"
#include "replica/directory_store.h"
#include "replica/memory_file_system.h"

namespace perdure::replica {
namespace {

using capsule::Capsule;
using capsule::CapsuleRef;
using capsule::testing::encoded_full;
using capsule::testing::generation;
using capsule::testing::object_of;
using capsule::testing::page_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Probe = GenerationTable::Probe;

constexpr std::uint64_t kPages = 100;  // of a capsule here

CapsuleRef capsule_of(const Generation& id, std::optional<Generation> parent = std::nullopt) {
  Capsule capsule;
  capsule.manifest.container = "web";
  capsule.manifest.generation = id;
  capsule.manifest.parent = parent;
  std::vector<std::pair<std::uint64_t, std::string>> pages;
  for (std::uint64_t i = 0; i < kPages; ++i) {
    pages.emplace_back(i, page_of(static_cast<char>(id.number)));
  }
  capsule.memory["mm-1"] = object_of(pages);
  return std::make_shared<const Capsule>(std::move(capsule));
}
CapsuleRef capsule_of(std::uint64_t number) {
  return capsule_of(generation(number));
}

GenerationTableOptions room_for(std::uint64_t capsules) {
  GenerationTableOptions options;
  options.memory_budget = Bytes{(capsules * kPages + kPages / 2) * capsule::kPageSize};
  return options;
}

std::vector<std::uint64_t> numbers(const GenerationTable& table) {
  std::vector<std::uint64_t> result;
  for (const GenerationRecord& record : table.all()) result.push_back(record.generation.number);
  return result;
}

// Added, stored and committed.
void commit(GenerationTable& table, std::uint64_t number) {
  ASSERT_TRUE(table.add(capsule_of(number), {}, Probe::kNone));
  ASSERT_TRUE(table.mark_durable(generation(number), Bytes{1}));
  ASSERT_TRUE(table.mark_committed(generation(number)));
}

TEST(GenerationTable, AGenerationGoesThroughItsStates) {
  GenerationTable table({});
  EXPECT_FALSE(table.newest());
  const Generation id = generation(1);
  ASSERT_TRUE(table.add(capsule_of(1), {7, 8}, Probe::kPending));
  EXPECT_EQ(table.find(id)->state(), GenerationState::kProvisional);
  EXPECT_EQ(table.mark_committed(id).error().code(), ErrorCode::kInvalid);
  ASSERT_TRUE(table.confirm(id));
  EXPECT_EQ(table.find(id)->state(), GenerationState::kCaptured);
  EXPECT_EQ(table.find(id)->digest, (capsule::Digest{7, 8}));
  ASSERT_TRUE(table.mark_durable(id, Bytes{5}));
  EXPECT_EQ(table.find(id)->state(), GenerationState::kDurable);
  EXPECT_FALSE(table.newest_committed());
  EXPECT_EQ(table.newest_durable()->generation, id);
  ASSERT_TRUE(table.mark_committed(id));
  EXPECT_EQ(table.newest_committed()->state(), GenerationState::kCommitted);
  ASSERT_TRUE(table.mark_bad(id, "did not answer"));
  EXPECT_EQ(table.find(id)->state(), GenerationState::kBad);
  EXPECT_FALSE(table.newest_committed());
  EXPECT_FALSE(table.newest_durable());
  EXPECT_EQ(table.mark_committed(id).error().code(), ErrorCode::kInvalid);
}

TEST(GenerationTable, UnknownGenerationsAreNotFound) {
  GenerationTable table({});
  const Generation id = generation(1);
  EXPECT_FALSE(table.find(id));
  EXPECT_EQ(table.confirm(id).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(table.mark_durable(id, {}).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(table.mark_committed(id).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(table.mark_bad(id, "x").error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(table.forget(id).error().code(), ErrorCode::kNotFound);
}

TEST(GenerationTable, GenerationsComeInOrderAndOnce) {
  GenerationTable table({});
  ASSERT_TRUE(table.add(capsule_of(5), {}, Probe::kNone));
  EXPECT_EQ(table.add(capsule_of(5), {}, Probe::kNone).error().code(), ErrorCode::kExists);
  EXPECT_EQ(table.add(capsule_of(4), {}, Probe::kNone).error().code(), ErrorCode::kInvalid);
}

TEST(GenerationTable, TheNewestCommittedIsNotTheNewest) {
  GenerationTable table({});
  commit(table, 1);
  commit(table, 2);
  ASSERT_TRUE(table.add(capsule_of(3), {}, Probe::kNone));
  EXPECT_EQ(table.newest()->generation.number, 3u);
  EXPECT_EQ(table.newest_committed()->generation.number, 2u);
  EXPECT_EQ(table.forget(generation(2)).error().code(), ErrorCode::kConflict);
  ASSERT_TRUE(table.mark_bad(generation(2), "did not run"));
  EXPECT_EQ(table.newest_committed()->generation.number, 1u);
  ASSERT_TRUE(table.forget(generation(2)));
  EXPECT_THAT(numbers(table), ElementsAre(1, 3));
}

TEST(GenerationTable, AHigherLifeDiscardsWhatItDidNotBuildOn) {
  GenerationTable table({});
  for (std::uint64_t number = 1; number <= 4; ++number) commit(table, number);
  const Generation taken = generation(5, 0x20);
  ASSERT_TRUE(table.add(capsule_of(taken, generation(2)), {}, Probe::kNone));
  EXPECT_THAT(numbers(table), ElementsAre(1, 2, 5));
  EXPECT_EQ(table.newest_committed()->generation.number, 2u);
}

TEST(GenerationTable, ASiblingOfTheSameLifeStays) {
  GenerationTable table({});
  for (std::uint64_t number = 1; number <= 3; ++number) commit(table, number);
  ASSERT_TRUE(table.add(capsule_of(generation(4), generation(1)), {}, Probe::kNone));
  EXPECT_THAT(numbers(table), ElementsAre(1, 2, 3, 4));
}

TEST(GenerationTable, DurableCapsulesLeaveMemoryFirst) {
  GenerationTable table(room_for(2));
  for (std::uint64_t number = 1; number <= 5; ++number) commit(table, number);
  EXPECT_THAT(numbers(table), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_EQ(table.find(generation(3))->capsule, nullptr);
  EXPECT_NE(table.find(generation(4))->capsule, nullptr);
  EXPECT_NE(table.find(generation(5))->capsule, nullptr);
  EXPECT_LE(table.memory().count, room_for(2).memory_budget.count);
}

TEST(GenerationTable, BadOnesLeaveMemoryBeforeGoodOnes) {
  GenerationTable table(room_for(3));
  for (std::uint64_t number = 1; number <= 3; ++number) commit(table, number);
  ASSERT_TRUE(table.mark_bad(generation(2), "did not run"));
  commit(table, 4);
  EXPECT_NE(table.find(generation(1))->capsule, nullptr);
  EXPECT_EQ(table.find(generation(2))->capsule, nullptr);
}

TEST(GenerationTable, WhatIsOnlyInMemoryGoesOnceACommittedOneIsNewer) {
  GenerationTable table(room_for(2));
  ASSERT_TRUE(table.add(capsule_of(1), {}, Probe::kNone));
  ASSERT_TRUE(table.add(capsule_of(2), {}, Probe::kNone));
  EXPECT_EQ(table.add(capsule_of(3), {}, Probe::kNone).error().code(), ErrorCode::kNoSpace);
  ASSERT_TRUE(table.mark_committed(generation(2)));
  ASSERT_TRUE(table.add(capsule_of(3), {}, Probe::kNone));
  EXPECT_THAT(numbers(table), ElementsAre(2, 3));
}

TEST(GenerationTable, CommittedByStandbysIsNotDurable) {
  GenerationTable table({});
  ASSERT_TRUE(table.add(capsule_of(1), {}, Probe::kNone));
  ASSERT_TRUE(table.mark_committed(generation(1)));
  EXPECT_EQ(table.newest_committed()->generation, generation(1));
  EXPECT_FALSE(table.newest_durable());
  ASSERT_TRUE(table.mark_durable(generation(1), Bytes{7}, capsule::Digest{3, 4}));
  EXPECT_EQ(table.newest_durable()->digest, (capsule::Digest{3, 4}));
  EXPECT_EQ(table.in_memory(generation(1)), table.find(generation(1))->capsule);
  EXPECT_EQ(table.in_memory(generation(2)), nullptr);
}

TEST(GenerationTable, WhatIsNeitherDurableNorCommittedStays) {
  GenerationTable table(room_for(3));
  ASSERT_TRUE(table.add(capsule_of(1), {}, Probe::kNone));
  ASSERT_TRUE(table.mark_committed(generation(1)));
  ASSERT_TRUE(table.add(capsule_of(2), {}, Probe::kNone));
  ASSERT_TRUE(table.add(capsule_of(3), {}, Probe::kNone));
  EXPECT_EQ(table.add(capsule_of(4), {}, Probe::kNone).error().code(), ErrorCode::kNoSpace);
  EXPECT_THAT(numbers(table), ElementsAre(1, 2, 3));
  // 2 was passed over: before the committed ones.
  ASSERT_TRUE(table.mark_committed(generation(3)));
  ASSERT_TRUE(table.add(capsule_of(4), {}, Probe::kNone));
  EXPECT_THAT(numbers(table), ElementsAre(1, 3, 4));
  ASSERT_TRUE(table.add(capsule_of(5), {}, Probe::kNone));
  EXPECT_THAT(numbers(table), ElementsAre(3, 4, 5));
}

TEST(GenerationTable, WhatIsLittleUsedIsCopiedTogether) {
  GenerationTable table(room_for(10));
  const CapsuleRef first = capsule_of(1);
  Capsule next = *first;
  next.manifest.generation = generation(2);
  // Ninety of its pages lie in a slab of their own, the other ten in that of the first.
  std::vector<std::pair<std::uint64_t, std::string>> pages;
  for (std::uint64_t i = 0; i < 90; ++i) pages.emplace_back(i, page_of('n'));
  next.memory["mm-1"] = first->memory.at("mm-1").overlaid_with(object_of(pages));
  const auto second = std::make_shared<const Capsule>(next);
  ASSERT_TRUE(table.add(second, {}, Probe::kNone));
  const std::uint64_t before = table.memory().count;
  const auto compacted = table.compact(generation(2));
  ASSERT_TRUE(compacted);
  EXPECT_EQ(table.in_memory(generation(2)), *compacted);
  EXPECT_TRUE(capsule::testing::same_state(**compacted, *second));
  EXPECT_LT(table.memory().count, before);
  // Again: nothing to do. Unknown: nothing.
  EXPECT_EQ(*table.compact(generation(2)), *compacted);
  EXPECT_EQ(*table.compact(generation(9)), nullptr);
}

TEST(GenerationTable, TheBaseOfADeltaStaysInMemory) {
  GenerationTable table(room_for(3));
  commit(table, 1);
  table.keep_in_memory({generation(1), generation(77)});
  for (std::uint64_t number = 2; number <= 5; ++number) commit(table, number);
  EXPECT_NE(table.in_memory(generation(1)), nullptr);
  EXPECT_EQ(table.in_memory(generation(3)), nullptr);
  table.keep_in_memory({});
  commit(table, 6);
  EXPECT_EQ(table.in_memory(generation(1)), nullptr);
}

TEST(GenerationTable, ABudgetThatCannotHoldTwoIsSaid) {
  GenerationTable table(room_for(1));
  commit(table, 1);
  const Status refused = table.add(capsule_of(2), {}, Probe::kNone);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kNoSpace);
  EXPECT_THAT(refused.error().message(), HasSubstr("raise the memory budget"));
  EXPECT_NE(table.newest_committed()->capsule, nullptr);
  EXPECT_THAT(numbers(table), ElementsAre(1));
}

TEST(GenerationTable, RecordsAreBounded) {
  GenerationTableOptions options;
  options.max_generations = 3;
  GenerationTable table(options);
  commit(table, 1);
  for (std::uint64_t number = 2; number <= 9; ++number) {
    ASSERT_TRUE(table.add(capsule_of(number), {}, Probe::kNone));
  }
  EXPECT_THAT(numbers(table), ElementsAre(1, 8, 9));
}

class WithStore : public ::testing::Test {
 protected:
  WithStore() {
    DirectoryStoreOptions options;
    options.directory = "/store";
    store_ = std::move(DirectoryStore::open(options, files_)).value();
    for (std::uint64_t number = 1; number <= 4; ++number) {
      const auto stored = store_->put(encoded_full(*capsule_of(number)));
      PERDURE_ASSERT(stored.has_value());
    }
  }
  MemoryFileSystem files_;
  std::unique_ptr<DirectoryStore> store_;
};

TEST_F(WithStore, TheTableComesBackAfterARestart) {
  files_.truncate("/store/" + file_name_of(generation(4)), 50);
  ASSERT_TRUE(store_->mark(generation(3), "suspect", "died at once"));
  GenerationTable table({});
  table.rebuild(store_->list().value(), GenerationState::kCommitted);
  EXPECT_THAT(numbers(table), ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(table.newest_committed()->generation.number, 2u);
  EXPECT_EQ(table.find(generation(3))->bad, "suspect: died at once");
  EXPECT_EQ(table.find(generation(4))->state(), GenerationState::kBad);
  EXPECT_EQ(table.memory().count, 0u);
  EXPECT_EQ(table.find(generation(2))->manifest.container, "web");

  const auto loaded = table.load(generation(2), *store_);
  ASSERT_TRUE(loaded) << loaded.error().message();
  EXPECT_EQ(table.find(generation(2))->capsule, *loaded);
  EXPECT_EQ(table.load(generation(2), *store_), *loaded);
  EXPECT_GT(table.memory().count, 0u);
}

TEST_F(WithStore, BeingStoredNeedNotMeanCommitted) {
  GenerationTable table({});
  table.rebuild(store_->list().value(), GenerationState::kDurable);
  EXPECT_FALSE(table.newest_committed());
  EXPECT_EQ(table.newest_durable()->generation.number, 4u);
}

TEST_F(WithStore, WhatDoesNotLoadBecomesBad) {
  GenerationTable table({});
  table.rebuild(store_->list().value(), GenerationState::kCommitted);
  const std::string path = "/store/" + file_name_of(generation(4));
  files_.flip_byte(path, files_.size(path).value() - 1);
  EXPECT_EQ(table.load(generation(4), *store_).error().code(), ErrorCode::kCorrupt);
  EXPECT_EQ(table.newest_committed()->generation.number, 3u);
  EXPECT_THAT(table.find(generation(4))->bad, HasSubstr("digest does not match"));
}

TEST_F(WithStore, WhatIsSuppliedTakesThePlaceOfWhatIsDamaged) {
  files_.truncate("/store/" + file_name_of(generation(3)), 50);
  files_.truncate("/store/" + file_name_of(generation(4)), 50);
  GenerationTable table({});
  table.rebuild(store_->list().value(), GenerationState::kCommitted);
  const auto supplied = capsule_of(3);  // older than 4, which is damaged
  ASSERT_TRUE(table.supply(supplied));
  EXPECT_EQ(table.in_memory(generation(3)), supplied);
  EXPECT_EQ(table.newest_committed()->generation.number, 3u);
  EXPECT_EQ(table.newest_durable()->generation.number, 2u) << "what is stored of it is damaged still";
  ASSERT_TRUE(table.supply(capsule_of(2)));
  EXPECT_TRUE(table.find(generation(2))->durable);
}

TEST(GenerationTable, WhatIsSuppliedMustFit) {
  GenerationTable table(room_for(1));
  commit(table, 2);
  EXPECT_EQ(table.supply(capsule_of(1)).error().code(), ErrorCode::kNoSpace);
  EXPECT_THAT(numbers(table), ElementsAre(2));
}

TEST_F(WithStore, ALoadedCapsuleThatDoesNotFitIsHandedOutAndNotKept) {
  GenerationTable table(room_for(1));
  table.rebuild(store_->list().value(), GenerationState::kCommitted);
  ASSERT_TRUE(table.load(generation(4), *store_));
  const auto older = table.load(generation(1), *store_);
  ASSERT_TRUE(older);
  EXPECT_EQ(table.find(generation(1))->capsule, nullptr);
  EXPECT_NE(table.find(generation(4))->capsule, nullptr);
}

}  // namespace
}  // namespace perdure::replica
