// Proves that a tree's digest depends on what a container sees (names, modes, targets, contents)
// and on nothing else (times, where it lies), and that what changed is never answered from the
// cache.
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "image/image.h"
#include "image/sha256.h"
#include "image/test_support.h"
#include "image/tree_digest.h"

namespace perdure::image {
namespace {

namespace fs = std::filesystem;

void make_tree(const std::string& root) {
  fs::create_directories(root + "/etc");
  fs::create_directories(root + "/empty");
  test::write_text(root + "/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
  fs::create_symlink("passwd", root + "/etc/link");
}

TEST(Sha256Test, KnowsTheEmptyText) {
  EXPECT_EQ(sha256_of(""),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(digest_hex("sha256:12"), "");
  EXPECT_EQ(digest_hex("md5:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"), "");
}

TEST(TreeDigestTest, SameTreeElsewhereHasTheSameDigest) {
  const test::TemporaryDirectory directory;
  make_tree(directory.path() + "/a");
  make_tree(directory.path() + "/b");
  const auto a = digest_tree(directory.path() + "/a", "");
  const auto b = digest_tree(directory.path() + "/b", "");
  ASSERT_TRUE(a) << a.error().message();
  EXPECT_EQ(a.value(), b.value());
  EXPECT_FALSE(digest_hex(*a).empty());
}

TEST(TreeDigestTest, EveryVisibleChangeChangesIt) {
  const test::TemporaryDirectory directory;
  const std::string root = directory.path() + "/root";
  const std::string cache = directory.path() + "/cache";
  make_tree(root);
  std::vector<std::string> seen = {digest_tree(root, cache).value()};
  const auto expect_new = [&](const char* change) {
    const std::string digest = digest_tree(root, cache).value();
    EXPECT_THAT(seen, testing::Not(testing::Contains(digest))) << change;
    seen.push_back(digest);
  };
  test::write_text(root + "/etc/passwd", "root:x:0:0:root:/root:/bin/zh\n");
  expect_new("content of the same size");
  fs::permissions(root + "/etc/passwd", fs::perms::owner_all);
  expect_new("mode");
  fs::rename(root + "/etc/passwd", root + "/etc/shadow");
  expect_new("name");
  fs::remove(root + "/etc/link");
  fs::create_symlink("shadow", root + "/etc/link");
  expect_new("link target");
  fs::remove(root + "/empty");
  expect_new("an empty directory less");
}

TEST(TreeDigestTest, TimesDoNotMatter) {
  const test::TemporaryDirectory directory;
  make_tree(directory.path());
  const auto before = digest_tree(directory.path(), "");
  fs::last_write_time(directory.path() + "/etc/passwd",
                      fs::file_time_type::clock::now() - std::chrono::hours(1));
  EXPECT_EQ(digest_tree(directory.path(), "").value(), before.value());
}

TEST(FileDigestTest, IsThatOfTheBytes) {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/file";
  test::write_text(path, "abc");
  EXPECT_EQ(digest_file(path, directory.path() + "/cache").value(), sha256_of("abc"));
  test::write_text(path, "abd");
  EXPECT_EQ(digest_file(path, directory.path() + "/cache").value(), sha256_of("abd"));
  EXPECT_EQ(digest_file(directory.path(), "").error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(digest_file(path + ".none", "").error().code(), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace perdure::image
