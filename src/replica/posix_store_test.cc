// Proves that a store keeps its promises on the real file system too, also while it is read and
// written at once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <atomic>
#include <thread>

#include "capsule/format/test_capsules.h"
#include "io/atomic_file.h"
#include "replica/directory_store.h"
#include "replica/store_operations.h"

namespace perdure::replica {
namespace {

using capsule::Capsule;
using capsule::EncodedCapsule;
using capsule::testing::encoded_delta;
using capsule::testing::encoded_full;
using capsule::testing::generation;
using capsule::testing::same_state;
using testing::capsule_of;

class RealDirectory {
 public:
  RealDirectory() {
    char path[] = "/tmp/perdure-store.XXXXXX";
    PERDURE_ASSERT(::mkdtemp(path) != nullptr);
    path_ = path;
  }
  ~RealDirectory() { (void)io::remove_tree(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(PosixStore, KeepsItsPromisesOnARealDirectory) {
  const RealDirectory directory;
  PosixFileSystem files;
  DirectoryStoreOptions options;
  options.directory = directory.path() + "/a/b";
  auto store = DirectoryStore::open(options, files);
  ASSERT_TRUE(store) << store.error().message();
  EXPECT_EQ(DirectoryStore::open(options, files).error().code(), ErrorCode::kConflict);

  const Capsule first = capsule_of(1);
  const EncodedCapsule full = encoded_full(first);
  ASSERT_TRUE((*store)->put(full));
  const EncodedCapsule delta =
      encoded_delta(capsule_of(2), first, full.digest, capsule::Compression::kZstd);
  ASSERT_TRUE((*store)->put(delta));
  ASSERT_TRUE((*store)->mark(generation(2), "suspect", "why"));

  struct stat status{};
  ASSERT_EQ(::stat(options.directory.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700u);
  const std::string path = options.directory + "/" + file_name_of(generation(1));
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
  EXPECT_EQ(static_cast<std::uint64_t>(status.st_size), full.size_bytes);

  EXPECT_EQ((*store)->put(full).error().code(), ErrorCode::kExists);
  store->reset();
  store = DirectoryStore::open(options, files);
  ASSERT_TRUE(store);
  const auto found = (*store)->newest_restorable({});
  ASSERT_TRUE(found) << found.error().message();
  EXPECT_EQ(found->generation, generation(2));
  EXPECT_TRUE(same_state(*found->capsule, capsule_of(2)));
  EXPECT_TRUE(found->capsule->memory.at("mm-7").runs()[0].slab->is_file());
  EXPECT_EQ((*store)->list()->at(1).marks.at("suspect"), "why");
  ASSERT_TRUE((*store)->retain_only({}));
  EXPECT_TRUE((*store)->list()->empty());
  EXPECT_TRUE(same_state(*found->capsule, capsule_of(2)));  // its mappings outlive the files
}

// The owner puts and removes as fast as it can; whoever reads the same store meanwhile always finds
// a generation, never one older than it has seen, and a reader beside it finds the newest.
TEST(PosixStore, ReadersAlwaysFindAGenerationWhileTheOwnerWrites) {
  const RealDirectory directory;
  PosixFileSystem files;
  DirectoryStoreOptions options;
  options.directory = directory.path();
  auto owner = std::move(DirectoryStore::open(options, files)).value();
  EncodedCapsule last = encoded_full(capsule_of(1));
  ASSERT_TRUE(owner->put(last));
  options.access = DirectoryStoreOptions::Access::kReader;
  auto looker_on = std::move(DirectoryStore::open(options, files)).value();

  std::atomic<bool> done = false;
  const auto read = [&](DirectoryStore& store) {
    std::uint64_t seen = 0;
    while (!done) {
      const auto found = store.newest_restorable({});
      ASSERT_TRUE(found) << found.error().message();
      ASSERT_GE(found->generation.number, seen);
      seen = found->generation.number;
      ASSERT_TRUE(same_state(*found->capsule, capsule_of(seen)));
    }
  };
  std::thread beside([&] { read(*owner); });
  for (std::uint64_t number = 2; number < 60; ++number) {
    const EncodedCapsule next =
        number % 5 == 0 ? encoded_full(capsule_of(number))
                        : encoded_delta(capsule_of(number), capsule_of(number - 1), last.digest);
    EXPECT_TRUE(owner->put(next));
    EXPECT_TRUE(owner->retain_only({generation(number), generation(number - 1)}));
    const auto found = looker_on->newest_restorable({});
    EXPECT_TRUE(found && found->generation.number == number);
    last = next;
  }
  done = true;
  beside.join();
}

TEST(PosixFileSystem, RenameNeverReplaces) {
  const RealDirectory directory;
  PosixFileSystem files;
  const std::string a = directory.path() + "/a";
  const std::string b = directory.path() + "/b";
  ASSERT_TRUE(files.create(a));
  ASSERT_TRUE(files.create(b));
  EXPECT_EQ(files.create(b).error().code(), ErrorCode::kExists);
  EXPECT_EQ(files.rename_new(a, b).error().code(), ErrorCode::kExists);
  EXPECT_EQ(files.rename_new(a + "x", b + "x").error().code(), ErrorCode::kNotFound);
  EXPECT_TRUE(files.rename_new(a, a + "2"));
  EXPECT_EQ(files.remove(a).error().code(), ErrorCode::kNotFound);
}

TEST(PosixFileSystem, OnlyRegularFilesAreRead) {
  const RealDirectory directory;
  PosixFileSystem files;
  const std::string pipe = directory.path() + "/pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(files.size(pipe).error().code(), ErrorCode::kCorrupt);
  EXPECT_EQ(files.load(pipe, 100).error().code(), ErrorCode::kCorrupt);
  EXPECT_EQ(files.load(directory.path(), 100).error().code(), ErrorCode::kCorrupt);
}

TEST(PosixFileSystem, AFileLargerThanTheLimitIsNotLoaded) {
  const RealDirectory directory;
  PosixFileSystem files;
  const std::string path = directory.path() + "/a";
  const std::string text = "0123456789";
  const auto bytes = std::as_bytes(std::span(text));
  ASSERT_TRUE((*files.create(path))->append(std::span(&bytes, 1)));
  EXPECT_EQ(files.load(path, 9).error().code(), ErrorCode::kNoSpace);
  EXPECT_EQ((*files.load(path, 10))->bytes().size(), 10u);
  EXPECT_EQ(files.read_prefix(path, 4), "0123");
  EXPECT_EQ(files.read_prefix(path, 40), text);
}

}  // namespace
}  // namespace perdure::replica
