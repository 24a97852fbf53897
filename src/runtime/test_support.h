// For integration tests of this room: a node of one's own. Cgroups, mounts, network namespaces and
// processes of a test are its own and go away with it, also after a failure.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "image/bundle.h"
#include "image/overlay.h"
#include "runtime/cgroup.h"
#include "runtime/logger.h"
#include "runtime/process_watch.h"
#include "runtime/runtime.h"

namespace perdure::runtime::test {

// Generous: a loaded machine is no failure.
inline constexpr Duration kPatience = std::chrono::seconds(20);
inline Instant soon() {
  return BootClock::now() + kPatience;
}

// The reason why integration tests cannot run here; empty if they can.
std::string missing_for_integration();

std::string read_text(const std::string& path);

// Waits until PREDICATE holds; false after kPatience. For conditions that offer no event (another
// process's output in a file).
template <typename Predicate>
bool eventually(const Predicate& predicate);

// A cgroup subtree "perdure-test-PID-N" that no other test has.
class TestCgroup {
 public:
  TestCgroup();
  TestCgroup(const TestCgroup&) = delete;
  TestCgroup& operator=(const TestCgroup&) = delete;
  ~TestCgroup();

  const CgroupLayout& layout() const { return layout_; }
  const std::string& parent() const { return parent_; }
  std::string child(const std::string& name) const { return parent_ + "/" + name; }

 private:
  CgroupLayout layout_;
  std::string parent_;
};

// Once per process: a mount namespace of its own with a tmpfs on /run (as a node has), subreaper.
void enter_private_node();

// One busybox container with everything around it: scratch directories, overlay, volume, network
// namespace, bundle, logger.
class TestContainer {
 public:
  struct Options {
    std::vector<std::string> command;
    model::ResourcesSpec resources{};
    std::string lower_dir{};  // empty: busybox
    model::Seccomp seccomp = model::Seccomp::kDefault;
  };
  explicit TestContainer(Options options);
  TestContainer(const TestContainer&) = delete;
  TestContainer& operator=(const TestContainer&) = delete;
  ~TestContainer();

  Result<ProcessId> create();
  Status start();
  Result<ProcessId> create_and_start();

  // The lines of the log without time stamps: "o text", "e text".
  std::vector<std::string> log_lines() const;
  bool wait_for_log(std::string_view line) const;
  Cgroup cgroup() const;

  RuncRuntime& runtime() { return runtime_; }
  const ContainerName& name() const { return name_; }
  const TestCgroup& cgroups() const { return cgroups_; }
  std::string cgroup_path() const { return cgroups_.child(name_.str()); }
  std::string merged() const { return overlay_.merged; }
  std::string volume() const { return scratch_ + "/volume"; }
  std::string network_namespace() const { return netns_; }
  const std::string& scratch() const { return scratch_; }
  const LoggerPipes& pipes() const { return pipes_; }
  LoggerOptions logger_options() const;
  std::string runc_root() const { return "/run/perdure-test/runc"; }

 private:
  Status prepare();

  Options options_;
  ContainerName name_;
  TestCgroup cgroups_;
  std::string scratch_;
  std::string netns_;
  image::OverlayPaths overlay_;
  LoggerPipes pipes_;
  RuncRuntime runtime_;
};

template <typename Predicate>
bool eventually(const Predicate& predicate) {
  const Instant end = soon();
  while (!predicate()) {
    if (BootClock::now() >= end) return false;
    const timespec pause{.tv_sec = 0, .tv_nsec = 5'000'000};
    ::nanosleep(&pause, nullptr);
  }
  return true;
}

}  // namespace perdure::runtime::test
