// Proves that a roll-back brings a directory to exactly the captured tree - whatever was changed
// since, from nothing, twice, and after an interruption before any single change -, touches nothing
// that does not differ, and cannot be led out of the directory by symlinks in it or by paths in the
// tree.
#include "capsule/files/test_tree.h"

namespace perdure::capsule {
namespace {

using namespace test;
using testing::HasSubstr;

std::uint64_t changes_in(const RestoreReport& report) {
  return report.created + report.rewritten + report.removed + report.written.count;
}

void expect_rolled_back(const TestTree& tree, const std::map<std::string, std::string>& wanted) {
  EXPECT_EQ(difference(describe(tree.root), wanted), "");
}

class RollBackTest : public testing::TestWithParam<unsigned> {};

TEST_P(RollBackTest, UndoesAnyHistory) {
  TestTree tree;
  Mutator mutator(tree.root, GetParam());
  mutator.mutate(80);
  const auto wanted = describe(tree.root);
  const FileTree captured = tree.must_capture();
  ASSERT_TRUE(validate(captured)) << validate(captured).error().message();
  tree.settle();
  for (const bool with_tracker : {true, false}) {
    SCOPED_TRACE(with_tracker ? "with tracker" : "without tracker");
    mutator.mutate(60);
    tree.must_roll_back(captured, with_tracker ? tree.tracker.get() : nullptr);
    expect_rolled_back(tree, wanted);
    EXPECT_EQ(changes_in(tree.must_roll_back(captured, tree.tracker.get())), 0u)
        << "a second run finds nothing to do";
    expect_rolled_back(tree, wanted);
  }
  mutator.mutate(40);
  tree.must_capture();  // the tracker has moved on to a later generation …
  mutator.mutate(20);
  tree.must_roll_back(captured, tree.tracker.get());  // … and the earlier one is wanted
  expect_rolled_back(tree, wanted);
  expect_same(tree.must_capture(), captured, Zeros::kMayBeHoles);
}

TEST_P(RollBackTest, WorksOnAnEmptyDirectory) {
  TestTree tree;
  Mutator(tree.root, GetParam() + 1000).mutate(100);
  const FileTree captured = tree.must_capture();
  TestTree other;
  tree.settle();
  const auto report = other.must_roll_back(captured, nullptr);
  EXPECT_EQ(difference(describe(other.root), describe(tree.root)), "");
  EXPECT_EQ(report.read.count, 0u);
  EXPECT_EQ(changes_in(other.must_roll_back(captured, nullptr)), 0u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, RollBackTest, testing::Range(1u, 25u));

TEST(RollBack, InterruptedAnywhereItIsCompletedByTheNext) {
  TestTree tree;
  fs::create_directories(tree / "a/b");
  write_file(tree / "a/b/file", std::string(30'000, 'f'));
  write_file(tree / "linked", "linked");
  fs::create_hard_link(tree / "linked", tree / "a/linked");
  fs::create_symlink("there", tree / "symlink");
  write_at(tree / "sparse", 100'000, "end");
  ::setxattr((tree / "linked").c_str(), "user.x", "y", 1, 0);
  ::chmod((tree / "a").c_str(), 0711);
  const auto wanted = describe(tree.root);
  const FileTree captured = tree.must_capture();
  tree.settle();
  const UniqueFd marker = open_directory(tree.staging);

  bool complete = false;
  int changes = 0;
  for (; !complete; ++changes) {
    SCOPED_TRACE(changes);
    write_at(tree / "a/b/file", 9'000, "changed");
    write_at(tree / "sparse", 50'000, "no hole");
    write_file(tree / "a/linked", "longer than before");
    ::removexattr((tree / "linked").c_str(), "user.x");
    fs::remove(tree / "linked");
    write_file(tree / "linked", "changed");
    fs::create_directories(tree / "extra/deep");
    write_file(tree / "extra/deep/file", "extra");
    fs::remove(tree / "symlink");
    fs::create_symlink("elsewhere", tree / "symlink");
    ::chmod((tree / "a").c_str(), 0700);
    int left = changes;
    RestoreOptions options;
    options.marker_directory = marker.get();
    options.marker_name = "rolling-back";
    options.before_change = [&]() -> Status {
      if (left-- > 0) return {};
      return fail(ErrorCode::kCancelled, "interrupted");
    };
    const auto interrupted = roll_back(tree.root_fd(), captured, tree.tracker.get(), options);
    complete = interrupted.has_value();
    EXPECT_EQ(roll_back_pending(marker.get(), "rolling-back").value(), !complete);
    if (complete) break;
    EXPECT_EQ(interrupted.error().code(), ErrorCode::kCancelled);
    // Every other time by a daemon that was started anew.
    tree.must_roll_back(captured, changes % 2 == 0 ? tree.tracker.get() : nullptr);
    ASSERT_EQ(difference(describe(tree.root), wanted), "");
  }
  EXPECT_EQ(difference(describe(tree.root), wanted), "");
  EXPECT_GT(changes, 15);
}

TEST(RollBack, TouchesOnlyWhatDiffers) {
  TestTree tree;
  for (int i = 0; i < 100; ++i) write_file(tree / std::format("{}", i), std::string(10'000, 'x'));
  tree.settle();
  const FileTree captured = tree.must_capture();
  write_at(tree / "50", 5'000, "changed");
  struct stat before{};
  ::stat((tree / "50").c_str(), &before);
  const auto report = tree.must_roll_back(captured, tree.tracker.get());
  EXPECT_EQ(report.trusted, 100u);  // 99 files and the root
  EXPECT_EQ(report.compared, 1u);
  EXPECT_EQ(report.rewritten, 1u);
  EXPECT_EQ(report.written.count, kPageSize);
  EXPECT_EQ(report.read.count, 10'000u);
  struct stat after{};
  ::stat((tree / "50").c_str(), &after);
  EXPECT_EQ(before.st_ino, after.st_ino);
}

TEST(RollBack, WhatTheTrackerKnowsIsNotRead) {
  TestTree tree;
  write_file(tree / "file", std::string(100'000, 'x'));
  tree.settle();
  const FileTree first = tree.must_capture();
  write_at(tree / "file", 50'000, "changed");
  tree.settle();
  tree.must_capture();
  const auto report = tree.must_roll_back(first, tree.tracker.get());
  EXPECT_EQ(report.read.count, 0u);
  EXPECT_EQ(report.written.count, kPageSize);
  EXPECT_EQ(read_text(tree / "file"), std::string(100'000, 'x'));
}

TEST(RollBack, OneInodeUnderTwoNamesBecomesTwoAgain) {
  TestTree tree;
  write_file(tree / "a", "same");
  write_file(tree / "b", "same");
  const timespec times[2] = {{1000, 0}, {1000, 0}};
  ::utimensat(AT_FDCWD, (tree / "a").c_str(), times, 0);
  ::utimensat(AT_FDCWD, (tree / "b").c_str(), times, 0);
  const auto wanted = describe(tree.root);
  const FileTree captured = tree.must_capture();
  fs::remove(tree / "b");
  fs::create_hard_link(tree / "a", tree / "b");
  tree.must_roll_back(captured, nullptr);
  expect_rolled_back(tree, wanted);
}

TEST(RollBack, ASymlinkInTheWayLeadsNowhere) {
  TestTree tree;
  TestTree outside;
  write_file(outside / "victim", "precious");
  fs::create_directories(tree / "etc/inner");
  write_file(tree / "etc/victim", "captured");
  write_file(tree / "file", "captured");
  const auto wanted = describe(tree.root);
  const auto precious = describe(outside.root);
  const FileTree captured = tree.must_capture();
  fs::remove_all(tree / "etc");
  fs::create_directory_symlink(outside.root, tree / "etc");
  fs::remove(tree / "file");
  fs::create_symlink(outside / "victim", tree / "file");
  fs::create_directory_symlink(outside.root, tree / "extra");
  tree.must_roll_back(captured, tree.tracker.get());
  expect_rolled_back(tree, wanted);
  EXPECT_EQ(difference(describe(outside.root), precious), "");
}

TEST(RollBack, RemovesTreesDeeperThanAnyDescriptorLimit) {
  TestTree tree;
  write_file(tree / "file", "kept");
  const auto wanted = describe(tree.root);
  const FileTree captured = tree.must_capture();
  UniqueFd directory = tree.root_fd();
  for (int i = 0; i < 3000; ++i) {  // the path is longer than PATH_MAX
    ASSERT_EQ(::mkdirat(directory.get(), "d", 0700), 0);
    if (i % 100 == 0) {
      ASSERT_EQ(::mkdirat(directory.get(), "sibling", 0700), 0);
    }
    directory = UniqueFd(::openat(directory.get(), "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  directory.reset();
  tree.must_roll_back(captured, tree.tracker.get());
  expect_rolled_back(tree, wanted);
}

FileEntry directory_entry(std::string path) {
  FileEntry entry;
  entry.path = std::move(path);
  entry.type = FileType::kDirectory;
  entry.mode = 0755;
  return entry;
}
FileEntry file_entry(std::string path) {
  FileEntry entry;
  entry.path = std::move(path);
  entry.mode = 0644;
  return entry;
}
FileEntry symlink_entry(std::string path, std::string target) {
  FileEntry entry = file_entry(std::move(path));
  entry.type = FileType::kSymlink;
  entry.target = std::move(target);
  return entry;
}

TEST(ValidateTest, RefusesWhatNoCaptureProduces) {
  const auto with = [](std::vector<FileEntry> entries) {
    entries.insert(entries.begin(), directory_entry(""));
    return FileTree{"", std::move(entries)};
  };
  FileEntry link = file_entry("b");
  link.hard_link_to = "a";
  FileEntry forward = file_entry("a");
  forward.hard_link_to = "b";
  FileEntry of_a_link = file_entry("c");
  of_a_link.hard_link_to = "b";
  FileEntry mode = file_entry("a");
  mode.mode = 0100644;
  FileEntry device = file_entry("a");
  device.device = 5;
  FileEntry beyond = file_entry("a");
  auto slab = Slab::allocate(kPageSize, Slab::Prefault::kNo).value();
  ASSERT_TRUE(beyond.content.append(PageRun{1, 1, slab, 0}));
  beyond.size_bytes = kPageSize;
  FileEntry xattr = file_entry("a");
  xattr.xattrs[""] = "x";
  std::string deep = "d";
  std::vector<FileEntry> levels{directory_entry(deep)};
  for (unsigned i = 0; i <= kMaxDepth; ++i) levels.push_back(directory_entry(deep += "/d"));

  EXPECT_TRUE(validate(with({file_entry("a"), link})));
  const std::vector<FileTree> hostile = {
      with({file_entry("../escape")}),
      with({file_entry("/etc/passwd")}),
      with({file_entry("a/../../b")}),
      with({file_entry("..")}),
      with({file_entry(".")}),
      with({file_entry("a//b")}),
      with({file_entry("a/")}),
      with({directory_entry("a"), file_entry("a/..")}),
      with({file_entry(std::string("a\0b", 3))}),
      with({file_entry(std::string(256, 'n'))}),
      with({file_entry("b"), file_entry("a")}),
      with({file_entry("a"), file_entry("a")}),
      with({file_entry("missing/file")}),
      with({symlink_entry("link", "/etc"), file_entry("link/passwd")}),
      with({file_entry("a"), file_entry("a/b")}),
      with({symlink_entry("a", "")}),
      with({link}),
      with({forward, file_entry("b")}),
      with({file_entry("a"), link, of_a_link}),
      with({directory_entry("a"), link}),
      with({mode}),
      with({device}),
      with({beyond}),
      with({xattr}),
      with(levels),
      FileTree{"", {file_entry("")}}};
  for (std::size_t i = 0; i < hostile.size(); ++i) {
    const auto refused = validate(hostile[i]);
    ASSERT_FALSE(refused) << i;
    EXPECT_EQ(refused.error().code(), ErrorCode::kCorrupt);
    TestTree tree;
    write_file(tree / "untouched", "x");
    EXPECT_FALSE(roll_back(tree.root_fd(), hostile[i], nullptr)) << i;
    EXPECT_EQ(read_text(tree / "untouched"), "x");
  }
}

TEST(RollBack, ErrorsNameTheEntry) {
  TestTree tree;
  write_file(tree / "file", "x");
  const FileTree captured = tree.must_capture();
  write_file(tree / "file", "changed");
  RestoreOptions options;
  options.before_change = [] { return Status(fail(ErrorCode::kTimeout, "deadline passed")); };
  const auto failed = roll_back(tree.root_fd(), captured, nullptr, options);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), ErrorCode::kTimeout);
  EXPECT_THAT(failed.error().message(),
              HasSubstr("roll back 'file' in the writable layer: deadline passed"));
}

}  // namespace
}  // namespace perdure::capsule
