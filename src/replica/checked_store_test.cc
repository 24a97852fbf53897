// Proves that what is not there because nothing is mounted is not taken for what is gone.
#include "replica/checked_store.h"

#include <gtest/gtest.h>

#include "replica/memory_file_system.h"
#include "replica/store_operations.h"

namespace perdure::replica {
namespace {

using capsule::testing::generation;

TEST(CheckedStore, NothingIsMissingWhileTheRightOneIsNotThere) {
  MemoryFileSystem files;
  bool mounted = true;
  CheckedStore store(testing::open_store("/store", files),
                     [&]() -> Status { return mounted ? Status() : fail(ErrorCode::kTransient, "is it mounted?"); });
  const auto codes = [&] {
    return std::vector{store.load(generation(7)).error().code(), store.remove(generation(7)).error().code(),
                       store.mark(generation(7), "suspect", "").error().code(), store.newest_restorable({}).error().code(),
                       store.put(capsule::testing::encoded_delta(testing::capsule_of(2), testing::capsule_of(1), {})).error().code()};
  };
  EXPECT_EQ(codes(), std::vector(5, ErrorCode::kNotFound));
  mounted = false;
  EXPECT_EQ(codes(), std::vector(5, ErrorCode::kTransient));
}

TEST(CheckedStore, WhatIsThereIsNotChecked) {
  MemoryFileSystem files;
  CheckedStore store(testing::open_store("/store", files), []() -> Status { return fail(ErrorCode::kTransient, "is it mounted?"); });
  ASSERT_TRUE(store.put(capsule::testing::encoded_full(testing::capsule_of(1))));
  EXPECT_TRUE(store.load(generation(1)));
  EXPECT_EQ(store.list().value().size(), 1U);
}

}  // namespace
}  // namespace perdure::replica
