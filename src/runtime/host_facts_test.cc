// Proves that versions are found in what programs print, and that this host's facts can be read.
#include "runtime/host_facts.h"

#include "gtest/gtest.h"

namespace perdure::runtime {
namespace {

TEST(VersionTest, FindsTheFirstNumberWithADot) {
  EXPECT_EQ(find_version("runc version 1.1.5+ds1\ncommit: 1.1.5"), (Version{1, 1, 5}));
  EXPECT_EQ(find_version("Version: 4.2.1\n"), (Version{4, 2, 1}));
  EXPECT_EQ(find_version("6.18.44-fc"), (Version{6, 18, 44}));
  EXPECT_EQ(find_version("5.10"), (Version{5, 10, 0}));
  EXPECT_EQ(find_version("x86 v2"), std::nullopt);
  EXPECT_EQ(find_version(""), std::nullopt);
  EXPECT_LT((Version{4, 1, 9}), (Version{4, 2, 0}));
}

TEST(ProgramTest, FindsAndMisses) {
  EXPECT_EQ(find_program("/bin/sh").value(), "/bin/sh");
  EXPECT_TRUE(find_program("sh").value().ends_with("/sh"));
  EXPECT_EQ(find_program("no-such-program").error().code(), ErrorCode::kNotFound);
}

TEST(HostFactsTest, ThisHostCanBeRead) {
  const auto facts = read_host_facts({});
  ASSERT_TRUE(facts) << facts.error().message();
  EXPECT_GE(facts->kernel.major, 5);
  EXPECT_FALSE(facts->run_filesystem.empty());
  EXPECT_FALSE(facts->machine.empty());
  const auto without = read_host_facts({.runc = "no-such-runc", .criu = "/no/criu"});
  ASSERT_TRUE(without);
  EXPECT_TRUE(without->runc.path.empty());
  EXPECT_TRUE(without->criu.path.empty());
}

}  // namespace
}  // namespace perdure::runtime
