// The doctor on this very host: every check answers, a trial checkpoint is really taken, and what is missing is
// told with what follows and what to do. Needs root; runs in a mount namespace of its own with a tmpfs on /run.
#include "node/doctor.h"

#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/fd.h"
#include "gtest/gtest.h"
#include "io/test_support.h"
#include "runtime/host_facts.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;

class DoctorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "the checks need root";
    options_.paths.run_dir = directory_ / "run";
    options_.paths.state_dir = directory_.path();
    options_.paths.libexec_dir = directory_ / "libexec";
    options_.trial_program = PERDURED_PROGRAM;
    ASSERT_TRUE(io::make_directories(options_.paths.scratch(), 0700));
    ASSERT_EQ(::unshare(CLONE_NEWNS), 0) << "of this process: it ends with the test";
    ASSERT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    ASSERT_EQ(::mount("tmpfs", "/run", "tmpfs", 0, nullptr), 0);
    ASSERT_EQ(::mount("tmpfs", options_.paths.scratch().c_str(), "tmpfs", 0, nullptr), 0);
  }
  void TearDown() override { ::umount2(options_.paths.scratch().c_str(), MNT_DETACH); }
  std::map<std::string, v1::DoctorLine> examine() {
    std::map<std::string, v1::DoctorLine> lines;
    const v1::DoctorReport report = examine_host(options_, [&](std::string_view check) { told_.emplace(check); });
    for (const v1::DoctorLine& line : report.lines()) {
      EXPECT_TRUE(lines.emplace(line.check(), line).second) << line.check() << " twice";
    }
    return lines;
  }
  static bool has_criu() { return runtime::find_program("criu").has_value(); }

  io::TemporaryDirectory directory_;
  DoctorOptions options_;
  std::set<std::string> told_;
};

TEST_F(DoctorTest, EveryCheckAnswersAndWhatIsNotWellSaysWhatFollows) {
  const auto lines = examine();
  for (const char* check : {"kernel", "criu", "memory tracking", "runc", "helpers", "capabilities", "cgroups", "/run",
                            "gate", "overlayfs", "reflinks", "space", "bridge netfilter", "layer 2", "metrics"}) {
    ASSERT_TRUE(lines.contains(check)) << check;
    EXPECT_TRUE(told_.contains(check));
  }
  for (const auto& [check, line] : lines) {
    EXPECT_NE(line.state(), v1::CHECK_UNSPECIFIED) << check;
    EXPECT_FALSE(line.found().empty()) << check;
    EXPECT_TRUE(line.state() == v1::CHECK_OK || !line.follows().empty()) << check;
  }
  EXPECT_EQ(lines.at("/run").state(), v1::CHECK_OK) << "a tmpfs was mounted for it";
  EXPECT_EQ(lines.at("helpers").state(), v1::CHECK_MISSING) << "the directory is empty";
}

TEST_F(DoctorTest, ATrialCheckpointIsTakenAndLeavesNothing) {
  if (!has_criu()) GTEST_SKIP() << "no CRIU is installed";
  const auto report = try_checkpoint({.criu = {runtime::find_program("criu").value(), "", ""},
                                      .scratch_dir = options_.paths.scratch(),
                                      .program = PERDURED_PROGRAM});
  EXPECT_TRUE(report) << report.error().message();
  EXPECT_EQ(io::count_entries(options_.paths.scratch()), 0);
}

TEST_F(DoctorTest, ACriuThatAnswersNothingIsAnError) {
  // Something that takes the place of CRIU and answers nothing.
  const auto lying = runtime::find_program("true");
  ASSERT_TRUE(lying);
  const auto report = try_checkpoint(
      {.criu = {*lying, "", ""}, .scratch_dir = options_.paths.scratch(), .program = PERDURED_PROGRAM});
  ASSERT_FALSE(report);
  EXPECT_FALSE(report.error().message().empty());
  EXPECT_EQ(io::count_entries(options_.paths.scratch()), 0);
}

TEST_F(DoctorTest, ProgramsThatAreNotThereAreMissing) {
  options_.programs = {"/nowhere/runc", "/nowhere/criu"};
  const auto lines = examine();
  EXPECT_EQ(lines.at("criu").state(), v1::CHECK_MISSING);
  EXPECT_EQ(lines.at("runc").state(), v1::CHECK_MISSING);
  EXPECT_FALSE(lines.contains("trial checkpoint"));
}

TEST_F(DoctorTest, MetricsThatAreNotServedAreALimit) {
  options_.metrics_address = "127.0.0.1:7480";
  EXPECT_EQ(examine().at("metrics").found(), "served at http://127.0.0.1:7480/metrics");
  options_.metrics_trouble = "listen on 127.0.0.1:7480: another program listens there";
  const v1::DoctorLine line = examine().at("metrics");
  EXPECT_EQ(line.state(), v1::CHECK_LIMITED);
  EXPECT_NE(line.found().find("another program"), std::string::npos);
  EXPECT_NE(line.remedy().find("--metrics"), std::string::npos);
}

TEST_F(DoctorTest, SwitchedOffTrackingIsALimit) {
  options_.tracking = capsule::MemoryTracking::kOff;
  const auto lines = examine();
  EXPECT_EQ(lines.at("memory tracking").state(), v1::CHECK_LIMITED);
  EXPECT_NE(lines.at("memory tracking").remedy().find("--no-memory-tracking"), std::string::npos);
}

}  // namespace
}  // namespace perdure::node
