// Proves when a node could restore another one's container: a table of hosts, each a change from
// one that could, and the reason that it gives.
#include "placement/eligibility.h"

#include <functional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace perdure::placement {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Requirements requirements() {
  return {.host = {.kernel_release = "6.18.5-amd64",
                   .machine = "x86_64",
                   .criu_version = "4.2.1",
                   .cpu_features = {"avx", "avx2", "sse4_2"},
                   .memory_bytes = 8'000'000'000,
                   .processors = 4,
                   .can_restore_other_users = true},
          .memory_bytes = 2'000'000'000,
          .other_users = false};
}

struct Row {
  std::string what;
  std::function<void(Requirements&, model::HostFacts&)> change;
  std::string reason;  // empty: eligible
};

TEST(EligibilityTest, EachDifferenceHasItsReason) {
  const std::vector<Row> rows = {
      {"the same host", [](auto&, auto&) {}, ""},
      {"more of everything",
       [](auto&, auto& node) {
         node.kernel_release = "6.19.0";
         node.criu_version = "4.10";
         node.cpu_features.emplace_back("avx512f");
       },
       ""},
      {"another patch level of the kernel",
       [](auto&, auto& node) { node.kernel_release = "6.18.1-other"; }, ""},
      {"an older kernel", [](auto&, auto& node) { node.kernel_release = "6.1.0-13"; },
       "kernel 6.1.0-13 is older than 6.18.5-amd64 of the owner"},
      {"an older CRIU, by number and not by letter",
       [](auto& needs, auto& node) {
         needs.host.criu_version = "4.10";
         node.criu_version = "4.9.9";
       },
       "criu 4.9.9 is older than 4.10 of the owner"},
      {"no CRIU", [](auto&, auto& node) { node.criu_version.clear(); },
       "criu (not found) is older than 4.2.1"},
      {"a weaker processor", [](auto&, auto& node) { node.cpu_features = {"sse4_2"}; },
       "the processor lacks avx, avx2 of the owner's"},
      {"another architecture", [](auto&, auto& node) { node.machine = "aarch64"; },
       "architecture aarch64 is not x86_64 of the owner"},
      {"too little memory", [](auto& needs, auto&) { needs.memory_bytes = 9'000'000'000; },
       "does not fit into its memory of 8"},
      {"a missing capability that is not needed",
       [](auto&, auto& node) { node.can_restore_other_users = false; }, ""},
      {"a missing capability",
       [](auto& needs, auto& node) {
         needs.other_users = true;
         node.can_restore_other_users = false;
       },
       "without CAP_SYS_RESOURCE"},
  };
  for (const Row& row : rows) {
    Requirements needs = requirements();
    model::HostFacts node = needs.host;
    row.change(needs, node);
    if (row.reason.empty()) {
      EXPECT_THAT(check_eligible(needs, node), IsEmpty()) << row.what;
    } else {
      EXPECT_THAT(check_eligible(needs, node), ElementsAre(HasSubstr(row.reason))) << row.what;
    }
  }
}

TEST(EligibilityTest, AllReasonsAreNamedAtOnce) {
  const Requirements needs = requirements();
  model::HostFacts node;
  node.kernel_release = "5.10";
  node.machine = "x86_64";
  EXPECT_EQ(check_eligible(needs, node).size(), 4U);
}

TEST(EligibilityTest, ManyMissingFeaturesAreCountedNotListed) {
  Requirements needs = requirements();
  const model::HostFacts node = needs.host;
  for (int n = 0; n < 40; ++n) needs.host.cpu_features.push_back("f" + std::to_string(n));
  EXPECT_THAT(check_eligible(needs, node), ElementsAre(HasSubstr("f5 and 34 more")));
}

}  // namespace
}  // namespace perdure::placement
