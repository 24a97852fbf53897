// Proves with the real runc: a container waits between create and start, lives in its cgroup, is
// forgotten by runc after start, ends with a known status; failures say why and leave nothing. Runs
// in a mount namespace and a cgroup subtree of its own.
#include <signal.h>
#include <unistd.h>

#include <format>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "image/test_support.h"
#include "io/process.h"
#include "runtime/test_support.h"

namespace perdure::runtime {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

const std::vector<std::string> kIdle = {"/bin/sh", "-c", "echo up; while :; do sleep 1000; done"};

class RuncTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string missing = test::missing_for_integration(); !missing.empty()) {
      GTEST_SKIP() << missing;
    }
    test::enter_private_node();
  }
};

std::string comm_of(pid_t pid) {
  return test::read_text(std::format("/proc/{}/comm", pid));
}

TEST_F(RuncTest, WaitsForStartThenRunsAndIsForgotten) {
  test::TestContainer container({.command = kIdle});
  const auto process = container.create();
  ASSERT_TRUE(process) << process.error().message();
  EXPECT_EQ(comm_of(process->pid), "runc:[2:INIT]\n");
  EXPECT_THAT(container.cgroup().processes().value(), Contains(process->pid));
  EXPECT_EQ(container.create().error().code(), ErrorCode::kExists);
  const auto started = container.start();
  ASSERT_TRUE(started) << started.error().message();
  EXPECT_TRUE(container.wait_for_log("o up"));
  EXPECT_FALSE(std::filesystem::exists(container.runc_root() + "/" + container.name().str()));
  EXPECT_EQ(container.create().error().code(), ErrorCode::kConflict) << "it runs";

  // Whatever is said to runc now cannot reach the process.
  const auto watch = ProcessWatch::open(*process);
  ASSERT_TRUE(watch);
  ASSERT_TRUE(io::run_command(
      {"runc", "--root", container.runc_root(), "delete", "--force", container.name().str()}));
  ASSERT_TRUE(container.runtime().discard(container.name(), test::kPatience));
  EXPECT_TRUE(watch->signal(0)) << "alive";
  EXPECT_TRUE(watch->is_child()) << "we are its subreaper";
}

TEST_F(RuncTest, ExitStatusAndBothStreamsArrive) {
  test::TestContainer container(
      {.command = {"/bin/sh", "-c", "echo out; echo err >&2; cat /etc/hostname; exit 5"}});
  const auto process = container.create();
  ASSERT_TRUE(process) << process.error().message();
  auto watch = ProcessWatch::open(*process);
  ASSERT_TRUE(watch);
  ASSERT_TRUE(container.start());
  const auto end = watch->wait(test::soon());
  ASSERT_TRUE(end && end->status);
  EXPECT_EQ(end->status->code, 5);
  EXPECT_TRUE(container.wait_for_log("o out"));
  EXPECT_TRUE(container.wait_for_log("e err"));
  EXPECT_TRUE(container.wait_for_log("o " + container.name().str()));
}

TEST_F(RuncTest, FreezeAndKillReachEveryProcess) {
  test::TestContainer container(
      {.command = {"/bin/sh", "-c", "sleep 1000 & sleep 1000 & echo up; wait"}});
  const auto process = container.create_and_start();
  ASSERT_TRUE(process) << process.error().message();
  ASSERT_TRUE(container.wait_for_log("o up"));
  auto watch = ProcessWatch::open(*process);
  ASSERT_TRUE(watch);
  const Cgroup cgroup = container.cgroup();
  EXPECT_THAT(cgroup.processes().value(), testing::SizeIs(3));
  ASSERT_TRUE(cgroup.freeze(test::kPatience));
  ASSERT_TRUE(cgroup.kill_all(test::kPatience));
  EXPECT_EQ(watch->wait(test::soon()).value().status->signal_number, SIGKILL);
  EXPECT_THAT(cgroup.processes().value(), IsEmpty());
}

TEST_F(RuncTest, InsideIsWhatTheBundleSays) {
  test::TestContainer container(
      {.command = {"/bin/sh", "-c",
                   "echo pid $$; id -u; echo > /proc/sys/kernel/hostname; cat /proc/kcore | wc -c;"
                   "echo x > /data/file; echo y > /dev/shm/f; echo z > /tmp/f; mount | "
                   "while read a b point type rest; do echo $point $rest; done; "
                   "grep -E 'NoNewPrivs|Seccomp:' /proc/self/status; echo done"}});
  ASSERT_TRUE(container.create_and_start());
  ASSERT_TRUE(container.wait_for_log("o done"));
  const auto lines = container.log_lines();
  EXPECT_THAT(lines, Contains("o pid 1"));
  EXPECT_THAT(lines, Contains(HasSubstr("Read-only file system"))) << "/proc/sys";
  for (const std::string& line : lines) EXPECT_THAT(line, testing::Not(HasSubstr("tmpfs")));
  EXPECT_THAT(lines, Contains(testing::ContainsRegex("NoNewPrivs:.*1")));
  EXPECT_THAT(lines, Contains(testing::ContainsRegex("Seccomp:.*2")));
  EXPECT_EQ(test::read_text(container.volume() + "/file"), "x\n");
}

