#include "runtime/process_watch.h"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <format>

#include "base/process_status.h"
#include "io/poll.h"

namespace perdure::runtime {
Result<ProcessId> ProcessId::of(pid_t pid) {
  PERDURE_ASSIGN(const ProcessStat stat, process_stat(pid));
  return ProcessId{pid, stat.start_ticks};
}

std::string to_string(const ProcessEnd& end) {
  return end.status ? io::to_string(*end.status) : "unknown status";
}

Result<ProcessWatch> ProcessWatch::open(const ProcessId& process) {
  auto pidfd = open_pidfd(process.pid);
  const auto pid_namespace = pid_namespace_of(process.pid);
  // Compared after the descriptor is open and all is read: the number cannot have passed to another process unseen.
  const auto now = ProcessId::of(process.pid);
  if (!pidfd || !now || *now != process) {
    return fail(ErrorCode::kNotFound,
                std::format("process {} has ended{}", process.pid,
                            now ? " and its number belongs to another one" : ""));
  }
  ProcessWatch watch(process, std::move(*pidfd));
  watch.pid_namespace_ = pid_namespace.value_or(0);
  if (auto child = io::ChildProcess::adopt(process.pid); child) watch.child_ = std::move(*child);
  return watch;
}

ProcessWatch& ProcessWatch::operator=(ProcessWatch&& other) noexcept {
  if (child_) child_->release();
  process_ = other.process_;
  pidfd_ = std::move(other.pidfd_);
  pid_namespace_ = other.pid_namespace_;
  child_ = std::move(other.child_);
  other.child_.reset();
  return *this;
}

ProcessWatch::~ProcessWatch() {
  if (child_) child_->release();
}

Result<ProcessEnd> ProcessWatch::wait(Instant deadline) {
  if (child_) {
    PERDURE_ASSIGN(const io::ExitStatus status, child_->wait(deadline));
    return ProcessEnd{status};
  }
  PERDURE_ASSIGN(const bool ended, io::wait_for_descriptor(pidfd_.get(), POLLIN, deadline));
  if (!ended) {
    return fail(ErrorCode::kTimeout, std::format("process {} is still running", process_.pid));
  }
  return ProcessEnd{};
}

bool ProcessWatch::is_ending() const {
  const auto now = ProcessId::of(process_.pid);
  return (now && *now != process_) || perdure::is_ending(process_.pid);
}

Status ProcessWatch::signal(int number) const {
  if (::syscall(SYS_pidfd_send_signal, pidfd_.get(), number, nullptr, 0) == 0) return {};
  const std::string what = std::format("signal {} to process {}", number, process_.pid);
  if (errno == ESRCH) return fail(ErrorCode::kNotFound, what + ": it has ended");
  return fail_errno(what);
}

Status become_subreaper() {
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) return fail_errno("become a subreaper");
  return {};
}

}  // namespace perdure::runtime
