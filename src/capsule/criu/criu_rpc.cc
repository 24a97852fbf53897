#include "capsule/criu/criu_rpc.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <deque>
#include <format>
#include <optional>

#include "base/log.h"
#include "base/process_status.h"
#include "criu_rpc.pb.h"
#include "io/poll.h"

namespace perdure::capsule {
namespace {

constexpr std::size_t kMaxMessageBytes = 1u << 20;
constexpr std::size_t kMaxLogBytes = 64u << 20;

void fill_options(criu::Options& options, const DumpRequest& request) {
  options.set_images_dir_fd(request.images_dir_fd);
  options.set_pid(request.init_pid);
  options.set_leave_running(true);
  options.set_ext_unix_sk(true);
  options.set_tcp_established(true);
  options.set_tcp_skip_in_flight(true);
  options.set_file_locks(true);
  options.set_log_level(request.log_level);
  options.set_log_file("dump.log");
  options.set_notify_scripts(true);
  options.set_root(request.root);
  options.set_ext_masters(true);
  options.set_ext_sharing(true);
  options.set_manage_cgroups(true);
  options.set_manage_cgroups_mode(criu::CG_IGNORE);
  options.set_network_lock(criu::NETWORK_LOCK_SKIP);
  options.set_ghost_limit(request.ghost_limit_bytes);
  // Overlayfs without an index has no file handles, by which CRIU would name the inodes that inotify watches.
  options.set_force_irmap(true);
  for (const std::string& path : request.watched_paths) options.add_irmap_scan_paths(path);
  for (const std::string& external : request.externals) options.add_external(external);
}

}  // namespace

std::vector<std::string> criu_environment() {
  return {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/nonexistent", "LC_ALL=C"};
}

Status learn_kernel_features(const std::string& criu, Instant deadline) {
  io::CommandOptions options;
  options.process.environment = criu_environment();
  options.deadline = deadline;
  PERDURE_ASSIGN(const io::CommandResult checked, io::run_command({criu, "check"}, options));
  log::debug("criu check: {}", checked.standard_output.empty() ? checked.standard_error : checked.standard_output);
  return {};
}

Result<ConnectedCriu> spawn_connected_criu(const std::vector<std::string>& arguments,
                                           std::vector<std::string> environment, int network_namespace_fd) {
  int sockets[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
    return fail_errno("create socket pair for CRIU");
  }
  UniqueFd ours(sockets[0]);
  const UniqueFd theirs(sockets[1]);
  io::ProcessOptions options;
  options.environment = std::move(environment);
  options.namespaces = {network_namespace_fd};
  options.inherited = {{theirs.get(), kCriuSocket}};
  auto process = io::ChildProcess::spawn(arguments, options);
  if (!process) return fail(std::move(process).error().context("start CRIU"));
  return ConnectedCriu{*std::move(process), std::move(ours)};
}

Result<CriuWorker> CriuWorker::spawn(const CriuProgram& program, int network_namespace_fd) {
  std::vector<std::string> environment = criu_environment();
  if (!program.pagemap_filter.empty()) environment.push_back("LD_PRELOAD=" + program.pagemap_filter);
  PERDURE_ASSIGN(auto criu, spawn_connected_criu({program.path, "swrk", std::to_string(kCriuSocket)},
                                                 std::move(environment), network_namespace_fd));
  return CriuWorker(std::move(criu));
}

Status CriuWorker::send(const std::string& message) {
  for (;;) {
    const ssize_t sent = ::send(socket_.get(), message.data(), message.size(), MSG_NOSIGNAL);
    if (sent == static_cast<ssize_t>(message.size())) return {};
    if (sent < 0 && errno == EINTR) continue;
    return fail_errno("send request to CRIU");
  }
}

Result<std::string> CriuWorker::receive(pid_t init_pid, Instant deadline) {
  constexpr Duration kLookAfterInit = std::chrono::milliseconds(20);
  for (;;) {
    const Instant until = std::min<Instant>(deadline, BootClock::now() + kLookAfterInit);
    PERDURE_ASSIGN(const bool ready, io::wait_for_descriptor(socket_.get(), POLLIN, until));
    if (!ready && until == deadline) return fail(ErrorCode::kTimeout, "CRIU did not answer in time");
    if (!ready) {
      // It ends when its children have: those whose end only their tracer is told. Their tracer waits for init.
      const auto init = process_stat(init_pid);
      if (init && init->ending) return fail(ErrorCode::kTransient, "the container's first process has ended");
      continue;
    }
    // Its size first: the answers are some hundred bytes, and this is done while the container is frozen.
    const ssize_t size = ::recv(socket_.get(), nullptr, 0, MSG_PEEK | MSG_TRUNC);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return fail_errno("receive answer from CRIU");
    if (size == 0) return fail(ErrorCode::kIo, "CRIU ended without an answer");
    std::string message(static_cast<std::size_t>(size), '\0');
    if (message.size() > kMaxMessageBytes) return fail(ErrorCode::kIo, "CRIU sent an answer of absurd size");
    if (::recv(socket_.get(), message.data(), message.size(), 0) != size) {
      return fail_errno("receive answer from CRIU");
    }
    return message;
  }
}

Status CriuWorker::dump(const DumpRequest& request, const DumpHooks& hooks, Instant deadline) {
  criu::Request dump;
  dump.set_type(criu::DUMP);
  fill_options(*dump.mutable_opts(), request);
  PERDURE_TRY(send(dump.SerializeAsString()));

  std::optional<Error> hook_error;
  for (;;) {
    auto message = receive(request.init_pid, deadline);
    if (!message) {
      process_.kill();
      return fail(std::move(message).error());
    }
    criu::Response response;
    if (!response.ParseFromString(*message)) {
      process_.kill();
      return fail(ErrorCode::kIo, "CRIU sent an answer that cannot be parsed");
    }
    if (response.type() != criu::NOTIFY) {
      if (hook_error) return fail(*std::move(hook_error));
      if (response.success()) return {};
      return fail(ErrorCode::kIo, response.cr_errmsg().empty() ? "CRIU could not dump the container"
                                                               : response.cr_errmsg());
    }
    Status hooked;
    if (response.notify().script() == "query-ext-files" && hooks.frozen) hooked = hooks.frozen();
    if (response.notify().script() == "post-dump" && hooks.dumped) hooked = hooks.dumped();
    if (!hooked && !hook_error) hook_error = hooked.error();
    criu::Request answer;
    answer.set_type(criu::NOTIFY);
    answer.set_notify_success(hooked.has_value());
    PERDURE_TRY(send(answer.SerializeAsString()));
  }
}

Status CriuWorker::finish(Instant deadline) {
  socket_.reset();
  if (auto ended = process_.wait(deadline); !ended) {
    process_.kill();
    return fail(std::move(ended).error().context("wait for the end of CRIU"));
  }
  return {};
}

std::string criu_log_errors(const std::string& log_path, std::size_t lines) {
  const auto log = read_file(log_path, kMaxLogBytes);
  if (!log) return {};
  std::deque<std::string_view> errors;
  std::string_view rest = *log;
  while (!rest.empty()) {
    const auto end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const auto at = line.find("Error (");
    if (at == std::string_view::npos) continue;
    // Without CAP_SYS_RESOURCE CRIU says this at every start, and goes on.
    if (line.find("Can't setup RLIMIT_NOFILE for self") != std::string_view::npos) continue;
    errors.push_back(line.substr(at));
    if (errors.size() > lines) errors.pop_front();
  }
  std::string text;
  for (const std::string_view line : errors) {
    if (!text.empty()) text += '\n';
    text += line;
  }
  return text;
}

Result<CriuVersion> query_criu_version(const CriuProgram& program) {
  PERDURE_ASSIGN(const std::string text, io::command_output({program.path, "--version"}));
  CriuVersion version;
  const auto at = text.find("Version: ");
  if (at == std::string::npos ||
      std::sscanf(text.c_str() + at, "Version: %d.%d.%d", &version.major, &version.minor,
                  &version.sublevel) < 2) {
    return fail(ErrorCode::kUnsupported,
                std::format("'{} --version' says '{}': no version", program.path, text.substr(0, 80)));
  }
  return version;
}

std::string to_string(const CriuVersion& version) {
  return std::format("{}.{}.{}", version.major, version.minor, version.sublevel);
}

}  // namespace perdure::capsule
