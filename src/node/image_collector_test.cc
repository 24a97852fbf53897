// Proves that an image goes when nobody has needed it for its life, and not before.
#include "node/image_collector.h"

#include <filesystem>

#include "gmock/gmock.h"
#include "image/archive_test_support.h"
#include "image/image.h"
#include "image/image_store.h"
#include "io/atomic_file.h"
#include "io/test_support.h"

namespace perdure::node {
namespace {

constexpr Duration kLife = std::chrono::milliseconds(200);

class ImageCollectorTest : public ::testing::Test {
 protected:
  std::string make_image(const std::string& name) {
    const std::string tree = directory_ / ("tree-" + name);
    EXPECT_TRUE(io::make_directories(tree, 0755));
    EXPECT_TRUE(io::write_file_atomically(tree + "/name", name, 0644));
    const auto source = image::prepare_root(model::DirectoryRoot{tree}, {.images_dir = directory_ / "sender"}).value();
    EXPECT_TRUE(image::test::receive(images_, source.digest, image::test::pack(source)));
    return source.digest;
  }
  bool is_there(const std::string& digest) const { return std::filesystem::exists(images_ + "/" + digest.substr(7)); }
  void collect() {
    collector_.emplace(ImageCollectorOptions{.loop = *loop_, .pool = *pool_, .clock = clock_, .images_dir = images_, .life = kLife},
                       [this] {
                         ++looks_;
                         return used_;
                       });
  }
  template <typename Condition>
  bool until(Condition condition) {
    return loop_->run_until(condition, io::kTestTime);
  }

  const SystemClock clock_;
  io::TemporaryDirectory directory_;
  const std::string images_ = directory_ / "images";
  std::unique_ptr<io::Loop> loop_ = io::make_loop();
  std::unique_ptr<io::Pool> pool_ = io::Pool::create({}).value();
  std::set<std::string> used_;
  int looks_ = 0;
  std::optional<ImageCollector> collector_;
};

TEST_F(ImageCollectorTest, WhatNobodyNeedsGoesAfterItsLife) {
  const std::string kept = make_image("a");
  const std::string gone = make_image("b");
  used_ = {kept};
  const Instant begun = clock_.now();
  collect();
  ASSERT_TRUE(until([&] { return !is_there(gone); }));
  EXPECT_GE(clock_.now() - begun, kLife);
  EXPECT_TRUE(is_there(kept));
  used_.clear();
  EXPECT_TRUE(until([&] { return !is_there(kept); }));
}

TEST_F(ImageCollectorTest, WhatIsNeededAgainBeginsALifeAnew) {
  const std::string image = make_image("a");
  collect();
  ASSERT_TRUE(until([&] { return looks_ == 2; }));
  used_ = {image};
  const int seen = looks_;
  ASSERT_TRUE(until([&] { return looks_ == seen + 6; })) << "more than a life";
  EXPECT_TRUE(is_there(image));
  used_.clear();
  const Instant unused = clock_.now();
  ASSERT_TRUE(until([&] { return !is_there(image); }));
  EXPECT_GE(clock_.now() - unused, kLife);
}

TEST_F(ImageCollectorTest, ADirectoryThatIsMissingHoldsNothing) {
  collect();
  EXPECT_TRUE(until([&] { return looks_ >= 2; }));
}

}  // namespace
}  // namespace perdure::node
