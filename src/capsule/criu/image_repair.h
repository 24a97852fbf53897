// Mends what stock CRIU is known to write wrongly, so that a restored container is the one that was
// captured.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <vector>

#include "base/result.h"
#include "capsule/format/capsule.h"

namespace perdure::capsule {

// By the pid inside the container: signals pending for the whole process, bit N - 1 for signal N (ShdPnd of
// proc_pid_status(5)).
using PendingSignals = std::map<pid_t, std::uint64_t>;

// What would be silent for ever after a restore. kCorrupt naming the image.
//
// A periodic timerfd that expired while the processes were stopped is dumped with a remaining time of zero,
// which disarms it (criu/timerfd.c sets what it read). Its next expiry becomes one nanosecond away: the tick
// that it owes comes at once, the period goes on.
//
// An interval timer without an interval (alarm(2), setitimer for one shot) is dropped by CRIU
// (itimer_restore_and_fix in criu/timer.c). It gets an interval of decades: the one shot comes in time, the
// next one never.
//
// A one-shot timer that expires between CRIU's reading of the pending signals and its reading of the timers is
// in neither (dump_one_task in criu/cr-dump.c). `pending` tells what was pending at the end of the dump: the
// timer whose signal is in there and not in the image expires again shortly. No one-shot timer that ends in a
// signal is left to expire before the restored processes run: until then its signal does not end a system call.
//
// A signal that arrived while the processes were stopped is restored as pending, and runs its handler; but the
// call it should have ended with EINTR (pause(2), select(2): ERESTARTNOHAND) has been set back to be made again
// (compel_get_task_regs in compel/arch/x86) and then waits for the next one. It returns EINTR instead. x86-64
// only; of a process with several threads, the first.
//
// A connection that is being made loses the window that it has not got yet (tcp_images.h).
//
// The same happens to the process that was captured and runs on: `interrupted` names those that wait in a call
// which a signal of `pending` should have ended, or that of a timer with no more than `until` left.
struct Repairs {
  std::size_t entries = 0;          // in which something was mended
  std::vector<pid_t> interrupted;   // by the pid inside the container
};
Result<Repairs> repair_images(std::vector<Image>& images, const PendingSignals& pending,
                              std::chrono::microseconds until);

}  // namespace perdure::capsule
