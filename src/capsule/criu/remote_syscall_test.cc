// Proves that a process in which we make system calls is never left half changed, also when we are killed: as it was
// before the first call, dead with us after it, as it was when we let go of it.
#include "capsule/criu/remote_syscall.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "base/assert.h"
#include "base/fd.h"
#include "io/poll.h"

namespace perdure::capsule {
namespace {

constexpr Duration kDeadline = std::chrono::seconds(30);

// Ends with the number 7 when SIGUSR1 is delivered to it.
class Victim {
 public:
  Victim() {
    int ready[2];
    PERDURE_ASSERT(::pipe(ready) == 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::signal(SIGUSR1, [](int) { ::_exit(7); });
      ::close(ready[0]);
      ::close(ready[1]);
      for (;;) ::pause();
    }
    ::close(ready[1]);
    char byte = 0;
    PERDURE_ASSERT(::read(ready[0], &byte, 1) == 0);  // the end: its handler is there
    ::close(ready[0]);
  }
  ~Victim() {
    if (pid_ == 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  pid_t pid() const { return pid_; }
  // Waits for its end; the status of waitpid(2).
  int end() {
    const UniqueFd pidfd = open_pidfd(pid_).value();
    if (!io::wait_for_descriptor(pidfd.get(), POLLIN, BootClock::now() + kDeadline).value()) {
      ADD_FAILURE() << "process " << pid_ << " lives";
      ::kill(pid_, SIGKILL);
    }
    int status = 0;
    PERDURE_ASSERT(::waitpid(pid_, &status, 0) == pid_);
    pid_ = 0;
    return status;
  }
  int end_by_signal() {
    PERDURE_ASSERT(::kill(pid_, SIGUSR1) == 0);
    return end();
  }

 private:
  pid_t pid_ = 0;
};

enum class Until { kStopped, kCalled, kReleased };

// A tracer that is killed there. Whether it came so far.
bool trace_and_be_killed(pid_t victim, Until until) {
  const pid_t tracer = ::fork();
  if (tracer == 0) {
    const Instant deadline = BootClock::now() + kDeadline;
    {
      auto process = StoppedProcess::stop(victim, deadline);
      if (!process) ::_exit(1);
      if (until == Until::kStopped) ::kill(::getpid(), SIGKILL);
      const auto called = process->call(SYS_getpid, {}, deadline);
      if (!called || *called != victim) ::_exit(2);
      if (until == Until::kCalled) ::kill(::getpid(), SIGKILL);
    }
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  return ::waitpid(tracer, &status, 0) == tracer && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

class RemoteSyscallTest : public testing::Test {
 protected:
  void SetUp() override {
#ifndef __x86_64__
    GTEST_SKIP() << "system calls in other processes need x86-64";
#endif
  }
};

TEST_F(RemoteSyscallTest, AStoppedProcessGoesOnAsItWasWhenItsTracerIsKilled) {
  Victim victim;
  ASSERT_TRUE(trace_and_be_killed(victim.pid(), Until::kStopped));
  const int status = victim.end_by_signal();
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
}

TEST_F(RemoteSyscallTest, AChangedProcessDoesNotOutliveItsTracer) {
  Victim victim;
  ASSERT_TRUE(trace_and_be_killed(victim.pid(), Until::kCalled));
  const int status = victim.end();
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
}

TEST_F(RemoteSyscallTest, AReleasedProcessIsAsItWas) {
  Victim victim;
  ASSERT_TRUE(trace_and_be_killed(victim.pid(), Until::kReleased));
  const int status = victim.end_by_signal();
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
}

#ifdef __x86_64__
// CRIU sets an interrupted call back to be made again; a process that waits for a processor has not made it yet.
TEST_F(RemoteSyscallTest, ACallThatIsSetBackAndNotYetMadeIsEndedAsWell) {
  Victim victim;
  const pid_t pid = victim.pid();
  const auto stopped = [&] {
    int status = 0;
    return ::waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status);
  };
  user_regs_struct registers{};
  do {  // until it has come to wait
    ASSERT_EQ(::ptrace(PTRACE_SEIZE, pid, nullptr, nullptr), 0);
    ASSERT_EQ(::ptrace(PTRACE_INTERRUPT, pid, nullptr, nullptr), 0);
    ASSERT_TRUE(stopped());
    ASSERT_EQ(::ptrace(PTRACE_GETREGS, pid, nullptr, &registers), 0);
    if (registers.orig_rax == SYS_pause) break;
    ASSERT_EQ(::ptrace(PTRACE_DETACH, pid, nullptr, nullptr), 0);
  } while (true);
  const auto address = registers.rip;
  registers.rax = registers.orig_rax;
  registers.rip -= 2;
  ASSERT_EQ(::ptrace(PTRACE_SETREGS, pid, nullptr, &registers), 0);
  ASSERT_EQ(::kill(pid, SIGSTOP), 0);  // keeps it from running once it is let go
  ASSERT_EQ(::ptrace(PTRACE_DETACH, pid, nullptr, nullptr), 0);
  {
    auto process = StoppedProcess::stop(pid, BootClock::now() + kDeadline);
    ASSERT_TRUE(process) << process.error().message();
    EXPECT_TRUE(process->end_interrupted_call());
    EXPECT_FALSE(process->end_interrupted_call()) << "once";
  }
  ASSERT_EQ(::ptrace(PTRACE_SEIZE, pid, nullptr, nullptr), 0);
  ASSERT_EQ(::ptrace(PTRACE_INTERRUPT, pid, nullptr, nullptr), 0);
  ASSERT_TRUE(stopped());
  ASSERT_EQ(::ptrace(PTRACE_GETREGS, pid, nullptr, &registers), 0);
  EXPECT_EQ(registers.rip, address);
  EXPECT_EQ(registers.rax, static_cast<unsigned long long>(-EINTR));
  ASSERT_EQ(::ptrace(PTRACE_DETACH, pid, nullptr, nullptr), 0);
  ASSERT_EQ(::kill(pid, SIGCONT), 0);
  const int status = victim.end_by_signal();
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
}
#endif

// A shell that does nothing but execute itself, at other addresses each time.
TEST_F(RemoteSyscallTest, AProcessThatExecutesAnotherProgramIsCalledWhereThatOneIs) {
  constexpr int kTimes = 500;
  constexpr const char* kAgain = "exec /bin/sh -c \"$0\" \"$0\"";
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::execl("/bin/sh", "sh", "-c", kAgain, kAgain, nullptr);
    ::_exit(1);
  }
  int called = 0;
  for (int i = 0; i < kTimes; ++i) {
    const Instant deadline = BootClock::now() + kDeadline;
    auto process = StoppedProcess::stop(pid, deadline);
    ASSERT_TRUE(process.has_value()) << process.error().message();
    const auto number = process->call(SYS_getpid, {}, deadline);
    ASSERT_TRUE(number.has_value()) << number.error().message();
    EXPECT_EQ(*number, pid);
    ++called;
  }
  EXPECT_EQ(called, kTimes);
  EXPECT_EQ(::waitpid(pid, nullptr, WNOHANG), 0) << "it has ended";
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
}

// A signal on its way is handed on.
TEST_F(RemoteSyscallTest, AChildThatEndsWhileItIsTracedIsWaitedForByItsParent) {
  for (int i = 0; i < 100; ++i) {
    Victim victim;
    {
      auto stopped = StoppedProcess::stop(victim.pid(), BootClock::now() + kDeadline);
      ASSERT_TRUE(stopped) << stopped.error().message();
      PERDURE_ASSERT(::kill(victim.pid(), SIGKILL) == 0);
      const auto called = stopped->call(SYS_getpid, {}, BootClock::now() + kDeadline);
      ASSERT_FALSE(called);
      EXPECT_EQ(called.error().code(), ErrorCode::kNotFound) << called.error().message();
    }
    const int status = victim.end();
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  }
}

// Its parent is told of its end only when its tracer has seen it: an init would wait for that for ever.
TEST_F(RemoteSyscallTest, AStrangersChildThatIsKilledWhileItStandsIsWaitedForByItsParent) {
  for (const bool called : {false, true}) {
    int told[2];
    ASSERT_EQ(::pipe(told), 0);
    const pid_t parent = ::fork();
    ASSERT_GE(parent, 0);
    if (parent == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      const pid_t child = ::fork();
      if (child == 0) {
        for (;;) ::pause();
      }
      const bool written = ::write(told[1], &child, sizeof child) == sizeof child;
      int status = 0;
      const bool reaped = ::waitpid(child, &status, 0) == child;
      ::_exit(written && reaped && WIFSIGNALED(status) ? 7 : 1);
    }
    pid_t child = 0;
    ASSERT_EQ(::read(told[0], &child, sizeof child), static_cast<ssize_t>(sizeof child));
    {
      auto stopped = StoppedProcess::stop(child, BootClock::now() + kDeadline);
      ASSERT_TRUE(stopped) << stopped.error().message();
      if (called) {
        ASSERT_TRUE(stopped->call(SYS_getpid, {}, BootClock::now() + kDeadline));
      }
      ASSERT_EQ(::kill(child, SIGKILL), 0);
    }
    const UniqueFd pidfd = open_pidfd(parent).value();
    EXPECT_TRUE(io::wait_for_descriptor(pidfd.get(), POLLIN, BootClock::now() + std::chrono::seconds(10)).value()) << "it waits on";
    ::kill(parent, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(parent, &status, 0), parent);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
    ::close(told[0]);
    ::close(told[1]);
  }
}

TEST_F(RemoteSyscallTest, AProcessThatWasGivenUpForLostIsLetGo) {
  for (const bool signalled : {false, true}) {
    Victim victim;
    if (signalled) PERDURE_ASSERT(::kill(victim.pid(), SIGUSR1) == 0);
    (void)StoppedProcess::stop(victim.pid(), BootClock::now() - std::chrono::seconds(1));
    const int status = signalled ? victim.end() : victim.end_by_signal();
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
  }
}

}  // namespace
}  // namespace perdure::capsule
