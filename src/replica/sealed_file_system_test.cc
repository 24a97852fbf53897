// Proves that a store on a sealing file system keeps all its promises (every operation with every call failing and with
// a crash at every call, on a simulated file system, and the same on a real one), that nothing of a capsule can be read
// in its files, that files from before the cluster and under older keys are read, and that missing keys and damage are
// told apart.
#include "replica/sealed_file_system.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <atomic>
#include <format>
#include <thread>

#include "base/assert.h"
#include "io/atomic_file.h"
#include "pki/sealing.h"
#include "replica/memory_file_system.h"
#include "replica/store_operations.h"

namespace perdure::replica {
namespace {

using capsule::testing::encoded_delta;
using capsule::testing::encoded_full;
using capsule::testing::generation;
using capsule::testing::same_state;
using testing::capsule_of;
using testing::check;
using testing::check_goes_on;
using ::testing::HasSubstr;
using testing::Operation;

constexpr char kDirectory[] = "/store";

std::shared_ptr<const pki::KeyRing> ring_of(std::uint32_t newest) {
  pki::KeyRing ring;
  while (ring.empty() || ring.newest().id < newest) ring = ring.rotated(WallTime()).value();
  return std::make_shared<const pki::KeyRing>(ring);
}

std::string file_of(std::uint64_t number) {
  return std::format("{}/{}", kDirectory, file_name_of(generation(number)));
}

Status write(FileSystem& files, const std::string& path, std::string_view content) {
  PERDURE_ASSIGN(const auto file, files.create(path));
  const auto piece = std::as_bytes(std::span(content));
  PERDURE_TRY(file->append(std::span(&piece, 1)));
  return file->sync();
}

std::string loaded(FileSystem& files, const std::string& path) {
  const auto slab = files.load(path, SIZE_MAX);
  if (!slab) return "error: " + slab.error().message();
  return std::string(reinterpret_cast<const char*>((*slab)->bytes().data()), (*slab)->bytes().size());
}

std::string content_of(std::size_t size) {
  std::string content(size, '\0');
  for (std::size_t i = 0; i < size; ++i) content[i] = static_cast<char>(i * 7 + i / 251);
  return content;
}

TEST(SealedFileSystem, SizesBeginningsAndContentsAreThoseOfTheContent) {
  MemoryFileSystem inner;
  SealedFileSystem files(inner, ring_of(1));
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{5000}, pki::kChunkBytes - 1,
                                 pki::kChunkBytes, pki::kChunkBytes + 1, 2 * pki::kChunkBytes + 3}) {
    const std::string path = std::format("/d/{}", size);
    const std::string content = content_of(size);
    ASSERT_TRUE(write(files, path, content));
    EXPECT_EQ(inner.size(path).value(), pki::sealed_size(size));
    EXPECT_EQ(files.size(path).value(), size);
    EXPECT_TRUE(loaded(files, path) == content) << size;
    for (const std::size_t prefix :
         {std::size_t{0}, std::size_t{1}, std::size_t{4096}, pki::kChunkBytes, pki::kChunkBytes + 1, SIZE_MAX}) {
      const auto beginning = files.read_prefix(path, prefix);
      ASSERT_TRUE(beginning) << beginning.error().message();
      EXPECT_TRUE(*beginning == content.substr(0, prefix)) << size << ", " << prefix;
    }
    if (size > 0) {
      EXPECT_EQ(files.load(path, size - 1).error().code(), ErrorCode::kNoSpace);
    }
    EXPECT_TRUE(files.load(path, size));
  }
}

TEST(SealedFileSystem, PiecesAndAppendsAreJoined) {
  MemoryFileSystem inner;
  SealedFileSystem files(inner, ring_of(1));
  const std::string content = content_of(3 * pki::kChunkBytes + 17);
  auto file = std::move(files.create("/d/a")).value();
  std::string_view rest = content;
  for (std::size_t step = 1; !rest.empty(); step = step * 5 + 1) {
    const std::string_view first = rest.substr(0, step);
    const std::string_view second = rest.substr(first.size(), step);
    const std::array pieces = {std::as_bytes(std::span(first)), std::as_bytes(std::span(second))};
    ASSERT_TRUE(file->append(pieces));
    rest.remove_prefix(first.size() + second.size());
  }
  ASSERT_TRUE(file->sync());
  ASSERT_TRUE(file->sync());
  EXPECT_TRUE(loaded(files, "/d/a") == content);
  EXPECT_EQ(file->append({}).error().code(), ErrorCode::kInvalid);
}

