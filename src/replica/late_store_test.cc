// Proves that a store opened by its first user is as good as one that was opened before, that nobody but its users waits
// for its opening, and that what failed to open is opened by who comes next.
#include "replica/late_store.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "replica/memory_file_system.h"
#include "replica/store_operations.h"

namespace perdure::replica {
namespace {

using capsule::testing::encoded_delta;
using capsule::testing::encoded_full;
using capsule::testing::generation;
using testing::capsule_of;

class LateStoreTest : public ::testing::Test {
 protected:
  Result<std::unique_ptr<CapsuleStore>> open() {
    ++openings_;
    if (fails_) return fail(ErrorCode::kIo, "the server is away");
    return std::unique_ptr<CapsuleStore>(testing::open_store("/store", files_));
  }

  MemoryFileSystem files_;
  std::atomic<int> openings_ = 0;
  std::atomic<bool> fails_ = false;
  LateStore store_{[this] { return open(); }};
};

TEST_F(LateStoreTest, ItsFirstUserOpensIt) {
  EXPECT_EQ(openings_, 0);
  const auto full = encoded_full(capsule_of(1));
  ASSERT_TRUE(store_.put(full));
  ASSERT_TRUE(store_.put(encoded_delta(capsule_of(2), capsule_of(1), full.digest)));
  EXPECT_EQ(store_.list().value().size(), 2u);
  EXPECT_TRUE(store_.load(generation(2)));
  ASSERT_TRUE(store_.mark(generation(2), "suspect", "why"));
  EXPECT_EQ(store_.newest_restorable({generation(2)})->generation.number, 1u);
  ASSERT_TRUE(store_.unmark(generation(2), "suspect"));
  EXPECT_EQ(store_.remove(generation(1)).error().code(), ErrorCode::kConflict);
  EXPECT_EQ(store_.retain_only({}).value().size(), 2u);
  EXPECT_EQ(openings_, 1);
}

TEST_F(LateStoreTest, WhatFailedToOpenIsOpenedByWhoComesNext) {
  fails_ = true;
  EXPECT_EQ(store_.list().error().code(), ErrorCode::kIo);
  EXPECT_EQ(store_.put(encoded_full(capsule_of(1))).error().message(), "the server is away");
  EXPECT_EQ(store_.load(generation(1)).error().code(), ErrorCode::kIo);
  EXPECT_EQ(store_.newest_restorable({}).error().code(), ErrorCode::kIo);
  EXPECT_EQ(store_.mark(generation(1), "suspect", "").error().code(), ErrorCode::kIo);
  EXPECT_EQ(store_.unmark(generation(1), "suspect").error().code(), ErrorCode::kIo);
  EXPECT_EQ(store_.remove(generation(1)).error().code(), ErrorCode::kIo);
  EXPECT_EQ(store_.retain_only({}).error().code(), ErrorCode::kIo);
  EXPECT_EQ(openings_, 8);
  fails_ = false;
  EXPECT_TRUE(store_.put(encoded_full(capsule_of(1))));
}

TEST_F(LateStoreTest, WhetherAGenerationShouldBeFullWaitsForNobody) {
  EXPECT_TRUE(store_.should_be_full(generation(1)));
  EXPECT_EQ(openings_, 0);
  std::atomic<bool> opening = false;
  std::atomic<bool> goes_on = false;
  LateStore hung([&]() -> Result<std::unique_ptr<CapsuleStore>> {
    opening = true;
    opening.notify_all();
    goes_on.wait(false);
    return open();
  });
  std::jthread user([&] { EXPECT_TRUE(hung.put(encoded_full(capsule_of(1)))); });
  opening.wait(false);
  EXPECT_TRUE(hung.should_be_full(generation(1)));
  goes_on = true;
  goes_on.notify_all();
  user.join();
  EXPECT_FALSE(hung.should_be_full(generation(1)));
}

TEST_F(LateStoreTest, ManyFirstUsersOpenItOnce) {
  std::vector<std::jthread> users;
  for (std::uint64_t number = 1; number <= 8; ++number) {
    users.emplace_back([this, number] { EXPECT_TRUE(store_.put(encoded_full(capsule_of(number)))); });
  }
  users.clear();
  EXPECT_EQ(openings_, 1);
  EXPECT_EQ(store_.list().value().size(), 8u);
}

}  // namespace
}  // namespace perdure::replica
