// Proves with real overlayfs, runc, CRIU, veth and gate that one container can be prepared, started, captured,
// killed and restored in place with memory and files of the same instant, again and again, and that nothing
// of it is left after release. Needs root; runs in mount and network namespaces of its own.
#include "node/linux_backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <filesystem>
#include <format>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include "base/fd.h"
#include "image/image.h"
#include "io/process.h"
#include "network/announce.h"
#include "network/link.h"

namespace perdure::node {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

// Counts in memory and in a file at once, as fast as it can.
constexpr const char* kCounter =
    "i=0; while :; do i=$((i+1)); echo $i > /data/counter.new; mv /data/counter.new /data/counter; done";

// From the first step of its end on: the version 1 hierarchies then show it at their roots (proc_cgroup_show() in
// kernel/cgroup/cgroup.c looks for PF_EXITING), long before /proc calls it a zombie.
bool has_begun_to_exit(pid_t pid) {
  constexpr unsigned kExiting = 0x4;  // PF_EXITING
  constexpr int kFlagsAfterName = 7;  // proc_pid_stat(5)
  const auto stat = read_file(std::format("/proc/{}/stat", pid));
  if (!stat) return true;
  std::istringstream rest(stat->substr(stat->rfind(')') + 1));
  std::string word;
  for (int i = 0; i < kFlagsAfterName; ++i) rest >> word;
  return (std::stoul(word) & kExiting) != 0;
}

class LinuxBackendTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (::geteuid() != 0) return;
    ASSERT_EQ(::unshare(CLONE_NEWNET | CLONE_NEWNS), 0);
    ASSERT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    ASSERT_EQ(::mount("tmpfs", "/run", "tmpfs", 0, nullptr), 0);
    ASSERT_TRUE(runtime::become_subreaper());
    auto links = network::LinkControl::open(-1);
    ASSERT_TRUE(links) << links.error().message();
    ASSERT_TRUE(links->set_up("lo"));
    ASSERT_TRUE(links->ensure_bridge("br0"));
    ASSERT_TRUE(links->set_up("br0"));
  }

  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: mounts, namespaces, CRIU";
    home_ = std::format("/tmp/perdure-backend-test.{}", ::getpid());
    std::filesystem::create_directories(home_ + "/root/bin");
    std::filesystem::create_directories(home_ + "/root/data");
    std::filesystem::copy_file("/bin/busybox", home_ + "/root/bin/busybox",
                               std::filesystem::copy_options::overwrite_existing);
    for (const char* applet : {"sh", "mv", "sleep", "cat"}) {
      std::filesystem::remove(home_ + "/root/bin/" + applet);
      std::filesystem::create_symlink("busybox", home_ + "/root/bin/" + applet);
    }
    host_.paths.run_dir = "/run/perdure";
    host_.paths.state_dir = home_ + "/state";
    host_.paths.cgroup = std::format("perdure-backend-test-{}", ::getpid());
    host_.paths.libexec_dir = home_ + "/libexec";
    std::filesystem::create_directories(home_ + "/libexec");
    for (const auto& [from, to] : {std::pair{PERDURE_LOGGER, "perdure-logger"},
                                   std::pair{PERDURE_PAGEMAP_FILTER, "perdure-pagemap-filter.so"},
                                   std::pair{PERDURE_STANDBY, "perdure-standby.so"}}) {
      std::filesystem::copy_file(from, home_ + "/libexec/" + to,
                                 std::filesystem::copy_options::overwrite_existing);
    }
    std::filesystem::create_directories(host_.paths.scratch());
    auto facts = runtime::read_host_facts({});
    ASSERT_TRUE(facts) << facts.error().message();
    host_.facts = *facts;
    ASSERT_TRUE(host_.facts.cgroups.has_value());
    host_.cgroups = *host_.facts.cgroups;
    runtime_ = std::make_unique<runtime::RuncRuntime>(
        runtime::RuncOptions{host_.facts.runc.path, host_.paths.runc_root(), host_.cgroups});
    host_.runtime = runtime_.get();
    auto hook = network::ExitHook::install({host_.paths.bpf()});
    ASSERT_TRUE(hook) << hook.error().message();
    hook_.emplace(*std::move(hook));
    host_.exit_hook = &*hook_;

    model::ContainerSpec spec{.name = *ContainerName::parse("counter")};
    spec.root_filesystem = model::DirectoryRoot{home_ + "/root"};
    spec.command = std::vector<std::string>{"/bin/sh", "-c", kCounter};
    spec.network.attachment = model::BridgeAttachment{"br0"};
    spec.network.ipv4 = model::Ipv4Prefix::parse("10.77.0.5/24").value();
    spec.network.ipv6 = model::Ipv6Prefix::parse("fd77::5/64").value();
    backend_ = std::make_unique<LinuxBackend>(host_, spec);
  }

  void TearDown() override {
    if (backend_) {
      const Status released = backend_->release(ContainerBackend::Capsules::kDelete);
      EXPECT_TRUE(released) << released.error().message();
      EXPECT_FALSE(std::filesystem::exists(host_.paths.containers() + "/counter"));
    }
    backend_.reset();
    hook_.reset();
    (void)network::ExitHook::uninstall({host_.paths.bpf()});
    if (::geteuid() == 0) {
      (void)runtime::remove_everywhere(host_.cgroups, host_.paths.cgroup, 10s);
    }
    std::error_code ignored;
    std::filesystem::remove_all(home_, ignored);
  }

  void prepare_and_start() {
    auto prepared = backend_->prepare(ContainerBackend::AddressProbe::kNo, [](auto, auto) {});
    ASSERT_TRUE(prepared) << prepared.error().message();
    for (const auto& finding : prepared->findings) {
      EXPECT_NE(finding.severity, runtime::Finding::Severity::kRefusal) << finding.what;
    }
    auto started = backend_->start();
    ASSERT_TRUE(started) << started.error().message();
    facts_ = started->facts;
  }

  long counter() const {
    std::ifstream file(host_.paths.containers() + "/counter/merged/data/counter");
    long value = -1;
    file >> value;
    return value;
  }

  void wait_for_counter(long beyond) const {
    const Instant deadline = BootClock::now() + 60s;
    while (counter() <= beyond) {
      ASSERT_LT(BootClock::now(), deadline) << "the counter stands at " << counter();
      std::this_thread::yield();
    }
  }

  Result<capsule::Capsule> capture(std::uint64_t number,
                                   ContainerBackend::AfterCapture after = ContainerBackend::AfterCapture::kRunOn) {
    return backend_->capture(Generation{Term{1}, Incarnation{1}, number}, facts_, cancel_, after)
        .transform([](Captured captured) { return std::move(captured.capsule); });
  }

  long captured_counter(const capsule::Capsule& capsule) const {
    for (const auto& entry : capsule.trees.at(0).entries) {
      if (entry.path != "data/counter") continue;
      const auto page = entry.content.page(0);
      long value = -1;
      const auto* text = reinterpret_cast<const char*>(page.data());
      std::from_chars(text, text + entry.size_bytes, value);
      return value;
    }
    return -1;
  }

  // The CRIU that waits for the next restore.
  static std::optional<pid_t> wait_for_standby() {
    const Instant deadline = BootClock::now() + 60s;
    while (BootClock::now() < deadline) {
      for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
        std::ifstream list(task.path() / "children");
        for (pid_t pid = 0; list >> pid;) {
          const auto command = read_file(std::format("/proc/{}/cmdline", pid));
          const auto environment = read_file(std::format("/proc/{}/environ", pid));
          if (command && environment && command->contains("restore") && environment->contains("PERDURE_STANDBY")) {
            return pid;
          }
        }
      }
      std::this_thread::yield();
    }
    return std::nullopt;
  }

  std::string home_;
  HostServices host_;
  std::unique_ptr<runtime::RuncRuntime> runtime_;
  std::optional<network::ExitHook> hook_;
  std::unique_ptr<LinuxBackend> backend_;
  RuntimeFacts facts_;
  CancelFlag cancel_{false};
};

