#include "io/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <format>
#include <mutex>
#include <set>
#include <shared_mutex>

#include "base/assert.h"
#include "base/log.h"
#include "io/poll.h"
#include "io/spawn.h"

namespace perdure::io {

namespace {

// How long a destructor waits for a killed process; one that sits in the kernel (a dead NFS server)
// is left to reap_orphans().
constexpr Duration kReapTime = std::chrono::seconds(5);

// Which children have an owner here. Children belong to the whole process, and so does this table:
// it is what lets reap_orphans() leave them alone.
class ChildTable {
 public:
  static ChildTable& instance() {
    static ChildTable table;
    return table;
  }

  // Held from before a child exists until it is in the table; reaping takes it exclusively.
  std::shared_mutex births;

  void add(pid_t pid) {
    const std::scoped_lock lock(mutex_);
    owned_.insert(pid);
  }
  void remove(pid_t pid) {
    const std::scoped_lock lock(mutex_);
    owned_.erase(pid);
  }
  bool contains(pid_t pid) {
    const std::scoped_lock lock(mutex_);
    return owned_.contains(pid);
  }

 private:
  std::mutex mutex_;
  std::set<pid_t> owned_;
};

Result<std::string> find_program(const std::string& name) {
  if (name.contains('/')) return name;
  const char* path = ::getenv("PATH");
  const std::string_view search =
      path != nullptr ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  for (std::size_t begin = 0; begin <= search.size();) {
    const std::size_t end = std::min(search.find(':', begin), search.size());
    const std::string candidate = std::format("{}/{}", search.substr(begin, end - begin), name);
    std::error_code ignored;
    if (candidate.front() == '/' && std::filesystem::is_regular_file(candidate, ignored) &&
        ::access(candidate.c_str(), X_OK) == 0) {
      return candidate;
    }
    begin = end + 1;
  }
  return fail(ErrorCode::kNotFound,
              std::format("run '{}': no such program in PATH '{}'; is its package installed?", name,
                          search));
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> result;
  result.reserve(strings.size() + 1);
  for (const std::string& string : strings) result.push_back(const_cast<char*>(string.c_str()));
  result.push_back(nullptr);
  return result;
}

// The descriptors of a child that is being started: which of ours goes where, and what must stay
// open till then.
struct Descriptors {
  std::vector<SpawnRequest::Mapping> mappings;
  std::vector<UniqueFd> child_ends;
  UniqueFd our_ends[3];
};

Status add_stdio(Descriptors& descriptors, int number, Stdio choice) {
  switch (choice) {
    case Stdio::kInherit:
      return {};
    case Stdio::kNull: {
      PERDURE_ASSIGN(UniqueFd null, open_file("/dev/null", O_RDWR));
      descriptors.child_ends.push_back(std::move(null));
      break;
    }
    case Stdio::kPipe: {
      PERDURE_ASSIGN(Pipe pipe, make_pipe());
      const bool child_reads = number == STDIN_FILENO;
      descriptors.child_ends.push_back(std::move(child_reads ? pipe.read_end : pipe.write_end));
      descriptors.our_ends[number] = std::move(child_reads ? pipe.write_end : pipe.read_end);
      break;
    }
  }
  descriptors.mappings.push_back({descriptors.child_ends.back().get(), number});
  return {};
}

Result<Descriptors> prepare_descriptors(const std::string& name, const ProcessOptions& options) {
  Descriptors descriptors;
  std::set<int> targets;
  for (const InheritedFd& inherited : options.inherited) {
    if (inherited.fd < 0 || inherited.target < 0 || !targets.insert(inherited.target).second) {
      return fail(ErrorCode::kInvalid,
                  std::format("start '{}': descriptor {} as {}: negative, or the number is taken",
                              name, inherited.fd, inherited.target));
    }
    descriptors.mappings.push_back({inherited.fd, inherited.target});
  }
  const Stdio choices[3] = {options.standard_input, options.standard_output,
                            options.standard_error};
  for (int number = 0; number < 3; ++number) {
    if (!targets.contains(number)) PERDURE_TRY(add_stdio(descriptors, number, choices[number]));
  }
  return descriptors;
}

ExitStatus exit_status(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return ExitStatus{.code = info.si_status};
  return ExitStatus{.signal_number = info.si_status};
}

}  // namespace

std::string to_string(const ExitStatus& status) {
  if (status.signal_number == 0) return std::format("exit status {}", status.code);
  const char* name = ::sigdescr_np(status.signal_number);
  return std::format("killed by signal {} ({})", status.signal_number,
                     name != nullptr ? name : "unknown");
}

Result<ChildProcess> ChildProcess::spawn(const std::vector<std::string>& argv,
                                         const ProcessOptions& options) {
  if (argv.empty()) return fail(ErrorCode::kInvalid, "start a program: no name given");
  PERDURE_ASSIGN(const std::string program, find_program(argv.front()));
  PERDURE_ASSIGN(Descriptors descriptors, prepare_descriptors(argv.front(), options));
  const std::vector<char*> arguments = pointers(argv);
  const std::vector<char*> environment =
      options.environment ? pointers(*options.environment) : std::vector<char*>();

  SpawnRequest request;
  request.name = argv.front().c_str();
  request.program = program.c_str();
  request.argv = arguments.data();
  request.environment = options.environment ? environment.data() : ::environ;
  if (!options.working_directory.empty()) {
    request.working_directory = options.working_directory.c_str();
  }
  request.namespaces = options.namespaces;
  request.staging.resize(descriptors.mappings.size());
  request.descriptors = std::move(descriptors.mappings);
  request.cgroup_fd = options.cgroup_fd;

  ChildTable& table = ChildTable::instance();
  const std::shared_lock birth(table.births);
  PERDURE_ASSIGN(SpawnedProcess process, spawn_process(request));
  table.add(process.pid);
  ChildProcess child(process.pid, std::move(process.pidfd));
  child.standard_input = std::move(descriptors.our_ends[STDIN_FILENO]);
  child.standard_output = std::move(descriptors.our_ends[STDOUT_FILENO]);
  child.standard_error = std::move(descriptors.our_ends[STDERR_FILENO]);
  return child;
}

Result<ChildProcess> ChildProcess::adopt(pid_t pid) {
  ChildTable& table = ChildTable::instance();
  const std::shared_lock birth(table.births);
  siginfo_t info{};
  if (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT | __WALL) != 0 ||
      table.contains(pid)) {
    return fail(ErrorCode::kNotFound,
                std::format("adopt process {}: not a child of this process without an owner", pid));
  }
  // Our unreaped child: the number cannot pass to another process meanwhile.
  PERDURE_ASSIGN(UniqueFd pidfd, open_pidfd(pid));
  table.add(pid);
  return ChildProcess(pid, std::move(pidfd));
}

