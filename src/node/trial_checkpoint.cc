#include "node/trial_checkpoint.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <format>
#include <memory>

#include "base/fd.h"
#include "io/atomic_file.h"
#include "io/poll.h"
#include "io/process.h"

namespace perdure::node {
namespace {

constexpr Duration kReadyTime = std::chrono::seconds(5);
constexpr Duration kDumpTime = std::chrono::seconds(15);
constexpr Duration kEndTime = std::chrono::seconds(5);
constexpr std::string_view kReady = "ready\n";
constexpr std::size_t kErrorLines = 8;

// ---- The process that is dumped: system calls only, so that nothing surprises CRIU ----

bool raise_loopback(int socket) {
  ifreq request{};
  std::strncpy(request.ifr_name, "lo", sizeof request.ifr_name - 1);
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  return ::ioctl(socket, SIOCSIFFLAGS, &request) == 0;
}

// A connection with itself; the descriptors stay open until the end.
bool connect_to_itself() {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const raw = reinterpret_cast<sockaddr*>(&address);
  socklen_t length = sizeof address;
  return listener >= 0 && client >= 0 && raise_loopback(listener) && ::bind(listener, raw, length) == 0 &&
         ::listen(listener, 1) == 0 && ::getsockname(listener, raw, &length) == 0 &&
         ::connect(client, raw, length) == 0 && ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC) >= 0;
}

// ---- The trial ----

class TrialDirectory {
 public:
  static Result<std::unique_ptr<TrialDirectory>> create(const std::string& scratch) {
    std::string path = scratch + "/doctor-XXXXXX";
    if (::mkdtemp(path.data()) == nullptr) return fail_errno(std::format("make a directory in '{}'", scratch));
    return std::unique_ptr<TrialDirectory>(new TrialDirectory(std::move(path)));
  }
  TrialDirectory(const TrialDirectory&) = delete;
  TrialDirectory& operator=(const TrialDirectory&) = delete;
  ~TrialDirectory() { [[maybe_unused]] const Status removed = io::remove_tree(path_); }
  const std::string& path() const { return path_; }

 private:
  explicit TrialDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

Status wait_ready(int fd) {
  std::string text(kReady.size(), '\0');
  PERDURE_ASSIGN(const bool came, io::wait_for_descriptor(fd, POLLIN, BootClock::now() + kReadyTime));
  const ssize_t got = came ? ::read(fd, text.data(), text.size()) : 0;
  if (got == static_cast<ssize_t>(kReady.size()) && text == kReady) return {};
  return fail(ErrorCode::kIo, "the trial's own process could not make a network namespace with a TCP connection");
}

}  // namespace

int run_trial_process() {
  if (::unshare(CLONE_NEWNET) != 0 || !connect_to_itself()) return 1;
  if (::write(STDOUT_FILENO, kReady.data(), kReady.size()) != static_cast<ssize_t>(kReady.size())) return 1;
  char byte = 0;
  while (::read(STDIN_FILENO, &byte, 1) > 0) {
  }
  return 0;
}

Result<TrialReport> try_checkpoint(const TrialOptions& options) {
  io::ProcessOptions process_options;
  process_options.standard_input = io::Stdio::kPipe;
  process_options.standard_output = io::Stdio::kPipe;
  auto process = io::ChildProcess::spawn({options.program, "--trial-process"}, process_options);
  if (!process) return fail(std::move(process).error().context("start the trial's process"));
  PERDURE_TRY(wait_ready(process->standard_output.get()));
  PERDURE_ASSIGN(const UniqueFd network, open_file(std::format("/proc/{}/ns/net", process->pid()), O_RDONLY));
  PERDURE_ASSIGN(const auto directory, TrialDirectory::create(options.scratch_dir));
  PERDURE_ASSIGN(const UniqueFd images, open_file(directory->path(), O_RDONLY | O_DIRECTORY));

  const Instant begin = BootClock::now();
  PERDURE_ASSIGN(auto worker, capsule::CriuWorker::spawn(options.criu, network.get()));
  capsule::DumpRequest request;
  request.init_pid = process->pid();
  request.images_dir_fd = images.get();
  request.root = "/";
  const Status dumped = worker.dump(request, {}, begin + kDumpTime);
  const Duration took = BootClock::now() - begin;
  [[maybe_unused]] const Status finished = worker.finish(BootClock::now() + kEndTime);
  const std::string lines = capsule::criu_log_errors(directory->path() + "/dump.log", kErrorLines);
  if (!dumped) {
    return fail(dumped.error().code(),
                lines.empty() ? dumped.error().message() : std::format("{}\n{}", dumped.error().message(), lines));
  }
  return TrialReport{took, lines};
}

}  // namespace perdure::node
