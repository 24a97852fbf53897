// Proves which capsules a host restores: those of a host that it is not behind, as far as processes and CRIU's images go.
#include "node/restorable.h"

#include "gmock/gmock.h"

namespace perdure::node {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

capsule::Manifest taken_on(std::string criu, std::string machine, std::vector<std::string> features) {
  capsule::Manifest manifest;
  manifest.container = "web";
  manifest.generation = {Term{7}, Incarnation{1}, 3};
  manifest.requirements.criu_version = std::move(criu);
  manifest.requirements.kernel_release = "6.18.0";
  manifest.requirements.architecture = std::move(machine);
  manifest.requirements.cpu_features = std::move(features);
  return manifest;
}

model::HostFacts host() {
  model::HostFacts facts;
  facts.machine = "x86_64";
  facts.kernel_release = "6.12.0";
  facts.criu_version = "4.1.0";
  facts.cpu_features = {"avx2", "sse2"};
  return facts;
}

TEST(RestorableTest, TheSameHostAndABetterOne) {
  EXPECT_TRUE(check_restorable(taken_on("4.1.0", "x86_64", {"avx2", "sse2"}), host()));
  EXPECT_TRUE(check_restorable(taken_on("4.0.0", "x86_64", {"sse2"}), host())) << "nor for the kernel, which is older here";
}

TEST(RestorableTest, ANewerCriuThanHere) {
  const Status checked = check_restorable(taken_on("4.2.0", "x86_64", {}), host());
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code(), ErrorCode::kUnsupported);
  EXPECT_THAT(checked.error().message(),
              AllOf(HasSubstr("of 'web' cannot be restored on this host"),
                    HasSubstr("criu 4.1.0 is older than 4.2.0 of the host on which it was taken: install")));
}

TEST(RestorableTest, AProcessorThatLacksSomething) {
  const Status checked = check_restorable(taken_on("4.1.0", "x86_64", {"avx2", "avx512f"}), host());
  ASSERT_FALSE(checked);
  EXPECT_THAT(checked.error().message(), HasSubstr("lacks avx512f of the host on which it was taken's"));
}

TEST(RestorableTest, AnotherArchitecture) {
  EXPECT_THAT(check_restorable(taken_on("4.1.0", "aarch64", {}), host()).error().message(),
              HasSubstr("architecture x86_64 is not aarch64"));
}

TEST(RestorableTest, OneOfWhichNothingIsKnown) { EXPECT_TRUE(check_restorable(taken_on("", "", {}), host())); }

}  // namespace
}  // namespace perdure::node
