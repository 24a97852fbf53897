// Proves with the real tar and umoci: archives of every compression unpack once and completely,
// concurrent calls agree, an archive that leaves its root is refused, and nothing half is ever
// visible. Needs root (owners, device nodes) and busybox-static.
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "image/image.h"
#include "image/test_support.h"
#include "io/process.h"

namespace perdure::image {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class UnpackTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::is_root()) GTEST_SKIP() << "needs root: archives hold owners and device nodes";
    if (!test::have_busybox()) GTEST_SKIP() << "needs /bin/busybox (package busybox-static)";
    test::make_busybox_root(tree());
    ASSERT_EQ(::mknod((tree() + "/null").c_str(), S_IFCHR | 0666, makedev(1, 3)), 0);
    ASSERT_EQ(::chown((tree() + "/etc/group").c_str(), 33, 34), 0);
    ASSERT_EQ(::chmod((tree() + "/bin/busybox").c_str(), 04755), 0);
    fs::create_hard_link(tree() + "/bin/busybox", tree() + "/bin/hard");
  }
  std::string tree() const { return scratch() + "/tree"; }
  const std::string& scratch() const { return directory_.path(); }
  PrepareOptions options() const { return {.images_dir = scratch() + "/images"}; }

  std::string make_tar(const std::string& name, std::vector<std::string> arguments) const {
    const std::string path = scratch() + "/" + name;
    std::vector<std::string> argv = {"tar", "-cf", path, "-C", tree()};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    const auto made = io::command_output(argv);
    EXPECT_TRUE(made) << made.error().message();
    return path;
  }
  // Entries of images/ that are neither finished images nor locks nor the digest cache.
  std::vector<std::string> leftovers() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(scratch() + "/images")) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with(".staging")) names.push_back(name);
    }
    return names;
  }
  void expect_whole(const PreparedImage& image) const {
    struct stat info{};
    ASSERT_EQ(::lstat((image.lower_dir + "/null").c_str(), &info), 0);
    EXPECT_TRUE(S_ISCHR(info.st_mode));
    EXPECT_EQ(info.st_rdev, makedev(1, 3));
    ASSERT_EQ(::lstat((image.lower_dir + "/etc/group").c_str(), &info), 0);
    EXPECT_EQ(info.st_uid, 33u);
    EXPECT_EQ(info.st_gid, 34u);
    ASSERT_EQ(::lstat((image.lower_dir + "/bin/hard").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 04755u);
    EXPECT_EQ(info.st_nlink, 2u);
    EXPECT_EQ(fs::read_symlink(image.lower_dir + "/bin/sh"), "busybox");
  }

 private:
  test::TemporaryDirectory directory_;
};

TEST_F(UnpackTest, EveryCompressionGivesTheSameTree) {
  for (const auto& [name, flag] : std::vector<std::pair<std::string, std::string>>{
           {"a.tar", ""}, {"a.tar.gz", "--gzip"}, {"a.tar.zst", "--zstd"}}) {
    std::vector<std::string> arguments = {"."};
    if (!flag.empty()) arguments.insert(arguments.begin(), flag);
    const std::string path = make_tar(name, arguments);
    const auto image = prepare_root(model::TarRoot{path}, options());
    ASSERT_TRUE(image) << name << ": " << image.error().message();
    expect_whole(*image);
    EXPECT_EQ(digest_tree(image->lower_dir, "").value(), digest_tree(tree(), "").value());
    const auto again = prepare_root(model::TarRoot{path}, options());
    EXPECT_EQ(again.value().lower_dir, image->lower_dir);
  }
  EXPECT_THAT(leftovers(), testing::IsEmpty());
}

TEST_F(UnpackTest, MembersThatLeaveTheRootAreRefused) {
  test::write_text(scratch() + "/escaped-content", "evil");
  fs::create_symlink("/etc", tree() + "/leads-out");
  const std::string up =
      make_tar("up.tar", {"-P", "--transform=s,^etc/group$,../../escaped,", "etc/group"});
  const std::string link =
      make_tar("link.tar",
               {"--transform=s,^etc/group$,leads-out/perdure-escaped,", "leads-out", "etc/group"});
  for (const std::string& path : {up, link}) {
    const auto image = prepare_root(model::TarRoot{path}, options());
    ASSERT_FALSE(image) << path;
    EXPECT_EQ(image.error().code(), ErrorCode::kInvalid) << image.error().message();
    EXPECT_THAT(image.error().message(), HasSubstr(path));
  }
  EXPECT_FALSE(fs::exists("/etc/perdure-escaped"));
  EXPECT_FALSE(fs::exists(scratch() + "/images/escaped"));
  EXPECT_THAT(leftovers(), testing::IsEmpty());
}

