// Proves that layouts of hybrid and v2-only hosts are told apart from recorded mountinfo, and that
// cgroup.events is read exactly.
#include "runtime/cgroup.h"

#include <unistd.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace perdure::runtime {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::string_view kHybrid =
    "22 1 254:0 / / rw - ext4 /dev/vda rw\n"
    "30 22 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
    "31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "33 30 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup "
    "rw,xattr,release_agent=/lib/systemd/systemd-cgroups-agent,name=systemd\n"
    "34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"
    "35 30 0:28 / /mnt/memory rw - cgroup cgroup rw,memory\n";

TEST(CgroupLayoutTest, HybridHost) {
  const auto layout = CgroupLayout::parse(kHybrid);
  ASSERT_TRUE(layout) << layout.error().message();
  EXPECT_EQ(layout->v2_mount, "/sys/fs/cgroup/unified");
  ASSERT_EQ(layout->v1.size(), 3u);
  EXPECT_THAT(layout->v1[0].controllers, ElementsAre("cpu", "cpuacct"));
  EXPECT_EQ(layout->v1[1].mount_point, "/sys/fs/cgroup/memory");
  EXPECT_THAT(layout->v1[2].controllers, ElementsAre("name=systemd"));
  EXPECT_TRUE(layout->has_controller("cpu"));
  EXPECT_FALSE(layout->has_controller("pids"));
}

TEST(CgroupLayoutTest, UnifiedHost) {
  const auto layout =
      CgroupLayout::parse("30 22 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n");
  ASSERT_TRUE(layout);
  EXPECT_EQ(layout->v2_mount, "/sys/fs/cgroup");
  EXPECT_THAT(layout->v1, IsEmpty());
}

TEST(CgroupLayoutTest, WithoutV2IsUnsupported) {
  const auto layout = CgroupLayout::parse("32 30 0:28 / /c rw - cgroup cgroup rw,memory\n");
  ASSERT_FALSE(layout);
  EXPECT_EQ(layout.error().code(), ErrorCode::kUnsupported);
}

TEST(CgroupEventsTest, ReadsWholeKeysOnly) {
  EXPECT_EQ(parse_cgroup_event("populated 1\nfrozen 0\n", "populated"), true);
  EXPECT_EQ(parse_cgroup_event("populated 1\nfrozen 0\n", "frozen"), false);
  EXPECT_EQ(parse_cgroup_event("populated 1\n", "frozen"), std::nullopt);
  EXPECT_EQ(parse_cgroup_event("unfrozen 1\n", "frozen"), std::nullopt);
  EXPECT_EQ(cgroup_value("oom 4\noom_kill 12\n", "oom_kill"), "12");
  EXPECT_EQ(cgroup_value("oom_kill_disable 0\n", "oom_kill"), std::nullopt);
}

TEST(CgroupDirsTest, ProcessThatIsGoneIsNotFound) {
  const auto layout = CgroupLayout::parse(kHybrid).value();
  EXPECT_EQ(cgroup_dirs_of(layout, 0x7fffffff).error().code(), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace perdure::runtime
