#include "coord/etcd_process.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <format>
#include <utility>

#include "base/log.h"
#include "base/process_status.h"
#include "io/atomic_file.h"
#include "io/poll.h"

namespace perdure::coord {
namespace {

constexpr mode_t kPrivate = 0600;
constexpr std::size_t kMaxCommandBytes = std::size_t{64} << 10;
constexpr std::size_t kMaxPidFileBytes = 4096;

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> words;
  while (!text.empty()) {
    const auto end = std::min(text.find(separator), text.size());
    words.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return words;
}

std::string start_time_of(pid_t pid) {
  const auto stat = process_stat(pid);
  return stat ? std::to_string(stat->start_ticks) : std::string();
}

std::vector<std::string> command_of(pid_t pid) {
  const auto text = read_file(std::format("/proc/{}/cmdline", pid), kMaxCommandBytes);
  return text ? split(*text, '\0') : std::vector<std::string>();
}

Result<UniqueFd> open_log(const EtcdServerOptions& options) {
  struct stat found{};
  if (::stat(options.log_file.c_str(), &found) == 0 && static_cast<std::uint64_t>(found.st_size) >= kMaxEtcdLogBytes) {
    if (::rename(options.log_file.c_str(), (options.log_file + ".1").c_str()) != 0) {
      return fail_errno(std::format("turn over '{}'", options.log_file));
    }
  }
  return open_file(options.log_file, O_WRONLY | O_CREAT | O_APPEND, kPrivate);
}

bool is_beginning(const std::string& word) {
  return word.starts_with("--initial-") || word == "--force-new-cluster";
}

// Without the program and whatever stands before the first option (a wrapper's own words).
std::vector<std::string> service_words(const std::vector<std::string>& command) {
  std::vector<std::string> words;
  const auto first = std::ranges::find_if(command, [](const std::string& word) { return word.starts_with("--name="); });
  std::copy_if(first, command.end(), std::back_inserter(words), [](const std::string& word) { return !is_beginning(word); });
  return words;
}

}  // namespace

std::string pid_file_of(const EtcdServerOptions& options) { return options.data_directory + ".pid"; }

bool has_member_data(const EtcdServerOptions& options) {
  std::error_code ignored;
  // etcd makes "member/snap" before it has learnt whom it joins; the log comes last, by a rename (etcd, server/etcdserver/server.go).
  std::filesystem::directory_iterator entry(options.data_directory + "/member/wal", ignored);
  for (; !ignored && entry != std::filesystem::directory_iterator(); entry.increment(ignored)) {
    if (entry->path().extension() == ".wal") return true;
  }
  return false;
}

bool same_service(const std::vector<std::string>& left, const std::vector<std::string>& right) {
  return service_words(left) == service_words(right);
}

Result<EtcdProcess> EtcdProcess::spawn(const EtcdServerOptions& options, const std::vector<std::string>& command) {
  PERDURE_TRY(io::make_directories(options.data_directory, 0700));
  PERDURE_ASSIGN(const UniqueFd log, open_log(options));
  io::ProcessOptions process;
  // etcd takes ETCD_… of its environment for options.
  const char* path = std::getenv("PATH");
  process.environment = {std::string("PATH=") + (path != nullptr ? path : "/usr/sbin:/usr/bin:/sbin:/bin")};
  process.namespaces = options.namespaces;
  process.inherited = {{log.get(), 1}, {log.get(), 2}};
  EtcdProcess started;
  auto child = io::ChildProcess::spawn(command, process);
  if (!child) return fail(std::move(child.error()).context(std::format("start etcd '{}'", options.name)));
  started.pid_ = child->pid();
  started.command_ = command;
  started.child_ = std::move(*child);
  const std::string text = std::format("{} {}\n", started.pid_, start_time_of(started.pid_));
  PERDURE_TRY(io::write_file_atomically(pid_file_of(options), text, kPrivate));
  return started;
}

std::optional<EtcdProcess> EtcdProcess::find(const EtcdServerOptions& options) {
  const auto text = read_file(pid_file_of(options), kMaxPidFileBytes);
  if (!text) return std::nullopt;
  const auto words = split(*text, ' ');
  if (words.size() != 2) return std::nullopt;
  EtcdProcess found;
  found.pid_ = static_cast<pid_t>(std::strtol(words[0].c_str(), nullptr, 10));
  if (found.pid_ <= 1) return std::nullopt;
  auto pidfd = open_pidfd(found.pid_);
  if (!pidfd || start_time_of(found.pid_) + "\n" != words[1]) return std::nullopt;
  found.pidfd_ = std::move(*pidfd);
  found.command_ = command_of(found.pid_);
  if (std::ranges::find(found.command_, "--data-dir=" + options.data_directory) == found.command_.end()) return std::nullopt;
  return found;
}

void EtcdProcess::signal(int number) const {
  if (child_) {
    if (const Status sent = child_->send_signal(number); !sent) log::warning("etcd: {}", sent.error().message());
  } else {
    (void)::syscall(SYS_pidfd_send_signal, pidfd_.get(), number, nullptr, 0);
  }
}

std::string EtcdProcess::reap() {
  if (!child_) return "ended (it was taken over: how is not known)";
  const auto status = child_->wait(BootClock::now());
  return status ? to_string(*status) : status.error().message();
}

bool EtcdProcess::wait(Instant deadline) {
  const auto ready = io::wait_for_descriptor(pidfd(), POLLIN, deadline);
  return ready && *ready;
}

void EtcdProcess::release() {
  if (child_) (void)child_->release();
  child_.reset();
  pidfd_.reset();
}

}  // namespace perdure::coord
