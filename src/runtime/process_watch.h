// Watching a container's first process: whether it lives, and how it ended.
//
// A pid alone may be reused while the daemon is away, so a process is named by pid and start time. The exit
// status is known only to the parent: the daemon makes itself a subreaper, which makes it the parent of every
// container that runc or CRIU leaves behind; after a restart of the daemon the status is unknown.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"

namespace perdure::runtime {

struct ProcessId {
  pid_t pid = -1;
  std::uint64_t start_ticks = 0;  // field 22 of /proc/PID/stat

  bool operator==(const ProcessId&) const = default;
  static Result<ProcessId> of(pid_t pid);  // kNotFound
};

struct ExitStatus {
  enum class Kind { kExited, kSignalled, kUnknown };
  Kind kind = Kind::kUnknown;
  int value = 0;  // exit code or signal number

  bool success() const { return kind == Kind::kExited && value == 0; }
  bool operator==(const ExitStatus&) const = default;
};
std::string to_string(const ExitStatus& status);  // "exited with 3", "killed by signal 9 (Killed)", …

class ProcessWatch {
 public:
  // kNotFound: no such process, or another one has its number by now.
  static Result<ProcessWatch> open(const ProcessId& process);

  const ProcessId& process() const { return process_; }
  int fd() const { return pidfd_.get(); }  // readable once the process has ended
  bool ended() const;                      // a zombie counts as ended

  // Waits for the end and reaps it if it is our child. kTimeout.
  Result<ExitStatus> wait(Duration deadline);
  // To this very process, never to a successor with its number. kNotFound after its end.
  Status signal(int number) const;

 private:
  ProcessWatch(ProcessId process, UniqueFd pidfd);
  ProcessId process_;
  UniqueFd pidfd_;
  std::optional<ExitStatus> status_;
};

// Orphans of descendants become our children from now on (prctl(2), PR_SET_CHILD_SUBREAPER).
Status become_subreaper();

// Reaps ended children that nobody waits for: orphans adopted by a subreaper. OWNED says which pids have
// an owner that will wait for them (children that were spawned, watched containers); those are left alone.
// Returns the pids that were reaped. Call it on SIGCHLD or once a second; never blocks.
std::vector<pid_t> reap_orphans(const std::function<bool(pid_t)>& owned);

}  // namespace perdure::runtime