TEST(SealedFileSystem, WhatWasNeverSyncedDoesNotOpen) {
  MemoryFileSystem inner;
  SealedFileSystem files(inner, ring_of(1));
  const std::string content = content_of(pki::kChunkBytes + 1);
  const auto piece = std::as_bytes(std::span(content));
  ASSERT_TRUE((*files.create("/d/a"))->append(std::span(&piece, 1)));
  EXPECT_EQ(files.load("/d/a", SIZE_MAX).error().code(), ErrorCode::kCorrupt);
}

TEST(SealedFileSystem, WhatWasWrittenBeforeTheClusterIsReadAsItIs) {
  MemoryFileSystem inner;
  SealedFileSystem files(inner, nullptr);
  for (const char* content : {"", "PERDSEA", "state of a lonely host"}) {
    const std::string path = std::format("/d/{}", content);
    ASSERT_TRUE(write(files, path, content));
    EXPECT_EQ(inner.read_prefix(path, SIZE_MAX).value(), content);
    files.use(ring_of(1));
    EXPECT_EQ(files.size(path).value(), std::string_view(content).size());
    EXPECT_EQ(files.read_prefix(path, 3).value(), std::string_view(content).substr(0, 3));
    EXPECT_EQ(loaded(files, path), content);
    files.use(nullptr);
  }
}

TEST(SealedFileSystem, ARotationSealsWithTheNewKeyAndReadsTheOld) {
  MemoryFileSystem inner;
  const auto old_ring = ring_of(3);
  const auto new_ring = std::make_shared<const pki::KeyRing>(old_ring->rotated(WallTime()).value());
  SealedFileSystem files(inner, old_ring);
  ASSERT_TRUE(write(files, "/d/old", "old"));
  auto begun = std::move(files.create("/d/begun")).value();
  files.use(new_ring);
  ASSERT_TRUE(begun->sync());
  ASSERT_TRUE(write(files, "/d/new", "new"));
  EXPECT_EQ(loaded(files, "/d/old"), "old");
  EXPECT_EQ(loaded(files, "/d/begun"), "");
  EXPECT_EQ(loaded(files, "/d/new"), "new");
  files.use(old_ring);
  EXPECT_EQ(loaded(files, "/d/begun"), "");
  EXPECT_EQ(files.size("/d/new").value(), 3u);  // needs no key
  const auto unknown = files.load("/d/new", 100);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code(), ErrorCode::kPermission);
  EXPECT_THAT(unknown.error().message(), HasSubstr("'/d/new'"));
  EXPECT_THAT(unknown.error().message(), HasSubstr("key 4"));
  EXPECT_EQ(files.read_prefix("/d/new", 1).error().code(), ErrorCode::kPermission);
  files.use(nullptr);
  EXPECT_EQ(files.load("/d/old", 100).error().code(), ErrorCode::kPermission);
}

TEST(SealedFileSystem, AnotherClustersKeyOfTheSameNumberIsNotDamage) {
  MemoryFileSystem inner;
  SealedFileSystem files(inner, ring_of(1));
  ASSERT_TRUE(write(files, "/d/a", "state"));
  files.use(ring_of(1));
  const auto foreign = files.load("/d/a", 100);
  ASSERT_FALSE(foreign);
  EXPECT_EQ(foreign.error().code(), ErrorCode::kPermission);
  EXPECT_THAT(foreign.error().message(), HasSubstr("another cluster"));
}

