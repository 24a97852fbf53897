// Proves that a capture finds every change since the one before, opens nothing that has not
// changed, shares the pages that are equal, keeps its bounds, and that a failed or abandoned
// capture loses nothing. The oracle for "every change" is a tracker that sees the same tree for the
// first time.
#include <linux/fs.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <set>

#include "capsule/files/slab_store.h"
#include "capsule/files/test_tree.h"

namespace perdure::capsule {
namespace {

using namespace test;
using testing::HasSubstr;

void populate(const TestTree& tree) {
  fs::create_directories(tree / "etc/app");
  write_file(tree / "etc/app/config", "listen 80\n");
  write_file(tree / "etc/empty", "");
  write_file(tree / "log", std::string(20000, 'l'));
  write_file(tree / "linked", "two names");
  fs::create_hard_link(tree / "linked", tree / "etc/other-name");
  fs::create_symlink("etc/app", tree / "link");
  ::mkfifo((tree / "pipe").c_str(), 0644);
}

TEST(FileTrackerTest, FirstCaptureHoldsTheWholeTree) {
  TestTree tree;
  populate(tree);
  const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{AF_UNIX, {}};
  std::snprintf(address.sun_path, sizeof address.sun_path, "%s", (tree / "socket").c_str());
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::setxattr((tree / "log").c_str(), "user.note", "kept", 4, 0), 0);

