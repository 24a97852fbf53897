// Watching a container's first process: whether it lives, and how it ended.
//
// A pid alone may be reused while the daemon is away, so a process is named by pid and start time.
// The exit status is known only to the parent: the daemon makes itself a subreaper, which makes it
// the parent of every container that runc or CRIU leaves behind; after a restart of the daemon the
// status is unknown.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "io/process.h"

namespace perdure::runtime {

struct ProcessId {
  pid_t pid = -1;
  std::uint64_t start_ticks = 0;  // base/process_status.h

  bool operator==(const ProcessId&) const = default;
  static Result<ProcessId> of(pid_t pid);  // kNotFound
};

// How a process ended; no status where it was never our child.
struct ProcessEnd {
  std::optional<io::ExitStatus> status;
};
std::string to_string(const ProcessEnd& end);  // "exit status 3", …, "unknown status"

// Not for two threads at once. Destroying it changes nothing for the process; if it is our child
// and has not been waited for, io::reap_orphans() does that later.
class ProcessWatch {
 public:
  // kNotFound: no such process, or another one has its number by now.
  static Result<ProcessWatch> open(const ProcessId& process);
  ProcessWatch(ProcessWatch&&) noexcept = default;
  ProcessWatch& operator=(ProcessWatch&& other) noexcept;
  ~ProcessWatch();

  const ProcessId& process() const { return process_; }
  int fd() const {
    return pidfd_.get();
  }  // readable once the process has ended; for Loop::watch_readable
  bool is_child() const { return child_.has_value(); }
  // Inode of its PID namespace; 0 where that could not be read, for it was ending.
  std::uint32_t pid_namespace() const { return pid_namespace_; }
  // Nothing of it will run any more (base/process_status.h). Until others let go of it (a tracer of its children, of an
  // init), and until it gets a processor, its end does not show.
  bool is_ending() const;

  // Waits for the end of the whole process (all threads) and reaps it if it is our child; a second
  // call returns the same. kTimeout: still running.
  Result<ProcessEnd> wait(Instant deadline);
  // To this very process, never to a successor with its number. kNotFound after its end.
  Status signal(int number) const;

 private:
  ProcessWatch(ProcessId process, UniqueFd pidfd) : process_(process), pidfd_(std::move(pidfd)) {}
  ProcessId process_;
  UniqueFd pidfd_;
  std::uint32_t pid_namespace_ = 0;
  std::optional<io::ChildProcess> child_;
};

// Orphans of descendants become our children from now on (prctl(2), PR_SET_CHILD_SUBREAPER).
Status become_subreaper();

}  // namespace perdure::runtime
