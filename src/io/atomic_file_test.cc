// Proves that an atomic write is seen whole or not at all, by readers and after a full disk, and
// that removing a tree never leaves it: not through symbolic links, not while they are swapped in,
// not into mounts, at any depth.
#include "io/atomic_file.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "base/fd.h"
#include "gmock/gmock.h"
#include "io/test_support.h"

namespace perdure::io {
namespace {

using testing::HasSubstr;

std::string_view text(const std::string& string) {
  return string;
}

mode_t mode_of(const std::string& path) {
  struct stat found{};
  EXPECT_EQ(::stat(path.c_str(), &found), 0) << path;
  return found.st_mode & 07777;
}

bool exists(const std::string& path) {
  return ::faccessat(AT_FDCWD, path.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

void touch(const std::string& path) {
  ASSERT_TRUE(open_file(path, O_WRONLY | O_CREAT));
}

// Runs in a thread with a mount namespace of its own, which ends with it. False: not privileged.
bool in_own_mount_namespace(const std::function<void()>& body) {
  bool possible = false;
  std::thread([&] {
    if (::unshare(CLONE_NEWNS) != 0) return;
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return;
    possible = true;
    body();
  }).join();
  return possible;
}

TEST(AtomicWriteTest, ReplacesContentAndModeAndLeavesNothingElse) {
  const TemporaryDirectory directory;
  const std::string path = directory / "file";
  const mode_t before = ::umask(0077);
  ASSERT_TRUE(write_file_atomically(path, text("one"), 0644));
  EXPECT_EQ(mode_of(path), 0644) << "whatever the umask";
  ASSERT_TRUE(write_file_atomically(path, text("two"), 0600));
  ::umask(before);
  EXPECT_EQ(read_file(path).value(), "two");
  EXPECT_EQ(mode_of(path), 0600);
  EXPECT_EQ(count_entries(directory.path()), 1);
}

TEST(AtomicWriteTest, WhatAKilledWriterLeftIsRemoved) {
  const TemporaryDirectory directory;
  ASSERT_TRUE(write_file_atomically(directory / "file", text("one"), 0644));
  ASSERT_TRUE(write_file_atomically(directory / ".file.0123456789abcdef.tmp", text("half"), 0600));
  EXPECT_TRUE(remove_temporary_files(directory.path()));
  EXPECT_EQ(count_entries(directory.path()), 1);
  EXPECT_EQ(read_file(directory / "file").value(), "one");
  EXPECT_TRUE(remove_temporary_files(directory / "missing"));
  EXPECT_FALSE(remove_temporary_files(directory / "file"));
}

TEST(AtomicWriteTest, ReplacesASymbolicLinkInsteadOfItsTarget) {
  const TemporaryDirectory directory;
  ASSERT_TRUE(write_file_atomically(directory / "target", text("precious"), 0600));
  ASSERT_EQ(::symlink("target", (directory / "link").c_str()), 0);
  ASSERT_TRUE(write_file_atomically(directory / "link", text("new"), 0600));
  EXPECT_EQ(read_file(directory / "target").value(), "precious");
  EXPECT_EQ(read_file(directory / "link").value(), "new");
}

TEST(AtomicWriteTest, TakesTheLongestNamesAndRefusesNone) {
  const TemporaryDirectory directory;
  EXPECT_TRUE(write_file_atomically(directory / std::string(255, 'n'), text("x"), 0600));
  for (const std::string& bad : {directory / "", directory / ".", directory / ".."}) {
    const Status refused = write_file_atomically(bad, text("x"), 0600);
    ASSERT_FALSE(refused) << bad;
    EXPECT_EQ(refused.error().code(), ErrorCode::kInvalid);
  }
  const Status missing = write_file_atomically(directory / "no/file", text("x"), 0600);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ErrorCode::kNotFound);
}

TEST(AtomicWriteTest, ReadersNeverSeeAPartOrAMixture) {
  const TemporaryDirectory directory;
  const std::string path = directory / "file";
  const std::string a(200'000, 'a');
  const std::string b(100'000, 'b');
  ASSERT_TRUE(write_file_atomically(path, text(a), 0600));
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    while (!stop) {
      EXPECT_TRUE(write_file_atomically(path, text(b), 0600));
      EXPECT_TRUE(write_file_atomically(path, text(a), 0600));
    }
  });
  for (int i = 0; i < 200; ++i) {
    const std::string seen = read_file(path).value();
    EXPECT_TRUE(seen == a || seen == b);
  }
  stop = true;
  writer.join();
}

TEST(AtomicWriteTest, KeepsTheOldFileWhenTheDiskIsFull) {
  const TemporaryDirectory directory;
  const bool possible = in_own_mount_namespace([&] {
    ASSERT_EQ(::mount("tmpfs", directory.path().c_str(), "tmpfs", 0, "size=128k"), 0);
    const std::string path = directory / "file";
    ASSERT_TRUE(write_file_atomically(path, text("old"), 0600));
    const Status full = write_file_atomically(path, text(std::string(1'000'000, 'x')), 0600);
    ASSERT_FALSE(full);
    EXPECT_EQ(full.error().code(), ErrorCode::kNoSpace);
    EXPECT_THAT(full.error().message(), HasSubstr(path));
    EXPECT_EQ(read_file(path).value(), "old");
    EXPECT_EQ(count_entries(directory.path()), 1) << "no temporary file is left";
  });
  if (!possible) GTEST_SKIP() << "cannot create a mount namespace: not privileged";
}

TEST(MakeDirectoriesTest, CreatesWhatIsMissingWithTheModeAsked) {
  const TemporaryDirectory directory;
  ASSERT_EQ(::mkdir((directory / "a").c_str(), 0700), 0);
  ASSERT_TRUE(make_directories(directory / "a/b//c/", 0751));
  EXPECT_EQ(mode_of(directory / "a"), 0700);
  EXPECT_EQ(mode_of(directory / "a/b"), 0751);
  EXPECT_EQ(mode_of(directory / "a/b/c"), 0751);
  EXPECT_TRUE(make_directories(directory / "a/b/c", 0700)) << "again";
  EXPECT_EQ(mode_of(directory / "a/b/c"), 0751);
  touch(directory / "file");
  for (const char* path : {"file", "file/below", "file/below/deeper"}) {
    const Status refused = make_directories(directory / path, 0700);
    ASSERT_FALSE(refused) << path;
    EXPECT_EQ(refused.error().code(), ErrorCode::kConflict);
  }
}

TEST(RemoveTreeTest, RemovesFilesDirectoriesAndNothing) {
  const TemporaryDirectory directory(memory_directory());
  ASSERT_TRUE(make_directories(directory / "tree/a/b", 0700));
  for (int i = 0; i < 5000; ++i) touch(directory / ("tree/a/" + std::to_string(i)));
  ASSERT_EQ(::mkfifo((directory / "tree/fifo").c_str(), 0600), 0);
  const int before = count_open_descriptors();
  ASSERT_TRUE(remove_tree(directory / "tree/"));
  EXPECT_FALSE(exists(directory / "tree"));
  EXPECT_TRUE(remove_tree(directory / "tree")) << "nothing there";
  EXPECT_TRUE(remove_tree(directory / "no/such/parent"));
  touch(directory / "file");
  EXPECT_TRUE(remove_tree(directory / "file"));
  EXPECT_FALSE(exists(directory / "file"));
  EXPECT_EQ(count_open_descriptors(), before);
}

TEST(RemoveTreeTest, RefusesTheSystem) {
  for (const char* path : {"", "/", "//", "relative", "./x", "/etc", "/tmp/", "/tmp/..", "/tmp/.",
                           "/tmp/../etc", "/proc/self/root/etc"}) {
    const Status refused = remove_tree(path);
    ASSERT_FALSE(refused) << path;
    EXPECT_EQ(refused.error().code(), ErrorCode::kInvalid) << path;
  }
}

TEST(RemoveTreeTest, DoesNotFollowSymbolicLinks) {
  const TemporaryDirectory directory;
  ASSERT_TRUE(make_directories(directory / "outside", 0700));
  ASSERT_TRUE(make_directories(directory / "tree", 0700));
  touch(directory / "outside/precious");
  ASSERT_EQ(::symlink("../outside", (directory / "tree/link").c_str()), 0);
  ASSERT_EQ(::symlink("outside", (directory / "itself").c_str()), 0);
  ASSERT_TRUE(remove_tree(directory / "tree"));
  ASSERT_TRUE(remove_tree(directory / "itself"));
  EXPECT_FALSE(exists(directory / "itself"));
  EXPECT_TRUE(exists(directory / "outside/precious"));
}

TEST(RemoveTreeTest, DoesNotFollowSymbolicLinksThatAreSwappedIn) {
  const TemporaryDirectory directory(memory_directory());
  ASSERT_TRUE(make_directories(directory / "outside", 0700));
  touch(directory / "outside/precious");
  std::atomic<bool> stop = false;
  std::atomic<int> exchanged = 0;
  // An attacker with write access to the tree exchanges a directory and a link as fast as it can.
  std::thread attacker([&] {
    const std::string inside = directory / "tree/victim";
    const std::string link = directory / "link";
    while (!stop) {
      ::mkdir(inside.c_str(), 0700);
      if (::renameat2(AT_FDCWD, inside.c_str(), AT_FDCWD, link.c_str(), RENAME_EXCHANGE) == 0) {
        ++exchanged;
      }
      ::rmdir(link.c_str());
      [[maybe_unused]] const int ignored = ::symlink((directory / "outside").c_str(), link.c_str());
    }
  });
  bool untouched = true;
  for (int round = 0; untouched && (round < 300 || exchanged < 100); ++round) {
    EXPECT_TRUE(make_directories(directory / "tree", 0700));
    // The attacker may keep the tree busy; only that nothing outside is touched counts.
    [[maybe_unused]] const Status removed = remove_tree(directory / "tree");
    untouched = exists(directory / "outside/precious");
  }
  stop = true;
  attacker.join();
  EXPECT_TRUE(untouched);
}

TEST(RemoveTreeTest, RemovesTreesDeeperThanDescriptorsAndPathsReach) {
  const TemporaryDirectory directory(memory_directory());
  ASSERT_TRUE(make_directories(directory / "tree", 0700));
  UniqueFd current = open_file(directory / "tree", O_RDONLY | O_DIRECTORY).value();
  constexpr int kDepth = 3000;
  for (int i = 0; i < kDepth; ++i) {
    ASSERT_EQ(::mkdirat(current.get(), "d", 0700), 0);
    UniqueFd next(::openat(current.get(), "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(next);
    const UniqueFd file(::openat(current.get(), "f", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_TRUE(file);
    current = std::move(next);
  }
  const Status removed = remove_tree(directory / "tree");
  ASSERT_TRUE(removed) << removed.error().message();
  EXPECT_FALSE(exists(directory / "tree"));
}

TEST(RemoveTreeTest, StopsAtMounts) {
  const TemporaryDirectory directory;
  ASSERT_TRUE(make_directories(directory / "tree/mnt", 0700));
  ASSERT_TRUE(make_directories(directory / "outside", 0700));
  touch(directory / "outside/precious");
  const bool possible = in_own_mount_namespace([&] {
    // A bind mount of the same file system: the device number does not tell.
    ASSERT_EQ(::mount((directory / "outside").c_str(), (directory / "tree/mnt").c_str(), nullptr,
                      MS_BIND, nullptr),
              0);
    const Status refused = remove_tree(directory / "tree");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kConflict);
    EXPECT_THAT(refused.error().message(), HasSubstr(directory / "tree/mnt"));
    EXPECT_TRUE(exists(directory / "outside/precious"));
  });
  if (!possible) GTEST_SKIP() << "cannot create a mount namespace: not privileged";
}

TEST(FileLockTest, IsExclusiveUntilItsEnd) {
  const TemporaryDirectory directory;
  {
    const auto lock = FileLock::acquire(directory / "lock");
    ASSERT_TRUE(lock);
    const auto second = FileLock::acquire(directory / "lock");
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code(), ErrorCode::kConflict);
  }
  EXPECT_TRUE(FileLock::acquire(directory / "lock"));
}

TEST(FileLockTest, IsWaitedForUntilTheDeadline) {
  const TemporaryDirectory directory;
  std::optional<FileLock> held = FileLock::acquire(directory / "lock").value();
  const auto in_vain = FileLock::acquire(directory / "lock", BootClock::now() + std::chrono::milliseconds(20));
  ASSERT_FALSE(in_vain);
  EXPECT_EQ(in_vain.error().code(), ErrorCode::kConflict);
  std::thread holder([&held] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    held.reset();
  });
  EXPECT_TRUE(FileLock::acquire(directory / "lock", BootClock::now() + kTestTime));
  holder.join();
}

}  // namespace
}  // namespace perdure::io
