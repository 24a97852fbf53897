// Proves that what image::write_bundle and RuncRuntime make can be dumped by CRIU and restored
// without runc, again and again, with the options of docs/containers.md and no others: same memory,
// files, limits, output.
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <format>
#include <sstream>

#include "base/fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/atomic_file.h"
#include "io/process.h"
#include "runtime/host_facts.h"
#include "runtime/preflight.h"
#include "runtime/test_support.h"

namespace perdure::runtime {
namespace {

using testing::Contains;

// Counts in its memory; holds open what a server holds: devices, proc, a file in /tmp, one in a
// volume.
const std::vector<std::string> kCounter = {
    "/bin/sh", "-c",
    "exec 3</dev/zero 4>/dev/null 5</proc/self/status 6>/dev/shm/file 7>/tmp/file 8>>/data/file;"
    "i=0; while :; do i=$((i+1)); echo tick $i; echo x >&8; sleep 0.05; done"};

class CriuTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string missing = test::missing_for_integration(); !missing.empty()) {
      GTEST_SKIP() << missing;
    }
    for (const Finding& finding : check_host(read_host_facts({}).value())) {
      if (finding.severity == Finding::Severity::kRefusal) GTEST_SKIP() << finding.what;
    }
    test::enter_private_node();
  }

  static std::string log_of(const std::string& path) {
    std::string errors;
    std::istringstream log(test::read_text(path));
    for (std::string line; std::getline(log, line);) {
      if (line.contains("Error") || line.contains("Warn")) errors += line + "\n";
    }
    return errors;
  }

  // In the container's network namespace; the cgroup is frozen before and after.
  static void dump(test::TestContainer& container, pid_t pid, const std::string& images) {
    ASSERT_TRUE(io::make_directories(images, 0700));
    const Cgroup cgroup = container.cgroup();
    ASSERT_TRUE(cgroup.freeze(test::kPatience));
    const auto network = open_file(container.network_namespace(), O_RDONLY);
    ASSERT_TRUE(network);
    io::CommandOptions options;
    options.process.namespaces = {network->get()};
    const auto dumped = io::run_command({"criu",
                                         "dump",
                                         "--tree",
                                         std::to_string(pid),
                                         "--images-dir",
                                         images,
                                         "--root",
                                         container.merged(),
                                         "--external",
                                         "mnt[/data]:/data",
                                         "--manage-cgroups=ignore",
                                         "--network-lock",
                                         "skip",
                                         "--tcp-established",
                                         "--leave-running",
                                         "--freeze-cgroup",
                                         cgroup.directory(),
                                         "--log-file",
                                         "dump.log",
                                         "-v4"},
                                        options);
    ASSERT_TRUE(dumped) << dumped.error().message();
    ASSERT_TRUE(dumped->status.success()) << log_of(images + "/dump.log");
    EXPECT_TRUE(cgroup.frozen().value()) << "the caller thaws, when the files are captured too";
  }

  // Born outside, put into all of the container's cgroups, then told to go on.
  static pid_t restore(test::TestContainer& container, const std::string& images,
                       const LoggerPipes& dumped_with, LoggerPipes& pipes) {
    const auto network = open_file(container.network_namespace(), O_RDONLY);
    EXPECT_TRUE(network);
    const std::string pid_file = images + "/restored.pid";
    io::ProcessOptions options{
        .namespaces = {network->get()},
        .inherited = {{pipes.stdout_write.get(), 20}, {pipes.stderr_write.get(), 21}},
        .standard_input = io::Stdio::kPipe};
    auto criu = io::ChildProcess::spawn({"sh",
                                         "-c",
                                         "read go; exec \"$@\"",
                                         "sh",
                                         "criu",
                                         "restore",
                                         "--images-dir",
                                         images,
                                         "--root",
                                         container.merged(),
                                         "--external",
                                         "mnt[/data]:" + container.volume(),
                                         "--manage-cgroups=ignore",
                                         "--tcp-established",
                                         "--restore-detached",
                                         "--pidfile",
                                         pid_file,
                                         "--inherit-fd",
                                         "fd[20]:" + dumped_with.stdout_key,
                                         "--inherit-fd",
                                         "fd[21]:" + dumped_with.stderr_key,
                                         "--log-file",
                                         "restore.log",
                                         "-v4"},
                                        options);
    EXPECT_TRUE(criu) << criu.error().message();
    EXPECT_TRUE(enter_all(cgroup_dirs_at(container.cgroups().layout(), container.cgroup_path()),
                          criu->pid()));
    EXPECT_EQ(::write(criu->standard_input.get(), "\n", 1), 1);
    const auto status = criu->wait(test::soon());
    EXPECT_TRUE(status && status->success()) << log_of(images + "/restore.log");
    pipes.stdout_write.reset();
    pipes.stderr_write.reset();
    return static_cast<pid_t>(std::atoi(test::read_text(pid_file).c_str()));
  }

  static int last_tick(const test::TestContainer& container) {
    const auto lines = container.log_lines();
    for (auto line = lines.rbegin(); line != lines.rend(); ++line) {
      if (line->starts_with("o tick ")) return std::atoi(line->c_str() + 7);
    }
    return 0;
  }
};

