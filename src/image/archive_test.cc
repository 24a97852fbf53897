// Proves with real trees: what is packed on one side is on the other side byte for byte, attribute for attribute and hole for
// hole; the receiver shows an image whole or not at all, whatever arrives, wherever it is interrupted, however many receive
// at once. Needs root: owners, device nodes, trusted attributes.
#include "image/archive.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "image/archive_test_support.h"
#include "image/image_directory.h"
#include "image/test_support.h"
#include "io/process.h"

namespace perdure::image {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

struct Attribute {
  const char* name;
  std::string value;
};
// cap_net_bind_service+ep, revision 2 (linux/capability.h).
const std::string kCapability("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 20);

class ArchiveTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::is_root()) GTEST_SKIP() << "needs root: trees hold owners and device nodes";
    make_tree();
  }

  void make_tree() const {
    for (const char* directory : {"/bin", "/empty", "/deep/er", "/opaque"}) fs::create_directories(tree() + directory);
    test::write_text(tree() + "/bin/server", std::string(3'000'000, 'x') + "end");
    ASSERT_EQ(::chown((tree() + "/bin/server").c_str(), 33, 34), 0);
    ASSERT_EQ(::chmod((tree() + "/bin/server").c_str(), 04751), 0);
    fs::create_hard_link(tree() + "/bin/server", tree() + "/bin/again");
    fs::create_hard_link(tree() + "/bin/server", tree() + "/deep/er/third");
    fs::create_symlink("../../../../etc/passwd", tree() + "/deep/link");
    ASSERT_EQ(::lchown((tree() + "/deep/link").c_str(), 7, 8), 0);
    test::write_text(tree() + "/deep/er/empty", "");
    test::write_text(tree() + "/odd \n\xff name", "odd");
    set(tree() + "/bin/server", "security.capability", kCapability);
    set(tree() + "/deep/er/empty", "user.empty", "");
    set(tree() + "/deep/er/empty", "user.note", std::string("a\0b", 3));
    set(tree() + "/opaque", "trusted.overlay.opaque", "y");
    set(tree() + "/opaque", "trusted.overlay.origin", "of this host alone");
    ASSERT_EQ(::mknod((tree() + "/opaque/whiteout").c_str(), S_IFCHR, makedev(0, 0)), 0);
    ASSERT_EQ(::mknod((tree() + "/null").c_str(), S_IFCHR | 0666, makedev(1, 3)), 0);
    ASSERT_EQ(::mknod((tree() + "/disk").c_str(), S_IFBLK | 0640, makedev(8, 300)), 0);
    ASSERT_EQ(::mknod((tree() + "/fifo").c_str(), S_IFIFO | 0600, 0), 0);
    ASSERT_EQ(::mknod((tree() + "/socket").c_str(), S_IFSOCK | 0755, 0), 0);
    ASSERT_EQ(::chmod((tree() + "/empty").c_str(), 03701), 0);
    ASSERT_EQ(::chmod((tree() + "/deep").c_str(), 0), 0);
    ASSERT_EQ(::chmod(tree().c_str(), 0751), 0);
    for (const char* name : {"/bin/server", "/deep/link", "/deep", "/null", ""}) {
      const timespec times[2] = {{1'000'000'000, 5}, {1'234'567'890, 123'456'789}};
      ASSERT_EQ(::utimensat(AT_FDCWD, (tree() + name).c_str(), times, AT_SYMLINK_NOFOLLOW), 0);
    }
  }
  static void set(const std::string& path, const char* name, const std::string& value) {
    ASSERT_EQ(::lsetxattr(path.c_str(), name, value.data(), value.size(), 0), 0) << name << ": " << errno;
  }
  static std::string attribute(const std::string& path, const char* name) {
    std::array<char, 256> value{};
    const ssize_t size = ::lgetxattr(path.c_str(), name, value.data(), value.size());
    return size < 0 ? "none" : std::string(value.data(), static_cast<std::size_t>(size));
  }
  static struct stat status(const std::string& path) {
    struct stat info{};
    EXPECT_EQ(::lstat(path.c_str(), &info), 0) << path;
    return info;
  }

  std::string tree() const { return scratch() + "/tree"; }
  std::string sender_dir() const { return scratch() + "/sender"; }
  std::string images() const { return scratch() + "/receiver"; }
  const std::string& scratch() const { return directory_.path(); }
  PreparedImage from_directory() const {
    auto image = prepare_root(model::DirectoryRoot{tree()}, {.images_dir = sender_dir()});
    EXPECT_TRUE(image) << image.error().message();
    return image.value_or(PreparedImage{});
  }
  // What is in the receiver's directory, but for finished images.
  std::vector<std::string> leftovers() const {
    std::vector<std::string> names;
    if (!fs::exists(images())) return names;
    for (const auto& entry : fs::directory_iterator(images())) names.push_back(entry.path().filename().string());
    return names;
  }
  Result<PreparedImage> receive(const std::string& digest, std::string_view archive) const {
    return test::receive(images(), digest, archive);
  }

 private:
  test::TemporaryDirectory directory_;
};

