// Proves that a node that leaves its cluster can read what it has stored of its containers, and that nothing is lost on the way.
#include "node/cluster/unsealing.h"

#include <filesystem>

#include "gmock/gmock.h"
#include "io/test_support.h"
#include "pki/key_ring.h"
#include "replica/late_store.h"
#include "replica/sealed_file_system.h"
#include "replica/store_operations.h"
#include "replica/succeeding_store.h"

namespace perdure::node {
namespace {

using capsule::testing::generation;
using replica::testing::capsule_of;
using ::testing::HasSubstr;

class UnsealingTest : public ::testing::Test {
 protected:
  UnsealingTest() {
    const auto key = pki::KeyRing::make_key(1, std::chrono::system_clock::now()).value();
    sealed_.use(std::make_shared<pki::KeyRing>(std::vector{key}));
    store_ = replica::testing::open_store(directory_path_, sealed_);
    replica::testing::fill(*store_);  // 1 (full), 2, 3 (deltas), 4 (full), 5 (delta)
    sealed_.seal(false);
  }
  Status keep() { return keep(*store_, "web"); }
  Status keep(replica::CapsuleStore& store, const std::string& name, const capsule::CapsuleRef& in_memory = nullptr) {
    return keep_newest_alone(store, in_memory, ContainerName::parse(name).value(), directory_ / name, files_, keeping_);
  }
  void expect_alone(std::uint64_t number) {
    EXPECT_FALSE(std::filesystem::exists(directory_path_ + ".new"));
    const auto plain = replica::testing::open_store(directory_path_, files_);
    const auto all = plain->list().value();
    ASSERT_EQ(all.size(), 1U);
    EXPECT_EQ(all.front().generation, generation(number));
    EXPECT_TRUE(all.front().is_full());
    replica::testing::check_loads(*plain, number);
  }

  io::TemporaryDirectory directory_;
  const std::string directory_path_ = directory_ / "web";
  replica::PosixFileSystem files_;
  replica::SealedFileSystem sealed_{files_, nullptr};
  std::shared_ptr<replica::DirectoryStore> store_;
  Keeping keeping_;
};

TEST_F(UnsealingTest, TheNewestGenerationStaysAndNeedsNoKey) {
  ASSERT_TRUE(keep());
  expect_alone(5);
  ASSERT_TRUE(keep(*replica::testing::open_store(directory_path_, sealed_), "web"))
      << "repeatable";
  expect_alone(5);
}

TEST_F(UnsealingTest, WhatIsMarkedIsTakenOnlyWhereThereIsNothingElse) {
  ASSERT_TRUE(store_->mark(generation(5), "suspect", "died at once"));
  ASSERT_TRUE(keep());
  expect_alone(4);
}

TEST_F(UnsealingTest, OnlyWhatIsMarkedIsBetterThanNothing) {
  for (std::uint64_t number = 1; number <= 5; ++number) ASSERT_TRUE(store_->mark(generation(number), "suspect", ""));
  ASSERT_TRUE(keep());
  expect_alone(5);
}

TEST_F(UnsealingTest, FromTheClustersDirectoryItComesToTheNodesOwn) {
  const std::shared_ptr<replica::DirectoryStore> shared = replica::testing::open_store(directory_ / "shared", sealed_);
  ASSERT_TRUE(shared->put(capsule::testing::encoded_full(capsule_of(6))));
  replica::SucceedingStore both(shared, store_);
  ASSERT_TRUE(keep(both, "web"));
  expect_alone(6);
  ASSERT_TRUE(keep(*shared, "other"));
  EXPECT_EQ(replica::testing::open_store(directory_ / "other", files_)->list().value().size(), 1U) << "where nothing was before";
  EXPECT_EQ(shared->list().value().size(), 1U) << "what is the cluster's stays";
}

TEST_F(UnsealingTest, WhatIsInMemoryNeedsNoStore) {
  replica::LateStore away([]() -> Result<std::unique_ptr<replica::CapsuleStore>> { return fail(ErrorCode::kTransient, "is it mounted?"); });
  EXPECT_FALSE(keep(away, "web"));
  EXPECT_EQ(store_->list().value().size(), 5U) << "an error is not an empty store";
  ASSERT_TRUE(keep(away, "web", std::make_shared<const capsule::Capsule>(capsule_of(7))));
  expect_alone(7);
}

TEST_F(UnsealingTest, NothingChangesWhenNobodyWaitsForItAnyMore) {
  keeping_.give_up();
  EXPECT_FALSE(keep());
  EXPECT_EQ(store_->list().value().size(), 5U);
  EXPECT_FALSE(std::filesystem::exists(directory_path_ + ".new"));
}

TEST_F(UnsealingTest, WhatCannotBeReadIsNotThrownAway) {
  sealed_.use(std::make_shared<pki::KeyRing>());
  const Status kept = keep();
  ASSERT_FALSE(kept);
  EXPECT_EQ(kept.error().code(), ErrorCode::kPermission);
  EXPECT_THAT(kept.error().message(), HasSubstr("'web'"));
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory_path_)) files += entry.path().extension() == ".capsule";
  EXPECT_EQ(files, 5U);
}

TEST_F(UnsealingTest, NothingStoredNothingKept) {
  ASSERT_TRUE(store_->retain_only({}));
  ASSERT_TRUE(keep());
  EXPECT_FALSE(std::filesystem::exists(directory_path_));
}

}  // namespace
}  // namespace perdure::node