TEST_F(LinuxBackendTest, WhoAsksForItsAddressesIsAnsweredWhileItIsFrozen) {
  ASSERT_NO_FATAL_FAILURE(prepare_and_start());
  constexpr int kQuestions = 20;
  std::atomic<bool> enough = false;
  std::jthread captures([&] {
    for (std::uint64_t round = 1; !enough; ++round) {
      const auto captured = capture(round);
      EXPECT_TRUE(captured) << captured.error().message();
    }
  });
  for (int asked = 0; asked < kQuestions; ++asked) {
    for (const char* address : {"10.77.0.5", "fd77::5"}) {
      network::HolderQuery query{.bridge = "br0", .address = network::IpAddress::parse(address).value()};
      query.probes = 1;  // a client that is not heard at once waits a second
      query.deadline = 20s;
      const auto holder = network::find_holder(query);
      EXPECT_TRUE(holder && holder->has_value()) << address;
      if (::testing::Test::HasFailure()) asked = kQuestions;
    }
  }
  enough = true;
}

TEST_F(LinuxBackendTest, RestoredContainerGoesOnWhereItsCapsuleWasTaken) {
  ASSERT_NO_FATAL_FAILURE(prepare_and_start());
  ASSERT_NO_FATAL_FAILURE(wait_for_counter(20));
  for (std::uint64_t round = 1; round <= 3; ++round) {
    auto captured = capture(round);
    ASSERT_TRUE(captured) << captured.error().message();
    const long at_capture = captured_counter(*captured);
    ASSERT_GT(at_capture, 0);
    ASSERT_NO_FATAL_FAILURE(wait_for_counter(at_capture + 50));
    ASSERT_EQ(::kill(facts_.init.pid, SIGKILL), 0);
    auto restored = backend_->restore(*captured, ContainerBackend::RestoreKind::kRolledBack, {});
    ASSERT_TRUE(restored) << restored.error().message();
    facts_ = restored->life.facts;
    backend_->open_gate();
    // Memory and file are of one instant: the shell goes on counting from the file's value, not from where
    // the killed one had come to.
    const long after = counter();
    EXPECT_GE(after, at_capture);
    ASSERT_NO_FATAL_FAILURE(wait_for_counter(at_capture + 60));
    std::printf("round %lu: killed %.1f files %.1f processes %.1f total %.1f ms; frozen %.1f ms\n", round,
                to_milliseconds(restored->killed), to_milliseconds(restored->files),
                to_milliseconds(restored->processes), to_milliseconds(restored->total),
                to_milliseconds(captured->manifest.stats.frozen));
  }
}

