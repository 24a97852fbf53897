// Proves what needs root: overlays (whiteouts, opaque directories, files mapped through the merged
// mount), reflinks on btrfs and XFS, ACLs, capabilities, devices, protected files, a full disk. All
// mounts live in a mount namespace of this process and vanish with it.
#include <linux/fs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <functional>

#include "capsule/files/test_tree.h"

namespace perdure::capsule {
namespace {

using namespace test;
using testing::HasSubstr;

bool run(const std::string& command) {
  return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
}

class PrivilegedTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    static const bool own_mounts =
        ::unshare(CLONE_NEWNS) == 0 &&
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
    ASSERT_TRUE(own_mounts) << std::strerror(errno);
  }
};

// A file system of its own, in memory or in an image that is already unlinked when it is used.
class Mounted {
 public:
  Mounted(const std::string& type, std::uint64_t megabytes) : path_(make_scratch_directory()) {
    if (type == "tmpfs") {
      mounted_ = ::mount("none", path_.c_str(), "tmpfs", 0,
                         std::format("size={}m", megabytes).c_str()) == 0;
      return;
    }
    const std::string image = path_ + ".img";
    write_file(image, "");
    EXPECT_EQ(::truncate(image.c_str(), static_cast<off_t>(megabytes << 20)), 0);
    mounted_ = run("mkfs." + type + " -q " + image) && run("mount -o loop " + image + " " + path_);
    fs::remove(image);
  }
  ~Mounted() {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
    ::rmdir(path_.c_str());
  }
  Mounted(const Mounted&) = delete;
  Mounted& operator=(const Mounted&) = delete;
  bool ok() const { return mounted_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool mounted_ = false;
};

// An overlay whose upper directory is the tree.
class Overlay {
 public:
  explicit Overlay(TestTree& tree) : tree_(tree) {
    for (const char* name : {"lower", "work", "merged"})
      fs::create_directory(tree.scratch + "/" + name);
  }
  ~Overlay() { unmount(); }
  Overlay(const Overlay&) = delete;
  Overlay& operator=(const Overlay&) = delete;
  std::string lower(const std::string& path) const { return tree_.scratch + "/lower/" + path; }
  std::string merged(const std::string& path = "") const {
    return tree_.scratch + "/merged/" + path;
  }
  void mount() {
    const std::string options =
        std::format("lowerdir={0}/lower,upperdir={0}/tree,workdir={0}/work", tree_.scratch);
    ASSERT_EQ(::mount("overlay", merged().c_str(), "overlay", 0, options.c_str()), 0)
        << std::strerror(errno);
  }
  void unmount() { ::umount2(merged().c_str(), MNT_DETACH); }

