// Proves that versions are found in what programs print, and that this host's facts can be read.
#include "runtime/host_facts.h"

#include <algorithm>

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

TEST(CpuFeaturesTest, AreThoseThatAllProcessorsHave) {
  EXPECT_EQ(find_cpu_features("processor\t: 0\nflags\t\t: sse2 fpu avx\nvmx flags\t: vnmi\n\n"
                              "processor\t: 1\nflags\t\t: fpu avx512f sse2\n"),
            (std::vector<std::string>{"fpu", "sse2"}));
  EXPECT_EQ(find_cpu_features("Features\t: fp asimd  crc32\n"), (std::vector<std::string>{"asimd", "crc32", "fp"}));
  EXPECT_TRUE(find_cpu_features("model name\t: flags and more\n\nno colon\n").empty());
  EXPECT_TRUE(find_cpu_features("flags\t:").empty());
}

TEST(HostFactsTest, TheClusterIsToldWhatARestoreNeeds) {
  HostFacts facts;
  facts.kernel_release = "6.18.1";
  facts.machine = "x86_64";
  facts.criu.version = Version{4, 2, 1};
  facts.cpu_features = {"avx", "fpu"};
  facts.memory_bytes = 1 << 30;
  facts.processors = 4;
  model::HostFacts told = cluster_facts(facts);
  EXPECT_EQ(told, (model::HostFacts{.kernel_release = "6.18.1",
                                    .machine = "x86_64",
                                    .criu_version = "4.2.1",
                                    .cpu_features = {"avx", "fpu"},
                                    .memory_bytes = 1 << 30,
                                    .processors = 4,
                                    .can_restore_other_users = false}));
  facts.capability_bounding = std::uint64_t{1} << 24;  // CAP_SYS_RESOURCE
  facts.criu.version.reset();
  told = cluster_facts(facts);
  EXPECT_TRUE(told.can_restore_other_users);
  EXPECT_EQ(told.criu_version, "");
}

TEST(HostFactsTest, ThisHostCanBeRead) {
  const auto facts = read_host_facts({});
  ASSERT_TRUE(facts) << facts.error().message();
  EXPECT_GE(facts->kernel.major, 5);
  EXPECT_FALSE(facts->run_filesystem.empty());
  EXPECT_FALSE(facts->machine.empty());
  EXPECT_TRUE(facts->machine != "x86_64" || std::ranges::contains(facts->cpu_features, "fpu"));
  EXPECT_TRUE(std::ranges::is_sorted(facts->cpu_features));
  EXPECT_GT(facts->memory_bytes, 64u << 20);
  EXPECT_GE(facts->processors, 1u);
  const auto without = read_host_facts({.runc = "no-such-runc", .criu = "/no/criu"});
  ASSERT_TRUE(without);
  EXPECT_TRUE(without->runc.path.empty());
  EXPECT_TRUE(without->criu.path.empty());
}

}  // namespace
}  // namespace perdure::runtime
