// Proves that only the cluster's own directory is taken for its durable one.
#include "node/cluster/durable_directory.h"

#include <fstream>

#include "gmock/gmock.h"
#include "io/test_support.h"

namespace perdure::node {
namespace {

using ::testing::HasSubstr;

constexpr char kOurs[] = "00112233445566778899aabbccddeeff";
constexpr char kTheirs[] = "ffeeddccbbaa99887766554433221100";

class DurableDirectoryTest : public ::testing::Test {
 protected:
  void write_mark(const std::string& content) { std::ofstream(directory_ / kDurableMark) << content; }

  io::TemporaryDirectory directory_;
  const std::string path_ = directory_.path();
};

TEST_F(DurableDirectoryTest, ItIsMarkedOnce) {
  ASSERT_TRUE(check_unmarked(path_));
  ASSERT_TRUE(mark_durable_directory(path_, kOurs));
  EXPECT_TRUE(check_durable_directory(path_, kOurs));
  const Status taken = check_unmarked(path_);
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code(), ErrorCode::kConflict);
  EXPECT_THAT(taken.error().message(), HasSubstr(kOurs));
}

TEST_F(DurableDirectoryTest, AnEmptyMountPointIsNotTheDirectory) {
  for (const std::string& path : {path_, directory_ / "nowhere"}) {
    const Status checked = check_durable_directory(path, kOurs);
    ASSERT_FALSE(checked);
    EXPECT_EQ(checked.error().code(), ErrorCode::kTransient);
    EXPECT_THAT(checked.error().message(), HasSubstr("is it mounted"));
  }
}

TEST_F(DurableDirectoryTest, AnothersDirectoryIsRefused) {
  ASSERT_TRUE(mark_durable_directory(path_, kTheirs));
  const Status checked = check_durable_directory(path_, kOurs);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code(), ErrorCode::kConflict);
  EXPECT_THAT(checked.error().message(), HasSubstr(kTheirs));
  unmark_durable_directory(path_, kOurs);
  EXPECT_TRUE(check_durable_directory(path_, kTheirs));
  unmark_durable_directory(path_, kTheirs);
  EXPECT_TRUE(check_unmarked(path_));
}

TEST_F(DurableDirectoryTest, ADamagedMarkIsNamed) {
  for (const std::string& content : {std::string(), std::string("\n"), std::string("../x"), std::string(65, 'a')}) {
    write_mark(content);
    for (const Status& checked : {check_durable_directory(path_, kOurs), check_unmarked(path_)}) {
      ASSERT_FALSE(checked) << content;
      EXPECT_EQ(checked.error().code(), ErrorCode::kCorrupt);
      EXPECT_THAT(checked.error().message(), HasSubstr(kDurableMark));
    }
  }
}

TEST_F(DurableDirectoryTest, ItIsNamedByAnAbsolutePath) {
  EXPECT_EQ(check_unmarked("relative").error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(check_unmarked(directory_ / "nowhere").error().code(), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace perdure::node
