// Proves that what a former store holds is not lost to who goes on with another one, and that nothing new goes to it.
#include "replica/succeeding_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "replica/memory_file_system.h"
#include "replica/store_operations.h"

namespace perdure::replica {
namespace {

using capsule::testing::encoded_delta;
using capsule::testing::encoded_full;
using capsule::testing::generation;
using testing::capsule_of;
using ::testing::ElementsAre;

std::vector<std::uint64_t> numbers(CapsuleStore& store) {
  std::vector<std::uint64_t> result;
  const std::vector<StoredGeneration> all = store.list().value();
  for (const StoredGeneration& one : all) result.push_back(one.generation.number);
  return result;
}

// The former one holds 1 (full), 2, 3 (deltas), 4 (full), 5 (delta); 2 is marked.
class SucceedingStoreTest : public ::testing::Test {
 protected:
  SucceedingStoreTest() { newest_ = testing::fill(*former_); }

  MemoryFileSystem files_;
  std::shared_ptr<DirectoryStore> former_ = testing::open_store("/former", files_);
  std::shared_ptr<DirectoryStore> store_ = testing::open_store("/store", files_);
  SucceedingStore both_{store_, former_};
  capsule::Digest newest_;
};

TEST_F(SucceedingStoreTest, ItHasWhatEitherHas) {
  ASSERT_TRUE(both_.put(encoded_full(capsule_of(6))));
  EXPECT_THAT(numbers(both_), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(numbers(*store_), ElementsAre(6));
  for (std::uint64_t number = 1; number <= 6; ++number) {
    const auto loaded = both_.load(generation(number));
    ASSERT_TRUE(loaded) << loaded.error().message();
    EXPECT_TRUE(capsule::testing::same_state(**loaded, capsule_of(number)));
  }
  EXPECT_EQ(both_.load(generation(7)).error().code(), ErrorCode::kNotFound);
}

TEST_F(SucceedingStoreTest, TheFirstNewGenerationIsFull) {
  EXPECT_TRUE(both_.should_be_full(generation(5)));
  EXPECT_EQ(both_.put(encoded_delta(capsule_of(6), capsule_of(5), newest_)).error().code(), ErrorCode::kNotFound);
  const auto full = encoded_full(capsule_of(6));
  ASSERT_TRUE(both_.put(full));
  EXPECT_FALSE(both_.should_be_full(generation(6)));
  EXPECT_TRUE(both_.put(encoded_delta(capsule_of(7), capsule_of(6), full.digest)));
}

TEST_F(SucceedingStoreTest, WhatIsInBothIsTakenFromTheNewer) {
  ASSERT_TRUE(both_.put(encoded_full(capsule_of(5))));
  EXPECT_THAT(numbers(both_), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_TRUE(both_.list().value().back().is_full());
}

TEST_F(SucceedingStoreTest, TheNewestThatLoadsIsFoundInEither) {
  EXPECT_EQ(both_.newest_restorable({})->generation.number, 5u);
  ASSERT_TRUE(both_.put(encoded_full(capsule_of(6))));
  EXPECT_EQ(both_.newest_restorable({})->generation.number, 6u);
  files_.flip_byte("/store/" + file_name_of(generation(6)), 40);
  const auto found = both_.newest_restorable({});
  ASSERT_TRUE(found) << found.error().message();
  EXPECT_EQ(found->generation.number, 5u);
  ASSERT_EQ(found->skipped.size(), 1u);
  EXPECT_EQ(found->skipped.front().generation.number, 6u);
}

TEST_F(SucceedingStoreTest, MarksAndRemovalsReachTheRightOne) {
  ASSERT_TRUE(both_.put(encoded_full(capsule_of(6))));
  ASSERT_TRUE(both_.mark(generation(5), "suspect", "why"));
  ASSERT_TRUE(both_.mark(generation(6), "suspect", "why"));
  EXPECT_EQ(former_->list().value().back().marks.at("suspect"), "why");
  EXPECT_EQ(store_->list().value().back().marks.at("suspect"), "why");
  ASSERT_TRUE(both_.unmark(generation(5), "suspect"));
  ASSERT_TRUE(both_.unmark(generation(6), "suspect"));
  EXPECT_TRUE(former_->list().value().back().marks.empty());
  EXPECT_TRUE(store_->list().value().back().marks.empty());
  EXPECT_EQ(both_.remove(generation(1)).error().code(), ErrorCode::kConflict);
  ASSERT_TRUE(both_.remove(generation(5)));
  EXPECT_EQ(both_.remove(generation(9)).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(both_.retain_only({generation(6)}).value().size(), 4u);
  EXPECT_THAT(numbers(both_), ElementsAre(6));
  EXPECT_TRUE(numbers(*former_).empty());
}

}  // namespace
}  // namespace perdure::replica
