// Proves what a store promises: what is put comes back, complete and verified; damage is told and
// walked around; nothing is overwritten, nothing that is needed is removed. On a simulated file
// system (posix_store_test.cc: on the real one).
#include "replica/directory_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "capsule/format/test_capsules.h"
#include "replica/memory_file_system.h"
#include "replica/store_operations.h"

namespace perdure::replica {
namespace {

using capsule::Capsule;
using capsule::EncodedCapsule;
using capsule::testing::encoded_delta;
using capsule::testing::encoded_full;
using capsule::testing::generation;
using capsule::testing::same_state;
using capsule::testing::small_capsule;
using testing::capsule_of;
using testing::salt_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kDirectory[] = "/store";

std::string file_of(std::uint64_t number) {
  return std::string(kDirectory) + "/" + file_name_of(generation(number));
}


std::vector<std::uint64_t> numbers(const std::vector<StoredGeneration>& all) {
  std::vector<std::uint64_t> result;
  for (const StoredGeneration& one : all) result.push_back(one.generation.number);
  return result;
}

class DirectoryStoreTest : public ::testing::Test {
 protected:
  DirectoryStoreTest() { reopen(); }

  void reopen(DirectoryStoreOptions options = {}) {
    store_.reset();
    options.directory = kDirectory;
    options.container = "web";
    auto store = DirectoryStore::open(options, files_);
    ASSERT_TRUE(store) << store.error().message();
    store_ = std::move(*store);
  }

  void put_full(std::uint64_t number) {
    last_ = encoded_full(capsule_of(number));
    const auto receipt = store_->put(*last_);
    ASSERT_TRUE(receipt) << receipt.error().message();
    EXPECT_EQ(receipt->size.count, last_->size_bytes);
  }
  // On the capsule put before.
  void put_delta(std::uint64_t number) {
    const Capsule parent = capsule_of(last_->manifest.generation.number);
    last_ = encoded_delta(capsule_of(number), parent, last_->digest);
    const auto receipt = store_->put(*last_);
    ASSERT_TRUE(receipt) << receipt.error().message();
  }
  void expect_loads(std::uint64_t number) {
    const auto loaded = store_->load(generation(number));
    ASSERT_TRUE(loaded) << loaded.error().message();
    EXPECT_TRUE(same_state(**loaded, capsule_of(number)));
  }