TEST(SealedFileSystem, AnEmptyRingSealsNothing) {
  MemoryFileSystem inner;
  SealedFileSystem files(inner, std::make_shared<const pki::KeyRing>());
  EXPECT_EQ(files.create("/d/a").error().code(), ErrorCode::kPermission);
  EXPECT_TRUE(inner.paths().empty());
}

TEST(SealedFileSystem, EveryFlippedByteAndEveryCutIsNoticed) {
  MemoryFileSystem inner;
  SealedFileSystem files(inner, ring_of(1));
  const std::string content = "the state of a container";
  ASSERT_TRUE(write(files, "/d/a", content));
  const std::string sealed = inner.read_prefix("/d/a", SIZE_MAX).value();
  for (std::size_t at = 0; at < sealed.size(); ++at) {
    inner.overwrite("/d/a", sealed);
    inner.flip_byte("/d/a", at);
    const auto flipped = files.load("/d/a", SIZE_MAX);
    // Without its magic it is not sealed, but it is not the content either.
    if (at < 8) {
      EXPECT_FALSE(loaded(files, "/d/a") == content);
      continue;
    }
    ASSERT_FALSE(flipped) << at;
    EXPECT_EQ(flipped.error().code(), ErrorCode::kCorrupt) << at << ": " << flipped.error().message();
    EXPECT_THAT(flipped.error().message(), HasSubstr("'/d/a'"));
    EXPECT_EQ(files.read_prefix("/d/a", 5).error().code(), ErrorCode::kCorrupt) << at;
  }
  for (std::size_t size = 8; size < sealed.size(); ++size) {
    inner.overwrite("/d/a", sealed.substr(0, size));
    EXPECT_EQ(files.load("/d/a", SIZE_MAX).error().code(), ErrorCode::kCorrupt) << size;
  }
}