TEST_F(RuncTest, LimitsApplyAndLiveInRemovableDirectories) {
  model::ResourcesSpec limits;
  if (CgroupLayout::find()->has_controller("pids")) limits.pids = 20;
  if (CgroupLayout::find()->has_controller("memory")) limits.memory = Bytes{64 << 20};
  test::TestContainer container({.command = kIdle, .resources = limits});
  const auto process = container.create_and_start();
  ASSERT_TRUE(process) << process.error().message();
  const auto directories = cgroup_dirs_of(container.cgroups().layout(), process->pid);
  ASSERT_TRUE(directories);
  EXPECT_THAT(*directories, testing::UnorderedElementsAreArray(cgroup_dirs_at(
                                container.cgroups().layout(), container.cgroup_path())));
  for (const std::string& directory : *directories) {
    const std::string pids = test::read_text(directory + "/pids.max");
    if (limits.pids && !pids.empty()) {
      EXPECT_EQ(pids, "20\n");
    }
  }
  ASSERT_TRUE(container.cgroup().kill_all(test::kPatience));
  ASSERT_TRUE(
      remove_everywhere(container.cgroups().layout(), container.cgroup_path(), test::kPatience));
  EXPECT_THAT(cgroup_dirs_at(container.cgroups().layout(), container.cgroup_path()), IsEmpty());
}

TEST_F(RuncTest, UnstartedContainerIsDiscardedWithItsProcess) {
  test::TestContainer container({.command = kIdle});
  const auto process = container.create();
  ASSERT_TRUE(process);
  auto watch = ProcessWatch::open(*process);
  ASSERT_TRUE(watch);
  const auto discarded = container.runtime().discard(container.name(), test::kPatience);
  ASSERT_TRUE(discarded) << discarded.error().message();
  EXPECT_TRUE(watch->wait(test::soon()));
  EXPECT_TRUE(container.runtime().discard(container.name(), test::kPatience)) << "unknown is fine";
}

// The daemon died between runc start and the removal of runc's state.
TEST_F(RuncTest, StartedContainerSurvivesALateDiscard) {
  test::TestContainer container({.command = kIdle});
  const auto process = container.create();
  ASSERT_TRUE(process);
  const std::string state = container.runc_root() + "/" + container.name().str();
  std::filesystem::copy(state + "/state.json", container.scratch() + "/state.json");
  ASSERT_TRUE(container.start());
  ASSERT_TRUE(container.wait_for_log("o up"));
  std::filesystem::create_directories(state);
  std::filesystem::copy(container.scratch() + "/state.json", state + "/state.json");
  ASSERT_TRUE(container.runtime().discard(container.name(), test::kPatience));
  EXPECT_FALSE(std::filesystem::exists(state));
  EXPECT_TRUE(ProcessWatch::open(*process)) << "alive";
  EXPECT_THAT(container.cgroup().processes().value(), Contains(process->pid));
}

TEST_F(RuncTest, FailureSaysWhyAndLeavesNothing) {
  test::TestContainer container({.command = {"/bin/no-such-program"}});
  const auto process = container.create();
  ASSERT_FALSE(process);
  EXPECT_THAT(process.error().message(), HasSubstr(container.name().str()));
  EXPECT_THAT(process.error().message(), HasSubstr("no-such-program"));
  EXPECT_THAT(process.error().message(), HasSubstr("no such file"));
  EXPECT_THAT(cgroup_dirs_at(container.cgroups().layout(), container.cgroup_path()), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(container.runc_root() + "/" + container.name().str()));
}

TEST_F(RuncTest, ADeadlineEndsRunc) {
  test::TestContainer container({.command = kIdle});
  const auto process = container.runtime().create(
      container.name(), {.bundle_dir = container.scratch() + "/bundle",
                         .cgroup_path = container.cgroup_path(),
                         .stdout_fd = container.pipes().stdout_write.get(),
                         .stderr_fd = container.pipes().stderr_write.get(),
                         .deadline = std::chrono::milliseconds(1)});
  ASSERT_FALSE(process);
  EXPECT_EQ(process.error().code(), ErrorCode::kTimeout) << process.error().message();
  EXPECT_FALSE(std::filesystem::exists(container.runc_root() + "/" + container.name().str()));
}

}  // namespace
}  // namespace perdure::runtime
