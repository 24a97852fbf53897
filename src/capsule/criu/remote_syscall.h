// System calls that another process makes on our behalf.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <memory>

#include "base/clock.h"
#include "base/result.h"

namespace perdure::capsule {

// The first thread of a process, stopped through ptrace(2) and set going again as it was by the destructor: no
// signal is lost or taken twice, an interrupted system call is restarted or ends as it would have. x86-64 only.
// One thread of ours uses it from beginning to end: ptrace belongs to the thread that attached. Should we be killed
// meanwhile, the process goes on as it was, or is killed too if a call has been made in it (some 100 us).
// System calls that return EINTR after any handler, whatever SA_RESTART says (signal(7)): the kernel's
// ERESTARTNOHAND.
bool ends_after_a_handler(std::int64_t call_number);

class StoppedProcess {
 public:
  // kNotFound: it has ended; kTimeout: it does not stop (uninterruptible sleep); kUnsupported: no x86-64, or no
  // vDSO to take the instruction from; kIo: tracing is refused, for example because a debugger is there.
  static Result<StoppedProcess> stop(pid_t pid, Instant deadline);
  StoppedProcess(StoppedProcess&&) noexcept;
  StoppedProcess& operator=(StoppedProcess&&) = delete;
  ~StoppedProcess();

  // If it waits in a system call that any handler ends (ends_after_a_handler), the call returns EINTR when the
  // process goes on. Returns whether it does.
  bool end_interrupted_call();

  // What the call returns, as its error if that is one. kNotFound: the process ended meanwhile; kTimeout.
  Result<std::int64_t> call(long number, const std::array<std::uint64_t, 6>& arguments, Instant deadline);

 private:
  struct Impl;
  explicit StoppedProcess(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace perdure::capsule
