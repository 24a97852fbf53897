// Proves that commands run to their end or to their deadline, that output is bounded and never
// deadlocks, that a child gets exactly the descriptors, signals, namespace and cgroup it was given,
// that nothing leaks, and that children end with their owner. Real processes; namespaces and
// cgroups need root and skip without.
#include "io/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <format>
#include <thread>

#include "base/fd.h"
#include "gmock/gmock.h"
#include "io/poll.h"
#include "io/test_support.h"

namespace perdure::io {
namespace {

using std::chrono_literals::operator""ms;
using testing::HasSubstr;

Instant soon() {
  return BootClock::now() + kTestTime;
}

std::vector<std::string> shell(const std::string& script) {
  return {"/bin/sh", "-c", script};
}

std::string output_of(const std::string& script, const CommandOptions& options = {}) {
  const auto output = command_output(shell(script), options);
  EXPECT_TRUE(output) << output.error().message();
  return output.value_or("");
}

pid_t parse_pid(const std::string& text) {
  return static_cast<pid_t>(std::stol(text));
}

// Waits until the process has ended (a zombie counts), whoever its parent is.
bool ends(pid_t pid) {
  const auto pidfd = open_pidfd(pid);
  return !pidfd || wait_for_descriptor(pidfd->get(), POLLIN, soon()).value();
}

class Subreaper {
 public:
  Subreaper() { ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); }
  Subreaper(const Subreaper&) = delete;
  Subreaper& operator=(const Subreaper&) = delete;
  ~Subreaper() { ::prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0); }
};

TEST(RunCommandTest, ReturnsStatusAndBothStreams) {
  const auto result = run_command(shell("echo out; echo err >&2; exit 3")).value();
  EXPECT_EQ(result.standard_output, "out\n");
  EXPECT_EQ(result.standard_error, "err\n");
  EXPECT_EQ(result.status.code, 3);
  EXPECT_FALSE(result.status.success());
  EXPECT_EQ(to_string(result.status), "exit status 3");
  const auto killed = run_command(shell("kill -TERM $$")).value();
  EXPECT_EQ(killed.status.signal_number, SIGTERM);
  EXPECT_EQ(to_string(killed.status), "killed by signal 15 (Terminated)");
}

TEST(RunCommandTest, FeedsInputLargerThanAPipeWithoutDeadlock) {
  CommandOptions options;
  options.input.assign(1'000'000, 'x');
  options.deadline = soon();
  EXPECT_EQ(command_output({"cat"}, options).value(), options.input);
  // Not reading it is no error either.
  EXPECT_TRUE(command_output({"true"}, options));
  EXPECT_EQ(output_of("cat"), "") << "without input, standard input is empty";
}

TEST(RunCommandTest, KillsItsProcessGroupAtTheDeadline) {
  const TemporaryDirectory directory;
  CommandOptions options;
  options.deadline = BootClock::now() + 1000ms;
  const auto result = run_command(
      shell(std::format("echo $$ >{0}; sleep 1000 & echo $! >>{0}; echo about to hang >&2; wait",
                        directory / "pids")),
      options);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::kTimeout);
  EXPECT_THAT(result.error().message(), HasSubstr("about to hang"));
  const std::string pids = read_file(directory / "pids").value();
  const pid_t leader = parse_pid(pids);
  const pid_t helper = parse_pid(pids.substr(pids.find('\n') + 1));
  EXPECT_EQ(::kill(leader, 0), -1) << "reaped";
  EXPECT_TRUE(ends(helper));
}

TEST(RunCommandTest, DoesNotWaitForHelpersThatKeepTheOutputOpen) {
  const Instant start = BootClock::now();
  CommandOptions options;
  options.deadline = soon();
  const std::string output = output_of("sleep 1000 & echo $!", options);
  EXPECT_LT(BootClock::now() - start, kTestTime);
  ::kill(parse_pid(output), SIGKILL);
}

