#include "capsule/criu/task_repair.h"

#include <signal.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <vector>

namespace perdure::capsule {
namespace {

constexpr std::uint64_t kDecades = 1'000'000'000;  // seconds; the kernel clamps at 292 years

// What expires later than this does so when the restored process runs already and its system call can be
// interrupted as if it had never stopped.
constexpr std::uint64_t kSoonestMicroseconds = 5000;
constexpr std::uint64_t kSoonestNanoseconds = kSoonestMicroseconds * 1000;

bool is_one_shot(const criu::ItimerEntry& timer) {
  return timer.isec() == 0 && timer.iusec() == 0 && (timer.vsec() != 0 || timer.vusec() != 0);
}

constexpr std::uint64_t bit_of(std::uint32_t signal) { return std::uint64_t{1} << (signal - 1); }

bool is_disarmed(const criu::ItimerEntry& timer) {
  return timer.isec() == 0 && timer.iusec() == 0 && timer.vsec() == 0 && timer.vusec() == 0;
}
bool is_disarmed(const criu::PosixTimerEntry& timer) {
  return timer.isec() == 0 && timer.insec() == 0 && timer.vsec() == 0 && timer.vnsec() == 0;
}

bool mend_interval_timers(criu::TaskTimersEntry& timers, std::uint64_t lost) {
  bool mended = false;
  const auto mend = [&](criu::ItimerEntry& timer, std::uint32_t signal) {
    if (is_disarmed(timer) && (lost & bit_of(signal)) != 0) timer.set_vusec(kSoonestMicroseconds);
    if (!is_one_shot(timer)) return;
    timer.set_isec(kDecades);
    if (timer.vsec() == 0) timer.set_vusec(std::max(timer.vusec(), kSoonestMicroseconds));
    mended = true;
  };
  mend(*timers.mutable_real(), SIGALRM);
  mend(*timers.mutable_virt(), SIGVTALRM);
  mend(*timers.mutable_prof(), SIGPROF);
  return mended;
}

// Which of several disarmed timers with the same signal it was cannot be known: then none is touched.
bool mend_posix_timers(criu::TaskTimersEntry& timers, std::uint64_t lost) {
  std::map<std::uint32_t, std::vector<criu::PosixTimerEntry*>> disarmed;
  for (criu::PosixTimerEntry& timer : *timers.mutable_posix()) {
    const bool by_signal = timer.it_sigev_notify() == SIGEV_SIGNAL && timer.si_signo() >= 1 && timer.si_signo() <= 64;
    if (by_signal && is_disarmed(timer) && (lost & bit_of(timer.si_signo())) != 0) {
      disarmed[timer.si_signo()].push_back(&timer);
    }
  }
  bool mended = false;
  for (const auto& [signal, candidates] : disarmed) {
    if (candidates.size() != 1) continue;
    candidates.front()->set_vnsec(kSoonestNanoseconds);
    mended = true;
  }
  return mended;
}

// ---- Interrupted system calls ----

// Those that return EINTR after any handler, whatever SA_RESTART says (signal(7)); the kernel's ERESTARTNOHAND.
// rt_sigsuspend, pselect6 and ppoll with a mask of their own are dumped with the mask from before the call, in
// which such a signal is blocked: they meet it again by themselves.
bool returns_after_a_handler(std::int64_t call) {
#ifdef __x86_64__
  static constexpr std::array<std::int64_t, 6> kCalls{SYS_pause,    SYS_rt_sigsuspend, SYS_select,
                                                      SYS_pselect6, SYS_ppoll,         SYS_msgrcv};
  return std::ranges::find(kCalls, call) != kCalls.end();
#else
  return call != call;
#endif
}

// Signals whose handler is a function of the program.
std::uint64_t handled_signals(const criu::TaskCoreEntry& task) {
  std::uint64_t mask = 0;
  int index = 0;
  for (std::uint32_t signal = 1; signal <= 64 && index < task.sigactions_size(); ++signal) {
    if (signal == SIGKILL || signal == SIGSTOP) continue;
    const std::uint64_t handler = task.sigactions(index++).sigaction();
    if (handler != 0 && handler != 1) mask |= bit_of(signal);  // SIG_DFL, SIG_IGN
  }
  return mask;
}

std::uint64_t mask_of(const criu::SignalQueueEntry& queue) {
  std::uint64_t mask = 0;
  for (const criu::SiginfoEntry& entry : queue.signals()) {
    std::int32_t number = 0;  // si_signo comes first
    if (entry.siginfo().size() < sizeof number) continue;
    std::memcpy(&number, entry.siginfo().data(), sizeof number);
    if (number >= 1 && number <= 64) mask |= bit_of(static_cast<std::uint32_t>(number));
  }
  return mask;
}

bool mend_interrupted_call(criu::CoreEntry& core) {
  constexpr std::uint64_t kCallInstructionBytes = 2;  // syscall
  constexpr std::uint32_t kNative = 1;
  if (!core.has_thread_info() || core.thread_info().gpregs().mode() != kNative) return false;
  const auto& registers = core.thread_info().gpregs();
  const auto call = static_cast<std::int64_t>(registers.orig_ax());
  // CRIU has set the instruction pointer back, so that the call is made again.
  if (registers.ax() != registers.orig_ax() || !returns_after_a_handler(call)) return false;
  const std::uint64_t pending = mask_of(core.tc().signals_s()) | mask_of(core.thread_core().signals_p());
  if ((pending & ~core.thread_core().blk_sigset() & handled_signals(core.tc())) == 0) return false;
  criu::X86Registers& mended = *core.mutable_thread_info()->mutable_gpregs();
  mended.set_ax(static_cast<std::uint64_t>(-EINTR));
  mended.set_ip(mended.ip() + kCallInstructionBytes);
  return true;
}

}  // namespace

bool mend_task(criu::CoreEntry& core, std::uint64_t pending) {
  if (!core.has_tc()) return false;
  bool mended = mend_interrupted_call(core);
  if (!core.tc().has_timers()) return mended;
  const std::uint64_t lost = pending & ~mask_of(core.tc().signals_s());
  criu::TaskTimersEntry& timers = *core.mutable_tc()->mutable_timers();
  if (mend_interval_timers(timers, lost)) mended = true;
  if (mend_posix_timers(timers, lost)) mended = true;
  return mended;
}

}  // namespace perdure::capsule
