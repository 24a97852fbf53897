// Proves what needs root: reflinks on btrfs and XFS, ACLs, capabilities, devices, protected files,
// full disks; and prints what captures and roll-backs cost.
#include <linux/fs.h>
#include <sys/ioctl.h>

#include <functional>

#include "capsule/files/test_mapping.h"
#include "capsule/files/test_mounts.h"

namespace perdure::capsule {
namespace {

using namespace test;
using testing::HasSubstr;

class ReflinkTest : public PrivilegedTest, public testing::WithParamInterface<const char*> {};

TEST_P(ReflinkTest, LargeFilesAreClonedAndOnlyTheirChangesKept) {
  Mounted disk(GetParam(), 512);
  if (!disk.ok()) GTEST_SKIP() << "no mkfs." << GetParam() << " or no loop device";
  TestTree tree(disk.path());
  tree.options.clone_from = Bytes{65'536};
  std::string content(20'000'000, 'c');
  for (std::size_t i = 0; i < content.size(); i += 4096)
    content[i] = static_cast<char>('a' + i / 4096 % 26);
  write_file(tree / "big", content);
  write_file(tree / "second", content.substr(0, 100'001));
  write_file(tree / "small", "small");
  write_at(tree / "sparse", 50'000'000, "end");
  tree.track();
  ASSERT_TRUE(tree.tracker->can_clone());
  const FileTree first = tree.must_capture();
  EXPECT_EQ(tree.last.files_cloned, 3u);
  EXPECT_EQ(content_of(*find_entry(first, "big")), content);
  EXPECT_EQ(find_entry(first, "sparse")->content.page_count(), 1u);

  auto snapshot = tree.tracker->snapshot({});  // the racy ones once more
  ASSERT_TRUE(snapshot);
  write_at(tree / "big", 8'000'000, "after the instant");
  const FileTree second = tree.tracker->finish(std::move(*snapshot)).value();
  EXPECT_EQ(content_of(*find_entry(second, "big")), content)
      << "the clone is of the instant of the snapshot";
  EXPECT_EQ(tree.tracker->last_stats().changed.count, 0u);

  const FileTree third = tree.must_capture();
  EXPECT_EQ(tree.tracker->last_stats().changed.count, kPageSize);
  content.replace(8'000'000, 17, "after the instant");
  EXPECT_EQ(content_of(*find_entry(third, "big")), content);

  const auto wanted = describe(tree.root);
  Mutator(tree.root, 3).mutate(40);
  tree.must_roll_back(third, tree.tracker.get());
  EXPECT_EQ(difference(describe(tree.root), wanted), "");
}

TEST_P(ReflinkTest, StoresThroughMappingsAreFound) {
  Mounted disk(GetParam(), 512);
  if (!disk.ok()) GTEST_SKIP() << "no mkfs." << GetParam() << " or no loop device";
  TestTree tree(disk.path());
  write_file(tree / "file", std::string(kPageSize, '0'));
  MappedFile mapping(tree / "file");
  mapping.store('1');
  tree.settle();
  tree.must_capture(own_hints());
  mapping.store('2');
  EXPECT_EQ(content_of(*find_entry(tree.must_capture(own_hints()), "file")).front(), '2');
}

INSTANTIATE_TEST_SUITE_P(FileSystems, ReflinkTest, testing::Values("xfs", "btrfs"),
                         [](const auto& instance) { return std::string(instance.param); });

using FileTrackerRootTest = PrivilegedTest;

TEST_F(FileTrackerRootTest, OnTmpfsEveryFileIsReadEachTime) {
  Mounted memory("tmpfs", 16);
  ASSERT_TRUE(memory.ok());
  TestTree tree(memory.path());
  write_file(tree / "file", "x");
  tree.settle();
  tree.must_capture();
  tree.must_capture();
  EXPECT_EQ(tree.last.files_read, 1u);
  EXPECT_FALSE(tree.tracker->can_clone());
}

TEST_F(FileTrackerRootTest, AMountInTheTreeIsRefused) {
  TestTree tree;
  fs::create_directory(tree / "mount");
  ASSERT_EQ(::mount("none", (tree / "mount").c_str(), "tmpfs", 0, nullptr), 0);
  const auto refused = tree.capture();
  ::umount((tree / "mount").c_str());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kUnsupported);
  EXPECT_THAT(refused.error().message(), HasSubstr("'mount'"));
}

void protect(const std::string& path, int flag) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  int flags = 0;
  ASSERT_EQ(::ioctl(fd.get(), FS_IOC_GETFLAGS, &flags), 0) << path;
  flags |= flag;
  ASSERT_EQ(::ioctl(fd.get(), FS_IOC_SETFLAGS, &flags), 0) << path;
}

TEST_F(FileTrackerRootTest, ProtectedFilesAreRefusedByACaptureAndOvercomeByARollBack) {
  TestTree tree;
  fs::create_directory(tree / "dir");
  write_file(tree / "dir/file", "captured");
  write_file(tree / "log", "captured");
  const auto wanted = describe(tree.root);
  const FileTree captured = tree.must_capture();
  write_file(tree / "dir/file", "changed");
  write_file(tree / "dir/extra", "extra");
  protect(tree / "dir/file", FS_IMMUTABLE_FL);
  protect(tree / "dir/extra", FS_APPEND_FL);
  protect(tree / "dir", FS_IMMUTABLE_FL);
  protect(tree / "log", FS_APPEND_FL);
  const auto refused = tree.capture();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kUnsupported);
  EXPECT_THAT(refused.error().message(), HasSubstr("chattr"));
  tree.must_roll_back(captured, tree.tracker.get());
  EXPECT_EQ(difference(describe(tree.root), wanted), "");
}

TEST_F(FileTrackerRootTest, AclsCapabilitiesOwnersAndDevicesComeBack) {
  TestTree tree;
  write_file(tree / "acl", "x");
  write_file(tree / "capable", "x");
  write_file(tree / "suid", "x");
  fs::create_directory(tree / "inherits");
  // user::rw-, user:1:r--, group::r--, mask::r--, other::--- (acl(5), version 2)
  const std::string acl(
      "\2\0\0\0\1\0\6\0\377\377\377\377\2\0\4\0\1\0\0\0\4\0\4\0\377\377\377\377"
      "\20\0\4\0\377\377\377\377\40\0\0\0\377\377\377\377",
      44);
  ASSERT_EQ(
      ::setxattr((tree / "acl").c_str(), "system.posix_acl_access", acl.data(), acl.size(), 0), 0);
  ASSERT_EQ(::setxattr((tree / "inherits").c_str(), "system.posix_acl_default", acl.data(),
                       acl.size(), 0),
            0);
  write_file(tree / "inherits/plain", "x");
  ::removexattr((tree / "inherits/plain").c_str(), "system.posix_acl_access");
  const std::string capability("\0\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
                               20);  // cap_net_bind_service+p
  ::chown((tree / "capable").c_str(), 1000, 1000);
  ASSERT_EQ(::setxattr((tree / "capable").c_str(), "security.capability", capability.data(),
                       capability.size(), 0),
            0);
  ::chown((tree / "suid").c_str(), 1000, 1000);
  ::chmod((tree / "suid").c_str(), 06755);
  ASSERT_EQ(::mknod((tree / "null").c_str(), S_IFCHR | 0666, makedev(1, 3)), 0);
  ASSERT_EQ(::mknod((tree / "disk").c_str(), S_IFBLK | 0660, makedev(7, 0)), 0);
  fs::create_symlink("x", tree / "symlink");
  ::lchown((tree / "symlink").c_str(), 5, 6);
  ASSERT_EQ(::lsetxattr((tree / "symlink").c_str(), "trusted.note", "kept", 4, 0), 0);

  const auto wanted = describe(tree.root);
  const FileTree captured = tree.must_capture();
  for (const char* name : {"acl", "capable", "suid"}) {
    write_file(tree / name, "changed");
    ::chown((tree / name).c_str(), 0, 0);
    ::removexattr((tree / name).c_str(), "system.posix_acl_access");
    ::setxattr((tree / name).c_str(), "trusted.extra", "x", 1, 0);
  }
  fs::remove(tree / "null");
  ::mknod((tree / "null").c_str(), S_IFCHR | 0666, makedev(1, 5));
  ::lremovexattr((tree / "symlink").c_str(), "trusted.note");
  fs::remove(tree / "inherits/plain");
  tree.must_roll_back(captured, tree.tracker.get());
  EXPECT_EQ(difference(describe(tree.root), wanted), "");
  TestTree elsewhere;
  elsewhere.must_roll_back(captured, nullptr);
  EXPECT_EQ(difference(describe(elsewhere.root), wanted), "");
}

TEST_F(FileTrackerRootTest, AFullDiskIsToldAndCompletedWhenThereIsRoom) {
  TestTree tree;
  std::mt19937 random(5);
  for (int i = 0; i < 20; ++i) {
    std::string content(300'000, '\0');
    for (auto& byte : content) byte = static_cast<char>(random());
    write_file(tree / std::format("{}", i), content);
  }
  const auto wanted = describe(tree.root);
  const FileTree captured = tree.must_capture();
  Mounted memory("tmpfs", 4);
  ASSERT_TRUE(memory.ok());
  const auto full = roll_back(open_directory(memory.path()), captured, nullptr);
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code(), ErrorCode::kNoSpace);
  EXPECT_THAT(full.error().message(), HasSubstr("roll back '"));
  ASSERT_EQ(::mount("none", memory.path().c_str(), "tmpfs", MS_REMOUNT, "size=16m"), 0);
  ASSERT_TRUE(roll_back(open_directory(memory.path()), captured, nullptr));
  EXPECT_EQ(difference(describe(memory.path()), wanted), "");
}

TEST_F(FileTrackerRootTest, AFullStagingDirectoryIsToldAndTheCaptureAfterItHoldsAll) {
  Mounted disk("tmpfs", 2);
  ASSERT_TRUE(disk.ok());
  TestTree tree;
  fs::remove(tree.staging);
  tree.staging = disk.path();
  write_file(tree / "file", "before");
  tree.must_capture();
  std::mt19937 random(5);
  std::string content(4'000'000, '\0');
  for (auto& byte : content) byte = static_cast<char>(random());
  write_file(tree / "file", content);
  const auto full = tree.capture();
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code(), ErrorCode::kNoSpace);
  EXPECT_THAT(full.error().message(), HasSubstr("the test tree"));
  ASSERT_EQ(::mount("none", disk.path().c_str(), "tmpfs", MS_REMOUNT, "size=16m"), 0);
  EXPECT_EQ(content_of(*find_entry(tree.must_capture(), "file")), content);
}

// What a capture costs, printed for people: the best of several, since the machine may be busy.
void measure(TestTree& tree, const std::string& what, const std::string& changing) {
  constexpr int kTries = 7;
  tree.options.arena = FileTrackerOptions{}.arena;
  tree.track();
  const auto print = [&](const char* kind, int tries, const std::function<void()>& before) {
    Duration frozen = std::chrono::hours(1);
    Duration finish = std::chrono::hours(1);
    for (int i = 0; i < tries; ++i) {
      before();
      tree.must_capture();
      frozen = std::min(frozen, tree.last.snapshot);
      finish = std::min(finish, tree.tracker->last_stats().finish);
    }
    std::printf("%-20s %-18s frozen %7.2f ms  finish %7.2f ms  read %7s  changed %7s  cloned %lu\n",
                what.c_str(), kind, to_milliseconds(frozen), to_milliseconds(finish),
                format_bytes(tree.last.read).c_str(),
                format_bytes(tree.tracker->last_stats().changed).c_str(), tree.last.files_cloned);
    EXPECT_LT(frozen, std::chrono::seconds(5));
  };
  print("first", 1, [] {});
  tree.settle();
  tree.must_capture();
  print("unchanged", kTries, [] {});
  int round = 0;
  print("one page changed", kTries,
        [&] { write_at(tree / changing, 2000, std::format("{}", ++round)); });
}

void measure_small_files(int files) {
  Mounted disk("ext4", 512);
  TestTree tree(disk.ok() ? disk.path() : "/var/tmp");
  for (int i = 0; i < files; ++i) {
    const std::string directory = tree / std::format("{}", i / 100);
    if (i % 100 == 0) fs::create_directory(directory);
    write_file(std::format("{}/file-{:05}", directory, i), std::string(4000, 'x'));
  }
  write_file(tree / "file", std::string(4000, 'x'));
  measure(tree, std::format("ext4, {} files", files), "file");
  const FileTree captured = tree.must_capture();
  TestTree elsewhere(disk.ok() ? disk.path() : "/var/tmp");
  const auto nothing = tree.must_roll_back(captured, tree.tracker.get()).elapsed;
  const auto compared = tree.must_roll_back(captured, nullptr).elapsed;
  const auto created = elsewhere.must_roll_back(captured, nullptr).elapsed;
  std::printf("%-20s roll back: nothing to do %.2f ms, all compared %.2f ms, all created %.2f ms\n",
              "", to_milliseconds(nothing), to_milliseconds(compared), to_milliseconds(created));
}

TEST_F(FileTrackerRootTest, CostOf200Files) {
  measure_small_files(200);
}
TEST_F(FileTrackerRootTest, CostOf5000Files) {
  measure_small_files(5000);
}
TEST_F(FileTrackerRootTest, CostOf10000Files) {
  measure_small_files(10000);
}

TEST_P(ReflinkTest, CostOf100Megabytes) {
  Mounted disk(GetParam(), 1024);
  if (!disk.ok()) GTEST_SKIP() << "no mkfs." << GetParam() << " or no loop device";
  TestTree tree(disk.path());
  write_file(tree / "big", std::string(100'000'000, 'x'));
  measure(tree, std::format("{}, 100 MB", GetParam()), "big");
}

TEST_F(FileTrackerRootTest, CostOf100MegabytesWithoutReflinks) {
  TestTree tree;
  write_file(tree / "big", std::string(100'000'000, 'x'));
  measure(tree, "ext4, 100 MB", "big");
}

}  // namespace
}  // namespace perdure::capsule