TEST_F(LinuxBackendTest, RecoveredBackendCapturesAContainerThatItDidNotStart) {
  ASSERT_NO_FATAL_FAILURE(prepare_and_start());
  ASSERT_NO_FATAL_FAILURE(wait_for_counter(5));
  const model::ContainerSpec spec = backend_->spec();
  backend_ = std::make_unique<LinuxBackend>(host_, spec);
  auto found = backend_->recover(facts_, ContainerBackend::Frozen::kThaw);
  ASSERT_TRUE(found) << found.error().message();
  EXPECT_EQ(found->state, Found::State::kAlive);
  auto captured = capture(1);
  ASSERT_TRUE(captured) << captured.error().message();
  ASSERT_TRUE(backend_->kill_all());
  auto restored = backend_->restore(*captured, ContainerBackend::RestoreKind::kRolledBack, {});
  ASSERT_TRUE(restored) << restored.error().message();
  ASSERT_NO_FATAL_FAILURE(wait_for_counter(captured_counter(*captured) + 5));
}

TEST_F(LinuxBackendTest, AContainerFrozenForAMoveStandsStillUntilItIsResumed) {
  ASSERT_NO_FATAL_FAILURE(prepare_and_start());
  ASSERT_NO_FATAL_FAILURE(wait_for_counter(20));
  auto captured = capture(1, ContainerBackend::AfterCapture::kStayFrozen);
  ASSERT_TRUE(captured) << captured.error().message();
  const long at_capture = captured_counter(*captured);
  const auto stands_still = [&] {
    EXPECT_EQ(read_file(backend_->cgroup_directory() + "/cgroup.freeze").value_or(""), "1\n");
    EXPECT_EQ(counter(), at_capture);
  };
  stands_still();
  // Neither a new perdured nor the CRIUs that are started for it change that.
  const model::ContainerSpec spec = backend_->spec();
  backend_ = std::make_unique<LinuxBackend>(host_, spec);
  auto found = backend_->recover(facts_, ContainerBackend::Frozen::kKeepFrozen);
  ASSERT_TRUE(found) << found.error().message();
  EXPECT_EQ(found->state, Found::State::kAlive);
  stands_still();
  ASSERT_TRUE(backend_->resume());
  ASSERT_NO_FATAL_FAILURE(wait_for_counter(at_capture + 20));
  ASSERT_TRUE(capture(2));
}

