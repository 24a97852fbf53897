// Proves with real directories: what nobody uses goes and is accounted, what is used, written, locked or mounted stays,
// and what crashes left is cleared. Needs root.
#include "image/image_store.h"

#include <sched.h>
#include <sys/mount.h>

#include <filesystem>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "image/archive_test_support.h"
#include "image/image_directory.h"
#include "image/overlay.h"
#include "image/test_support.h"
#include "io/atomic_file.h"

namespace perdure::image {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;

class ImageStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::is_root()) GTEST_SKIP() << "needs root: images hold owners, overlays are mounted";
    for (const char letter : {'a', 'b', 'c'}) {
      const std::string tree = scratch() + "/tree-" + letter;
      test::write_text(tree + "/file", std::string(100'000, letter));
      fs::create_hard_link(tree + "/file", tree + "/again");
      const PreparedImage sent =
          prepare_root(model::DirectoryRoot{tree}, {.images_dir = scratch() + "/sender"}).value();
      ASSERT_TRUE(test::receive(images(), sent.digest, test::pack(sent)));
      digests.push_back(sent.digest);
    }
    std::ranges::sort(digests);
  }
  std::vector<std::string> listed() const {
    std::vector<std::string> found;
    const auto images_there = list_prepared(images());
    EXPECT_TRUE(images_there) << images_there.error().message();
    if (images_there) {
      for (const PreparedImage& image : *images_there) found.push_back(image.digest);
    }
    return found;
  }
  RemovedImages remove(const std::set<std::string>& in_use) const {
    const auto removed = remove_unused(images(), in_use);
    EXPECT_TRUE(removed) << removed.error().message();
    return removed.value_or(RemovedImages{});
  }
  std::vector<std::string> hidden() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(images())) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with('.') && !name.starts_with(kLockPrefix)) names.push_back(name);
    }
    return names;
  }
  std::string images() const { return scratch() + "/images"; }
  const std::string& scratch() const { return directory_.path(); }
  std::vector<std::string> digests;  // of what is there, sorted

 private:
  test::TemporaryDirectory directory_;
};

TEST_F(ImageStoreTest, ListsWhatIsThere) {
  EXPECT_EQ(listed(), digests);
  EXPECT_THAT(list_prepared(scratch() + "/none").value(), IsEmpty());
  const auto images_there = list_prepared(images()).value();
  for (const PreparedImage& image : images_there) {
    EXPECT_EQ(image.tree_digest, image.digest);
    EXPECT_TRUE(fs::exists(image.lower_dir + "/file"));
  }
}

TEST_F(ImageStoreTest, RemovesWhatNobodyUsesAndSaysWhatThatFreed) {
  const RemovedImages removed = remove({digests[1]});
  EXPECT_THAT(removed.digests, ElementsAre(digests[0], digests[2]));
  EXPECT_GT(removed.freed.count, 200'000u);
  EXPECT_LT(removed.freed.count, 300'000u) << "hard links counted once";
  EXPECT_THAT(listed(), ElementsAre(digests[1]));
  EXPECT_THAT(hidden(), IsEmpty());
  EXPECT_THAT(remove({digests[1]}).digests, IsEmpty());
  EXPECT_THAT(remove_unused(scratch() + "/none", {}).value().digests, IsEmpty());
}

TEST_F(ImageStoreTest, AnImageBelowAMountedOverlayStays) {
  ASSERT_EQ(::unshare(CLONE_NEWNS), 0);
  ASSERT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
  const OverlayPaths paths{find_prepared(images(), digests[0]).value().lower_dir, scratch() + "/rw",
                           scratch() + "/merged"};
  const Status mounted = mount_overlay(paths);
  ASSERT_TRUE(mounted) << mounted.error().message();
  EXPECT_THAT(remove({}).digests, ElementsAre(digests[1], digests[2]));
  EXPECT_TRUE(fs::exists(paths.merged + "/file"));
  ASSERT_TRUE(unmount_overlay(paths.merged));
  EXPECT_THAT(remove({}).digests, ElementsAre(digests[0]));
}

TEST_F(ImageStoreTest, WhatIsBeingWrittenStays) {
  const std::string digest = "sha256:" + std::string(64, 'd');
  const std::string staging = staging_in(images(), digest);
  const auto unpacker = Unpacker::begin(images(), digest).value();
  test::write_text(staging + "/rootfs/half", "");
  {
    const auto preparing = io::FileLock::acquire(lock_in(images(), digest));
    const auto preparing_again = io::FileLock::acquire(lock_in(images(), digests[2]));
    ASSERT_TRUE(preparing && preparing_again);
    EXPECT_THAT(remove({digests[0], digests[1]}).digests, IsEmpty());
    EXPECT_TRUE(fs::exists(staging + "/rootfs/half"));
    EXPECT_THAT(hidden(), testing::SizeIs(2));
  }
  EXPECT_THAT(remove({digests[0], digests[1]}).digests, ElementsAre(digests[2]));
  EXPECT_FALSE(fs::exists(staging)) << "nobody is at it any more";
  EXPECT_THAT(hidden(), ElementsAre(testing::StartsWith(".incoming-")));
}

TEST_F(ImageStoreTest, WhatAnInterruptedRemovalLeftIsCleared) {
  const std::string removing = images() + "/" + std::string(kRemovingPrefix) + digests[0].substr(7) + "-abcdef";
  fs::create_directories(removing);
  fs::rename(directory_in(images(), digests[0]), removing + "/image");
  EXPECT_THAT(listed(), ElementsAre(digests[1], digests[2]));
  EXPECT_THAT(remove({digests.begin(), digests.end()}).digests, IsEmpty());
  EXPECT_FALSE(fs::exists(removing));
}

TEST_F(ImageStoreTest, WhatIsNotKnownStays) {
  test::write_text(images() + "/notes.txt", "of the operator");
  fs::create_directories(images() + "/.staging-unknown");
  EXPECT_THAT(remove({}).digests, testing::SizeIs(3));
  EXPECT_TRUE(fs::exists(images() + "/notes.txt"));
  EXPECT_TRUE(fs::exists(images() + "/.staging-unknown"));
}

TEST_F(ImageStoreTest, OneRemovesAtATime) {
  const auto other = io::FileLock::acquire(images() + "/.lock-removal");
  ASSERT_TRUE(other);
  EXPECT_EQ(remove_unused(images(), {}).error().code(), ErrorCode::kConflict);
  EXPECT_EQ(listed(), digests);
}

}  // namespace
}  // namespace perdure::image
