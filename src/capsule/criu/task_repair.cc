#include "capsule/criu/task_repair.h"

#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <vector>

#include "capsule/criu/remote_syscall.h"

namespace perdure::capsule {
namespace {

constexpr std::uint64_t kDecades = 1'000'000'000;  // seconds; the kernel clamps at 292 years

bool is_one_shot(const criu::ItimerEntry& timer) {
  return timer.isec() == 0 && timer.iusec() == 0 && (timer.vsec() != 0 || timer.vusec() != 0);
}

constexpr std::uint64_t bit_of(std::uint32_t signal) { return std::uint64_t{1} << (signal - 1); }

bool is_one_shot(const criu::PosixTimerEntry& timer) {
  return timer.isec() == 0 && timer.insec() == 0 && (timer.vsec() != 0 || timer.vnsec() != 0);
}
bool ends_in_signal(const criu::PosixTimerEntry& timer) {
  return timer.it_sigev_notify() == SIGEV_SIGNAL && timer.si_signo() >= 1 && timer.si_signo() <= 64;
}
// What is left of a timer; a day is as good as any longer time.
template <typename Rest>
std::chrono::nanoseconds seconds_and_rest(std::uint64_t seconds, Rest rest) {
  constexpr std::uint64_t kDay = 86'400;
  return std::chrono::seconds(std::min(seconds, kDay)) + rest;
}

bool is_disarmed(const criu::ItimerEntry& timer) {
  return timer.isec() == 0 && timer.iusec() == 0 && timer.vsec() == 0 && timer.vusec() == 0;
}
bool is_disarmed(const criu::PosixTimerEntry& timer) {
  return timer.isec() == 0 && timer.insec() == 0 && timer.vsec() == 0 && timer.vnsec() == 0;
}

bool mend_interval_timers(criu::TaskTimersEntry& timers, std::uint64_t lost, std::chrono::microseconds soonest) {
  const auto soonest_microseconds = static_cast<std::uint64_t>(soonest.count());
  bool mended = false;
  const auto mend = [&](criu::ItimerEntry& timer, std::uint32_t signal) {
    if (is_disarmed(timer) && (lost & bit_of(signal)) != 0) timer.set_vusec(soonest_microseconds);
    if (!is_one_shot(timer)) return;
    timer.set_isec(kDecades);
    if (timer.vsec() == 0) timer.set_vusec(std::max(timer.vusec(), soonest_microseconds));
    mended = true;
  };
  mend(*timers.mutable_real(), SIGALRM);
  mend(*timers.mutable_virt(), SIGVTALRM);
  mend(*timers.mutable_prof(), SIGPROF);
  return mended;
}

// Which of several disarmed timers with the same signal it was cannot be known: then none is touched.
bool mend_posix_timers(criu::TaskTimersEntry& timers, std::uint64_t lost, std::chrono::nanoseconds soonest) {
  const auto soonest_nanoseconds = static_cast<std::uint64_t>(soonest.count());
  bool mended = false;
  std::map<std::uint32_t, std::vector<criu::PosixTimerEntry*>> disarmed;
  for (criu::PosixTimerEntry& timer : *timers.mutable_posix()) {
    if (is_one_shot(timer) && timer.vsec() == 0 && timer.vnsec() < soonest_nanoseconds) {
      timer.set_vnsec(soonest_nanoseconds);
      mended = true;
    }
    if (ends_in_signal(timer) && is_disarmed(timer) && (lost & bit_of(timer.si_signo())) != 0) {
      disarmed[timer.si_signo()].push_back(&timer);
    }
  }
  for (const auto& [signal, candidates] : disarmed) {
    if (candidates.size() != 1) continue;
    candidates.front()->set_vnsec(soonest_nanoseconds);
    mended = true;
  }
  return mended;
}

// ---- Interrupted system calls ----

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

// CRIU has set the instruction pointer back, so that the call is made again. rt_sigsuspend, pselect6 and ppoll
// with a mask of their own are dumped with the mask from before the call, in which such a signal is blocked: they
// meet it again by themselves.
bool misses_a_signal(const criu::CoreEntry& core, std::uint64_t pending) {
  constexpr std::uint32_t kNative = 1;
  if (!core.has_thread_info() || core.thread_info().gpregs().mode() != kNative) return false;
  const auto& registers = core.thread_info().gpregs();
  return registers.ax() == registers.orig_ax() &&
         ends_after_a_handler(static_cast<std::int64_t>(registers.orig_ax())) &&
         (pending & ~core.thread_core().blk_sigset() & handled_signals(core.tc())) != 0;
}

bool mend_interrupted_call(criu::CoreEntry& core) {
  constexpr std::uint64_t kCallInstructionBytes = 2;  // syscall
  if (!misses_a_signal(core, mask_of(core.tc().signals_s()) | mask_of(core.thread_core().signals_p()))) {
    return false;
  }
  criu::X86Registers& mended = *core.mutable_thread_info()->mutable_gpregs();
  mended.set_ax(static_cast<std::uint64_t>(-EINTR));
  mended.set_ip(mended.ip() + kCallInstructionBytes);
  return true;
}

}  // namespace

bool waits_past_its_signal(const criu::CoreEntry& core, std::uint64_t pending, std::chrono::microseconds until) {
  if (!core.has_tc()) return false;
  const auto& timers = core.tc().timers();
  const auto add = [&](const criu::ItimerEntry& timer, std::uint32_t signal) {
    if (is_one_shot(timer) && seconds_and_rest(timer.vsec(), std::chrono::microseconds(timer.vusec())) <= until) {
      pending |= bit_of(signal);
    }
  };
  if (core.tc().has_timers()) add(timers.real(), SIGALRM);
  for (const criu::PosixTimerEntry& timer : timers.posix()) {
    if (ends_in_signal(timer) && is_one_shot(timer) &&
        seconds_and_rest(timer.vsec(), std::chrono::nanoseconds(timer.vnsec())) <= until) {
      pending |= bit_of(timer.si_signo());
    }
  }
  return misses_a_signal(core, pending);
}

bool mend_task(criu::CoreEntry& core, std::uint64_t pending, std::chrono::microseconds soonest) {
  if (!core.has_tc()) return false;
  bool mended = mend_interrupted_call(core);
  if (!core.tc().has_timers()) return mended;
  const std::uint64_t lost = pending & ~mask_of(core.tc().signals_s());
  criu::TaskTimersEntry& timers = *core.mutable_tc()->mutable_timers();
  if (mend_interval_timers(timers, lost, soonest)) mended = true;
  if (mend_posix_timers(timers, lost, soonest)) mended = true;
  return mended;
}

}  // namespace perdure::capsule