  MemoryFileSystem files_;
  std::unique_ptr<DirectoryStore> store_;
  std::optional<EncodedCapsule> last_;
};

TEST(FileName, SortsByAgeAndParsesOnlyWhatItPrints) {
  EXPECT_EQ(file_name_of(generation(42)),
            "00000000000000000003-000000000000001f-00000000000000000042.capsule");
  const Generation extreme{Term{~0ull}, Incarnation{~0ull}, ~0ull};
  EXPECT_EQ(generation_of_file(file_name_of(extreme)), extreme);
  EXPECT_LT(file_name_of(generation(9)), file_name_of(generation(10)));
  EXPECT_LT(file_name_of(generation(10, 0x1f, 3)), file_name_of(generation(2, 0x20, 3)));
  EXPECT_LT(file_name_of(generation(10, 0x20, 3)), file_name_of(generation(2, 0x1f, 4)));
  for (const char* name : {"", ".capsule", "3-1f-42.capsule",
                           "00000000000000000003-000000000000001F-00000000000000000042.capsule",
                           "00000000000000000003_000000000000001f_00000000000000000042.capsule",
                           "00000000000000000003-000000000000001f-00000000000000000042.capsulf",
                           "99999999999999999999-000000000000001f-00000000000000000042.capsule",
                           "+0000000000000000003-000000000000001f-00000000000000000042.capsule"}) {
    EXPECT_FALSE(generation_of_file(name)) << name;
  }
}

TEST_F(DirectoryStoreTest, ChainsComeBackAlsoAfterARestart) {
  put_full(1);
  put_delta(2);
  put_delta(3);
  put_full(4);
  put_delta(5);
  reopen();
  for (std::uint64_t number = 1; number <= 5; ++number) expect_loads(number);
  const auto all = store_->list();
  ASSERT_TRUE(all);
  EXPECT_THAT(numbers(*all), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_TRUE((*all)[0].is_full());
  EXPECT_FALSE((*all)[1].is_full());
  EXPECT_EQ((*all)[4].info->digest, last_->digest);
  EXPECT_EQ((*all)[4].size.count, last_->size_bytes);
}

TEST_F(DirectoryStoreTest, NothingIsOverwritten) {
  put_full(1);
  EXPECT_EQ(store_->put(encoded_full(small_capsule(1, 'x'))).error().code(), ErrorCode::kExists);
  expect_loads(1);
}

TEST_F(DirectoryStoreTest, ADeltaNeedsItsParentInTheStore) {
  put_full(1);
  const EncodedCapsule orphan =
      encoded_delta(capsule_of(3), capsule_of(2), encoded_full(capsule_of(2)).digest);
  EXPECT_EQ(store_->put(orphan).error().code(), ErrorCode::kNotFound);
  const EncodedCapsule stranger =
      encoded_delta(capsule_of(3), capsule_of(1), capsule::Digest{1, 2});
  EXPECT_EQ(store_->put(stranger).error().code(), ErrorCode::kNotFound);
}

TEST_F(DirectoryStoreTest, AnotherContainersCapsuleIsRefused) {
  Capsule other = capsule_of(1);
  other.manifest.container = "db";
  EXPECT_EQ(store_->put(encoded_full(other)).error().code(), ErrorCode::kInvalid);
  files_.overwrite(file_of(1), capsule::testing::joined(encoded_full(other)));
  EXPECT_THAT((*store_->list())[0].corrupt->message(), HasSubstr("container 'db'"));
  EXPECT_EQ(store_->load(generation(1)).error().code(), ErrorCode::kCorrupt);
}

TEST_F(DirectoryStoreTest, ARenamedCapsuleIsNotTakenForAnother) {
  files_.overwrite(file_of(9), capsule::testing::joined(encoded_full(capsule_of(1))));
  EXPECT_EQ(store_->load(generation(9)).error().code(), ErrorCode::kCorrupt);
  EXPECT_TRUE((*store_->list())[0].corrupt);
}

TEST_F(DirectoryStoreTest, UnknownGenerationsAreNotFound) {
  EXPECT_EQ(store_->load(generation(1)).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(store_->remove(generation(1)).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(store_->mark(generation(1), "suspect", "").error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(store_->newest_restorable({}).error().code(), ErrorCode::kNotFound);
}

TEST_F(DirectoryStoreTest, DamageIsListedAndNamed) {
  put_full(1);
  put_delta(2);
  put_delta(3);
  files_.flip_byte(file_of(2), 40);  // header
  files_.truncate(file_of(3), 100);
  const auto all = store_->list();
  ASSERT_TRUE(all);
  EXPECT_FALSE((*all)[0].corrupt);
  EXPECT_EQ((*all)[1].corrupt->code(), ErrorCode::kCorrupt);
  EXPECT_EQ((*all)[2].corrupt->code(), ErrorCode::kCorrupt);
  EXPECT_THAT((*all)[1].corrupt->message(), HasSubstr(file_of(2)));
}

TEST_F(DirectoryStoreTest, ADamagedOrMissingParentIsNamed) {
  put_full(1);
  put_delta(2);
  put_delta(3);
  files_.flip_byte(file_of(1), files_.size(file_of(1)).value() - 1);
  auto loaded = store_->load(generation(3));
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(loaded.error().message(), HasSubstr(file_of(1)));
  ASSERT_TRUE(files_.remove(file_of(1)));
  loaded = store_->load(generation(3));
  EXPECT_EQ(loaded.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(loaded.error().message(), HasSubstr(file_of(1)));
}

TEST_F(DirectoryStoreTest, AParentReplacedByAnotherOfItsNameIsFound) {
  put_full(1);
  put_delta(2);
  files_.overwrite(file_of(1), capsule::testing::joined(encoded_full(small_capsule(1, 'X'))));
  EXPECT_EQ(store_->load(generation(2)).error().code(), ErrorCode::kCorrupt);
}

TEST_F(DirectoryStoreTest, TheNewestRestorableIsFoundBehindDamagedOnes) {
  put_full(1);
  put_delta(2);
  put_full(3);
  put_delta(4);
  put_delta(5);
  files_.flip_byte(file_of(3), 5000);
  const auto found = store_->newest_restorable({generation(2)});
  ASSERT_TRUE(found) << found.error().message();
  EXPECT_EQ(found->generation, generation(1));
  EXPECT_TRUE(same_state(*found->capsule, capsule_of(1)));
  ASSERT_EQ(found->skipped.size(), 4u);
  EXPECT_EQ(found->skipped[0].generation, generation(5));
  EXPECT_EQ(found->skipped[0].reason.code(), ErrorCode::kCorrupt);
  EXPECT_EQ(found->skipped[3].reason.code(), ErrorCode::kInvalid);
}

TEST_F(DirectoryStoreTest, NothingRestorableSaysWhyForEach) {
  put_full(1);
  put_full(2);
  files_.flip_byte(file_of(2), 12);
  const auto found = store_->newest_restorable({generation(1)});
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(found.error().message(), HasSubstr("3.1f.1: passed over on request"));
  EXPECT_THAT(found.error().message(), HasSubstr("3.1f.2: load capsule"));
}

TEST_F(DirectoryStoreTest, APassingWantDoesNotCostAGeneration) {
  put_full(1);
  put_full(2);
  files_.fail_reading(file_of(2), ErrorCode::kTransient);
  EXPECT_EQ(store_->newest_restorable({}).error().code(), ErrorCode::kTransient);
  EXPECT_EQ(store_->retain_only({generation(2)}).error().code(), ErrorCode::kTransient);
  EXPECT_EQ(store_->remove(generation(1)).error().code(), ErrorCode::kTransient);
  EXPECT_THAT(numbers(*store_->list()), ElementsAre(1, 2));
}

TEST_F(DirectoryStoreTest, ALimitOfMemoryIsKept) {
  put_full(1);
  DirectoryStoreOptions options;
  options.content_limit = Bytes{8192};
  reopen(options);
  EXPECT_EQ(store_->load(generation(1)).error().code(), ErrorCode::kNoSpace);
}

TEST_F(DirectoryStoreTest, WhatOthersBuildOnIsNotRemoved) {
  put_full(1);
  put_delta(2);
  put_delta(3);
  const Status refused = store_->remove(generation(2));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kConflict);
  EXPECT_THAT(refused.error().message(), HasSubstr("3.1f.3 builds on it"));
  EXPECT_TRUE(store_->remove(generation(3)));
  EXPECT_TRUE(store_->remove(generation(2)));
  expect_loads(1);
  EXPECT_THAT(numbers(*store_->list()), ElementsAre(1));
}

TEST_F(DirectoryStoreTest, RetainKeepsTheChainsBelowAndRemovesTheRest) {
  put_full(1);
  put_delta(2);
  put_full(3);
  put_delta(4);
  put_delta(5);
  put_full(6);
  files_.overwrite(file_of(7), "garbage");
  ASSERT_TRUE(store_->mark(generation(2), "suspect", "died at once"));
  const auto removed = store_->retain_only({generation(4), generation(6), generation(99)});
  ASSERT_TRUE(removed) << removed.error().message();
  EXPECT_THAT(*removed, ElementsAre(generation(7), generation(5), generation(2), generation(1)));
  EXPECT_THAT(numbers(*store_->list()), ElementsAre(3, 4, 6));
  expect_loads(4);
  expect_loads(6);
  EXPECT_EQ(files_.paths().size(), 3u);  // no mark is left
}

TEST_F(DirectoryStoreTest, MarksOutliveTheDaemonAndGoWithTheirCapsule) {
  put_full(1);
  put_full(2);
  ASSERT_TRUE(store_->mark(generation(2), "suspect", "died 0.3 s after its restore"));
  ASSERT_TRUE(store_->mark(generation(2), "suspect", "said again"));
  ASSERT_TRUE(store_->mark(generation(2), "abandoned", std::string(10000, 'x')));
  EXPECT_EQ(store_->mark(generation(2), "../x", "").error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(store_->mark(generation(2), "tmp.tmp", "").error().code(), ErrorCode::kInvalid);
  reopen();
  auto marks = (*store_->list())[1].marks;
  EXPECT_EQ(marks.size(), 2u);
  EXPECT_EQ(marks["suspect"], "died 0.3 s after its restore");
  EXPECT_EQ(marks["abandoned"].size(), kMaxMarkBytes);
  ASSERT_TRUE(store_->unmark(generation(2), "suspect"));
  ASSERT_TRUE(store_->unmark(generation(2), "suspect"));
  EXPECT_EQ((*store_->list())[1].marks.size(), 1u);
  EXPECT_TRUE((*store_->list())[0].marks.empty());
}

TEST_F(DirectoryStoreTest, OneOwnerManyReaders) {
  put_full(1);
  DirectoryStoreOptions options;
  options.directory = kDirectory;
  EXPECT_EQ(DirectoryStore::open(options, files_).error().code(), ErrorCode::kConflict);
  options.access = DirectoryStoreOptions::Access::kReader;
  auto reader = DirectoryStore::open(options, files_);
  ASSERT_TRUE(reader);
  EXPECT_TRUE((*reader)->load(generation(1)));
  EXPECT_EQ((*reader)->put(encoded_full(capsule_of(2))).error().code(), ErrorCode::kPermission);
  EXPECT_EQ((*reader)->remove(generation(1)).error().code(), ErrorCode::kPermission);
  EXPECT_EQ((*reader)->retain_only({}).error().code(), ErrorCode::kPermission);
  EXPECT_EQ((*reader)->mark(generation(1), "x", "").error().code(), ErrorCode::kPermission);
  EXPECT_EQ((*reader)->unmark(generation(1), "x").error().code(), ErrorCode::kPermission);
}

TEST_F(DirectoryStoreTest, LeftOversOfACrashAreRemovedAtOpening) {
  put_full(1);
  files_.overwrite(std::string(kDirectory) + "/." + file_name_of(generation(2)) + ".0.tmp", "half");
  files_.overwrite(file_of(5) + ".suspect", "its capsule is gone");
  files_.overwrite(std::string(kDirectory) + "/README", "not ours");
  reopen();
  EXPECT_THAT(files_.paths(), ElementsAre(file_of(1), std::string(kDirectory) + "/README"));
}

TEST_F(DirectoryStoreTest, ChainsAreBounded) {
  DirectoryStoreOptions options;
  options.max_chain = 3;
  reopen(options);
  EXPECT_TRUE(store_->should_be_full(generation(1)));  // nothing there
  put_full(1);
  EXPECT_FALSE(store_->should_be_full(generation(1)));
  put_delta(2);
  EXPECT_FALSE(store_->should_be_full(generation(2)));
  put_delta(3);
  EXPECT_TRUE(store_->should_be_full(generation(3)));
  reopen(options);
  EXPECT_FALSE(store_->should_be_full(generation(2)));
  EXPECT_TRUE(store_->should_be_full(generation(3)));
  options.max_chain = 1;
  reopen(options);
  EXPECT_TRUE(store_->should_be_full(generation(1)));
  for (const std::size_t bound : {std::size_t{0}, kMaxChain + 1}) {
    store_.reset();
    options.max_chain = bound;
    options.directory = kDirectory;
    EXPECT_EQ(DirectoryStore::open(options, files_).error().code(), ErrorCode::kInvalid);
  }
}

TEST_F(DirectoryStoreTest, DeltasLargerThanTheirFullCapsuleAskForANewOne) {
  Capsule base;
  base.manifest = capsule_of(1).manifest;
  const EncodedCapsule full = encoded_full(base);
  ASSERT_TRUE(store_->put(full));
  EXPECT_FALSE(store_->should_be_full(generation(1)));
  const EncodedCapsule delta = encoded_delta(capsule_of(2), base, full.digest);
  ASSERT_TRUE(store_->put(delta));
  EXPECT_TRUE(store_->should_be_full(generation(2)));
}

TEST_F(DirectoryStoreTest, NoSpaceNamesTheDirectoryAndTheBytesNeeded) {
  put_full(1);
  files_.restart_counting();
  files_.fail_at(1, ErrorCode::kNoSpace);
  const EncodedCapsule encoded = encoded_full(capsule_of(2));
  const auto receipt = store_->put(encoded);
  ASSERT_FALSE(receipt);
  EXPECT_EQ(receipt.error().code(), ErrorCode::kNoSpace);
  EXPECT_THAT(receipt.error().message(), HasSubstr(kDirectory));
  EXPECT_THAT(receipt.error().message(), HasSubstr(format_bytes(Bytes{encoded.size_bytes})));
  EXPECT_THAT(files_.paths(), ElementsAre(file_of(1)));
  expect_loads(1);
}

}  // namespace
}  // namespace perdure::replica