  const FileTree captured = tree.must_capture();
  EXPECT_TRUE(validate(captured)) << validate(captured).error().message();
  EXPECT_EQ(captured.entries.size(), 11u);
  EXPECT_EQ(captured.entries.front().path, "");
  EXPECT_EQ(content_of(*find_entry(captured, "etc/app/config")), "listen 80\n");
  EXPECT_EQ(find_entry(captured, "log")->xattrs.at("user.note"), "kept");
  EXPECT_EQ(find_entry(captured, "link")->target, "etc/app");
  EXPECT_EQ(find_entry(captured, "pipe")->type, FileType::kFifo);
  EXPECT_EQ(find_entry(captured, "socket")->type, FileType::kSocket);
  EXPECT_EQ(find_entry(captured, "linked")->hard_link_to, "etc/other-name");
  EXPECT_EQ(content_of(*find_entry(captured, "etc/other-name")), "two names");
  EXPECT_EQ(tree.last.entries_new, 11u);
}

TEST(FileTrackerTest, UnchangedFilesAreNotReadAgain) {
  TestTree tree;
  populate(tree);
  tree.settle();
  const FileTree first = tree.must_capture();
  EXPECT_EQ(tree.last.files_read, 3u);
  const FileTree second = tree.must_capture();
  EXPECT_EQ(tree.last.files_read, 0u);
  EXPECT_EQ(tree.last.read.count, 0u);
  EXPECT_EQ(tree.last.entries_changed + tree.last.entries_new + tree.last.entries_gone, 0u);
  expect_same(second, first);
  EXPECT_EQ(find_entry(second, "log")->content.runs().at(0).slab,
            find_entry(first, "log")->content.runs().at(0).slab);
}

struct Change {
  const char* name;
  void (*apply)(const TestTree& tree);
};
void PrintTo(const Change& change, std::ostream* out) {
  *out << change.name;
}

class ChangeTest : public testing::TestWithParam<Change> {};

TEST_P(ChangeTest, IsFound) {
  TestTree tree;
  populate(tree);
  tree.settle();
  tree.must_capture();
  GetParam().apply(tree);
  const FileTree found = tree.must_capture();
  const FileStats stats = tree.last;
  expect_same(found, tree.capture_anew());
  EXPECT_GT(stats.entries_changed + stats.entries_new + stats.entries_gone, 0u);
  tree.settle();  // and it is not the racy margin that finds everything anyway
  tree.must_capture();
  expect_same(tree.must_capture(), found);
  EXPECT_EQ(tree.last.files_read, 0u);
}

constexpr Change kChanges[] = {
    {"ContentOfTheSameSize", [](const TestTree& tree) { write_at(tree / "log", 5000, "changed"); }},
    {"Growth", [](const TestTree& tree) { write_at(tree / "log", 20000, "more"); }},
    {"Truncation", [](const TestTree& tree) { ::truncate((tree / "log").c_str(), 4097); }},
    {"TruncationToNothing", [](const TestTree& tree) { ::truncate((tree / "log").c_str(), 0); }},
    {"SparseGrowth", [](const TestTree& tree) { ::truncate((tree / "log").c_str(), 10'000'000); }},
    {"SparseFile", [](const TestTree& tree) { write_at(tree / "sparse", 5'000'000, "far"); }},
    {"PunchedHole",
     [](const TestTree& tree) {
       const UniqueFd fd(::open((tree / "log").c_str(), O_RDWR | O_CLOEXEC));
       ::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8192);
     }},
    {"Mode", [](const TestTree& tree) { ::chmod((tree / "log").c_str(), 04711); }},
    {"ModeOfADirectory", [](const TestTree& tree) { ::chmod((tree / "etc").c_str(), 01777); }},
    {"ModeOfTheRoot", [](const TestTree& tree) { ::chmod(tree.root.c_str(), 0711); }},
    {"XattrSet",
     [](const TestTree& tree) { ::setxattr((tree / "log").c_str(), "user.x", "1", 1, 0); }},
    {"XattrOfADirectory",
     [](const TestTree& tree) { ::setxattr((tree / "etc").c_str(), "user.x", "1", 1, 0); }},
    {"Rename", [](const TestTree& tree) { fs::rename(tree / "log", tree / "log.1"); }},
    {"RenameOver", [](const TestTree& tree) { fs::rename(tree / "log", tree / "etc/app/config"); }},
    {"RenameOfADirectory", [](const TestTree& tree) { fs::rename(tree / "etc", tree / "etc2"); }},
    {"Exchange",
     [](const TestTree& tree) {
       ::renameat2(AT_FDCWD, (tree / "log").c_str(), AT_FDCWD, (tree / "etc/empty").c_str(),
                   RENAME_EXCHANGE);
     }},
    {"FileBecomesDirectory",
     [](const TestTree& tree) {
       fs::remove(tree / "log");
       fs::create_directories(tree / "log/inner");
     }},
    {"DirectoryBecomesSymlink",
     [](const TestTree& tree) {
       fs::remove_all(tree / "etc");
       fs::create_symlink("/etc", tree / "etc");
     }},
    {"SymlinkTarget",
     [](const TestTree& tree) {
       fs::remove(tree / "link");
       fs::create_symlink("etc/xyz", tree / "link");
     }},
    {"Removal", [](const TestTree& tree) { fs::remove(tree / "log"); }},
    {"RemovalOfADirectory", [](const TestTree& tree) { fs::remove_all(tree / "etc"); }},
    {"NewFile", [](const TestTree& tree) { write_file(tree / "etc/app/new", "new"); }},
    {"HardLink",
     [](const TestTree& tree) { fs::create_hard_link(tree / "log", tree / "another"); }},
    {"RemovalOfALink", [](const TestTree& tree) { fs::remove(tree / "etc/other-name"); }},
    {"LinkBecomesCopy",
     [](const TestTree& tree) {
       fs::remove(tree / "linked");
       write_file(tree / "linked", "two names");
     }},
    {"ContentThroughALink", [](const TestTree& tree) { write_at(tree / "linked", 0, "TWO"); }},
    {"ForgedMtime",
     [](const TestTree& tree) {
       struct stat before{};
       ::stat((tree / "log").c_str(), &before);
       write_at(tree / "log", 0, "FORGED");
       const timespec times[2] = {before.st_atim, before.st_mtim};
       ::utimensat(AT_FDCWD, (tree / "log").c_str(), times, 0);
     }},
    {"MtimeOnly",
     [](const TestTree& tree) {
       const timespec times[2] = {{0, UTIME_OMIT}, {12345, 678}};
       ::utimensat(AT_FDCWD, (tree / "log").c_str(), times, 0);
     }},
};
INSTANTIATE_TEST_SUITE_P(FileTracker, ChangeTest, testing::ValuesIn(kChanges),
                         [](const auto& instance) { return std::string(instance.param.name); });