TEST_F(ArchiveTest, ATreeArrivesAsItWas) {
  const PreparedImage sent = from_directory();
  const auto got = receive(sent.digest, test::pack(sent));
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_EQ(got->digest, sent.digest);
  EXPECT_EQ(got->tree_digest, sent.digest);
  EXPECT_EQ(digest_tree(got->lower_dir, "").value(), sent.digest);
  EXPECT_EQ(find_prepared(images(), sent.digest).value().lower_dir, got->lower_dir);
  const std::string& root = got->lower_dir;
  for (const char* name : {"", "/bin", "/bin/server", "/empty", "/deep", "/deep/link", "/deep/er/empty", "/null", "/disk",
                           "/fifo", "/socket", "/opaque/whiteout", "/odd \n\xff name"}) {
    const struct stat before = status(tree() + name);
    const struct stat after = status(root + name);
    EXPECT_EQ(after.st_mode, before.st_mode) << name;
    EXPECT_EQ(after.st_uid, before.st_uid) << name;
    EXPECT_EQ(after.st_gid, before.st_gid) << name;
    EXPECT_EQ(after.st_rdev, before.st_rdev) << name;
    EXPECT_EQ(after.st_mtim.tv_sec, before.st_mtim.tv_sec) << name;
    EXPECT_EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec) << name;
  }
  EXPECT_EQ(fs::read_symlink(root + "/deep/link"), "../../../../etc/passwd");
}

TEST_F(ArchiveTest, HardLinksArriveAsOneInode) {
  const PreparedImage sent = from_directory();
  const auto got = receive(sent.digest, test::pack(sent));
  ASSERT_TRUE(got) << got.error().message();
  const struct stat first = status(got->lower_dir + "/bin/server");
  EXPECT_EQ(first.st_nlink, 3u);
  EXPECT_EQ(status(got->lower_dir + "/bin/again").st_ino, first.st_ino);
  EXPECT_EQ(status(got->lower_dir + "/deep/er/third").st_ino, first.st_ino);
}

TEST_F(ArchiveTest, AttributesOfTheImageArriveAndThoseOfTheHostDoNot) {
  const PreparedImage sent = from_directory();
  const auto got = receive(sent.digest, test::pack(sent));
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_EQ(attribute(got->lower_dir + "/bin/server", "security.capability"), kCapability);
  EXPECT_EQ(attribute(got->lower_dir + "/deep/er/empty", "user.empty"), "");
  EXPECT_EQ(attribute(got->lower_dir + "/deep/er/empty", "user.note"), std::string("a\0b", 3));
  EXPECT_EQ(attribute(got->lower_dir + "/opaque", "trusted.overlay.opaque"), "y");
  EXPECT_EQ(attribute(got->lower_dir + "/opaque", "trusted.overlay.origin"), "none");
}

}  // namespace
}  // namespace perdure::image