TEST(RunCommandTest, BoundsTheOutputAndKeepsTheEndOfTheErrors) {
  CommandOptions options;
  options.output_limit_bytes = 1000;
  options.deadline = soon();
  const auto endless = run_command({"yes"}, options);
  ASSERT_FALSE(endless);
  EXPECT_EQ(endless.error().code(), ErrorCode::kInvalid);
  EXPECT_THAT(endless.error().message(), HasSubstr("1000 bytes"));
  const auto exact = run_command(shell("head -c 1000 /dev/zero"), options);
  ASSERT_TRUE(exact);
  EXPECT_EQ(exact->standard_output.size(), 1000);
  const auto chatty =
      run_command(shell("yes | head -n 100000 >&2; echo last >&2"), options).value();
  EXPECT_EQ(chatty.standard_error.size(), 1000);
  EXPECT_TRUE(chatty.standard_error.ends_with("y\nlast\n"));
}

TEST(RunCommandTest, SaysWhatFailed) {
  const auto missing = run_command({"perdure-no-such-program"});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(missing.error().message(), HasSubstr("perdure-no-such-program"));
  EXPECT_EQ(run_command({"/no/such/program"}).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(run_command({"/etc/passwd"}).error().code(), ErrorCode::kPermission);
  EXPECT_EQ(run_command({}).error().code(), ErrorCode::kInvalid);
  CommandOptions nowhere;
  nowhere.process.working_directory = "/no/such/directory";
  const auto directory = run_command({"true"}, nowhere);
  ASSERT_FALSE(directory);
  EXPECT_THAT(directory.error().message(), HasSubstr("/no/such/directory"));
  const auto failed = command_output(shell("echo one >&2; echo two >&2; exit 4"));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), ErrorCode::kIo);
  EXPECT_THAT(failed.error().message(), HasSubstr("exit status 4: one; two"));
}

TEST(RunCommandTest, PassesEnvironmentAndDirectory) {
  CommandOptions options;
  options.process.environment = {"GREETING=hello", "PATH=/usr/bin:/bin"};
  options.process.working_directory = "/proc";
  EXPECT_EQ(output_of("echo $GREETING $HOME; pwd", options), "hello\n/proc\n");
  ::setenv("PERDURE_IO_TEST", "inherited", 1);
  EXPECT_EQ(output_of("echo $PERDURE_IO_TEST"), "inherited\n");
}

TEST(SpawnTest, ClosesEverythingButWhatWasGiven) {
  const Pipe pipe = make_pipe().value();
  // Not close-on-exec, as a careless library leaves one.
  const UniqueFd leak(::fcntl(pipe.read_end.get(), F_DUPFD, 50));
  CommandOptions options;
  options.process.inherited = {{pipe.read_end.get(), 7}};
  // 3 is the directory that ls itself reads.
  EXPECT_EQ(command_output({"ls", "/proc/self/fd"}, options).value(), "0\n1\n2\n3\n7\n");
}

TEST(SpawnTest, PlacesDescriptorsThatSwapTheirNumbers) {
  const TemporaryDirectory directory;
  for (const char* name : {"one", "two"}) {
    ASSERT_TRUE(write_file_atomically(directory / name, std::string_view(name), 0600));
  }
  const UniqueFd one = open_file(directory / "one", O_RDONLY).value();
  const UniqueFd two = open_file(directory / "two", O_RDONLY).value();
  CommandOptions options;
  options.process.inherited = {{one.get(), two.get()}, {two.get(), one.get()}, {one.get(), 0}};
  const std::string script = std::format(
      "readlink /proc/self/fd/{} /proc/self/fd/{} /proc/self/fd/0", one.get(), two.get());
  EXPECT_EQ(output_of(script, options),
            std::format("{0}\n{1}\n{1}\n", directory / "two", directory / "one"));
  options.process.inherited = {{one.get(), 5}, {two.get(), 5}};
  EXPECT_EQ(run_command({"true"}, options).error().code(), ErrorCode::kInvalid);
  options.process.inherited = {{9999, 5}};
  EXPECT_THAT(run_command({"true"}, options).error().message(), HasSubstr("9999"));
}

TEST(SpawnTest, LeavesNoDescriptorAndNoChildBehind) {
  const int before = count_open_descriptors();
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(run_command({"true"}));
    EXPECT_FALSE(run_command({"/no/such/program"}));
    CommandOptions options;
    options.deadline = BootClock::now();
    EXPECT_EQ(run_command({"sleep", "1000"}, options).error().code(), ErrorCode::kTimeout);
    ChildProcess::spawn({"sleep", "1000"}, {.standard_input = Stdio::kPipe}).value();
  }
  EXPECT_EQ(count_open_descriptors(), before);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

