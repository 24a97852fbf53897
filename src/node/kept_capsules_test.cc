// Proves that a new container finds nothing of another one of its name, and takes nothing from the one it is.
#include "node/kept_capsules.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "io/test_support.h"
#include "replica/directory_store.h"

namespace perdure::node {
namespace {

using ::testing::ElementsAre;
using ::testing::StartsWith;

class KeptCapsulesTest : public ::testing::Test {
 protected:
  void store(std::uint64_t term) {
    std::filesystem::create_directories(directory_ / "web");
    std::ofstream(directory_ / "web" + ("/" + replica::file_name_of({Term{term}, Incarnation{1}, term}))) << "capsule";
  }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) names.push_back(entry.path().filename());
    std::ranges::sort(names);
    return names;
  }
  Status aside_before(std::uint64_t first) { return set_aside_before(directory_ / "web", Term{first}, now_); }

  io::TemporaryDirectory directory_;
  const WallTime now_ = SystemClock().wall();
};

TEST_F(KeptCapsulesTest, WhatIsOfLowerTermsGetsAnotherName) {
  store(3);
  store(7);
  ASSERT_TRUE(aside_before(8));
  EXPECT_THAT(names(), ElementsAre(StartsWith("web.before-")));
  store(7);
  ASSERT_TRUE(aside_before(8)) << "in the same second";
  EXPECT_THAT(names(), ElementsAre(StartsWith("web.before-"), StartsWith("web.before-")));
}

TEST_F(KeptCapsulesTest, WhereItsOwnHasCreatedOneNothingMoves) {
  for (const std::uint64_t own : {8, 9}) {
    store(7);
    store(own);
    ASSERT_TRUE(aside_before(8));
    EXPECT_THAT(names(), ElementsAre("web"));
    std::filesystem::remove_all(directory_ / "web");
  }
}

TEST_F(KeptCapsulesTest, WhereNothingIsNothingHappens) {
  ASSERT_TRUE(aside_before(8));
  ASSERT_TRUE(set_aside(directory_ / "web", now_));
  std::filesystem::create_directory(directory_ / "web");
  ASSERT_TRUE(aside_before(8));
  EXPECT_THAT(names(), ElementsAre("web"));
}

}  // namespace
}  // namespace perdure::node
