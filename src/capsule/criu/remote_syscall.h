// One system call executed by another process, for the few that act only on their caller (userfaultfd).
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>

#include "base/clock.h"
#include "base/result.h"

namespace perdure::capsule {

// Stops one thread of `pid` (ptrace(2), PTRACE_SEIZE), lets it execute the call through the `syscall`
// instruction of its own vDSO, and sets it going again with registers, signal mask and an interrupted call
// as they were. Seccomp filters are suspended for the one call. Returns what the call returned (>= 0);
// a negative result is kIo naming call and process. kUnsupported on other machines than x86-64; kNotFound
// when the process is gone; kTimeout when it does not stop by the deadline (uninterruptible sleep).
// Blocking; caller's thread becomes the tracer for the time of the call, so no other tracer may be there.
Result<std::int64_t> execute_in_process(pid_t pid, long call_number,
                                        const std::array<std::uint64_t, 6>& arguments,
                                        Instant deadline);

}  // namespace perdure::capsule