TEST(SpawnTest, GivesDefaultSignalsAndASessionOfItsOwn) {
  sigset_t blocked;
  sigset_t before;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &blocked, &before);
  const auto pipe_before = ::signal(SIGPIPE, SIG_IGN);
  const std::string status =
      command_output({"cat", "/proc/self/status", "/proc/self/stat"}).value_or("");
  sigset_t now;
  ::pthread_sigmask(SIG_SETMASK, &before, &now);
  ::signal(SIGPIPE, pipe_before);
  EXPECT_TRUE(::sigismember(&now, SIGTERM)) << "our own mask is as before";
  EXPECT_THAT(status, HasSubstr("SigBlk:\t0000000000000000"));
  EXPECT_THAT(status, HasSubstr("SigIgn:\t0000000000000000"));
  long pid = 0;
  long session = 0;
  const std::string stat = status.substr(status.rfind("\n", status.size() - 2) + 1);
  ASSERT_EQ(::sscanf(stat.c_str(), "%ld (%*[^)]) %*c %*d %*d %ld", &pid, &session), 2);
  EXPECT_EQ(session, pid);
}

TEST(SpawnTest, WorksFromManyThreadsAtOnce) {
  std::atomic<int> succeeded = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 6; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 15; ++i) {
        const std::string expected = std::format("{}-{}", thread, i);
        const auto output = command_output({"echo", "-n", expected});
        if (output && *output == expected) ++succeeded;
        reap_orphans();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(succeeded, 6 * 15);
}

TEST(SpawnTest, EntersANetworkNamespace) {
  UniqueFd network;
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) == 0) {
      network = open_file("/proc/thread-self/ns/net", O_RDONLY).value();
    }
  }).join();
  if (!network) GTEST_SKIP() << "cannot create a network namespace: not privileged";
  CommandOptions options;
  options.process.namespaces = {network.get()};
  struct stat wanted{};
  ASSERT_EQ(::fstat(network.get(), &wanted), 0);
  EXPECT_EQ(output_of("readlink /proc/self/ns/net", options),
            std::format("net:[{}]\n", wanted.st_ino));
  EXPECT_NE(output_of("readlink /proc/self/ns/net"), std::format("net:[{}]\n", wanted.st_ino));
  const UniqueFd wrong = open_file("/", O_RDONLY).value();
  options.process.namespaces = {wrong.get()};
  EXPECT_THAT(run_command({"true"}, options).error().message(), HasSubstr("enter the namespace"));
}

