#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <format>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/fd.h"
#include "io/atomic_file.h"
#include "io/process.h"
#include "runtime/runc_log.h"
#include "runtime/runtime.h"

namespace perdure::runtime {
namespace {

using Json = nlohmann::json;

// Cleaning up after a failure must not wait for ever either, nor inherit a deadline that has
// passed.
constexpr Duration kCleanUpTime = std::chrono::seconds(10);
constexpr std::size_t kMaxStateBytes = std::size_t{8} << 20;
// The name of runc's first process until it becomes the container's command (libcontainer/nsenter).
constexpr std::string_view kWaitingName = "runc:[2:INIT]\n";

bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

Status remove_file(const std::string& path) {
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return {};
  return fail_errno(std::format("remove '{}'", path));
}

Result<pid_t> read_pid(const std::string& path) {
  PERDURE_ASSIGN(const std::string text, read_file(path));
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), pid);
  if (error != std::errc{} || pid <= 0) {
    return fail(ErrorCode::kIo, std::format("'{}' holds no process number", path));
  }
  return pid;
}

// The first process of runc's state, if it still waits for `runc start`. A state without a process
// (an interrupted create) has none.
std::optional<pid_t> waiting_process(const std::string& state_dir) {
  const auto text = read_file(state_dir + "/state.json", kMaxStateBytes);
  if (!text) return std::nullopt;
  const Json state = Json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!state.is_object()) return std::nullopt;
  const auto found = state.find("init_process_pid");
  if (found == state.end() || !found->is_number_integer()) return std::nullopt;
  const auto pid = found->get<pid_t>();
  const auto name = read_file(std::format("/proc/{}/comm", pid));
  return name && *name == kWaitingName ? std::optional(pid) : std::nullopt;
}

}  // namespace

RuncRuntime::RuncRuntime(RuncOptions options) : options_(std::move(options)) {}

std::string RuncRuntime::state_dir(const ContainerName& name) const {
  return options_.root_dir + "/" + name.str();
}

std::string RuncRuntime::log_path(const ContainerName& name) const {
  return options_.root_dir + "/" + name.str() + ".log";
}

Status RuncRuntime::run(const ContainerName& name, const std::vector<std::string>& arguments,
                        int stdout_fd, int stderr_fd, Instant deadline) {
  const std::string what = std::format("runc {} '{}'", arguments.front(), name.str());
  PERDURE_TRY(remove_file(log_path(name)));
  std::vector<std::string> argv = {options_.program, "--root", options_.root_dir, "--log",
                                   log_path(name)};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  io::ProcessOptions process;
  // The container's output goes to its own pipes, runc's own words to the log.
  if (stdout_fd >= 0) process.inherited.push_back({stdout_fd, STDOUT_FILENO});
  if (stderr_fd >= 0) process.inherited.push_back({stderr_fd, STDERR_FILENO});
  process.environment = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                         "LC_ALL=C"};
  auto child = io::ChildProcess::spawn(argv, process);
  if (!child) return fail(std::move(child).error().context(what));
  auto status = child->wait(deadline);
  if (!status) return fail(std::move(status).error().context(what));  // the destructor kills
  if (status->success()) return remove_file(log_path(name));
  const auto log = read_file(log_path(name));
  return fail(ErrorCode::kIo, std::format("{}: {}: {}", what, io::to_string(*status),
                                          log ? last_runc_errors(*log) : "it wrote no log"));
}

Result<ProcessId> RuncRuntime::create_guarded(const ContainerName& name,
                                              const CreateOptions& options, Instant deadline) {
  const std::string pid_file = options_.root_dir + "/" + name.str() + ".pid";
  PERDURE_TRY(run(name,
                  {"create", "--bundle", options.bundle_dir, "--pid-file", pid_file, name.str()},
                  options.stdout_fd, options.stderr_fd, deadline));
  PERDURE_ASSIGN(const pid_t pid, read_pid(pid_file));
  PERDURE_TRY(remove_file(pid_file));
  PERDURE_ASSIGN(const ProcessId process, ProcessId::of(pid));
  // Some runtimes put it there themselves; then this changes nothing.
  PERDURE_ASSIGN(const Cgroup cgroup, Cgroup::create(options_.cgroups, options.cgroup_path));
  PERDURE_TRY(cgroup.add(pid));
  return process;
}

Result<ProcessId> RuncRuntime::create(const ContainerName& name, const CreateOptions& options) {
  const Instant deadline = BootClock::now() + options.deadline;
  PERDURE_TRY(io::make_directories(options_.root_dir, 0700));
  if (exists(state_dir(name))) {
    return fail(ErrorCode::kExists,
                std::format("container '{}' is created already: discard it first", name.str()));
  }
  if (const auto cgroup = Cgroup::open(options_.cgroups, options.cgroup_path); cgroup) {
    PERDURE_ASSIGN(const bool populated, cgroup->populated());
    if (populated) {
      return fail(ErrorCode::kConflict,
                  std::format("container '{}': processes run in '{}': kill them first", name.str(),
                              cgroup->directory()));
    }
    // runc refuses a frozen one, and nothing in it could run.
    PERDURE_TRY(cgroup->thaw(kCleanUpTime));
  }
  auto process = create_guarded(name, options, deadline);
  if (process) return process;
  Error error = std::move(process).error();
  const auto clean = [&](const Status& step) {
    if (!step) error = std::move(error).context(step.error().message());
  };
  clean(discard(name, kCleanUpTime));
  if (const auto cgroup = Cgroup::open(options_.cgroups, options.cgroup_path); cgroup) {
    clean(cgroup->kill_all(kCleanUpTime));
  }
  clean(remove_everywhere(options_.cgroups, options.cgroup_path, kCleanUpTime));
  return fail(std::move(error));
}

Status RuncRuntime::start(const ContainerName& name, Duration deadline) {
  PERDURE_TRY(run(name, {"start", name.str()}, -1, -1, BootClock::now() + deadline));
  // From here on runc's idea of the container could only do harm: after a restore it would name a
  // process that is somebody else.
  return io::remove_tree(state_dir(name));
}

Status RuncRuntime::discard(const ContainerName& name, Duration deadline) {
  if (exists(state_dir(name)) && waiting_process(state_dir(name))) {
    PERDURE_TRY(run(name, {"delete", "--force", name.str()}, -1, -1, BootClock::now() + deadline));
  }
  PERDURE_TRY(io::remove_tree(state_dir(name)));
  PERDURE_TRY(remove_file(log_path(name)));
  return remove_file(options_.root_dir + "/" + name.str() + ".pid");
}

}  // namespace perdure::runtime
