#include "capsule/criu/remote_syscall.h"

#include <elf.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <format>
#include <fstream>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/process_status.h"

namespace perdure::capsule {

bool ends_after_a_handler([[maybe_unused]] std::int64_t call_number) {
#ifdef __x86_64__
  static constexpr std::array<std::int64_t, 6> kCalls{SYS_pause,    SYS_rt_sigsuspend, SYS_select,
                                                      SYS_pselect6, SYS_ppoll,         SYS_msgrcv};
  return std::ranges::find(kCalls, call_number) != kCalls.end();
#else
  return false;
#endif
}

#if defined(__x86_64__)
namespace {

// While our call runs. SIGTRAP tells of its end; were it blocked, the kernel would reset its handler.
constexpr std::uint64_t kBlocked = ~(std::uint64_t{1} << (SIGTRAP - 1));
constexpr Duration kLetGoTime = std::chrono::seconds(5);  // it stops as soon as it is scheduled
constexpr std::array<unsigned char, 2> kSyscallInstruction{0x0f, 0x05};
constexpr timespec kPollStep{.tv_sec = 0, .tv_nsec = 20'000};

class Tracee {
 public:
  explicit Tracee(pid_t tid) : tid_(tid) {}
  Tracee(const Tracee&) = delete;
  Tracee& operator=(const Tracee&) = delete;
  ~Tracee() {
    // Only a stopped thread can be let go; one that was given up for lost stops later, and would never go on.
    if (attached_ && !stopped_) (void)wait_stopped(BootClock::now() + kLetGoTime);
    if (!attached_) return;
    if (!stopped_) {
      log::error("thread {} does not stop and cannot be let go: it will stand still until the thread that traces it ends", tid_);
      return;
    }
    // SIGKILL may have ended it meanwhile: then all of this fails.
    if (mask_saved_) ptrace(PTRACE_SETSIGMASK, tid_, sizeof mask_, &mask_);
    if (registers_saved_) {
      iovec io{.iov_base = &registers_, .iov_len = sizeof registers_};
      ptrace(PTRACE_SETREGSET, tid_, NT_PRSTATUS, &io);
    }
    if (ptrace(PTRACE_DETACH, tid_, nullptr, signal_to_hand_on()) == 0) return;
    // Its parent hears of its end when we have: an init on its end would wait for that for ever.
    if (const auto ended = wait_stopped(BootClock::now() + kLetGoTime); ended || ended.error().code() != ErrorCode::kNotFound) {
      log::error("thread {} cannot be let go", tid_);
    }
  }

  Status stop(Instant deadline) {
    options_ = PTRACE_O_SUSPEND_SECCOMP;
    if (ptrace(PTRACE_SEIZE, tid_, nullptr, options_) != 0) {
      options_ = 0;
      // Without CAP_SYS_ADMIN in the initial namespace seccomp cannot be suspended; try without.
      if (errno == ESRCH || ptrace(PTRACE_SEIZE, tid_, nullptr, nullptr) != 0) {
        return fail(Error(errno == ESRCH ? ErrorCode::kNotFound : ErrorCode::kIo,
                          std::format("trace thread {}: {}", tid_, std::strerror(errno))));
      }
    }
    attached_ = true;
    if (ptrace(PTRACE_INTERRUPT, tid_, nullptr, nullptr) != 0) {
      return fail_errno(std::format("interrupt thread {}", tid_));
    }
    // A signal that arrives first stops the thread too: it is handed on, and the interruption follows it.
    for (;;) {
      PERDURE_ASSIGN(const int status, wait_stopped(deadline));
      if (status >> 16 == PTRACE_EVENT_STOP) break;
      if (ptrace(PTRACE_CONT, tid_, nullptr, WSTOPSIG(status)) != 0) {
        return fail_errno(std::format("hand signal {} to thread {}", WSTOPSIG(status), tid_));
      }
      stopped_ = false;
    }
    iovec io{.iov_base = &registers_, .iov_len = sizeof registers_};
    if (ptrace(PTRACE_GETREGSET, tid_, NT_PRSTATUS, &io) != 0) {
      return fail_errno(std::format("read registers of thread {}", tid_));
    }
    registers_saved_ = true;
    return {};
  }

  bool end_interrupted_call() {
    constexpr std::int64_t kRestartIfNoHandler = 514;  // ERESTARTNOHAND of include/linux/errno.h
    if (!ends_after_a_handler(static_cast<std::int64_t>(registers_.orig_rax))) return false;
    if (registers_.rax == registers_.orig_rax && is_about_to_call()) {
      // As CRIU left it (compel_get_task_regs: the call is about to be made again): it has not run since.
      registers_.rip += kSyscallInstruction.size();
    } else if (static_cast<std::int64_t>(registers_.rax) != -kRestartIfNoHandler) {
      return false;
    }
    registers_.rax = static_cast<unsigned long long>(-EINTR);
    registers_.orig_rax = ~0ULL;
    return true;
  }

  Result<std::int64_t> call(std::uint64_t instruction, long number,
                            const std::array<std::uint64_t, 6>& arguments, Instant deadline) {
    PERDURE_TRY(block_signals());
    user_regs_struct regs = registers_;
    regs.rip = instruction;
    regs.rax = static_cast<unsigned long long>(number);
    regs.orig_rax = ~0ULL;  // no interrupted call to restart while ours runs
    regs.rdi = arguments[0];
    regs.rsi = arguments[1];
    regs.rdx = arguments[2];
    regs.r10 = arguments[3];
    regs.r8 = arguments[4];
    regs.r9 = arguments[5];
    iovec io{.iov_base = &regs, .iov_len = sizeof regs};
    if (ptrace(PTRACE_SETREGSET, tid_, NT_PRSTATUS, &io) != 0 ||
        ptrace(PTRACE_SINGLESTEP, tid_, nullptr, nullptr) != 0) {
      return fail_errno(std::format("step thread {}", tid_));
    }
    stopped_ = false;
    PERDURE_TRY(wait_stopped(deadline).transform([](int) {}));
    if (ptrace(PTRACE_GETREGSET, tid_, NT_PRSTATUS, &io) != 0) {
      return fail_errno(std::format("read registers of thread {}", tid_));
    }
    return static_cast<std::int64_t>(regs.rax);
  }

 private:
  // From here to the destructor the thread is not what it was. Were we killed in between, it would go on with our
  // registers, or deaf: it is killed with us instead, and the container restored.
  Status block_signals() {
    if (mask_saved_) return {};
    if (ptrace(PTRACE_GETSIGMASK, tid_, sizeof mask_, &mask_) != 0) {
      return fail_errno(std::format("read signal mask of thread {}", tid_));
    }
    if (ptrace(PTRACE_SETOPTIONS, tid_, nullptr, options_ | PTRACE_O_EXITKILL) != 0) {
      return fail_errno(std::format("bind thread {} to this one", tid_));
    }
    mask_saved_ = true;
    std::uint64_t blocked = kBlocked;
    if (ptrace(PTRACE_SETSIGMASK, tid_, sizeof blocked, &blocked) != 0) {
      return fail_errno(std::format("block signals of thread {}", tid_));
    }
    return {};
  }

  // The status of waitpid(2).
  Result<int> wait_stopped(Instant deadline) {
    for (;;) {
      siginfo_t seen{};
      const bool there = look(WEXITED | WNOWAIT, seen);  // a tracee's stops are always told
      const bool stopped = seen.si_pid == tid_ && (seen.si_code == CLD_TRAPPED || seen.si_code == CLD_STOPPED);
      // It may have been killed since: its end is not to be taken with the stop.
      if (stopped && look(WSTOPPED, seen) && seen.si_pid == tid_) {
        stopped_ = true;
        status_ = seen.si_status << 8 | 0x7f;
        return status_;
      }
      // Not there any more: our own child, of which we have seen the end elsewhere.
      if (!there || (seen.si_pid == tid_ && !stopped)) {
        attached_ = registers_saved_ = mask_saved_ = false;
        leave_to_its_parent();
        return fail(ErrorCode::kNotFound, std::format("thread {} ended while it was traced", tid_));
      }
      if (BootClock::now() > deadline) {
        return fail(ErrorCode::kTimeout, std::format("thread {} does not stop", tid_));
      }
      nanosleep(&kPollStep, nullptr);
    }
  }

  // False: there is no such child or tracee.
  bool look(int what, siginfo_t& found) const {
    return waitid(P_PID, static_cast<id_t>(tid_), &found, what | WNOHANG | __WALL) == 0 || errno == EINTR;
  }

  // Its parent is told when its tracer has seen the end, which takes the status away if both are one process: then
  // who waits for it as a child sees it for both.
  void leave_to_its_parent() const {
    if (process_status_word(tid_, "PPid").value_or("") == std::to_string(::getpid())) return;
    siginfo_t ignored{};
    (void)look(WEXITED, ignored);
  }

  bool is_about_to_call() const {
    errno = 0;
    const long code = ptrace(PTRACE_PEEKTEXT, tid_, registers_.rip, nullptr);
    return errno == 0 && std::memcmp(&code, kSyscallInstruction.data(), kSyscallInstruction.size()) == 0;
  }

  // Stopped on its way to a signal's handler, it has to be given the signal again. SIGTRAP tells of our own step.
  long signal_to_hand_on() const {
    return status_ >> 16 == 0 && WSTOPSIG(status_) != SIGTRAP ? WSTOPSIG(status_) : 0;
  }

  pid_t tid_;
  long options_ = 0;
  bool attached_ = false;
  bool stopped_ = false;
  int status_ = 0;  // of the last stop: waitpid(2)
  bool registers_saved_ = false;
  bool mask_saved_ = false;
  user_regs_struct registers_{};
  std::uint64_t mask_ = 0;
};

Result<std::uint64_t> find_syscall_instruction(pid_t pid) {
  std::ifstream maps(std::format("/proc/{}/maps", pid));
  for (std::string line; std::getline(maps, line);) {
    if (!line.ends_with("[vdso]")) continue;
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx", &start, &end) != 2 || end <= start) break;
    std::vector<unsigned char> code(end - start);
    iovec local{.iov_base = code.data(), .iov_len = code.size()};
    iovec remote{.iov_base = reinterpret_cast<void*>(start), .iov_len = code.size()};
    if (process_vm_readv(pid, &local, 1, &remote, 1, 0) != static_cast<ssize_t>(code.size())) {
      return fail_errno(std::format("read vDSO of process {}", pid));
    }
    const void* hit = memmem(code.data(), code.size(), kSyscallInstruction.data(), kSyscallInstruction.size());
    if (hit == nullptr) break;
    return start + static_cast<std::uint64_t>(static_cast<const unsigned char*>(hit) - code.data());
  }
  return fail(ErrorCode::kUnsupported,
              std::format("process {} has no vDSO with a syscall instruction", pid));
}

}  // namespace

struct StoppedProcess::Impl {
  pid_t pid;
  Tracee tracee{pid};
  std::uint64_t instruction = 0;
};

Result<StoppedProcess> StoppedProcess::stop(pid_t pid, Instant deadline) {
  auto impl = std::make_unique<Impl>(pid);
  PERDURE_TRY(impl->tracee.stop(deadline));
  // Not before: until it stands still it may execute another program, whose vDSO is somewhere else.
  PERDURE_ASSIGN(impl->instruction, find_syscall_instruction(pid));
  return StoppedProcess(std::move(impl));
}

bool StoppedProcess::end_interrupted_call() { return impl_->tracee.end_interrupted_call(); }

Result<std::int64_t> StoppedProcess::call(long number, const std::array<std::uint64_t, 6>& arguments,
                                          Instant deadline) {
  PERDURE_ASSIGN(const std::int64_t result,
                 impl_->tracee.call(impl_->instruction, number, arguments, deadline));
  if (result < 0) {
    return fail(Error::from_errno(std::format("system call {} in process {}", number, impl_->pid),
                                  static_cast<int>(-result)));
  }
  return result;
}
#else
struct StoppedProcess::Impl {};

bool StoppedProcess::end_interrupted_call() { return false; }

Result<StoppedProcess> StoppedProcess::stop(pid_t, Instant) {
  return fail(ErrorCode::kUnsupported, "system calls in other processes need x86-64");
}
Result<std::int64_t> StoppedProcess::call(long, const std::array<std::uint64_t, 6>&, Instant) {
  return fail(ErrorCode::kUnsupported, "system calls in other processes need x86-64");
}
#endif

StoppedProcess::StoppedProcess(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
StoppedProcess::StoppedProcess(StoppedProcess&&) noexcept = default;
StoppedProcess::~StoppedProcess() = default;

}  // namespace perdure::capsule
