// Proves that perdure-logger collects what is written, outlives whoever started it, ends with its
// pipes and not with signals, and stays small.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <format>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "image/test_support.h"
#include "runtime/test_support.h"

namespace perdure::runtime {
namespace {

using testing::HasSubstr;

class LoggerTest : public testing::Test {
 protected:
  LoggerOptions options() const {
    return {.program = PERDURE_LOGGER_PROGRAM, .log_dir = directory_.path() + "/logs"};
  }
  std::string text() const { return test::read_text(options().log_dir + "/container.log"); }
  static void write(const UniqueFd& fd, std::string_view line) {
    ASSERT_EQ(::write(fd.get(), line.data(), line.size()), static_cast<ssize_t>(line.size()));
  }

 private:
  image::test::TemporaryDirectory directory_;
};

TEST_F(LoggerTest, CollectsBothStreamsAndEndsWithThem) {
  auto pipes = start_logger(options());
  ASSERT_TRUE(pipes) << pipes.error().message();
  auto logger = ProcessWatch::open(ProcessId::of(pipes->logger_pid).value());
  ASSERT_TRUE(logger);
  write(pipes->stdout_write, "from stdout\n");
  write(pipes->stderr_write, "from stderr");
  pipes->stdout_write.reset();
  pipes->stderr_write.reset();
  const auto end = logger->wait(test::soon());
  ASSERT_TRUE(end) << end.error().message();
  EXPECT_TRUE(end->status && end->status->success()) << to_string(*end);
  EXPECT_THAT(text(), HasSubstr(" o from stdout\n"));
  EXPECT_THAT(text(), HasSubstr(" e from stderr\n"));
}

TEST_F(LoggerTest, KeysNameThePipes) {
  const auto pipes = start_logger(options());
  ASSERT_TRUE(pipes);
  char target[64] = {};
  const std::string link = std::format("/proc/self/fd/{}", pipes->stdout_write.get());
  ASSERT_GT(::readlink(link.c_str(), target, sizeof target - 1), 0);
  EXPECT_EQ(pipes->stdout_key, target);
  EXPECT_NE(pipes->stdout_key, pipes->stderr_key);
}

TEST_F(LoggerTest, SignalsDoNotEndIt) {
  auto pipes = start_logger(options());
  ASSERT_TRUE(pipes);
  // The first line proves that it runs and has its signals in order.
  write(pipes->stdout_write, "ready\n");
  ASSERT_TRUE(test::eventually([&] { return text().contains("ready"); }));
  for (const int number : {SIGTERM, SIGINT, SIGHUP})
    ASSERT_EQ(::kill(pipes->logger_pid, number), 0);
  write(pipes->stdout_write, "still here\n");
  EXPECT_TRUE(test::eventually([&] { return text().contains("still here"); }));
}

TEST_F(LoggerTest, OutlivesWhoStartedIt) {
  int pid_pipe[2];
  ASSERT_EQ(::pipe(pid_pipe), 0);
  const pid_t starter = ::fork();
  if (starter == 0) {
    auto pipes = start_logger(options());
    if (!pipes) ::_exit(1);
    // A container: holds the pipe and writes after its starter's death.
    const pid_t parent = ::getpid();
    if (::fork() == 0) {
      ::setsid();
      while (::getppid() == parent) ::usleep(1000);
      [[maybe_unused]] const auto n = ::write(pipes->stdout_write.get(), "orphan speaks\n", 14);
      ::_exit(0);
    }
    if (::write(pid_pipe[1], &pipes->logger_pid, sizeof(pid_t)) > 0) ::pause();
    ::_exit(1);
  }
  pid_t logger_pid = 0;
  ASSERT_EQ(::read(pid_pipe[0], &logger_pid, sizeof logger_pid), ssize_t{sizeof logger_pid});
  ::close(pid_pipe[0]);
  ::close(pid_pipe[1]);
  auto logger = ProcessWatch::open(ProcessId::of(logger_pid).value());
  ASSERT_TRUE(logger);
  ASSERT_EQ(::kill(starter, SIGKILL), 0);
  ASSERT_EQ(::waitpid(starter, nullptr, 0), starter);
  EXPECT_TRUE(logger->wait(test::soon())) << "ends with the container";
  EXPECT_THAT(text(), HasSubstr(" o orphan speaks\n"));
}

TEST_F(LoggerTest, IsSmall) {
  const auto pipes = start_logger(options());
  ASSERT_TRUE(pipes);
  write(pipes->stdout_write, "ready\n");
  ASSERT_TRUE(test::eventually([&] { return text().contains("ready"); }));
  const std::string status = test::read_text(std::format("/proc/{}/status", pipes->logger_pid));
  const auto at = status.find("VmRSS:");
  ASSERT_NE(at, std::string::npos);
  const long kilobytes = std::atol(status.c_str() + at + 6);
  RecordProperty("rss_kb", std::to_string(kilobytes));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(kilobytes, 2048);
#endif
}

TEST_F(LoggerTest, MissingProgramAndSillyLimitsAreRefused) {
  LoggerOptions bad = options();
  bad.program = "/no/perdure-logger";
  EXPECT_EQ(start_logger(bad).error().code(), ErrorCode::kNotFound);
  bad = options();
  bad.files = 0;
  EXPECT_EQ(start_logger(bad).error().code(), ErrorCode::kInvalid);
}

}  // namespace
}  // namespace perdure::runtime
