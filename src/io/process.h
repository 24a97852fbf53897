// Child processes, for pool threads: plain blocking calls with deadlines. Works from any thread and
// in a subreaper: children are waited for by pidfd only, nothing here waits for "any child".
//
// Between clone and exec the child shares our memory (CLONE_VM|CLONE_VFORK: no page tables are
// copied, however much memory the daemon holds) and makes system calls only. It starts with default
// signal actions, an empty signal mask, a session of its own, and no descriptor but those named: 0,
// 1, 2 and `inherited`.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"

namespace perdure::io {

// A command without a deadline of its own gets this much.
inline constexpr Duration kDefaultCommandTime = std::chrono::seconds(30);
// Output of a command is held in memory: a tool that writes more is broken or was asked the wrong
// thing.
inline constexpr std::size_t kDefaultOutputLimitBytes = std::size_t{4} << 20;

enum class Stdio {
  kNull,     // /dev/null
  kInherit,  // ours
  kPipe,     // the other end is in ChildProcess
};

struct InheritedFd {
  int fd = -1;      // ours; stays open here, its close-on-exec flag stays as it is
  int target = -1;  // its number in the child; 0, 1 and 2 go before the Stdio choice
};

struct ProcessOptions {
  std::optional<std::vector<std::string>> environment =
      {};                              // "NAME=value", the whole of it; none: ours
  std::string working_directory = {};  // empty: ours; entered after `namespaces`
  std::vector<int> namespaces = {};  // setns() to each, in this order (not user or time namespaces)
  std::vector<InheritedFd> inherited = {};  // no two with the same target
  int cgroup_fd = -1;  // directory of the cgroup (v2) that the child is born in
  Stdio standard_input = Stdio::kNull;
  Stdio standard_output = Stdio::kNull;
  Stdio standard_error = Stdio::kNull;
};

struct ExitStatus {
  int code = 0;           // of exit(), if signal_number is 0
  int signal_number = 0;  // what killed it
  bool success() const { return code == 0 && signal_number == 0; }
};
std::string to_string(const ExitStatus& status);  // "exit status 3", "killed by signal 9 (Killed)"

// A running child and the right to end it. Destroying it kills (SIGKILL, with its process group)
// and reaps.
class ChildProcess {
 public:
  // argv[0] without a slash is looked up in our PATH, in our mount namespace.
  // kNotFound: no such program or directory. kInvalid: empty argv, a target that is used twice.
  // Every other step that fails in the child (setns, chdir, exec) is reported here with its name:
  // no child is left.
  static Result<ChildProcess> spawn(const std::vector<std::string>& argv,
                                    const ProcessOptions& options);
  // Takes over a child of this process that was not spawned here: one that came to us as a
  // subreaper. kNotFound: gone already, or not our child.
  static Result<ChildProcess> adopt(pid_t pid);

  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ~ChildProcess();

  pid_t pid() const { return pid_; }
  int pidfd() const {
    return pidfd_.get();
  }  // readable once the process has ended; for Loop::watch_readable
  // Our ends of the pipes, blocking, empty where no pipe was asked for. Close standard_input to
  // send its end.
  UniqueFd standard_input;
  UniqueFd standard_output;
  UniqueFd standard_error;

  bool running() const;  // false also when moved from or released
  // Waits for the end and reaps; a second call returns the same. kTimeout: still running.
  Result<ExitStatus> wait(Instant deadline);
  // Does nothing, with success, once the process has ended.
  Status send_signal(int signal_number) const;
  // SIGKILL to the process and its process group. Does not wait.
  void kill() const;
  // Lets go without killing: nobody here reaps it any more, reap_orphans() will.
  pid_t release();

 private:
  ChildProcess(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  void kill_and_reap();

  pid_t pid_ = -1;  // -1: moved from or released
  UniqueFd pidfd_;
  std::optional<ExitStatus> status_;
};

struct CommandOptions {
  ProcessOptions process =
      {};  // its Stdio fields are ignored: input below, output and errors captured
  Instant deadline = BootClock::now() + kDefaultCommandTime;
  std::string input = {};  // all of standard input; a command that does not read it all is no error
  std::size_t output_limit_bytes = kDefaultOutputLimitBytes;
};

struct CommandResult {
  ExitStatus status;
  std::string standard_output;  // whole
  std::string standard_error;   // the last output_limit_bytes of it
};

// Runs a program to its end. Any exit status is a success here: look at `status`. Output of helpers
// that outlive the program is not waited for. kTimeout: killed at the deadline, with its process
// group. kInvalid: killed, standard output beyond the limit. Else what ChildProcess::spawn returns.
Result<CommandResult> run_command(const std::vector<std::string>& argv,
                                  const CommandOptions& options = {});

// The same for commands that must succeed: standard output; any other end than exit status 0 is kIo
// with the command and the last lines of its standard error.
Result<std::string> command_output(const std::vector<std::string>& argv,
                                   const CommandOptions& options = {});

// For a subreaper, on SIGCHLD: reaps every dead child that no ChildProcess of this process owns.
// Returns how many. Never blocks. Any thread.
std::size_t reap_orphans();

}  // namespace perdure::io
