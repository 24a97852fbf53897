#include "runtime/test_support.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <format>

#include "base/assert.h"
#include "base/fd.h"
#include "image/test_support.h"
#include "io/atomic_file.h"
#include "io/process.h"
#include "runtime/host_facts.h"

namespace perdure::runtime::test {
namespace {

namespace fs = std::filesystem;

std::string make_scratch() {
  std::string name = (fs::temp_directory_path() / "perdure-test-XXXXXX").string();
  PERDURE_ASSERT(::mkdtemp(name.data()) != nullptr);
  return name;
}

ContainerName unique_name() {
  static std::atomic<int> number = 0;
  return ContainerName::parse(std::format("t{}-{}", ::getpid(), ++number)).value();
}

// A network namespace with loopback up, pinned under /run of the private node.
std::string make_network_namespace(const std::string& name) {
  const std::string directory = "/run/perdure-test/netns";
  PERDURE_ASSERT(io::make_directories(directory, 0755).has_value());
  const std::string path = directory + "/" + name;
  std::ofstream(path).flush();
  const auto made =
      io::command_output({"unshare", "--net=" + path, "ip", "link", "set", "lo", "up"});
  PERDURE_ASSERT(made.has_value());
  return path;
}

}  // namespace

std::string missing_for_integration() {
  if (::geteuid() != 0) return "needs root";
  if (!image::test::have_busybox()) return "needs /bin/busybox (package busybox-static)";
  if (!find_program("runc")) return "needs runc";
  if (!CgroupLayout::find()) return "needs a cgroup2 mount";
  return {};
}

std::string read_text(const std::string& path) {
  return image::test::read_text(path);
}

TestCgroup::TestCgroup() : layout_(CgroupLayout::find().value()) {
  static std::atomic<int> number = 0;
  parent_ = std::format("perdure-test-{}-{}", ::getpid(), ++number);
}

TestCgroup::~TestCgroup() {
  if (const auto cgroup = Cgroup::open(layout_, parent_)) {
    [[maybe_unused]] const auto killed = cgroup->kill_all(kPatience);
  }
  [[maybe_unused]] const auto reaped = io::reap_orphans();
  if (const auto removed = remove_everywhere(layout_, parent_, kPatience); !removed) {
    std::fprintf(stderr, "%s\n", removed.error().message().c_str());
  }
}

void enter_private_node() {
  static const bool entered = [] {
    PERDURE_ASSERT(::unshare(CLONE_NEWNS) == 0);
    PERDURE_ASSERT(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
    PERDURE_ASSERT(::mount("tmpfs", "/run", "tmpfs", 0, nullptr) == 0);
    PERDURE_ASSERT(become_subreaper().has_value());
    return true;
  }();
  PERDURE_ASSERT(entered);
}

TestContainer::TestContainer(Options options)
    : options_(std::move(options)),
      name_(unique_name()),
      scratch_(make_scratch()),
      netns_(make_network_namespace(name_.str())),
      overlay_{.lower = options_.lower_dir.empty() ? scratch_ + "/lower" : options_.lower_dir,
               .rw_dir = scratch_ + "/rw",
               .merged = scratch_ + "/merged"},
      runtime_({.program = "runc", .root_dir = runc_root(), .cgroups = cgroups_.layout()}) {
  const auto prepared = prepare();
  if (!prepared) std::fprintf(stderr, "%s\n", prepared.error().message().c_str());
  PERDURE_ASSERT(prepared.has_value());
}

Status TestContainer::prepare() {
  if (options_.lower_dir.empty()) image::test::make_busybox_root(overlay_.lower);
  PERDURE_TRY(io::make_directories(volume(), 0755));
  PERDURE_TRY(image::mount_overlay(overlay_));
  model::ContainerSpec spec{.name = name_, .root_filesystem = model::DirectoryRoot{overlay_.lower}};
  spec.command = options_.command;
  spec.resources = options_.resources;
  spec.security.seccomp = options_.seccomp;
  const image::BundleOptions bundle{.bundle_dir = scratch_ + "/bundle",
                                    .root_dir = overlay_.merged,
                                    .network_namespace = netns_,
                                    .cgroups_path = "/" + cgroup_path(),
                                    .volumes = {{volume(), "/data"}}};
  PERDURE_TRY(image::write_bundle(spec, {"sha256:test", overlay_.lower, {}}, bundle));
  PERDURE_ASSIGN(pipes_, start_logger(logger_options()));
  return {};
}

LoggerOptions TestContainer::logger_options() const {
  return {.program = PERDURE_LOGGER_PROGRAM, .log_dir = scratch_ + "/logs"};
}

TestContainer::~TestContainer() {
  if (const auto discarded = runtime_.discard(name_, kPatience); !discarded) {
    std::fprintf(stderr, "%s\n", discarded.error().message().c_str());
  }
  if (const auto mine = Cgroup::open(cgroups_.layout(), cgroup_path())) {
    [[maybe_unused]] const auto killed = mine->kill_all(kPatience);
  }
  [[maybe_unused]] const auto reaped = io::reap_orphans();
  // The kernel lets go of the mount a moment after the last process has gone.
  eventually([&] { return image::unmount_overlay(overlay_.merged).has_value(); });
  ::umount2(netns_.c_str(), MNT_DETACH);
  std::error_code ignored;
  fs::remove_all(scratch_, ignored);
}

Result<ProcessId> TestContainer::create() {
  auto process = runtime_.create(name_, {.bundle_dir = scratch_ + "/bundle",
                                         .cgroup_path = cgroup_path(),
                                         .stdout_fd = pipes_.stdout_write.get(),
                                         .stderr_fd = pipes_.stderr_write.get(),
                                         .deadline = kPatience});
  pipes_.stdout_write.reset();
  pipes_.stderr_write.reset();
  return process;
}

Status TestContainer::start() {
  return runtime_.start(name_, kPatience);
}

Result<ProcessId> TestContainer::create_and_start() {
  PERDURE_ASSIGN(const ProcessId process, create());
  PERDURE_TRY(start());
  return process;
}

std::vector<std::string> TestContainer::log_lines() const {
  std::ifstream log(scratch_ + "/logs/container.log");
  std::vector<std::string> lines;
  for (std::string line; std::getline(log, line);) {
    const auto space = line.find(' ');
    if (space != std::string::npos) lines.push_back(line.substr(space + 1));
  }
  return lines;
}

bool TestContainer::wait_for_log(std::string_view line) const {
  return eventually([&] { return std::ranges::contains(log_lines(), line); });
}

Cgroup TestContainer::cgroup() const {
  return Cgroup::open(cgroups_.layout(), cgroup_path()).value();
}

}  // namespace perdure::runtime::test
