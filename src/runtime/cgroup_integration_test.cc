// Proves on the real hierarchies of this host: freezing stops everything at once, killing ends
// everything (frozen or not) and leaves the cgroup usable, limits are written where runc writes
// them, and nothing is left behind.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <format>
#include <iterator>
#include <optional>
#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/poll.h"
#include "io/process.h"
#include "runtime/test_support.h"

namespace perdure::runtime {
namespace {

using testing::Contains;
using testing::IsEmpty;
using testing::SizeIs;

class CgroupIntegrationTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    if (const auto layout = CgroupLayout::find(); !layout) GTEST_SKIP() << layout.error().message();
    cgroups_.emplace();
  }
  const CgroupLayout& layout() const { return cgroups_->layout(); }
  std::string path() const { return cgroups_->child("web"); }

  // A shell with two children, inside CGROUP.
  io::ChildProcess spawn_family(const Cgroup& cgroup) {
    auto child = io::ChildProcess::spawn({"sh", "-c", "sleep 1000 & sleep 1000 & echo up; wait"},
                                         {.standard_output = io::Stdio::kPipe});
    EXPECT_TRUE(child);
    char up[4];
    EXPECT_EQ(::read(child->standard_output.get(), up, 3), 3);
    for (const pid_t pid : children_of(child->pid())) EXPECT_TRUE(cgroup.add(pid));
    EXPECT_TRUE(cgroup.add(child->pid()));
    return std::move(*child);
  }
  static std::vector<pid_t> children_of(pid_t pid) {
    std::istringstream list(test::read_text(std::format("/proc/{0}/task/{0}/children", pid)));
    return {std::istream_iterator<pid_t>(list), {}};
  }

 private:
  std::optional<test::TestCgroup> cgroups_;
};

TEST_F(CgroupIntegrationTest, FreezeStopsAndThawContinues) {
  const auto cgroup = Cgroup::create(layout(), path());
  ASSERT_TRUE(cgroup) << cgroup.error().message();
  EXPECT_FALSE(cgroup->populated().value());
  const auto child = spawn_family(*cgroup);
  EXPECT_TRUE(cgroup->populated().value());
  EXPECT_THAT(cgroup->processes().value(), SizeIs(3));
  ASSERT_TRUE(cgroup->freeze(test::kPatience));
  EXPECT_TRUE(cgroup->frozen().value());
  EXPECT_TRUE(cgroup->freeze(test::kPatience)) << "a frozen one may be frozen again";
  ASSERT_TRUE(cgroup->thaw(test::kPatience));
  EXPECT_FALSE(cgroup->frozen().value());
  EXPECT_TRUE(cgroup->thaw(test::kPatience));
}

TEST_F(CgroupIntegrationTest, KillEndsFrozenProcessesAndLeavesItThawed) {
  const auto cgroup = Cgroup::create(layout(), path());
  ASSERT_TRUE(cgroup);
  auto child = spawn_family(*cgroup);
  ASSERT_TRUE(cgroup->freeze(test::kPatience));
  const auto killed = cgroup->kill_all(test::kPatience);
  ASSERT_TRUE(killed) << killed.error().message();
  EXPECT_THAT(cgroup->processes().value(), IsEmpty());
  EXPECT_FALSE(cgroup->frozen().value());
  EXPECT_EQ(child.wait(test::soon()).value().signal_number, SIGKILL);
  EXPECT_TRUE(cgroup->kill_all(test::kPatience)) << "an empty one too";
  ASSERT_TRUE(remove_everywhere(layout(), path(), test::kPatience));
  EXPECT_TRUE(cgroup->kill_all(test::kPatience)) << "a removed one too";
  EXPECT_EQ(Cgroup::open(layout(), path()).error().code(), ErrorCode::kNotFound);
}