TEST(FileTrackerTest, OnlyThePagesThatDifferAreNew) {
  TestTree tree;
  std::string content(1'000'000, 'a');
  write_file(tree / "big", content);
  const FileTree first = tree.must_capture();
  write_at(tree / "big", 500'000, "x");
  const FileTree second = tree.must_capture();
  EXPECT_EQ(tree.tracker->last_stats().changed.count, kPageSize);
  EXPECT_EQ(find_entry(second, "big")
                ->content.changed_since(find_entry(first, "big")->content)
                .page_count(),
            1u);
  content[500'000] = 'x';
  EXPECT_EQ(content_of(*find_entry(second, "big")), content);
  EXPECT_EQ(content_of(*find_entry(first, "big")), std::string(1'000'000, 'a'))
      << "generations do not change";
}

TEST(FileTrackerTest, ARenamedFileSharesItsPages) {
  TestTree tree;
  write_file(tree / "log", std::string(1'000'000, 'a'));
  tree.must_capture();
  fs::rename(tree / "log", tree / "log.1");
  write_file(tree / "log", "fresh");
  tree.must_capture();
  EXPECT_EQ(tree.tracker->last_stats().changed.count, kPageSize);
}

TEST(FileTrackerTest, HolesAreNeitherReadNorHeld) {
  TestTree tree;
  write_at(tree / "sparse", std::uint64_t{10} << 30, "end");
  tree.options.max_bytes = Bytes{1 << 20};
  const FileTree captured = tree.must_capture();
  EXPECT_EQ(find_entry(captured, "sparse")->content.page_count(), 1u);
  EXPECT_EQ(find_entry(captured, "sparse")->size_bytes, (std::uint64_t{10} << 30) + 3);
}

// A change in the same tick of the clock leaves ctime as it was: whether two writes share a tick is
// up to the machine, so many are tried, each as close as possible to the capture before.
TEST(FileTrackerTest, AChangeRightAfterTheCaptureIsFound) {
  TestTree tree;
  for (int round = 0; round < 200; ++round) {
    const std::string text = std::format("round {:06}", round);
    write_at(tree / "file", 0, text);
    const FileTree captured = tree.must_capture();
    ASSERT_EQ(content_of(*find_entry(captured, "file")), text);
  }
}

TEST(FileTrackerTest, AFileChangedJustBeforeTheCaptureIsReadOnceMore) {
  TestTree tree;
  tree.options.racy_margin = std::chrono::hours(1);
  write_file(tree / "file", "text");
  tree.must_capture();
  tree.must_capture();
  EXPECT_EQ(tree.last.files_read, 1u);
}

TEST(FileTrackerTest, AnAbandonedCaptureLosesNothing) {
  TestTree tree;
  write_file(tree / "file", "one");
  tree.settle();
  tree.must_capture();
  write_file(tree / "file", "two");
  write_file(tree / "new", "new");
  tree.settle();
  {
    auto dropped = tree.tracker->snapshot({});
  }
  const FileTree captured = tree.must_capture();
  EXPECT_EQ(content_of(*find_entry(captured, "file")), "two");
  EXPECT_EQ(content_of(*find_entry(captured, "new")), "new");
  EXPECT_EQ(tree.last.files_read, 2u);
}

TEST(FileTrackerTest, OneSnapshotAtATime) {
  TestTree tree;
  tree.track();
  auto first = tree.tracker->snapshot({});
  ASSERT_TRUE(first);
  EXPECT_EQ(tree.tracker->snapshot({}).error().code(), ErrorCode::kInvalid);
  auto other = tree.make_tracker();
  EXPECT_EQ(other->finish(std::move(*first)).error().code(), ErrorCode::kInvalid);
}

TEST(FileTrackerTest, TooManyFilesAreRefusedAndFewerAccepted) {
  TestTree tree;
  tree.options.max_files = 10;
  for (int i = 0; i < 10; ++i) write_file(tree / std::format("{}", i), "x");
  const auto refused = tree.capture();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kNoSpace);
  EXPECT_THAT(refused.error().message(),
              testing::AllOf(HasSubstr("the test tree"), HasSubstr("10 files")));
  fs::remove(tree / "0");
  expect_same(tree.must_capture(), tree.capture_anew());
}

TEST(FileTrackerTest, TooManyBytesAreRefusedAndFewerAccepted) {
  TestTree tree;
  tree.options.max_bytes = Bytes{100'000};
  write_file(tree / "file", std::string(60'000, 'x'));
  tree.must_capture();
  write_file(tree / "second", std::string(60'000, 'x'));
  const auto refused = tree.capture();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kNoSpace);
  EXPECT_THAT(refused.error().message(),
              testing::AllOf(HasSubstr("the test tree"), HasSubstr("100 kB")));
  fs::remove(tree / "second");
  expect_same(tree.must_capture(), tree.capture_anew());
}

TEST(FileTrackerTest, ALeaseDoesNotBlockTheFreeze) {
  TestTree tree;
  write_file(tree / "leased", "x");
  ::signal(SIGIO, SIG_IGN);  // tells the holder that somebody wants to read
  UniqueFd holder(::open((tree / "leased").c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_EQ(::fcntl(holder.get(), F_SETLEASE, F_WRLCK), 0);
  const auto refused = tree.capture();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kTransient);
  EXPECT_THAT(refused.error().message(), HasSubstr("'leased'"));
  holder.reset();
  EXPECT_EQ(content_of(*find_entry(tree.must_capture(), "leased")), "x");
}

TEST(FileTrackerTest, StagingInsideTheTreeIsRefused) {
  TestTree tree;
  fs::create_directory(tree / "staging");
  const auto made =
      FileTracker::create(tree.root_fd(), open_directory(tree / "staging"), {}, tree.options);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code(), ErrorCode::kInvalid);
}

TEST(FileTrackerTest, DeeperThanTheLimitIsRefused) {
  TestTree tree;
  std::string path = tree.root;
  for (unsigned i = 0; i <= kMaxDepth; ++i) {
    path += "/d";
    fs::create_directory(path);
  }
  const auto refused = tree.capture();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kUnsupported);
  fs::remove(path);
  tree.must_capture();
}

TEST(FileTrackerTest, ChangesBeyondTheArenaGoToStagedFiles) {
  TestTree tree;  // arena 64 KiB, eight times as much in memory
  std::mt19937 random(7);
  std::string content(3'000'000, '\0');
  for (auto& byte : content) byte = static_cast<char>(random());
  write_file(tree / "big", content);
  write_file(tree / "small", "small");
  const FileTree first = tree.must_capture();
  EXPECT_EQ(content_of(*find_entry(first, "big")), content);
  EXPECT_GT(tree.tracker->last_stats().held_in_files.count, 2'000'000u);
  content.replace(1'500'000, 7, "changed");
  write_at(tree / "big", 1'500'000, "changed");
  EXPECT_EQ(content_of(*find_entry(tree.must_capture(), "big")), content);
  EXPECT_TRUE(fs::is_empty(tree.staging));
}

TEST(FileTrackerTest, MemoryStaysWithinItsLimit) {
  TestTree tree;
  tree.options.max_memory = Bytes{300'000};
  for (int i = 0; i < 50; ++i) {
    write_file(tree / std::format("{}", i), std::string(40'000, static_cast<char>('A' + i)));
    tree.must_capture();
    EXPECT_LE(tree.tracker->last_stats().held_in_memory.count, 300'000u);
  }
  expect_same(tree.must_capture(), tree.capture_anew());
  EXPECT_GE(tree.tracker->last_stats().held_in_files.count, 1'500'000u);
}

// Every capture replaces most of what the one before took, but never all of it.
TEST(FileTrackerTest, WhatIsHeldFollowsWhatIsThere) {
  TestTree tree;
  constexpr int kFiles = 120;
  for (int i = 0; i < kFiles; ++i) write_file(tree / std::format("{}", i), std::string(9'000, '-'));
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    for (int i = 0; i < 4; ++i) {
      write_at(tree / std::format("{}", random() % kFiles), random() % 9'000,
               std::format("{}", round));
    }
    tree.must_capture();
    const FileStats& stats = tree.tracker->last_stats();
    ASSERT_LE(stats.held_in_memory.count + stats.held_in_files.count,
              2 * stats.content.count + 65'536);
  }
  const FileTree captured = tree.must_capture();
  expect_same(captured, tree.capture_anew());
  std::set<const Slab*> slabs;
  for (const auto& entry : captured.entries) {
    for (const auto& run : entry.content.runs()) slabs.insert(run.slab.get());
  }
  EXPECT_LE(slabs.size(), files::kMaxSlabs + 1);
}

TEST(FileTrackerTest, AWarmUpLeavesTheFreezeNothingToRead) {
  TestTree tree;
  populate(tree);
  tree.track();
  ASSERT_TRUE(tree.tracker->warm_up({}));
  tree.settle();
  ASSERT_TRUE(tree.tracker->warm_up({}));
  const FileTree captured = tree.must_capture();
  EXPECT_EQ(tree.last.files_read, 0u);
  expect_same(captured, tree.capture_anew());
}

TEST(FileTrackerTest, AnAdoptedTreeSharesItsPagesAndIsReadOnce) {
  TestTree tree;
  populate(tree);
  const FileTree before = tree.must_capture();
  tree.track();  // another life of the daemon
  tree.tracker->adopt(before);
  tree.settle();
  const FileTree after = tree.must_capture();
  EXPECT_EQ(tree.last.files_read, 3u);
  EXPECT_EQ(tree.tracker->last_stats().changed.count, 0u);
  EXPECT_EQ(find_entry(after, "log")->content.runs().at(0).slab,
            find_entry(before, "log")->content.runs().at(0).slab);
  expect_same(after, before);
  tree.must_capture();
  EXPECT_EQ(tree.last.files_read, 0u);
}

TEST(FileTrackerTest, RandomHistoriesAreCapturedAsByAFirstLook) {
  for (unsigned seed = 1; seed <= 15; ++seed) {
    SCOPED_TRACE(seed);
    TestTree tree;
    Mutator mutator(tree.root, seed);
    for (int round = 0; round < 8; ++round) {
      mutator.mutate(25);
      const FileTree captured = tree.must_capture();
      ASSERT_TRUE(validate(captured)) << validate(captured).error().message();
      expect_same(captured, tree.capture_anew());
      if (HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace perdure::capsule
