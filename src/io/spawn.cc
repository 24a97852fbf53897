#include "io/spawn.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <format>

#include "base/assert.h"

// What the child runs shares our memory and a borrowed stack: no sanitizer may instrument it.
#define PERDURE_CHILD_CODE __attribute__((no_sanitize("address", "thread", "undefined"), noinline))

namespace perdure::io {

namespace {

// Ample: the child's frames and the kernel's exec arguments are not on it.
constexpr std::size_t kChildStackBytes = 64 * 1024;
// What a shell reports for a program that cannot be run; nobody sees it, the report says more.
constexpr int kExecFailedStatus = 127;

constexpr unsigned long kDefaultAction[8] = {};

enum class Step { kNone, kDescriptors, kNamespace, kDirectory, kExec };

// Written by the child in our memory before it gives up; read after it has.
struct ChildReport {
  Step step = Step::kNone;
  int error_number = 0;
  int detail = 0;  // the descriptor in question
};

// Plain pointers: a container's member functions would be code of ours that a sanitizer
// instruments.
struct ChildArguments {
  const char* program;
  char* const* argv;
  char* const* environment;
  const char* working_directory;
  const SpawnRequest::Mapping* descriptors;
  int* staging;
  std::size_t descriptor_count;
  const int* namespaces;
  std::size_t namespace_count;
  sigset_t mask;
  ChildReport* report;
};

[[noreturn]] PERDURE_CHILD_CODE void give_up(ChildReport* report, Step step, int detail) {
  report->error_number = errno;
  report->detail = detail;
  report->step = step;
  for (;;) ::syscall(SYS_exit_group, kExecFailedStatus);
}

// First out of the way of all targets, then into place; everything else is closed by exec.
PERDURE_CHILD_CODE void stage_descriptors(const ChildArguments& child) {
  int floor = STDERR_FILENO + 1;
  for (std::size_t i = 0; i < child.descriptor_count; ++i) {
    if (child.descriptors[i].target >= floor) floor = child.descriptors[i].target + 1;
  }
  for (std::size_t i = 0; i < child.descriptor_count; ++i) {
    const int fd = child.descriptors[i].fd;
    child.staging[i] = static_cast<int>(::syscall(SYS_fcntl, fd, F_DUPFD, floor));
    if (child.staging[i] < 0) give_up(child.report, Step::kDescriptors, fd);
  }
  if (::syscall(SYS_close_range, STDERR_FILENO + 1, UINT_MAX, CLOSE_RANGE_CLOEXEC) != 0) {
    give_up(child.report, Step::kDescriptors, -1);
  }
}

PERDURE_CHILD_CODE void place_descriptors(const ChildArguments& child) {
  for (std::size_t i = 0; i < child.descriptor_count; ++i) {
    const int target = child.descriptors[i].target;
    if (::syscall(SYS_dup3, child.staging[i], target, 0) < 0) {
      give_up(child.report, Step::kDescriptors, target);
    }
  }
}

PERDURE_CHILD_CODE int run_child(void* raw) {
  const ChildArguments& child = *static_cast<const ChildArguments*>(raw);
  // All signals are blocked until the handlers are gone: one of the daemon's must not run here. The
  // table of actions is our own copy (no CLONE_SIGHAND); SIGKILL and SIGSTOP refuse, which is fine.
  // The kernel's structure, all zero, is the default action; sigaction() itself may be a
  // sanitizer's.
  for (int number = 1; number < _NSIG; ++number) {
    ::syscall(SYS_rt_sigaction, number, kDefaultAction, nullptr, _NSIG / CHAR_BIT);
  }
  ::syscall(SYS_setsid);

  stage_descriptors(child);
  for (std::size_t i = 0; i < child.namespace_count; ++i) {
    if (::syscall(SYS_setns, child.namespaces[i], 0) != 0) {
      give_up(child.report, Step::kNamespace, child.namespaces[i]);
    }
  }
  if (child.working_directory != nullptr && ::syscall(SYS_chdir, child.working_directory) != 0) {
    give_up(child.report, Step::kDirectory, -1);
  }
  place_descriptors(child);
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &child.mask, nullptr, _NSIG / CHAR_BIT);
  ::syscall(SYS_execve, child.program, child.argv, child.environment);
  give_up(child.report, Step::kExec, -1);
}

// clone3() with a stack of the child's own, which glibc does not offer and which CLONE_INTO_CGROUP
// needs. In the child `function(argument)` is called on the new stack and never returns. Returns
// the pid or -errno.
long clone3_call(clone_args* arguments, int (*function)(void*), void* argument) {
#if defined(__x86_64__)
  long result;
  register int (*child_function)(void*) asm("r8") = function;
  register void* child_argument asm("r9") = argument;
  asm volatile(
      "syscall\n\t"
      "testq %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xorl %%ebp, %%ebp\n\t"
      "movq %%r9, %%rdi\n\t"
      "callq *%%r8\n\t"
      "ud2\n"
      "1:"
      : "=a"(result)
      : "a"(SYS_clone3), "D"(arguments), "S"(sizeof(*arguments)), "r"(child_function),
        "r"(child_argument)
      : "rcx", "r11", "memory", "cc");
  return result;
#elif defined(__aarch64__)
  register long x0 asm("x0") = reinterpret_cast<long>(arguments);
  register long x1 asm("x1") = sizeof(*arguments);
  register long x8 asm("x8") = SYS_clone3;
  register int (*child_function)(void*) asm("x10") = function;
  register void* child_argument asm("x11") = argument;
  asm volatile(
      "svc #0\n\t"
      "cbnz x0, 1f\n\t"
      "mov x29, xzr\n\t"
      "mov x0, x11\n\t"
      "blr x10\n\t"
      "brk #1\n"
      "1:"
      : "+r"(x0)
      : "r"(x1), "r"(x8), "r"(child_function), "r"(child_argument)
      : "memory", "cc");
  return x0;
#else
#error "clone3_call() knows x86-64 and AArch64 only: add this machine's system call convention"
#endif
}

class ChildStack {
 public:
  static Result<ChildStack> allocate() {
    void* const memory = ::mmap(nullptr, kChildStackBytes, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED) return fail_errno("allocate the stack of a child process");
    return ChildStack(memory);
  }
  ChildStack(ChildStack&& other) noexcept : memory_(std::exchange(other.memory_, nullptr)) {}
  ChildStack& operator=(ChildStack&&) = delete;
  ~ChildStack() {
    if (memory_ != nullptr) ::munmap(memory_, kChildStackBytes);
  }
  void* bottom() const { return memory_; }

