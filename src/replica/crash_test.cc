// Proves that a store survives failures and crashes at every single step: each operation is run
// once for every call to the file system that it makes, with that call failing, or with the host
// dying at it and coming up again with none, all, or the wrong half of what had not been synced.
// Whatever happens, each generation stored before is there and loads, the new one is there
// completely or not at all, what had been acknowledged is there, and the store works on.
#include <gtest/gtest.h>

#include <format>

#include "replica/memory_file_system.h"
#include "replica/store_operations.h"

namespace perdure::replica {
namespace {

using testing::capsule_of;
using testing::check;
using testing::check_goes_on;
using testing::Operation;
using testing::operations;

constexpr char kDirectory[] = "/store";

std::unique_ptr<DirectoryStore> open_store(FileSystem& files) { return testing::open_store(kDirectory, files); }

struct Past {
  Past() { newest_digest = testing::fill(*open_store(files)); }
  MemoryFileSystem files;
  capsule::Digest newest_digest;
};

void check_no_left_over(const MemoryFileSystem& files) {
  for (const std::string& path : files.paths()) {
    ASSERT_FALSE(path.ends_with(".tmp")) << path;
  }
}

TEST(Crash, AtEveryStepWithEveryAftermath) {
  const Past past;
  for (const Operation& operation : operations(past.newest_digest)) {
    std::size_t steps = 0;
    for (bool over = false; !over; ++steps) {
      for (const auto aftermath : MemoryFileSystem::kAllVariants) {
        SCOPED_TRACE(std::format("{}, crash at call {}, aftermath {}", operation.name, steps,
                                 static_cast<int>(aftermath)));
        const auto files = past.files.clone();
        auto store = open_store(*files);
        files->restart_counting();
        files->crash_at(steps);
        const bool acknowledged = operation.run(*store);
        over = !files->crashed();
        ASSERT_EQ(acknowledged, over);
        store.reset();
        files->restart_after_crash(aftermath);

        store = open_store(*files);
        check(*store, operation, acknowledged);
        check_no_left_over(*files);
        check_goes_on(*store);
        if (HasFatalFailure()) return;
      }
    }
    EXPECT_GE(steps, 2u) << operation.name;
  }
}

TEST(Crash, WhileCleaningUpAfterACrash) {
  const Past past;
  const Operation operation = operations(past.newest_digest)[0];
  for (std::size_t first = 0; first < 5; ++first) {
    for (std::size_t second = 0; second < 3; ++second) {
      const auto files = past.files.clone();
      auto store = open_store(*files);
      files->restart_counting();
      files->crash_at(first);
      const bool acknowledged = operation.run(*store);
      store.reset();
      files->restart_after_crash(MemoryFileSystem::Unsynced::kKept);
      files->crash_at(second);
      DirectoryStoreOptions options;
      options.directory = kDirectory;
      (void)DirectoryStore::open(options, *files);
      files->restart_after_crash(MemoryFileSystem::Unsynced::kLost);
      store = open_store(*files);
      check(*store, operation, acknowledged);
      check_goes_on(*store);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(Failure, OfEveryCallWithEveryCode) {
  const Past past;
  for (const Operation& operation : operations(past.newest_digest)) {
    for (const ErrorCode code : {ErrorCode::kIo, ErrorCode::kNoSpace}) {
      bool over = false;
      for (std::size_t step = 0; !over; ++step) {
        SCOPED_TRACE(std::format("{}, failure of call {}", operation.name, step));
        const auto files = past.files.clone();
        auto store = open_store(*files);
        files->restart_counting();
        files->fail_at(step, code);
        const bool acknowledged = operation.run(*store);
        over = files->calls() <= step;
        ASSERT_TRUE(acknowledged || !over);
        files->clear_failure();
        check(*store, operation, acknowledged);
        if (HasFatalFailure()) return;

        // And the host dies right afterwards: what was not acknowledged may go, nothing else.
        const auto crashed = files->clone();
        crashed->restart_after_crash(MemoryFileSystem::Unsynced::kLost);
        check(*open_store(*crashed), operation, acknowledged);
        check_goes_on(*store);
        check_no_left_over(*files);
        if (HasFatalFailure()) return;
      }
    }
  }
}

}  // namespace
}  // namespace perdure::replica
