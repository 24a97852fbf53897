#include "capsule/criu/engine.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <format>
#include <set>
#include <sstream>

#include "base/log.h"
#include "base/process_status.h"
#include "capsule/criu/image_repair.h"
#include "capsule/criu/image_server.h"
#include "capsule/criu/image_set.h"
#include "capsule/criu/remote_syscall.h"
#include "io/atomic_file.h"

namespace perdure::capsule {
namespace {

constexpr Duration kAdoptTime = std::chrono::milliseconds(500);
constexpr Duration kEndOfCriuTime = std::chrono::seconds(2);
constexpr Duration kStandbyTime = std::chrono::seconds(1);
constexpr const char* kPidFile = "/init.pid";  // in the scratch directory of a restore
constexpr const char* kConfiguration = "/restore.conf";

// A directory of this call alone, removed on every way out.
class ScratchDirectory {
 public:
  static Result<ScratchDirectory> make(std::string path) {
    PERDURE_TRY(io::make_directories(path, 0700));
    return ScratchDirectory(std::move(path));
  }
  ScratchDirectory(ScratchDirectory&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  ScratchDirectory& operator=(ScratchDirectory&&) = delete;
  ~ScratchDirectory() {
    if (path_.empty()) return;
    if (const Status removed = io::remove_tree(path_); !removed) {
      log::warning("scratch directory is left behind: {}", removed.error().message());
    }
  }
  const std::string& path() const { return path_; }

 private:
  explicit ScratchDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// The pid that the process has inside the container: how CRIU names it.
Result<pid_t> inner_pid_of(pid_t pid) {
  PERDURE_ASSIGN(const std::string last, process_status_word(pid, "NSpid"));
  pid_t inner = pid;
  std::from_chars(last.data(), last.data() + last.size(), inner);
  return inner;
}

PendingSignals pending_signals(const std::map<pid_t, pid_t>& inner_pids) {
  constexpr int kHexadecimal = 16;
  PendingSignals pending;
  for (const auto& [pid, inner] : inner_pids) {
    const auto mask = process_status_word(pid, "ShdPnd");
    if (!mask) continue;  // it has ended
    std::from_chars(mask->data(), mask->data() + mask->size(), pending[inner], kHexadecimal);
  }
  return pending;
}

// What CRIU refuses whenever it is asked, in its own words. Everything else may be a process or a connection
// that came or went while CRIU looked: the next attempt tells.
bool is_refused_for_good(std::string_view errors) {
  for (const std::string_view sign :
       {"nsupported", "not supported", "Can't lookup mount", "external", "Can't dump", "can't dump",
        "Can only dump", "don't know how", "CONFIG_", "rlimit", "io_uring", "anon_inode"}) {
    if (errors.find(sign) != std::string_view::npos) return true;
  }
  return false;
}

Error explain(Error error, const std::string& log_path) {
  const std::string errors = criu_log_errors(log_path);
  ErrorCode code = error.code();
  if (code == ErrorCode::kIo) {
    if (errors.find("No space left") != std::string::npos) {
      code = ErrorCode::kNoSpace;
    } else {
      code = is_refused_for_good(errors) ? ErrorCode::kUnsupported : ErrorCode::kTransient;
    }
  }
  return Error(code, errors.empty() ? error.message() : std::format("{}\n{}", error.message(), errors));
}

// Each directory at the top of the container's root but the kernel's own file systems: CRIU searches them one
// after the other for an inode that is watched. The large ones, in which hardly anybody watches, come last.
std::vector<std::string> watchable_directories(const std::string& root) {
  const auto rank = [](const std::string& path) { return path == "/usr" || path.starts_with("/lib"); };
  std::vector<std::string> paths;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(root, error)) {
    const std::string name = entry.path().filename();
    std::error_code unknown;
    if (!entry.is_directory(unknown) || entry.is_symlink(unknown) || name == "proc" || name == "sys") continue;
    paths.push_back("/" + name);
  }
  std::ranges::sort(paths, {}, [&](const std::string& path) { return std::pair(rank(path), path); });
  return paths;
}

// A process that is gone, or on its way, needs no help.
void end_interrupted_call(pid_t pid) {
  auto process = StoppedProcess::stop(pid, BootClock::now() + kAdoptTime);
  if (process) process->end_interrupted_call();
}

Status remove_scratch(const std::string& path) {
  Status removed = io::remove_tree(path);
  if (!removed && removed.error().code() == ErrorCode::kNotFound) return {};
  return removed;
}

std::set<pid_t> ending_children_of(pid_t pid) {
  std::set<pid_t> ending;
  const auto text = read_file(std::format("/proc/{0}/task/{0}/children", pid));
  if (!text) return ending;
  std::istringstream list(*text);
  for (pid_t child = 0; list >> child;) {
    if (const auto stat = process_stat(child); stat && stat->ending) ending.insert(child);
  }
  return ending;
}

// A process that is killed as soon as another one goes on, by that one for instance, while CRIU has not let go of it yet:
// CRIU gives the restore up and waits for the restored init, which waits for children whose end only CRIU is told.
Status serve_until_stuck(ImageServer& server, const io::ChildProcess& criu, Instant deadline) {
  constexpr Duration kLook = std::chrono::milliseconds(100);
  std::set<pid_t> before;
  for (;;) {
    const Instant until = std::min<Instant>(deadline, BootClock::now() + kLook);
    Status served = server.serve(criu.pidfd(), until);
    if (served || served.error().code() != ErrorCode::kTimeout || until == deadline) return served;
    std::set<pid_t> ending = ending_children_of(criu.pid());
    if (std::ranges::any_of(ending, [&](pid_t child) { return before.contains(child); })) {
      return fail(ErrorCode::kTransient, "a process ended while it was restored");
    }
    before = std::move(ending);
  }
}

Duration children_cpu() {
  rusage usage{};
  ::getrusage(RUSAGE_CHILDREN, &usage);
  const auto seconds = std::chrono::seconds(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec);
  return seconds + std::chrono::microseconds(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

}  // namespace

Engine::Engine(std::string container, EngineOptions options)
    : container_(std::move(container)), options_(std::move(options)) {}

Engine::~Engine() = default;

Status Engine::warm_up(const Surroundings& surroundings) {
  PERDURE_ASSIGN(network_namespace_, duplicate(surroundings.network_namespace_fd));
  if (standby_ && !standby_->alive()) standby_.reset();
  if (!standby_ && !options_.criu.standby.empty()) {
    PERDURE_ASSIGN(standby_, CriuStandby::spawn(options_.criu, restore_arguments(surroundings),
                                                network_namespace_.get(), surroundings.v1_cgroups));
  }
  return warm_worker();
}

Status Engine::warm_worker() {
  CriuProgram program = options_.criu;
  if (options_.tracking == MemoryTracking::kOff) program.pagemap_filter.clear();
  PERDURE_ASSIGN(worker_, CriuWorker::spawn(program, network_namespace_.get()));
  return {};
}

void Engine::cool_down() {
  worker_.reset();
  standby_.reset();
}

Result<std::string> Engine::make_scratch() {
  std::string path = std::format("{}/{}-{}", options_.scratch_dir, container_, ++calls_);
  PERDURE_TRY(remove_scratch(path));
  return path;
}

Result<CriuWorker> Engine::take_worker() {
  if (!worker_ || !worker_->alive()) {
    if (!network_namespace_) {
      return fail(ErrorCode::kInvalid, "no network namespace to start CRIU in: warm_up() comes first");
    }
    PERDURE_TRY(warm_worker());
  }
  CriuWorker worker = *std::move(worker_);
  worker_.reset();
  return worker;
}

Result<CapturedProcesses> Engine::capture(const CaptureTarget& target, const CaptureHooks& hooks,
                                          Instant deadline) {
  const Instant begin = BootClock::now();
  PERDURE_ASSIGN(std::string scratch_path, make_scratch());
  PERDURE_ASSIGN(const ScratchDirectory scratch, ScratchDirectory::make(std::move(scratch_path)));
  PERDURE_ASSIGN(const UniqueFd directory, open_file(scratch.path(), O_RDONLY | O_DIRECTORY));
  PERDURE_ASSIGN(CriuWorker worker, take_worker());

  const bool tracking = options_.tracking == MemoryTracking::kOn;
  std::map<pid_t, pid_t> inner_pids;
  for (const pid_t pid : target.pids) {
    // A process that ends meanwhile is in neither the images nor the tracker.
    if (const auto inner = inner_pid_of(pid)) inner_pids[pid] = *inner;
  }
  if (tracking) {
    tracker_.prepare(target.pids, begin + kAdoptTime);
    if (tracker_.written_bytes() > options_.precopy_threshold_bytes) {
      log::debug("{}: checkpoint: copying memory ahead", container_);
      // A failure here (a process that ended) is no failure of the capture: collect() reads anew.
      if (const Status copied = tracker_.precopy(); !copied) {
        log::debug("{}: copying ahead: {}", container_, copied.error().message());
      }
    }
  }

  DumpRequest request;
  request.init_pid = target.init_pid;
  request.images_dir_fd = directory.get();
  request.root = target.root;
  request.log_level = options_.criu_log_level;
  request.watched_paths = watchable_directories(target.root);
  for (const ExternalMount& mount : target.mounts) {
    request.externals.push_back(std::format("mnt[{}]:{}", mount.inside_path, mount.key));
  }
  CapturedProcesses captured;
  Instant frozen_at{};
  DumpHooks dump_hooks;
  dump_hooks.frozen = [&]() -> Status {
    frozen_at = BootClock::now();
    return hooks.frozen ? hooks.frozen() : Status{};
  };
  bool given_up_by_us = false;
  PendingSignals pending;
  dump_hooks.dumped = [&]() -> Status {
    log::debug("{}: checkpoint: dumped", container_);
    const Status collected = tracking ? tracker_.collect() : Status{};
    const Status snapped = hooks.before_thaw ? hooks.before_thaw() : Status{};
    pending = pending_signals(inner_pids);  // last: what comes after this is not known to have come
    given_up_by_us = !collected || !snapped;
    return collected ? snapped : collected;
  };
  const Duration cpu_before = children_cpu();
  log::debug("{}: checkpoint: freezing", container_);
  if (Status dumped = worker.dump(request, dump_hooks, deadline); !dumped) {
    // Marks were re-armed, their pages are lost: start over with everything.
    tracker_.reset();
    Error error = given_up_by_us ? std::move(dumped).error()
                                 : explain(std::move(dumped).error(), scratch.path() + "/dump.log");
    return fail(std::move(error).context(std::format("checkpoint of '{}'", container_)));
  }
  captured.thawed = BootClock::now();
  captured.frozen = captured.thawed - frozen_at;
  log::debug("{}: checkpoint: thawed", container_);

  PERDURE_ASSIGN(ImageSet set, read_image_directory(scratch.path()));
  captured.images = std::move(set.images);
  captured.memory = std::move(set.memory);
  if (tracking) {
    for (const pid_t pid : tracker_.ended()) {
      const auto inner = inner_pids.find(pid);
      const bool dumped = inner != inner_pids.end() && captured.memory.contains(std::format("mm-{}", inner->second));
      if (!dumped) continue;
      tracker_.reset();
      return fail(ErrorCode::kTransient, std::format("checkpoint of '{}': process {} was killed while it was taken", container_, pid));
    }
  }
  for (const auto& [pid, inner] : inner_pids) {
    const PagedObject* pages = tracker_.memory_of(pid);
    if (pages == nullptr) continue;
    PagedObject& object = captured.memory[std::format("mm-{}", inner)];
    object = object.overlaid_with(*pages);
  }
  // What expired between the last look and the thaw.
  const auto since_freeze = std::chrono::ceil<std::chrono::microseconds>(BootClock::now() - frozen_at);
  PERDURE_ASSIGN(const Repairs repairs, repair_images(captured.images, pending, since_freeze));
  interrupted_.clear();
  for (const auto& [pid, inner] : inner_pids) {
    if (std::ranges::find(repairs.interrupted, inner) != repairs.interrupted.end()) interrupted_.push_back(pid);
  }
  if (!target.stays_frozen) resumed();
  // It takes its time to end; the images are complete since it has answered.
  PERDURE_TRY(worker.finish(BootClock::now() + kEndOfCriuTime));
  captured.criu_cpu = children_cpu() - cpu_before;
  if (repairs.entries > 0) log::debug("{}: mended {} entries of CRIU's images", container_, repairs.entries);
  captured.untracked = tracker_.untracked();
  captured.pages_read = tracker_.bytes_read_by_last_collect() / kPageSize;
  captured.wall = BootClock::now() - begin;
  return captured;
}

std::string Engine::restore_scratch() const { return std::format("{}/{}-restore", options_.scratch_dir, container_); }

std::vector<std::string> Engine::restore_arguments(const Surroundings& surroundings) const {
  const std::string scratch = restore_scratch();
  std::vector<std::string> arguments = {options_.criu.path, "restore", "--stream", "--images-dir", scratch,
                                        "--root", surroundings.root, "--restore-detached",
                                        "--pidfile", scratch + kPidFile,
                                        "--tcp-established", "--ext-unix-sk", "--file-locks", "--link-remap",
                                        "--manage-cgroups=ignore", "--enable-external-masters",
                                        "--enable-external-sharing", "--log-file", "restore.log",
                                        std::format("-v{}", options_.criu_log_level),
                                        "--config", scratch + kConfiguration};
  for (const ExternalMount& mount : surroundings.mounts) {
    arguments.insert(arguments.end(), {"--external", std::format("mnt[{}]:{}", mount.key, mount.host_path)});
  }
  return arguments;
}

// A CRIU that is a member of the container's cgroups before it gets its first image: all that it restores is born
// there.
Result<io::ChildProcess> Engine::start_criu(const RestoreTarget& target, const std::string& scratch) {
  constexpr int kFirstInherited = 20;  // CRIU keeps its own descriptors at the top of the table
  std::string configuration;
  std::vector<io::InheritedFd> inherited;
  for (const auto& [key, fd] : target.inherited) {
    const int number = kFirstInherited + static_cast<int>(inherited.size());
    inherited.push_back({fd, number});
    configuration += std::format("inherit-fd fd[{}]:{}\n", number, key);
  }
  PERDURE_TRY(io::write_file_atomically(scratch + kConfiguration, configuration, 0600));
  const Surroundings& surroundings = target.surroundings;
  if (standby_ && !target.v2_cgroup.empty()) {
    CriuStandby standby = *std::move(standby_);
    standby_.reset();
    auto criu = standby.go(target.v2_cgroup, inherited, BootClock::now() + kStandbyTime);
    if (criu) return criu;
    log::warning("{}: {}; another one is started", container_, criu.error().message());
  }
  io::ProcessOptions options;
  options.environment = criu_environment();
  options.namespaces = {surroundings.network_namespace_fd};
  options.inherited = std::move(inherited);
  UniqueFd cgroup;
  if (!target.v2_cgroup.empty()) {
    PERDURE_ASSIGN(cgroup, open_file(target.v2_cgroup, O_RDONLY | O_DIRECTORY));
    options.cgroup_fd = cgroup.get();
  }
  auto criu = io::ChildProcess::spawn(restore_arguments(surroundings), options);
  if (!criu) return fail(std::move(criu).error().context("start CRIU"));
  PERDURE_TRY(enter_cgroups(surroundings.v1_cgroups, criu->pid()));
  return criu;
}

Result<RestoredProcesses> Engine::restore(const Capsule& capsule, const RestoreTarget& target,
                                          Instant deadline) {
  const Instant begin = BootClock::now();
  forget_processes();
  const std::string scratch_path = restore_scratch();
  PERDURE_TRY(remove_scratch(scratch_path));
  PERDURE_ASSIGN(const ScratchDirectory scratch, ScratchDirectory::make(scratch_path));
  PERDURE_ASSIGN(ImageCatalogue catalogue, ImageCatalogue::build(capsule));
  for (const Image& image : target.changed) catalogue.change(image);
  PERDURE_ASSIGN(ImageServer server, ImageServer::listen(scratch.path(), catalogue, target.late));
  PERDURE_ASSIGN(io::ChildProcess criu, start_criu(target, scratch.path()));
  const auto explained = [&](Error error) {
    return fail(explain(std::move(error), scratch.path() + "/restore.log")
                    .context(std::format("restore of '{}' from generation {}", container_,
                                         to_string(capsule.manifest.generation))));
  };
  Status served = serve_until_stuck(server, criu, deadline);
  if (!served && (served.error().code() == ErrorCode::kTimeout || served.error().code() == ErrorCode::kTransient)) {
    return explained(std::move(served).error());
  }
  const auto status = criu.wait(BootClock::now() + kEndOfCriuTime);
  if (status && status->signal_number == SIGKILL) {
    // Not by itself: an operator, or the kernel for want of memory. It says nothing about the capsule.
    return explained(Error(ErrorCode::kTransient, "CRIU was killed"));
  }
  if (!served) return explained(std::move(served).error());
  if (!status) return fail(status.error());
  if (!status->success()) {
    return explained(Error(ErrorCode::kIo, std::format("CRIU ended with {}", io::to_string(*status))));
  }
  PERDURE_ASSIGN(const std::string text, read_file(scratch.path() + kPidFile));
  RestoredProcesses restored;
  std::from_chars(text.data(), text.data() + text.size(), restored.init_pid);
  if (restored.init_pid <= 1) {
    return fail(ErrorCode::kIo, std::format("restore of '{}': CRIU wrote no pid", container_));
  }
  restored.wall = BootClock::now() - begin;
  return restored;
}

void Engine::resumed() {
  for (const pid_t pid : std::exchange(interrupted_, {})) end_interrupted_call(pid);
}

void Engine::forget_processes() {
  interrupted_.clear();
  tracker_.reset();
}

}  // namespace perdure::capsule
