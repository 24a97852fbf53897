// Proves that containers live on a host that has cgroup v2 only (Debian 13): the process looks at
// this host through a mount namespace in which cgroup2 lies on /sys/fs/cgroup. A program of its
// own, since what is mounted stays mounted for the whole process. The host's hierarchies are not
// touched.
#include <fcntl.h>
#include <sys/mount.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/test_support.h"

namespace perdure::runtime {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;

class UnifiedHostTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string missing = test::missing_for_integration(); !missing.empty()) {
      GTEST_SKIP() << missing;
    }
    test::enter_private_node();
    if (CgroupLayout::find()->v1.empty())
      return;  // it is such a host, or a test before made it one
    ASSERT_EQ(::umount2("/sys/fs/cgroup", MNT_DETACH), 0);  // in our mount namespace only
    ASSERT_EQ(::mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, nullptr), 0);
  }
};

TEST_F(UnifiedHostTest, LayoutHasOneHierarchy) {
  const auto layout = CgroupLayout::find();
  ASSERT_TRUE(layout) << layout.error().message();
  EXPECT_EQ(layout->v2_mount, "/sys/fs/cgroup");
  EXPECT_THAT(layout->v1, IsEmpty());
}

TEST_F(UnifiedHostTest, ContainerRunsFreezesAndEndsInOneDirectory) {
  test::TestContainer container(
      {.command = {"/bin/sh", "-c", "echo up; while :; do sleep 9; done"}});
  const auto process = container.create_and_start();
  ASSERT_TRUE(process) << process.error().message();
  ASSERT_TRUE(container.wait_for_log("o up"));
  EXPECT_THAT(cgroup_dirs_of(container.cgroups().layout(), process->pid).value(),
              ElementsAre("/sys/fs/cgroup/" + container.cgroup_path()));
  const Cgroup cgroup = container.cgroup();
  EXPECT_THAT(cgroup.processes().value(), Contains(process->pid));
  ASSERT_TRUE(cgroup.freeze(test::kPatience));
  ASSERT_TRUE(cgroup.thaw(test::kPatience));
  auto watch = ProcessWatch::open(*process);
  ASSERT_TRUE(watch);
  ASSERT_TRUE(cgroup.kill_all(test::kPatience));
  EXPECT_TRUE(watch->wait(test::soon()).value().status);
  const auto removed =
      remove_everywhere(container.cgroups().layout(), container.cgroup_path(), test::kPatience);
  EXPECT_TRUE(removed) << removed.error().message();
}

}  // namespace
}  // namespace perdure::runtime