TEST_F(LinuxBackendTest, AContainerIsRestoredWhereItsFilesWereLaidOutBefore) {
  ASSERT_NO_FATAL_FAILURE(prepare_and_start());
  ASSERT_NO_FATAL_FAILURE(wait_for_counter(20));
  auto first = capture(1);
  ASSERT_TRUE(first) << first.error().message();
  ASSERT_NO_FATAL_FAILURE(wait_for_counter(captured_counter(*first) + 20));
  auto last = capture(2, ContainerBackend::AfterCapture::kStayFrozen);
  ASSERT_TRUE(last) << last.error().message();
  const model::ContainerSpec spec = backend_->spec();
  ASSERT_TRUE(backend_->release(ContainerBackend::Capsules::kDelete));

  host_.paths.state_dir = home_ + "/elsewhere";
  backend_ = std::make_unique<LinuxBackend>(host_, spec);
  auto prepared = backend_->prepare_standby(last->manifest.image_digest);
  ASSERT_TRUE(prepared) << prepared.error().message();
  ASSERT_TRUE(backend_->stage(*first));
  EXPECT_EQ(counter(), captured_counter(*first));
  EXPECT_TRUE(backend_->processes().empty());
  auto restored = backend_->restore(*last, ContainerBackend::RestoreKind::kMovedHere, {});
  ASSERT_TRUE(restored) << restored.error().message();
  facts_ = restored->life.facts;
  backend_->open_gate();
  EXPECT_TRUE(backend_->announce());
  ASSERT_NO_FATAL_FAILURE(wait_for_counter(captured_counter(*last) + 20));
  ASSERT_TRUE(capture(3));
}

TEST_F(LinuxBackendTest, AHostThatCannotStandBySaysSoAndMakesNothing) {
  model::ContainerSpec spec = backend_->spec();
  const auto expect_refused = [&](const std::string& digest, const std::string& why) {
    LinuxBackend standby(host_, spec);
    const auto prepared = standby.prepare_standby(digest);
    ASSERT_TRUE(prepared) << prepared.error().message();
    EXPECT_THAT(prepared->findings,
                testing::Contains(testing::AllOf(
                    testing::Field(&runtime::Finding::severity, runtime::Finding::Severity::kRefusal),
                    testing::Field(&runtime::Finding::what, testing::HasSubstr(why)))));
    const ContainerPaths paths(host_.paths, spec.name);
    EXPECT_FALSE(std::filesystem::exists(paths.network_namespace));
    EXPECT_FALSE(std::filesystem::exists(paths.home));
    EXPECT_TRUE(runtime::cgroup_dirs_at(host_.cgroups, paths.cgroup).empty());
  };
  const std::string digest = image::digest_tree(home_ + "/root", "").value();
  spec.volumes = {{.name = "data",
                   .mount_path = "/shared",
                   .kind = model::VolumeKind::kShared,
                   .host_path = home_ + "/none"}};
  expect_refused(digest, "shared volume 'data'");
  spec.volumes.clear();
  expect_refused("sha256:" + std::string(64, '0'), "its owner's sha256:0000");
  spec.network.attachment = model::NicAttachment{.nic = "eth0"};
  expect_refused(digest, "network.nic");
}

