// Proves that a process is told from a successor with its number, that its end is seen, and that
// its status is known exactly when it was our child.
#include "runtime/process_watch.h"

#include <signal.h>
#include <unistd.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace perdure::runtime {
namespace {

constexpr Duration kPatience = std::chrono::seconds(20);
Instant soon() {
  return BootClock::now() + kPatience;
}

TEST(ProcessIdTest, OurselvesAndNobody) {
  EXPECT_EQ(ProcessId::of(::getpid()).value().pid, ::getpid());
  EXPECT_EQ(ProcessId::of(0x7fffffff).error().code(), ErrorCode::kNotFound);
}

TEST(ProcessWatchTest, AnotherProcessWithTheNumberIsNotFound) {
  ProcessId stranger = ProcessId::of(::getpid()).value();
  stranger.start_ticks += 1;
  const auto watch = ProcessWatch::open(stranger);
  ASSERT_FALSE(watch);
  EXPECT_EQ(watch.error().code(), ErrorCode::kNotFound);
}

TEST(ProcessWatchTest, AZombieIsEnding) {
  auto child = io::ChildProcess::spawn({"sleep", "1000"}, {});
  ASSERT_TRUE(child);
  auto watch = ProcessWatch::open(ProcessId::of(child->pid()).value());
  ASSERT_TRUE(watch);
  EXPECT_FALSE(watch->is_ending());
  child->kill();
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child->pid()), &info, WEXITED | WNOWAIT), 0);
  EXPECT_TRUE(watch->is_ending());
  ASSERT_TRUE(watch->wait(soon()));
  EXPECT_TRUE(watch->is_ending());
}

TEST(ProcessWatchTest, StatusOfAChildIsKnown) {
  auto child = io::ChildProcess::spawn({"sh", "-c", "exit 7"}, {});
  ASSERT_TRUE(child);
  const pid_t pid = child->release();
  auto watch = ProcessWatch::open(ProcessId::of(pid).value());
  ASSERT_TRUE(watch) << watch.error().message();
  EXPECT_TRUE(watch->is_child());
  const auto end = watch->wait(soon());
  ASSERT_TRUE(end) << end.error().message();
  ASSERT_TRUE(end->status);
  EXPECT_EQ(end->status->code, 7);
  EXPECT_EQ(watch->wait(soon())->status->code, 7) << "a second wait says the same";
  EXPECT_EQ(watch->signal(SIGTERM).error().code(), ErrorCode::kNotFound);
}

TEST(ProcessWatchTest, SignalIsReportedAndTimeoutTold) {
  auto child = io::ChildProcess::spawn({"sleep", "1000"}, {});
  ASSERT_TRUE(child);
  auto watch = ProcessWatch::open(ProcessId::of(child->release()).value());
  ASSERT_TRUE(watch);
  EXPECT_EQ(watch->wait(BootClock::now()).error().code(), ErrorCode::kTimeout);
  ASSERT_TRUE(watch->signal(SIGKILL));
  const auto end = watch->wait(soon());
  ASSERT_TRUE(end && end->status);
  EXPECT_EQ(end->status->signal_number, SIGKILL);
  EXPECT_THAT(to_string(*end), testing::HasSubstr("9"));
}

TEST(ProcessWatchTest, StatusOfAStrangerIsUnknown) {
  // The child of a child: not ours as long as its parent lives.
  auto parent = io::ChildProcess::spawn(
      {"sh", "-c", "sleep 1000 & echo $!; read line; kill -9 $!; wait; read line"},
      {.standard_input = io::Stdio::kPipe, .standard_output = io::Stdio::kPipe});
  ASSERT_TRUE(parent);
  char text[32] = {};
  ASSERT_GT(::read(parent->standard_output.get(), text, sizeof text - 1), 0);
  auto watch = ProcessWatch::open(ProcessId::of(std::atoi(text)).value());
  ASSERT_TRUE(watch);
  EXPECT_FALSE(watch->is_child());
  ASSERT_EQ(::write(parent->standard_input.get(), "\n", 1), 1);
  const auto end = watch->wait(soon());
  ASSERT_TRUE(end) << end.error().message();
  EXPECT_FALSE(end->status);
  EXPECT_EQ(to_string(*end), "unknown status");
}

TEST(ProcessWatchTest, AbandonedWatchLeavesTheProcessAlone) {
  auto child = io::ChildProcess::spawn({"sleep", "1000"}, {});
  ASSERT_TRUE(child);
  const ProcessId process = ProcessId::of(child->release()).value();
  {
    const auto watch = ProcessWatch::open(process);
  }
  auto again = ProcessWatch::open(process);
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->is_child());
  ASSERT_TRUE(again->signal(SIGKILL));
  EXPECT_TRUE(again->wait(soon()));
}

}  // namespace
}  // namespace perdure::runtime
