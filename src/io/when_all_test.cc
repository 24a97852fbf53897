// Proves that what follows several steps follows once, and after the last of them.
#include "io/when_all.h"

#include <vector>

#include "gtest/gtest.h"

namespace perdure::io {
namespace {

TEST(WhenAllTest, FollowsTheLastEnd) {
  int followed = 0;
  std::vector<std::function<void()>> ends;
  {
    WhenAll steps([&] { ++followed; });
    for (int i = 0; i < 3; ++i) ends.push_back(steps.begin());
    ends[1]();
    steps.all_begun();
  }
  EXPECT_EQ(followed, 0);
  ends[0]();
  EXPECT_EQ(followed, 0);
  ends[2]();
  EXPECT_EQ(followed, 1);
}

TEST(WhenAllTest, FollowsAtOnceWhatHasEndedAtOnce) {
  int followed = 0;
  WhenAll nothing([&] { ++followed; });
  nothing.all_begun();
  EXPECT_EQ(followed, 1);
  WhenAll steps([&] { ++followed; });
  steps.begin()();
  EXPECT_EQ(followed, 1) << "more may begin";
  steps.all_begun();
  EXPECT_EQ(followed, 2);
}

}  // namespace
}  // namespace perdure::io