bool ChildProcess::running() const {
  pollfd ended{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
  return pid_ > 0 && ::poll(&ended, 1, 0) == 0;
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : standard_input(std::move(other.standard_input)),
      standard_output(std::move(other.standard_output)),
      standard_error(std::move(other.standard_error)),
      pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::move(other.pidfd_)),
      status_(std::exchange(other.status_, std::nullopt)) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  if (this == &other) return *this;
  kill_and_reap();
  standard_input = std::move(other.standard_input);
  standard_output = std::move(other.standard_output);
  standard_error = std::move(other.standard_error);
  pid_ = std::exchange(other.pid_, -1);
  pidfd_ = std::move(other.pidfd_);
  status_ = std::exchange(other.status_, std::nullopt);
  return *this;
}

ChildProcess::~ChildProcess() {
  kill_and_reap();
}

void ChildProcess::kill_and_reap() {
  if (pid_ < 0 || status_) return;
  kill();
  if (!wait(BootClock::now() + kReapTime)) {
    log::warning("process {} does not end although it was killed: left to the reaper", pid_);
  }
  release();
}

Result<ExitStatus> ChildProcess::wait(Instant deadline) {
  if (status_) return *status_;
  PERDURE_ASSERT(pid_ >= 0);
  PERDURE_ASSIGN(const bool ended, wait_for_descriptor(pidfd_.get(), POLLIN, deadline));
  if (!ended) {
    return fail(ErrorCode::kTimeout, std::format("process {} still runs", pid_));
  }
  siginfo_t info{};
  while (::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd_.get()), &info,
                  WEXITED | __WALL) != 0) {
    if (errno != EINTR) return fail_errno(std::format("wait for process {}", pid_));
  }
  status_ = exit_status(info);
  ChildTable::instance().remove(pid_);
  return *status_;
}

Status ChildProcess::send_signal(int signal_number) const {
  if (pid_ < 0 || status_) return {};
  if (::syscall(SYS_pidfd_send_signal, pidfd_.get(), signal_number, nullptr, 0) != 0 &&
      errno != ESRCH) {
    return fail_errno(std::format("send signal {} to process {}", signal_number, pid_));
  }
  return {};
}

void ChildProcess::kill() const {
  if (pid_ < 0 || status_) return;
  // Not reaped yet, so the number still names this process and its group.
  ::kill(-pid_, SIGKILL);
  if (const Status sent = send_signal(SIGKILL); !sent) log::error("{}", sent.error().message());
}

pid_t ChildProcess::release() {
  const pid_t pid = std::exchange(pid_, -1);
  if (pid >= 0 && !status_) ChildTable::instance().remove(pid);
  status_.reset();
  pidfd_.reset();
  return pid;
}

std::size_t reap_orphans() {
  ChildTable& table = ChildTable::instance();
  const std::unique_lock no_births(table.births);
  std::size_t reaped = 0;
  std::error_code ignored;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", ignored)) {
    const auto children = read_file(task.path().string() + "/children");
    if (!children) continue;  // that thread has ended: its children are another one's now
    const char* position = children->data();
    const char* const end = position + children->size();
    pid_t pid = 0;
    while (position < end) {
      const auto [next, error] = std::from_chars(position, end, pid);
      if (error != std::errc()) break;
      position = next + 1;
      if (table.contains(pid)) continue;
      siginfo_t info{};
      if (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | __WALL) == 0 &&
          info.si_pid == pid) {
        ++reaped;
      }
    }
  }
  return reaped;
}

}  // namespace perdure::io
