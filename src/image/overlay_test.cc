// Proves with the real overlayfs: mounting is idempotent and self-contained, a foreign mount is
// never touched, a used one is not taken away. Every test runs in a mount namespace of its own, so
// nothing is left when it crashes. Needs root.
#include "image/overlay.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/xattr.h>

#include <algorithm>
#include <thread>

#include "base/fd.h"
#include "base/mountinfo.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "image/test_support.h"

namespace perdure::image {
namespace {

namespace fs = std::filesystem;

class OverlayTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::is_root()) GTEST_SKIP() << "needs root: mounts file systems";
    ASSERT_EQ(::unshare(CLONE_NEWNS), 0);
    ASSERT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    test::write_text(paths().lower + "/dir/file", "lower");
  }
  void TearDown() override {
    if (!test::is_root()) return;
    EXPECT_TRUE(unmount_overlay(paths().merged));
  }
  OverlayPaths paths() const {
    return {.lower = directory_.path() + "/lower",
            .rw_dir = directory_.path() + "/rw",
            .merged = directory_.path() + "/merged"};
  }
  int mounts_at_merged() const {
    const auto mounts = read_mountinfo().value();
    return static_cast<int>(std::ranges::count(mounts, paths().merged, &MountEntry::mount_point));
  }

 private:
  test::TemporaryDirectory directory_;
};

TEST_F(OverlayTest, MountsOnceAndPrivately) {
  EXPECT_FALSE(overlay_mounted(paths()).value());
  const auto mounted = mount_overlay(paths());
  if (!mounted && mounted.error().code() == ErrorCode::kUnsupported) {
    GTEST_SKIP() << mounted.error().message();
  }
  ASSERT_TRUE(mounted) << mounted.error().message();
  ASSERT_TRUE(mount_overlay(paths()));
  EXPECT_EQ(mounts_at_merged(), 1);
  EXPECT_TRUE(overlay_mounted(paths()).value());
  const auto mounts = read_mountinfo().value();
  const auto mount = std::ranges::find(mounts, paths().merged, &MountEntry::mount_point);
  ASSERT_NE(mount, mounts.end());
  EXPECT_THAT(mount->propagation, testing::IsEmpty());
  ASSERT_TRUE(unmount_overlay(paths().merged));
  ASSERT_TRUE(unmount_overlay(paths().merged));
  EXPECT_EQ(mounts_at_merged(), 0);
}

TEST_F(OverlayTest, UpperHoldsWholeFilesAndNoReferences) {
  ASSERT_TRUE(mount_overlay(paths()));
  fs::permissions(paths().merged + "/dir/file", fs::perms::owner_read);
  EXPECT_EQ(test::read_text(paths().upper() + "/dir/file"), "lower") << "no metacopy";
  EXPECT_NE(::rename((paths().merged + "/dir").c_str(), (paths().merged + "/moved").c_str()), 0)
      << "no redirect";
  EXPECT_EQ(errno, EXDEV);
  char value[64];
  for (const char* name :
       {"trusted.overlay.metacopy", "trusted.overlay.redirect", "trusted.overlay.origin.index"}) {
    EXPECT_LT(::getxattr((paths().upper() + "/dir/file").c_str(), name, value, sizeof value), 0);
  }
}

TEST_F(OverlayTest, UpperSurvivesUnmount) {
  ASSERT_TRUE(mount_overlay(paths()));
  test::write_text(paths().merged + "/new", "text");
  ASSERT_TRUE(unmount_overlay(paths().merged));
  ASSERT_TRUE(mount_overlay(paths()));
  EXPECT_EQ(test::read_text(paths().merged + "/new"), "text");
  EXPECT_EQ(clear_upper(paths()).error().code(), ErrorCode::kConflict) << "mounted";
  ASSERT_TRUE(unmount_overlay(paths().merged));
  ASSERT_TRUE(clear_upper(paths()));
  ASSERT_TRUE(mount_overlay(paths()));
  EXPECT_FALSE(fs::exists(paths().merged + "/new"));
}

TEST_F(OverlayTest, AnotherCopyOfTheLowerIsTheSameOverlay) {
  ASSERT_TRUE(mount_overlay(paths()));
  OverlayPaths other = paths();
  other.lower += "-2";
  fs::copy(paths().lower, other.lower, fs::copy_options::recursive);
  ASSERT_TRUE(mount_overlay(other)) << "a container is found alive with the copy it was started from";
  EXPECT_TRUE(overlay_mounted(other).value());
  EXPECT_EQ(mounts_at_merged(), 1);
}

TEST_F(OverlayTest, ForeignMountIsAConflict) {
  fs::create_directories(paths().merged);
  ASSERT_EQ(::mount("tmpfs", paths().merged.c_str(), "tmpfs", 0, nullptr), 0);
  EXPECT_EQ(mount_overlay(paths()).error().code(), ErrorCode::kConflict);
  EXPECT_EQ(unmount_overlay(paths().merged).error().code(), ErrorCode::kConflict);
  EXPECT_EQ(mounts_at_merged(), 1);
  ASSERT_EQ(::umount(paths().merged.c_str()), 0);
}

TEST_F(OverlayTest, BusyOverlayIsAConflict) {
  ASSERT_TRUE(mount_overlay(paths()));
  const auto open = open_file(paths().merged + "/dir/file", O_RDONLY);
  ASSERT_TRUE(open);
  EXPECT_EQ(unmount_overlay(paths().merged).error().code(), ErrorCode::kConflict);
}

TEST_F(OverlayTest, WhatIsBusyForAMomentIsWaitedFor) {
  ASSERT_TRUE(mount_overlay(paths()));
  auto open = open_file(paths().merged + "/dir/file", O_RDONLY);
  ASSERT_TRUE(open);
  std::jthread closes([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    open->reset();
  });
  EXPECT_TRUE(unmount_overlay(paths().merged, std::chrono::seconds(60)));
  EXPECT_EQ(mounts_at_merged(), 0);
}

TEST_F(OverlayTest, UnnameablePathsAndUnfitFileSystemsAreRefused) {
  OverlayPaths bad = paths();
  bad.lower += ":x";
  EXPECT_EQ(mount_overlay(bad).error().code(), ErrorCode::kInvalid);
  bad = paths();
  bad.lower = paths().lower + "/missing";
  EXPECT_FALSE(mount_overlay(bad));
  bad = paths();
  ASSERT_TRUE(mount_overlay(paths()));
  bad.rw_dir = paths().merged + "/rw";  // an overlay cannot be an overlay's upper layer
  bad.merged += "-2";
  const auto refused = mount_overlay(bad);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kUnsupported) << refused.error().message();
}

}  // namespace
}  // namespace perdure::image