TEST(SealedFileSystem, WhatTheFileSystemBelowSaysIsPassedOn) {
  MemoryFileSystem inner;
  SealedFileSystem files(inner, ring_of(1));
  EXPECT_EQ(files.size("/d/a").error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(files.load("/d/a", 1).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(files.read_prefix("/d/a", 1).error().code(), ErrorCode::kNotFound);
  ASSERT_TRUE(write(files, "/d/a", "x"));
  EXPECT_EQ(files.create("/d/a").error().code(), ErrorCode::kExists);
  EXPECT_EQ(files.rename_new("/d/a", "/d/a").error().code(), ErrorCode::kExists);
  const auto lock = files.lock("/d/lock");
  EXPECT_EQ(files.lock("/d/lock").error().code(), ErrorCode::kConflict);
  inner.fail_reading("/d/a", ErrorCode::kTransient);
  EXPECT_EQ(files.load("/d/a", 1).error().code(), ErrorCode::kTransient);

  // After an append that failed nothing more is written, also not by sync().
  for (std::size_t call = 1; call < 3; ++call) {
    const std::string path = std::format("/d/{}", call);
    inner.restart_counting();
    inner.fail_at(call, ErrorCode::kNoSpace);
    auto file = std::move(files.create(path)).value();
    const std::string content = content_of(3 * pki::kChunkBytes);
    const auto piece = std::as_bytes(std::span(content));
    EXPECT_EQ(file->append(std::span(&piece, 1)).error().code(), ErrorCode::kNoSpace);
    EXPECT_EQ(file->append(std::span(&piece, 1)).error().code(), ErrorCode::kNoSpace);
    EXPECT_EQ(file->sync().error().code(), ErrorCode::kNoSpace);
    EXPECT_EQ(inner.calls(), call + 1);
  }
}

// The store on top

TEST(SealedStore, NothingOfACapsuleIsInItsFiles) {
  MemoryFileSystem inner;
  SealedFileSystem files(inner, ring_of(1));
  (void)testing::fill(*testing::open_store(kDirectory, files));
  const std::string page(512, testing::salt_of(1));
  std::size_t marks = 0;
  for (const std::string& path : inner.paths()) {
    const std::string bytes = inner.read_prefix(path, SIZE_MAX).value();
    EXPECT_TRUE(bytes.starts_with("PERDSEA1")) << path;
    for (const std::string& secret : {page, std::string("PERDCAP1"), std::string(testing::kMark)}) {
      EXPECT_EQ(bytes.find(secret), std::string::npos) << path;
    }
    marks += path.ends_with(".suspect") ? 1 : 0;
  }
  EXPECT_EQ(marks, 1u);
}

TEST(SealedStore, GoesOnWithAChainFromBeforeTheCluster) {
  MemoryFileSystem inner;
  const auto newest = testing::fill(*testing::open_store(kDirectory, inner));
  SealedFileSystem files(inner, ring_of(1));
  const auto store = testing::open_store(kDirectory, files);
  ASSERT_TRUE(store->put(encoded_delta(capsule_of(6), capsule_of(5), newest)));
  for (std::uint64_t number = 1; number <= 6; ++number) testing::check_loads(*store, number);
  EXPECT_EQ(inner.read_prefix(file_of(6), 8).value(), "PERDSEA1");
  EXPECT_EQ(inner.read_prefix(file_of(5), 8).value(), "PERDCAP1");
  check_goes_on(*store);
}

TEST(SealedStore, AMissingKeyEndsTheSearchAndDamageDoesNot) {
  MemoryFileSystem inner;
  const auto ring = ring_of(1);
  SealedFileSystem files(inner, ring);
  auto store = testing::open_store(kDirectory, files);
  ASSERT_TRUE(store->put(encoded_full(capsule_of(1))));
  const auto second = encoded_full(capsule_of(2));
  ASSERT_TRUE(store->put(second));
  EXPECT_EQ((*store->list())[1].size.count, second.size_bytes);
  inner.flip_byte(file_of(2), inner.size(file_of(2)).value() - 1);
  auto found = store->newest_restorable({});
  ASSERT_TRUE(found) << found.error().message();
  EXPECT_EQ(found->generation, generation(1));
  EXPECT_EQ(found->skipped.at(0).reason.code(), ErrorCode::kCorrupt);

  files.use(std::make_shared<const pki::KeyRing>(ring->rotated(WallTime()).value()));
  ASSERT_TRUE(store->put(encoded_full(capsule_of(3))));
  files.use(ring);  // this node has not heard of the rotation
  const auto refused = store->newest_restorable({});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kPermission);
  EXPECT_THAT(refused.error().message(), HasSubstr("key 2"));
  EXPECT_EQ((*store->list())[2].corrupt->code(), ErrorCode::kPermission);
}

struct Past {
  Past() : files(inner, ring) { newest_digest = testing::fill(*testing::open_store(kDirectory, files)); }
  std::shared_ptr<const pki::KeyRing> ring = ring_of(1);
  MemoryFileSystem inner;
  SealedFileSystem files;
  capsule::Digest newest_digest;
};

TEST(SealedStore, SurvivesACrashAtEveryStepWithEveryAftermath) {
  const Past past;
  for (const Operation& operation : testing::operations(past.newest_digest)) {
    std::size_t steps = 0;
    for (bool over = false; !over; ++steps) {
      for (const auto aftermath : MemoryFileSystem::kAllVariants) {
        SCOPED_TRACE(
            std::format("{}, crash at call {}, aftermath {}", operation.name, steps, static_cast<int>(aftermath)));
        const auto inner = past.inner.clone();
        SealedFileSystem files(*inner, past.ring);
        auto store = testing::open_store(kDirectory, files);
        inner->restart_counting();
        inner->crash_at(steps);
        const bool acknowledged = operation.run(*store);
        over = !inner->crashed();
        ASSERT_EQ(acknowledged, over);
        store.reset();
        inner->restart_after_crash(aftermath);
        store = testing::open_store(kDirectory, files);
        check(*store, operation, acknowledged);
        check_goes_on(*store);
        if (HasFatalFailure()) return;
      }
    }
    EXPECT_GE(steps, 2u) << operation.name;
  }
}

TEST(SealedStore, SurvivesTheFailureOfEveryCall) {
  const Past past;
  for (const Operation& operation : testing::operations(past.newest_digest)) {
    bool over = false;
    for (std::size_t step = 0; !over; ++step) {
      SCOPED_TRACE(std::format("{}, failure of call {}", operation.name, step));
      const auto inner = past.inner.clone();
      SealedFileSystem files(*inner, past.ring);
      const auto store = testing::open_store(kDirectory, files);
      inner->restart_counting();
      inner->fail_at(step, ErrorCode::kNoSpace);
      const bool acknowledged = operation.run(*store);
      over = inner->calls() <= step;
      ASSERT_TRUE(acknowledged || !over);
      inner->clear_failure();
      check(*store, operation, acknowledged);
      check_goes_on(*store);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(SealedFileSystem, WhatIsSealedIsOpenedWhileNothingIsSealed) {
  MemoryFileSystem inner;
  ASSERT_TRUE(inner.make_directories(kDirectory));
  SealedFileSystem files(inner, ring_of(1));
  ASSERT_TRUE(write(files, "/store/sealed", "secret"));
  files.seal(false);
  ASSERT_TRUE(write(files, "/store/plain", "secret"));
  EXPECT_EQ(loaded(files, "/store/sealed"), "secret");
  EXPECT_EQ(loaded(inner, "/store/plain"), "secret");
  files.seal(true);
  ASSERT_TRUE(write(files, "/store/again", "secret"));
  EXPECT_NE(loaded(inner, "/store/again"), "secret");
  EXPECT_EQ(loaded(files, "/store/again"), "secret");
}

class RealStore : public ::testing::Test {
 protected:
  RealStore() {
    char path[] = "/tmp/perdure-sealed.XXXXXX";
    PERDURE_ASSERT(::mkdtemp(path) != nullptr);
    top_ = path;
  }
  ~RealStore() override { EXPECT_TRUE(io::remove_tree(top_)); }

  PosixFileSystem inner_;
  std::string top_;
};

TEST_F(RealStore, KeepsItsPromisesAndItsModes) {
  SealedFileSystem files(inner_, ring_of(1));
  const std::string directory = top_ + "/a/b";
  auto store = testing::open_store(directory, files);
  const auto newest = testing::fill(*store);
  for (const Operation& operation : testing::operations(newest)) {
    if (operation.name == std::string_view("put and retain")) check(*store, operation, operation.run(*store));
  }
  struct stat status{};
  ASSERT_EQ(::stat(std::format("{}/{}", directory, file_name_of(generation(6))).c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
  store.reset();
  store = testing::open_store(directory, files);
  check_goes_on(*store);
}

// One thread writes and another reads while a third replaces the ring by ever newer ones.
TEST_F(RealStore, TheRingIsReplacedWhileTheStoreWorks) {
  auto ring = *ring_of(1);
  SealedFileSystem files(inner_, std::make_shared<const pki::KeyRing>(ring));
  const auto store = testing::open_store(top_, files);
  ASSERT_TRUE(store->put(encoded_full(capsule_of(1))));
  std::atomic<bool> done = false;
  std::thread rotation([&] {
    while (!done && ring.newest().id < pki::kMaxKeys) {
      ring = ring.rotated(WallTime()).value();
      files.use(std::make_shared<const pki::KeyRing>(ring));
    }
  });
  std::thread reader([&] {
    while (!done) {
      const auto found = store->newest_restorable({});
      ASSERT_TRUE(found) << found.error().message();
      ASSERT_TRUE(same_state(*found->capsule, capsule_of(found->generation.number)));
    }
  });
  for (std::uint64_t number = 2; number < 30; ++number) {
    EXPECT_TRUE(store->put(encoded_full(capsule_of(number))));
    EXPECT_TRUE(store->retain_only({generation(number), generation(number - 1)}));
  }
  done = true;
  rotation.join();
  reader.join();
}

TEST_F(RealStore, OnlyRegularFilesAreRead) {
  SealedFileSystem files(inner_, ring_of(1));
  const std::string pipe = top_ + "/pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(files.load(pipe, 100).error().code(), ErrorCode::kCorrupt);
  EXPECT_EQ(files.load(top_, 100).error().code(), ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace perdure::replica