TEST_F(CriuTest, ABundleIsDumpedAndRestoredAgainAndAgain) {
  model::ResourcesSpec limits;
  if (CgroupLayout::find()->has_controller("memory")) limits.memory = Bytes{64 << 20};
  test::TestContainer container({.command = kCounter, .resources = limits});
  auto process = container.create_and_start();
  ASSERT_TRUE(process) << process.error().message();
  const auto directories = cgroup_dirs_of(container.cgroups().layout(), process->pid).value();
  std::vector<LoggerPipes> pipes(1);
  pipes[0].stdout_key = container.pipes().stdout_key;
  pipes[0].stderr_key = container.pipes().stderr_key;

  for (int round = 0; round < 3; ++round) {
    const int start = last_tick(container);
    ASSERT_TRUE(test::eventually([&] { return last_tick(container) > start + 3; }));
    const std::string images = std::format("{}/images-{}", container.scratch(), round);
    ASSERT_NO_FATAL_FAILURE(dump(container, process->pid, images));
    const int dumped_at = last_tick(container);
    const std::string volume = test::read_text(container.volume() + "/file");

    auto watch = ProcessWatch::open(*process);
    ASSERT_TRUE(watch);
    ASSERT_TRUE(container.cgroup().kill_all(test::kPatience));
    EXPECT_TRUE(watch->wait(test::soon()));
    EXPECT_EQ(test::read_text(container.volume() + "/file"), volume) << "frozen until the kill";

    auto fresh = start_logger(container.logger_options());
    ASSERT_TRUE(fresh);
    pipes.push_back(std::move(*fresh));
    const pid_t pid = restore(container, images, pipes[pipes.size() - 2], pipes.back());
    ASSERT_GT(pid, 0);
    const auto restored = ProcessId::of(pid);
    ASSERT_TRUE(restored) << restored.error().message();
    process = *restored;

    // It goes on where it was, writes to the new logger, under the same limits, as our child.
    EXPECT_TRUE(test::eventually([&] { return last_tick(container) > dumped_at + 3; }));
    EXPECT_THAT(container.log_lines(), Contains(std::format("o tick {}", dumped_at + 1)));
    EXPECT_THAT(cgroup_dirs_of(container.cgroups().layout(), pid).value(),
                testing::UnorderedElementsAreArray(directories));
    EXPECT_THAT(container.cgroup().processes().value(), Contains(pid));
    EXPECT_TRUE(ProcessWatch::open(*process).value().is_child());
    const std::string status = test::read_text(std::format("/proc/{}/status", pid));
    EXPECT_THAT(status, testing::ContainsRegex("NoNewPrivs:.1"));
    EXPECT_THAT(status, testing::ContainsRegex("Seccomp:.2"));
  }
}

}  // namespace
}  // namespace perdure::runtime