 private:
  TestTree& tree_;
};

class OverlayTest : public PrivilegedTest {};

TEST_F(OverlayTest, WhiteoutsAndOpaqueDirectoriesComeBack) {
  TestTree tree;
  Overlay overlay(tree);
  fs::create_directories(overlay.lower("etc"));
  for (const char* name : {"etc/a", "etc/b", "gone", "gone2", "changed"})
    write_file(overlay.lower(name), name);
  overlay.mount();
  fs::remove(overlay.merged("gone"));
  fs::remove_all(overlay.merged("etc"));
  fs::create_directory(overlay.merged("etc"));
  write_file(overlay.merged("etc/new"), "new");
  write_file(overlay.merged("changed"), "differently");
  const auto wanted = describe(overlay.merged());
  tree.settle();
  const FileTree captured = tree.must_capture();
  const FileEntry* whiteout = find_entry(captured, "gone");
  ASSERT_NE(whiteout, nullptr);
  EXPECT_EQ(whiteout->type, FileType::kCharacterDevice);
  EXPECT_EQ(whiteout->device, 0u);
  EXPECT_EQ(find_entry(captured, "etc")->xattrs.at("trusted.overlay.opaque"), "y");

  fs::remove(
      overlay.merged("gone2"));  // links to the same inode: changes the ctime of the other whiteout
  const FileTree later = tree.must_capture();
  EXPECT_EQ(tree.last.entries_new, 1u);
  EXPECT_EQ(find_entry(later, "gone")->hard_link_to, "");
  EXPECT_EQ(find_entry(later, "gone2")->hard_link_to, "");

  write_file(overlay.merged("gone"), "back again");
  fs::remove_all(overlay.merged("etc"));
  fs::remove(overlay.merged("changed"));
  overlay.unmount();
  tree.must_roll_back(captured, tree.tracker.get());
  overlay.mount();
  EXPECT_EQ(difference(describe(overlay.merged()), wanted), "");
  overlay.unmount();

  TestTree elsewhere;  // another host: the same lower directory, an empty upper one
  Overlay there(elsewhere);
  fs::copy(overlay.lower(""), there.lower(""), fs::copy_options::recursive);
  elsewhere.must_roll_back(captured, nullptr);
  there.mount();
  EXPECT_FALSE(fs::exists(there.merged("gone")));
  EXPECT_FALSE(fs::exists(there.merged("etc/a")));
  EXPECT_EQ(read_text(there.merged("changed")), "differently");
  EXPECT_EQ(read_text(there.merged("gone2")), "gone2");
}

// Maps a file shared and writable until dropped.
class Mapping {
 public:
  explicit Mapping(const std::string& path) {
    const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    void* data = ::mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    EXPECT_NE(data, MAP_FAILED) << path;
    data_ = static_cast<volatile char*>(data);
  }
  ~Mapping() { ::munmap(const_cast<char*>(data_), kPageSize); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  void store(char value) { *data_ = value; }

 private:
  volatile char* data_;
};

FrozenHints own_hints() {
  const pid_t self = ::getpid();
  auto hints = collect_shared_writable_mappings({&self, 1});
  EXPECT_TRUE(hints) << hints.error().message();
  return hints.value_or(FrozenHints{});
}

// `upper` on a file system of its own or on the one of the lower directory; the numbers that the
// kernel gives a mapped file differ between these, between copied-up and new files, and between
// files with one and two lower links.
void expect_mapped_stores_are_found(TestTree& tree) {
  Overlay overlay(tree);
  for (const char* name : {"copied", "linked"})
    write_file(overlay.lower(name), std::string(kPageSize, '0'));
  fs::create_hard_link(overlay.lower("linked"), overlay.lower("linked2"));
  overlay.mount();
  fs::create_directory(overlay.merged("dir"));
  write_file(overlay.merged("dir/fresh"), std::string(kPageSize, '0'));
  write_file(overlay.merged("bystander"), std::string(kPageSize, '0'));
  const std::vector<std::string> names = {"copied", "linked", "linked2", "dir/fresh"};
  std::vector<std::unique_ptr<Mapping>> mappings;
  for (const auto& name : names) {
    mappings.push_back(std::make_unique<Mapping>(overlay.merged(name)));
    mappings.back()->store('1');
  }
  tree.tracker = tree.make_tracker(overlay.merged());
  tree.settle();
  tree.must_capture(own_hints());
  for (char value : {'2', '3'}) {
    for (const auto& mapping : mappings) mapping->store(value);
    const FileTree captured = tree.must_capture(own_hints());
    for (const auto& name : names) {
      EXPECT_EQ(content_of(*find_entry(captured, name)).front(), value) << name;
    }
  }
  fs::rename(overlay.merged("dir"), overlay.merged("moved"));
  for (const auto& mapping : mappings) mapping->store('4');
  EXPECT_EQ(content_of(*find_entry(tree.must_capture(own_hints()), "moved/fresh")).front(), '4');
  mappings.clear();
  tree.must_capture(own_hints());
  tree.must_capture(own_hints());
  EXPECT_EQ(tree.last.files_read, 0u);
}

TEST_F(OverlayTest, StoresThroughMappingsAreFound) {
  TestTree tree;
  expect_mapped_stores_are_found(tree);
}

TEST_F(OverlayTest, StoresThroughMappingsAreFoundWithTheUpperDirectoryElsewhere) {
  Mounted upper("ext4", 64);
  if (!upper.ok()) GTEST_SKIP() << "no mkfs.ext4 or no loop device";
  TestTree tree;
  ASSERT_EQ(::mount(upper.path().c_str(), tree.scratch.c_str(), nullptr, MS_BIND, nullptr), 0);
  for (const char* name : {"tree", "staging"}) fs::create_directory(tree.scratch + "/" + name);
  {
    TestTree lower;
    fs::create_directory(tree.scratch + "/lower");
    ASSERT_EQ(
        ::mount(lower.root.c_str(), (tree.scratch + "/lower").c_str(), nullptr, MS_BIND, nullptr),
        0);
    expect_mapped_stores_are_found(tree);
    ::umount2((tree.scratch + "/lower").c_str(), MNT_DETACH);
  }
  tree.tracker.reset();
  ::umount2(tree.scratch.c_str(), MNT_DETACH);
}

TEST_F(OverlayTest, OnlyMappedFilesAreReadEachTime) {
  TestTree tree;
  Overlay overlay(tree);
  overlay.mount();
  for (int i = 0; i < 20; ++i) write_file(overlay.merged(std::format("{}", i)), "x");
  Mapping mapping(overlay.merged("7"));
  tree.tracker = tree.make_tracker(overlay.merged());
  tree.settle();
  for (int i = 0; i < 3; ++i) tree.must_capture(own_hints());
  EXPECT_EQ(tree.last.files_read, 1u);
}

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
  Mapping mapping(tree / "file");
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
  print("one page changed", kTries, [&] { write_at(tree / changing, 2000, std::format("{}", ++round)); });
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