 private:
  explicit ChildStack(void* memory) : memory_(memory) {}
  void* memory_;
};

// The pid, or -errno.
long clone_child(const ChildStack& stack, int cgroup_fd, ChildArguments& arguments, int* pidfd) {
  clone_args clone{};
  clone.flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD;
  clone.pidfd = reinterpret_cast<std::uintptr_t>(pidfd);
  clone.exit_signal = SIGCHLD;
  clone.stack = reinterpret_cast<std::uintptr_t>(stack.bottom());
  clone.stack_size = kChildStackBytes;
  if (cgroup_fd >= 0) {
    clone.flags |= CLONE_INTO_CGROUP;
    clone.cgroup = static_cast<std::uint64_t>(cgroup_fd);
  }
  return clone3_call(&clone, run_child, &arguments);
}

Error clone_error(const SpawnRequest& request, int error_number) {
  std::string what = std::format("start '{}'", request.name);
  if (request.cgroup_fd >= 0) {
    what += std::format(" in the cgroup of descriptor {}", request.cgroup_fd);
  }
  if (error_number == ENOSYS) {
    return Error(ErrorCode::kUnsupported, what + ": clone3() is missing or forbidden here");
  }
  if (error_number == EBADF) {
    return Error(ErrorCode::kInvalid, what + ": not a directory of a version 2 cgroup");
  }
  return Error::from_errno(what, error_number);
}

Error child_error(const SpawnRequest& request, const ChildReport& report) {
  std::string what;
  switch (report.step) {
    case Step::kNone:
      break;
    case Step::kDescriptors:
      what = std::format("start '{}': pass descriptor {}", request.name, report.detail);
      break;
    case Step::kNamespace:
      what = std::format("start '{}': enter the namespace of descriptor {}", request.name,
                         report.detail);
      break;
    case Step::kDirectory:
      what =
          std::format("start '{}': enter directory '{}'", request.name, request.working_directory);
      break;
    case Step::kExec:
      what = std::format("run '{}'", request.program);
      break;
  }
  return Error::from_errno(what, report.error_number);
}

}  // namespace

Result<SpawnedProcess> spawn_process(SpawnRequest& request) {
  PERDURE_ASSERT(request.staging.size() == request.descriptors.size());
  PERDURE_ASSIGN(const ChildStack stack, ChildStack::allocate());
  ChildReport report;
  ChildArguments arguments{.program = request.program,
                           .argv = request.argv,
                           .environment = request.environment,
                           .working_directory = request.working_directory,
                           .descriptors = request.descriptors.data(),
                           .staging = request.staging.data(),
                           .descriptor_count = request.descriptors.size(),
                           .namespaces = request.namespaces.data(),
                           .namespace_count = request.namespaces.size(),
                           .mask = {},
                           .report = &report};
  ::sigemptyset(&arguments.mask);

  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  int pidfd = -1;
  const long pid = clone_child(stack, request.cgroup_fd, arguments, &pidfd);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);

  if (pid < 0) return fail(clone_error(request, static_cast<int>(-pid)));
  SpawnedProcess process{static_cast<pid_t>(pid), UniqueFd(pidfd)};
  if (report.step == Step::kNone) return process;
  siginfo_t ignored{};
  while (::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd), &ignored,
                  WEXITED | __WALL) != 0 &&
         errno == EINTR) {
  }
  return fail(child_error(request, report));
}

}  // namespace perdure::io
