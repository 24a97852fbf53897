#include "capsule/criu/remote_syscall.h"

#include <elf.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <format>
#include <fstream>
#include <string>
#include <vector>

namespace perdure::capsule {

#if defined(__x86_64__)
namespace {

constexpr std::uint64_t kAllSignals = ~std::uint64_t{0};
constexpr timespec kPollStep{.tv_sec = 0, .tv_nsec = 20'000};

// Detaches on every way out; the thread goes on as it was.
class Tracee {
 public:
  explicit Tracee(pid_t tid) : tid_(tid) {}
  Tracee(const Tracee&) = delete;
  Tracee& operator=(const Tracee&) = delete;
  ~Tracee() {
    if (mask_saved_) ptrace(PTRACE_SETSIGMASK, tid_, sizeof mask_, &mask_);
    if (registers_saved_) {
      iovec io{.iov_base = &registers_, .iov_len = sizeof registers_};
      ptrace(PTRACE_SETREGSET, tid_, NT_PRSTATUS, &io);
    }
    if (attached_) ptrace(PTRACE_DETACH, tid_, nullptr, nullptr);
  }

  Status stop(Instant deadline) {
    if (ptrace(PTRACE_SEIZE, tid_, nullptr, PTRACE_O_SUSPEND_SECCOMP) != 0) {
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
    PERDURE_TRY(wait_stopped(deadline));
    iovec io{.iov_base = &registers_, .iov_len = sizeof registers_};
    if (ptrace(PTRACE_GETREGSET, tid_, NT_PRSTATUS, &io) != 0) {
      return fail_errno(std::format("read registers of thread {}", tid_));
    }
    registers_saved_ = true;
    if (ptrace(PTRACE_GETSIGMASK, tid_, sizeof mask_, &mask_) != 0) {
      return fail_errno(std::format("read signal mask of thread {}", tid_));
    }
    mask_saved_ = true;
    std::uint64_t all = kAllSignals;
    if (ptrace(PTRACE_SETSIGMASK, tid_, sizeof all, &all) != 0) {
      return fail_errno(std::format("block signals of thread {}", tid_));
    }
    return {};
  }

  Result<std::int64_t> call(std::uint64_t instruction, long number,
                            const std::array<std::uint64_t, 6>& arguments, Instant deadline) {
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
    PERDURE_TRY(wait_stopped(deadline));
    if (ptrace(PTRACE_GETREGSET, tid_, NT_PRSTATUS, &io) != 0) {
      return fail_errno(std::format("read registers of thread {}", tid_));
    }
    return static_cast<std::int64_t>(regs.rax);
  }

 private:
  Status wait_stopped(Instant deadline) {
    for (;;) {
      int status = 0;
      const pid_t got = waitpid(tid_, &status, __WALL | WNOHANG);
      if (got == tid_) {
        if (WIFSTOPPED(status)) return {};
        attached_ = registers_saved_ = mask_saved_ = false;
        return fail(ErrorCode::kNotFound, std::format("thread {} ended while it was traced", tid_));
      }
      if (got < 0 && errno != EINTR) return fail_errno(std::format("wait for thread {}", tid_));
      if (BootClock::now() > deadline) {
        return fail(ErrorCode::kTimeout, std::format("thread {} does not stop", tid_));
      }
      nanosleep(&kPollStep, nullptr);
    }
  }

  pid_t tid_;
  bool attached_ = false;
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
    constexpr unsigned char kSyscall[] = {0x0f, 0x05};
    const void* hit = memmem(code.data(), code.size(), kSyscall, sizeof kSyscall);
    if (hit == nullptr) break;
    return start + static_cast<std::uint64_t>(static_cast<const unsigned char*>(hit) - code.data());
  }
  return fail(ErrorCode::kUnsupported,
              std::format("process {} has no vDSO with a syscall instruction", pid));
}

}  // namespace

Result<std::int64_t> execute_in_process(pid_t pid, long call_number,
                                        const std::array<std::uint64_t, 6>& arguments,
                                        Instant deadline) {
  PERDURE_ASSIGN(const std::uint64_t instruction, find_syscall_instruction(pid));
  Tracee tracee(pid);
  PERDURE_TRY(tracee.stop(deadline));
  PERDURE_ASSIGN(const std::int64_t result,
                 tracee.call(instruction, call_number, arguments, deadline));
  if (result < 0) {
    return fail(Error::from_errno(std::format("system call {} in process {}", call_number, pid),
                                  static_cast<int>(-result)));
  }
  return result;
}
#else
Result<std::int64_t> execute_in_process(pid_t, long, const std::array<std::uint64_t, 6>&, Instant) {
  return fail(ErrorCode::kUnsupported, "system calls in other processes need x86-64");
}
#endif

}  // namespace perdure::capsule