TEST_F(LinuxBackendTest, ADirectoryFromAnotherNodeProvesItself) {
  const model::ContainerSpec spec = backend_->spec();
  const std::string digest = image::digest_tree(home_ + "/root", "").value();
  const std::string fetched = host_.paths.images() + "/" + digest.substr(std::string_view("sha256:").size());
  std::filesystem::create_directories(fetched + "/rootfs");
  std::ofstream(fetched + "/image.json") << R"({"digest": ")" << digest << R"(", "tree": "sha256:11"})";
  const auto prepared = LinuxBackend(host_, spec).prepare_standby(digest);
  ASSERT_FALSE(prepared);
  EXPECT_EQ(prepared.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(prepared.error().message(), testing::HasSubstr(fetched));
}

// By the CRIU that waited, which is then ready for the next, and by one that has to be started because that was
// killed.
TEST_F(LinuxBackendTest, RestoredProcessesAreInAllCgroupsOfTheContainer) {
  ASSERT_NO_FATAL_FAILURE(prepare_and_start());
  const std::string path = host_.paths.cgroup + "/counter";
  auto directories = runtime::cgroup_dirs_at(host_.cgroups, path);
  std::erase(directories, backend_->cgroup_directory());
  for (const bool waits : {true, false, true}) {
    auto captured = capture(1);
    ASSERT_TRUE(captured) << captured.error().message();
    const auto standby = wait_for_standby();
    ASSERT_TRUE(standby);
    if (!waits) {
      ASSERT_EQ(::kill(*standby, SIGKILL), 0);
    }
    auto restored = backend_->restore(*captured, ContainerBackend::RestoreKind::kRolledBack, {});
    ASSERT_TRUE(restored) << restored.error().message();
    facts_ = restored->life.facts;
    backend_->open_gate();
    const auto processes = backend_->processes();
    ASSERT_THAT(processes, testing::Contains(facts_.init.pid));
    std::vector<pid_t> looked_at;
    for (const pid_t pid : processes) {
      auto found = runtime::cgroup_dirs_of(host_.cgroups, pid);
      // Asked afterwards: whoever lives now was in these cgroups as a living process.
      if (!found || has_begun_to_exit(pid)) continue;
      const auto below = [&](const std::string& each) { return each.starts_with(backend_->cgroup_directory() + "/"); };
      EXPECT_EQ(std::erase_if(*found, below), 1u) << "the version 2 hierarchy";
      EXPECT_THAT(*found, testing::UnorderedElementsAreArray(directories)) << "process " << pid;
      looked_at.push_back(pid);
    }
    EXPECT_THAT(looked_at, testing::Contains(facts_.init.pid));
  }
}

TEST_F(LinuxBackendTest, CancelledCaptureLeavesTheContainerRunning) {
  ASSERT_NO_FATAL_FAILURE(prepare_and_start());
  ASSERT_NO_FATAL_FAILURE(wait_for_counter(5));
  cancel_ = true;
  const auto captured = capture(1);
  ASSERT_FALSE(captured);
  EXPECT_EQ(captured.error().code(), ErrorCode::kCancelled);
  ASSERT_NO_FATAL_FAILURE(wait_for_counter(counter() + 5));
}

}  // namespace
}  // namespace perdure::node