TEST_F(UnpackTest, GarbageAndForeignNamesAreRefused) {
  test::write_text(scratch() + "/bad.tar", std::string(20000, 'x'));
  EXPECT_EQ(prepare_root(model::TarRoot{scratch() + "/bad.tar"}, options()).error().code(),
            ErrorCode::kInvalid);
  test::write_text(scratch() + "/bad.zip", "x");
  EXPECT_EQ(prepare_root(model::TarRoot{scratch() + "/bad.zip"}, options()).error().code(),
            ErrorCode::kInvalid);
  EXPECT_EQ(prepare_root(model::TarRoot{scratch() + "/none.tar"}, options()).error().code(),
            ErrorCode::kNotFound);
  EXPECT_THAT(leftovers(), testing::IsEmpty());
}

TEST_F(UnpackTest, OverlayAttributesOfAnArchiveAreNotTaken) {
  ASSERT_EQ(::setxattr((tree() + "/etc").c_str(), "trusted.overlay.opaque", "y", 1, 0), 0);
  const std::string path = make_tar("x.tar", {"--xattrs", "--xattrs-include=*", "."});
  const auto image = prepare_root(model::TarRoot{path}, options());
  ASSERT_TRUE(image) << image.error().message();
  char value[8];
  EXPECT_LT(::getxattr((image->lower_dir + "/etc").c_str(), "trusted.overlay.opaque", value, 8), 0);
}

TEST_F(UnpackTest, ConcurrentCallsUnpackOnce) {
  const std::string path = make_tar("a.tar", {"."});
  std::atomic<int> unpackings = 0;
  std::vector<std::string> lowers(6);
  {
    std::vector<std::jthread> threads;
    for (std::string& lower : lowers) {
      threads.emplace_back([&] {
        PrepareOptions with = options();
        with.progress = [&](std::string_view text) { unpackings += text.starts_with("unpacking"); };
        if (auto image = prepare_root(model::TarRoot{path}, with)) lower = image->lower_dir;
      });
    }
  }
  EXPECT_EQ(unpackings.load(), 1);
  for (const std::string& lower : lowers) EXPECT_EQ(lower, lowers.front());
  EXPECT_FALSE(lowers.front().empty());
}

TEST_F(UnpackTest, WhatAnInterruptedCallLeftIsClearedAway) {
  const std::string path = make_tar("a.tar", {"."});
  const auto image = prepare_root(model::TarRoot{path}, options());
  ASSERT_TRUE(image);
  const std::string final_dir = fs::path(image->lower_dir).parent_path();
  const std::string staging =
      scratch() + "/images/.staging-" + fs::path(final_dir).filename().string();
  fs::rename(final_dir, staging);
  fs::remove_all(staging + "/rootfs/etc");
  test::write_text(staging + "/rootfs/half", "");
  const auto again = prepare_root(model::TarRoot{path}, options());
  ASSERT_TRUE(again) << again.error().message();
  expect_whole(*again);
  EXPECT_FALSE(fs::exists(again->lower_dir + "/half"));
}

TEST_F(UnpackTest, DirectoriesAreUsedInPlace) {
  const auto image = prepare_root(model::DirectoryRoot{tree()}, options());
  ASSERT_TRUE(image) << image.error().message();
  EXPECT_EQ(image->lower_dir, fs::canonical(tree()));
  EXPECT_EQ(image->digest, digest_tree(tree(), "").value());
  const auto file = prepare_root(model::DirectoryRoot{tree() + "/etc/group"}, options());
  EXPECT_EQ(file.error().code(), ErrorCode::kInvalid);
}

TEST_F(UnpackTest, OciLayoutBringsItsDefaults) {
  const std::string layout = scratch() + "/layout";
  const std::string image_name = layout + ":v1";
  const std::string bundle = scratch() + "/umoci-bundle";
  const auto umoci = [](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "umoci");
    const auto output = io::command_output(arguments);
    EXPECT_TRUE(output) << output.error().message();
    return output.has_value();
  };
  ASSERT_TRUE(umoci({"init", "--layout", layout}));
  ASSERT_TRUE(umoci({"new", "--image", image_name}));
  ASSERT_TRUE(umoci({"unpack", "--image", image_name, bundle}));
  fs::copy(tree() + "/bin", bundle + "/rootfs/bin",
           fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  ASSERT_TRUE(umoci({"repack", "--image", image_name, bundle}));
  ASSERT_TRUE(umoci({"config", "--image", image_name, "--config.cmd", "/bin/sh", "--config.user",
                     "0:0", "--config.workingdir", "/srv", "--config.env", "A=1"}));
  const auto image = prepare_root(model::OciRoot{layout, "v1"}, options());
  ASSERT_TRUE(image) << image.error().message();
  EXPECT_TRUE(fs::exists(image->lower_dir + "/bin/busybox"));
  EXPECT_THAT(image->defaults.command, testing::ElementsAre("/bin/sh"));
  EXPECT_EQ(image->defaults.working_directory, "/srv");
  EXPECT_EQ(image->defaults.user, "0:0");
  EXPECT_THAT(image->defaults.environment, testing::Contains("A=1"));
  const auto again = prepare_root(model::OciRoot{layout, "v1"}, options());
  EXPECT_EQ(again.value().defaults, image->defaults);
  EXPECT_EQ(prepare_root(model::OciRoot{layout, "v2"}, options()).error().code(),
            ErrorCode::kNotFound);
}

}  // namespace
}  // namespace perdure::image