class TestCgroup {
 public:
  TestCgroup() {
    for (const char* mount : {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"}) {
      if (::access(std::format("{}/cgroup.procs", mount).c_str(), F_OK) != 0) continue;
      path_ = std::format("{}/perdure-io-test-{}", mount, ::getpid());
      if (::mkdir(path_.c_str(), 0755) != 0) continue;
      fd_ = open_file(path_, O_RDONLY | O_DIRECTORY).value();
      return;
    }
  }
  TestCgroup(const TestCgroup&) = delete;
  TestCgroup& operator=(const TestCgroup&) = delete;
  ~TestCgroup() { EXPECT_TRUE(!fd_ || ::rmdir(path_.c_str()) == 0); }
  int fd() const { return fd_.get(); }
  std::string name() const { return path_.substr(path_.rfind('/')); }
  std::string operator/(const std::string& file) const { return path_ + "/" + file; }

 private:
  std::string path_;
  UniqueFd fd_;
};

TEST(SpawnTest, StartsInACgroup) {
  const TestCgroup cgroup;
  if (cgroup.fd() < 0) GTEST_SKIP() << "no version 2 cgroup can be created here";
  CommandOptions options;
  options.process.cgroup_fd = cgroup.fd();
  EXPECT_THAT(output_of("cat /proc/self/cgroup", options), HasSubstr("0::" + cgroup.name() + "\n"));
  EXPECT_EQ(run_command({"false"}, options).value().status.code, 1);
  EXPECT_EQ(run_command({"/no/such/program"}, options).error().code(), ErrorCode::kNotFound);
  const UniqueFd wrong = open_file("/", O_RDONLY).value();
  options.process.cgroup_fd = wrong.get();
  EXPECT_EQ(run_command({"true"}, options).error().code(), ErrorCode::kInvalid);
}

TEST(SpawnTest, CgroupEventsAreSeenByAPriorityWatch) {
  const TestCgroup cgroup;
  if (cgroup.fd() < 0) GTEST_SKIP() << "no version 2 cgroup can be created here";
  const auto loop = make_loop();
  const UniqueFd events = open_file(cgroup / "cgroup.events", O_RDONLY).value();
  std::string text;
  const auto read_events = [&] {
    char buffer[256];
    const ssize_t got = ::pread(events.get(), buffer, sizeof buffer, 0);
    text.assign(buffer, static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  };
  Watch watch = loop->watch(events.get(), POLLPRI, [&](short) { read_events(); }).value();
  read_events();
  EXPECT_THAT(text, HasSubstr("populated 0"));
  ChildProcess child = ChildProcess::spawn({"sleep", "1000"}, {.cgroup_fd = cgroup.fd()}).value();
  ASSERT_TRUE(loop->run_until([&] { return text.contains("populated 1"); }, kTestTime));
  child.kill();
  ASSERT_TRUE(child.wait(soon()));
  ASSERT_TRUE(loop->run_until([&] { return text.contains("populated 0"); }, kTestTime));
}

TEST(ChildProcessTest, TalksThroughItsPipes) {
  ChildProcess child = ChildProcess::spawn({"cat"}, {.standard_input = Stdio::kPipe,
                                                     .standard_output = Stdio::kPipe})
                           .value();
  ASSERT_EQ(::write(child.standard_input.get(), "ping", 4), 4);
  char buffer[8] = {};
  ASSERT_EQ(::read(child.standard_output.get(), buffer, sizeof buffer), 4);
  EXPECT_STREQ(buffer, "ping");
  EXPECT_FALSE(child.standard_error);
  const auto running = child.wait(BootClock::now());
  ASSERT_FALSE(running);
  EXPECT_EQ(running.error().code(), ErrorCode::kTimeout);
  child.standard_input.reset();
  EXPECT_TRUE(child.wait(soon()).value().success());
  EXPECT_TRUE(child.wait(BootClock::now()).value().success()) << "the same again";
  EXPECT_TRUE(child.send_signal(SIGTERM)) << "too late is no error";
}

TEST(ChildProcessTest, DiesWithItsOwner) {
  UniqueFd pidfd;
  pid_t pid = -1;
  {
    ChildProcess child = ChildProcess::spawn({"sleep", "1000"}, {}).value();
    ChildProcess moved = std::move(child);
    pid = moved.pid();
    pidfd = duplicate(moved.pidfd()).value();
  }
  EXPECT_TRUE(wait_for_descriptor(pidfd.get(), POLLIN, BootClock::now()).value());
  EXPECT_EQ(::kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(ChildProcessTest, IsLetGoAndReapedAsAnOrphan) {
  ChildProcess owned = ChildProcess::spawn({"true"}, {}).value();
  ChildProcess child = ChildProcess::spawn({"sleep", "1000"}, {}).value();
  const pid_t pid = child.release();
  EXPECT_EQ(reap_orphans(), 0) << "it runs";
  ASSERT_EQ(::kill(pid, SIGKILL), 0);
  ASSERT_TRUE(ends(pid));
  ASSERT_TRUE(ends(owned.pid()));
  EXPECT_EQ(reap_orphans(), 1) << "the owned one is its owner's";
  EXPECT_TRUE(owned.wait(soon()).value().success());
}

TEST(ChildProcessTest, AdoptsWhatComesToASubreaper) {
  const Subreaper subreaper;
  const pid_t pid = parse_pid(output_of("sleep 1000 >/dev/null 2>&1 & echo $!"));
  ChildProcess child = ChildProcess::adopt(pid).value();
  EXPECT_EQ(ChildProcess::adopt(pid).error().code(), ErrorCode::kNotFound) << "it has an owner";
  ASSERT_TRUE(child.send_signal(SIGTERM));
  ASSERT_TRUE(ends(pid));
  EXPECT_EQ(reap_orphans(), 0);
  EXPECT_EQ(child.wait(soon()).value().signal_number, SIGTERM);
  EXPECT_EQ(ChildProcess::adopt(1).error().code(), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace perdure::io
