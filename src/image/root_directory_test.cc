// Proves that no link of an image leads a write or a read out of its root.
#include "image/root_directory.h"

#include <sys/stat.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "image/test_support.h"

namespace perdure::image {
namespace {

namespace fs = std::filesystem;

class RootDirectoryTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(root_path());
    fs::create_directories(outside());
    auto opened = RootDirectory::open(root_path());
    ASSERT_TRUE(opened);
    root_.emplace(std::move(*opened));
  }
  std::string root_path() const { return directory_.path() + "/root"; }
  std::string outside() const { return directory_.path() + "/outside"; }
  const RootDirectory& root() const { return *root_; }

 private:
  test::TemporaryDirectory directory_;
  std::optional<RootDirectory> root_;
};

TEST_F(RootDirectoryTest, MakesDirectoriesWithTheirMode) {
  ASSERT_TRUE(root().make_directory("/dev/shm", 01777));
  struct stat info{};
  ASSERT_EQ(::stat((root_path() + "/dev/shm").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 01777u);
  ASSERT_EQ(::stat((root_path() + "/dev").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0755u);
  ASSERT_EQ(::chmod((root_path() + "/dev/shm").c_str(), 0700), 0);
  ASSERT_TRUE(root().make_directory("/dev/shm", 01777));
  ASSERT_EQ(::stat((root_path() + "/dev/shm").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700u) << "what is there belongs to the image";
}

TEST_F(RootDirectoryTest, LinksLeadToTheRootNotToTheHost) {
  fs::create_symlink(outside(), root_path() + "/etc");
  fs::create_symlink("../../../../../../..", root_path() + "/up");
  EXPECT_FALSE(root().make_directory("/etc", 0755)) << "dangling inside the root";
  EXPECT_FALSE(root().write_file("/etc/hosts", "x"));
  ASSERT_TRUE(root().write_file("/up/hosts", "x"));
  EXPECT_EQ(test::read_text(root_path() + "/hosts"), "x");
  EXPECT_TRUE(fs::is_empty(outside()));
}

TEST_F(RootDirectoryTest, ReplacesALinkInsteadOfFollowingIt) {
  test::write_text(outside() + "/victim", "untouched");
  fs::create_directories(root_path() + "/etc");
  fs::create_symlink(outside() + "/victim", root_path() + "/etc/resolv.conf");
  ASSERT_TRUE(root().write_file("/etc/resolv.conf", "nameserver ::1\n"));
  EXPECT_EQ(test::read_text(outside() + "/victim"), "untouched");
  EXPECT_EQ(test::read_text(root_path() + "/etc/resolv.conf"), "nameserver ::1\n");
  EXPECT_FALSE(fs::is_symlink(root_path() + "/etc/resolv.conf"));
}

TEST_F(RootDirectoryTest, SameTextIsNotWrittenAgain) {
  ASSERT_TRUE(root().write_file("/hosts", "x"));
  struct stat before{};
  ASSERT_EQ(::stat((root_path() + "/hosts").c_str(), &before), 0);
  ASSERT_TRUE(root().write_file("/hosts", "x"));
  struct stat after{};
  ASSERT_EQ(::stat((root_path() + "/hosts").c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
}

TEST_F(RootDirectoryTest, ReadsWithinTheLimitOnly) {
  EXPECT_EQ(root().read_file("/none", 10).value(), std::nullopt);
  ASSERT_TRUE(root().write_file("/hosts", "12345678901"));
  EXPECT_EQ(root().read_file("/hosts", 10).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(root().read_file("/hosts", 11).value(), "12345678901");
}

TEST_F(RootDirectoryTest, FileInTheWayIsAConflict) {
  test::write_text(root_path() + "/tmp", "");
  EXPECT_EQ(root().make_directory("/tmp", 01777).error().code(), ErrorCode::kConflict);
  EXPECT_EQ(root().make_directory("/tmp/below", 01777).error().code(), ErrorCode::kConflict);
}

}  // namespace
}  // namespace perdure::image