TEST_F(CgroupIntegrationTest, AProcessCanBeBornInANewLeafAfterAKill) {
  const auto cgroup = Cgroup::create(layout(), path());
  ASSERT_TRUE(cgroup) << cgroup.error().message();
  std::string before;
  for (int round = 0; round < 3; ++round) {
    const auto leaf = cgroup->make_leaf();
    ASSERT_TRUE(leaf) << leaf.error().message();
    EXPECT_NE(*leaf, before);
    const auto directory = open_file(*leaf, O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(directory);
    auto child = io::ChildProcess::spawn({"sh", "-c", "echo up; exec sleep 1000"},
                                         {.cgroup_fd = directory->get(), .standard_output = io::Stdio::kPipe});
    ASSERT_TRUE(child) << child.error().message();
    char up[4];
    EXPECT_EQ(::read(child->standard_output.get(), up, 3), 3) << "killed at birth";
    EXPECT_THAT(cgroup->processes().value(), testing::ElementsAre(child->pid()));
    EXPECT_TRUE(cgroup->freeze(test::kPatience));
    ASSERT_TRUE(cgroup->kill_all(test::kPatience));
    EXPECT_FALSE(cgroup->populated().value());
    before = *leaf;
  }
  EXPECT_FALSE(std::filesystem::exists(cgroup->directory() + "/life-1"));
}

TEST_F(CgroupIntegrationTest, PopulatedCgroupIsNotRemoved) {
  const auto cgroup = Cgroup::create(layout(), path());
  ASSERT_TRUE(cgroup);
  const auto child = spawn_family(*cgroup);
  EXPECT_EQ(remove_everywhere(layout(), path(), Duration::zero()).error().code(),
            ErrorCode::kConflict);
}

TEST_F(CgroupIntegrationTest, EventsWakeAWatcher) {
  const auto cgroup = Cgroup::create(layout(), path());
  ASSERT_TRUE(cgroup);
  const auto child = spawn_family(*cgroup);
  const auto events = cgroup->open_events();
  ASSERT_TRUE(events);
  char text[128];
  ASSERT_GT(::pread(events->get(), text, sizeof text, 0), 0);
  ASSERT_TRUE(cgroup->kill_all(test::kPatience));
  EXPECT_TRUE(io::wait_for_descriptor(events->get(), POLLPRI, test::soon()).value());
  const ssize_t got = ::pread(events->get(), text, sizeof text, 0);
  ASSERT_GT(got, 0);
  EXPECT_EQ(parse_cgroup_event(std::string_view(text, static_cast<std::size_t>(got)), "populated"),
            false);
}

TEST_F(CgroupIntegrationTest, IdIsThatOfTheFileHandle) {
  const auto cgroup = Cgroup::create(layout(), path());
  ASSERT_TRUE(cgroup);
  // What bpf_get_current_cgroup_id() gives is the kernfs id, which is also the file handle.
  struct {
    file_handle header;
    std::uint64_t id;
  } handle{};
  handle.header.handle_bytes = sizeof handle.id;
  int mount_id = 0;
  ASSERT_EQ(
      ::name_to_handle_at(AT_FDCWD, cgroup->directory().c_str(), &handle.header, &mount_id, 0), 0);
  EXPECT_EQ(cgroup->id(), handle.id);
}

TEST_F(CgroupIntegrationTest, LimitsReachTheirControllers) {
  model::ResourcesSpec limits;
  if (layout().has_controller("memory")) limits.memory = Bytes{64 << 20};
  if (layout().has_controller("cpu")) limits.cpu = model::MilliCores{1500};
  if (layout().has_controller("pids")) limits.pids = 77;
  const auto directories = create_limited(layout(), path(), limits);
  ASSERT_TRUE(directories) << directories.error().message();
  EXPECT_THAT(*directories, Contains(layout().v2_mount + "/" + path()));
  EXPECT_TRUE(create_limited(layout(), path(), limits)) << "idempotent";
  for (const CgroupLayout::V1Mount& mount : layout().v1) {
    const std::string directory = mount.mount_point + "/" + path();
    if (std::ranges::contains(mount.controllers, "memory")) {
      EXPECT_EQ(test::read_text(directory + "/memory.limit_in_bytes"), "67108864\n");
    }
    if (std::ranges::contains(mount.controllers, "cpu")) {
      EXPECT_EQ(test::read_text(directory + "/cpu.cfs_quota_us"), "150000\n");
    }
    if (std::ranges::contains(mount.controllers, "pids")) {
      EXPECT_EQ(test::read_text(directory + "/pids.max"), "77\n");
    }
    if (std::ranges::contains(mount.controllers, "devices")) {
      EXPECT_THAT(test::read_text(directory + "/devices.list"), testing::HasSubstr("c 1:3 rwm"));
      EXPECT_THAT(test::read_text(directory + "/devices.list"),
                  testing::Not(testing::HasSubstr("a *:* rwm")));
    }
  }
  if (std::ranges::contains(layout().v2_controllers, "memory")) {
    EXPECT_EQ(test::read_text(layout().v2_mount + "/" + path() + "/memory.max"), "67108864\n");
  }
}

TEST_F(CgroupIntegrationTest, AProcessEntersAllHierarchies) {
  const auto directories = create_limited(layout(), path(), {});
  ASSERT_TRUE(directories) << directories.error().message();
  auto child = io::ChildProcess::spawn({"sleep", "1000"}, {});
  ASSERT_TRUE(child);
  ASSERT_TRUE(enter_all(*directories, child->pid()));
  const auto now = cgroup_dirs_of(layout(), child->pid());
  ASSERT_TRUE(now);
  for (const std::string& directory : *directories) EXPECT_THAT(*now, Contains(directory));
}

}  // namespace
}  // namespace perdure::runtime
