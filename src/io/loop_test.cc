// Proves that the loop calls back in order and on its own thread, that a callback never runs after
// its handle is gone (also when its event had happened, and when it destroys itself), and that
// watches see pipes, pidfds and priority events. Pipes and socketpairs only; no sleeps.
#include "io/loop.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "base/fd.h"
#include "gmock/gmock.h"
#include "io/process.h"
#include "io/test_support.h"

namespace perdure::io {
namespace {

using std::chrono_literals::operator""ms;
using testing::ElementsAre;

TEST(TimerTest, FiresInTheOrderOfInstantsThenOfCalls) {
  const auto loop = make_loop();
  std::vector<int> fired;
  const Instant now = BootClock::now();
  Timer late = loop->at(now + 20ms, [&] { fired.push_back(4); });
  Timer early = loop->at(now + 5ms, [&] { fired.push_back(1); });
  Timer same_first = loop->at(now + 10ms, [&] { fired.push_back(2); });
  Timer same_second = loop->at(now + 10ms, [&] { fired.push_back(3); });
  Timer past = loop->at(now - 1000ms, [&] { fired.push_back(0); });
  EXPECT_TRUE(late.active());
  ASSERT_TRUE(loop->run_until([&] { return fired.size() == 5; }, kTestTime));
  EXPECT_THAT(fired, ElementsAre(0, 1, 2, 3, 4));
  EXPECT_GE(BootClock::now(), now + 20ms);
  EXPECT_FALSE(late.active());
}

TEST(TimerTest, IsCancelledByItsHandle) {
  const auto loop = make_loop();
  int fired = 0;
  {
    Timer dropped = loop->after(1ms, [&] { ++fired; });
  }
  Timer assigned = loop->after(1ms, [&] { ++fired; });
  assigned = loop->after(2ms, [&] { fired += 10; });
  Timer moved_to;
  Timer moved_from = loop->after(3ms, [&] { fired += 100; });
  moved_to = std::move(moved_from);
  bool end = false;
  Timer last = loop->after(5ms, [&] { end = true; });
  ASSERT_TRUE(loop->run_until([&] { return end; }, kTestTime));
  EXPECT_EQ(fired, 110);
}

TEST(TimerTest, DoesNotFireAfterCancelAlthoughItWasDue) {
  const auto loop = make_loop();
  const Instant past = BootClock::now() - 1ms;
  bool second_fired = false;
  Timer second;
  Timer first = loop->at(past, [&] { second.reset(); });
  second = loop->at(past, [&] { second_fired = true; });
  settle(*loop);
  EXPECT_FALSE(first.active());
  EXPECT_FALSE(second_fired);
}

TEST(TimerTest, MayDestroyAndReplaceItselfInItsCallback) {
  const auto loop = make_loop();
  int turns = 0;
  Timer timer;
  // The captured string is read after the handle is gone: a callback destroyed too early shows
  // under ASan.
  std::function<void()> tick;
  const std::string text(100, 'x');
  tick = [&, text] {
    timer.reset();
    if (text.size() == 100 && ++turns < 3) timer = loop->after(Duration::zero(), tick);
  };
  timer = loop->after(Duration::zero(), tick);
  ASSERT_TRUE(loop->run_until([&] { return turns == 3; }, kTestTime));
  EXPECT_FALSE(timer.active());
}

TEST(TimerTest, CapturesMayHoldOtherHandles) {
  const auto loop = make_loop();
  bool fired = false;
  Timer inner = loop->after(1ms, [&] { fired = true; });
  Timer outer = loop->after(kLongTime, [inner = std::move(inner)] { (void)inner; });
  outer.reset();
  bool end = false;
  Timer last = loop->after(3ms, [&] { end = true; });
  ASSERT_TRUE(loop->run_until([&] { return end; }, kTestTime));
  EXPECT_FALSE(fired);
}

TEST(LoopTest, RunsPostsOfOtherThreadsInTheirOrder) {
  const auto loop = make_loop();
  constexpr int kThreads = 4;
  constexpr int kPosts = 500;
  std::vector<std::vector<int>> seen(kThreads);
  int total = 0;
  bool on_loop_thread = true;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < kPosts; ++i) {
        loop->post([&, thread, i] {
          on_loop_thread = on_loop_thread && loop->on_loop_thread();
          seen[static_cast<std::size_t>(thread)].push_back(i);
          ++total;
        });
      }
    });
  }
  EXPECT_TRUE(loop->run_until([&] { return total == kThreads * kPosts; }, kTestTime));
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(on_loop_thread);
  EXPECT_FALSE(loop->on_loop_thread());
  for (const auto& order : seen) EXPECT_TRUE(std::ranges::is_sorted(order));
}

TEST(LoopTest, StopBeforeRunIsNotLostAndRunCanBeRepeated) {
  const auto loop = make_loop();
  bool ran = false;
  loop->post([&] { ran = true; });
  loop->stop();
  loop->run();
  EXPECT_FALSE(ran);
  loop->post([&] { loop->stop(); });
  loop->run();
  EXPECT_TRUE(ran);
}

TEST(LoopTest, RunUntilGivesUpAtItsLimit) {
  const auto loop = make_loop();
  EXPECT_FALSE(loop->run_until([] { return false; }, 5ms));
}

TEST(LoopTest, StopsFromAnotherThreadWhileItWaits) {
  const auto loop = make_loop();
  std::thread thread;
  loop->post([&] { thread = std::thread([&] { loop->stop(); }); });
  loop->run();
  thread.join();
}

TEST(LoopTest, DestroysUnrunCallbacksAndHandlesMayOutliveIt) {
  auto loop = make_loop();
  const auto token = std::make_shared<int>(1);
  const Pipe pipe = make_pipe().value();
  Timer timer = loop->after(kLongTime, [token] {});
  Watch watch = loop->watch_readable(pipe.read_end.get(), [token] {}).value();
  SignalHandler signal = loop->on_signal(SIGUSR2, [token] {}).value();
  Timer inside;
  inside = loop->after(kLongTime, [] {});
  loop->post([token, inside = std::move(inside)] {});
  EXPECT_EQ(token.use_count(), 5);
  loop.reset();
  EXPECT_EQ(token.use_count(), 1);
  EXPECT_FALSE(timer.active());
  watch.set_events(POLLIN);
  watch.reset();
  EXPECT_GE(::fcntl(pipe.read_end.get(), F_GETFD), 0) << "the watched descriptor stays open";
}

TEST(WatchTest, FiresWhileReadableAndNotAfterwards) {
  const auto loop = make_loop();
  const Pipe pipe = make_pipe().value();
  int called = 0;
  Watch watch = loop->watch_readable(pipe.read_end.get(),
                                     [&] {
                                       char byte = 0;
                                       ASSERT_EQ(::read(pipe.read_end.get(), &byte, 1), 1);
                                       ++called;
                                     })
                    .value();
  settle(*loop);
  EXPECT_EQ(called, 0);
  ASSERT_EQ(::write(pipe.write_end.get(), "abc", 3), 3);
  ASSERT_TRUE(loop->run_until([&] { return called == 3; }, kTestTime));
  settle(*loop);
  EXPECT_EQ(called, 3);
}

TEST(WatchTest, IsSilentAfterItsHandleIsGoneAlthoughTheEventHadHappened) {
  const auto loop = make_loop();
  const Pipe one = make_pipe().value();
  const Pipe two = make_pipe().value();
  int called = 0;
  Watch first;
  Watch second;
  // Both are ready in the same turn: whoever comes first silences the other.
  first = loop->watch_readable(one.read_end.get(), [&] { ++called, second.reset(), first.reset(); })
              .value();
  second =
      loop->watch_readable(two.read_end.get(), [&] { ++called, first.reset(), second.reset(); })
          .value();
  ASSERT_EQ(::write(one.write_end.get(), "x", 1), 1);
  ASSERT_EQ(::write(two.write_end.get(), "x", 1), 1);
  ASSERT_TRUE(loop->run_until([&] { return called > 0; }, kTestTime));
  settle(*loop);
  EXPECT_EQ(called, 1);
  EXPECT_FALSE(first.active());
}

TEST(WatchTest, MayDestroyItselfAndWatchAnew) {
  const auto loop = make_loop();
  const Pipe pipe = make_pipe().value();
  ASSERT_EQ(::write(pipe.write_end.get(), "x", 1), 1);
  int called = 0;
  Watch watch;
  std::function<void()> again;
  const std::string text(100, 'x');
  again = [&, text] {
    watch.reset();
    if (text.size() == 100 && ++called < 3) {
      watch = loop->watch_readable(pipe.read_end.get(), again).value();
    }
  };
  watch = loop->watch_readable(pipe.read_end.get(), again).value();
  ASSERT_TRUE(loop->run_until([&] { return called == 3; }, kTestTime));
  settle(*loop);
  EXPECT_EQ(called, 3);
}

TEST(WatchTest, TellsEventsApartAndCanBePaused) {
  const auto loop = make_loop();
  int fds[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
  const UniqueFd mine(fds[0]);
  const UniqueFd peer(fds[1]);
  int readable = 0;
  int writable = 0;
  Watch watch;
  watch = loop->watch(mine.get(), POLLIN | POLLOUT,
                      [&](short event) {
                        if (event == POLLIN) ++readable;
                        if (event == POLLOUT) {
                          ++writable;
                          watch.set_events(POLLIN);
                        }
                      })
              .value();
  ASSERT_TRUE(loop->run_until([&] { return writable == 1; }, kTestTime));
  settle(*loop);
  EXPECT_EQ(writable, 1);
  EXPECT_EQ(readable, 0);
  watch.set_events(0);
  ASSERT_EQ(::write(peer.get(), "x", 1), 1);
  settle(*loop);
  EXPECT_EQ(readable, 0);
  watch.set_events(POLLIN);
  ASSERT_TRUE(loop->run_until([&] { return readable >= 1; }, kTestTime));
}

TEST(WatchTest, SeesPriorityEventsWithoutMistakingData) {
  const auto loop = make_loop();
  // Out-of-band data is the POLLPRI that needs no privilege; process_test.cc has the one of
  // cgroup.events.
  int fds[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  const UniqueFd mine(fds[0]);
  const UniqueFd peer(fds[1]);
  if (::send(peer.get(), "!", 1, MSG_OOB) != 1)
    GTEST_SKIP() << "no out-of-band data on AF_UNIX here";
  char byte = 0;
  int priority = 0;
  Watch watch = loop->watch(mine.get(), POLLPRI,
                            [&](short event) {
                              EXPECT_EQ(event, POLLPRI);
                              EXPECT_EQ(::recv(mine.get(), &byte, 1, MSG_OOB), 1);
                              ++priority;
                            })
                    .value();
  ASSERT_TRUE(loop->run_until([&] { return priority == 1; }, kTestTime));
  ASSERT_EQ(::send(peer.get(), "data", 4, 0), 4);
  settle(*loop);
  EXPECT_EQ(priority, 1);
}

TEST(WatchTest, SeesAProcessEndByItsPidfd) {
  const auto loop = make_loop();
  ChildProcess child = ChildProcess::spawn({"sh", "-c", "exit 7"}, {}).value();
  bool ended = false;
  Watch watch;
  watch = loop->watch_readable(child.pidfd(),
                               [&] {
                                 ended = true;
                                 watch.reset();
                               })
              .value();
  ASSERT_TRUE(loop->run_until([&] { return ended; }, kTestTime));
  EXPECT_EQ(child.wait(BootClock::now()).value().code, 7);
}

TEST(WatchTest, RefusesWhatCannotBeWatched) {
  const auto loop = make_loop();
  const TemporaryDirectory directory;
  const UniqueFd file = open_file(directory / "file", O_RDWR | O_CREAT).value();
  const auto regular = loop->watch_readable(file.get(), [] {});
  ASSERT_FALSE(regular);
  EXPECT_EQ(regular.error().code(), ErrorCode::kInvalid);
  const auto closed = loop->watch_readable(-1, [] {});
  ASSERT_FALSE(closed);
  EXPECT_EQ(closed.error().code(), ErrorCode::kInvalid);
  const Pipe pipe = make_pipe().value();
  Watch watch = loop->watch_readable(pipe.read_end.get(), [] {}).value();
  const auto twice = loop->watch_readable(pipe.read_end.get(), [] {});
  ASSERT_FALSE(twice);
  EXPECT_EQ(twice.error().code(), ErrorCode::kConflict);
  watch.reset();
  EXPECT_TRUE(loop->watch_readable(pipe.read_end.get(), [] {}));
}

TEST(SignalTest, IsCalledOnTheLoopAndNotAfterItsHandleIsGone) {
  const auto loop = make_loop();
  int first = 0;
  int second = 0;
  SignalHandler handler = loop->on_signal(SIGUSR1,
                                          [&] {
                                            ++first;
                                            handler.reset();
                                          })
                              .value();
  SignalHandler other = loop->on_signal(SIGUSR1, [&] { ++second; }).value();
  ASSERT_EQ(::raise(SIGUSR1), 0);
  ASSERT_TRUE(loop->run_until([&] { return first == 1 && second == 1; }, kTestTime));
  ASSERT_EQ(::raise(SIGUSR1), 0);
  ASSERT_TRUE(loop->run_until([&] { return second == 2; }, kTestTime));
  settle(*loop);
  EXPECT_EQ(first, 1);
  EXPECT_FALSE(handler.active());
  const auto refused = loop->on_signal(SIGKILL, [] {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kInvalid);
}

TEST(SignalTest, DoesNotInterruptBlockingCalls) {
  const auto loop = make_loop();
  SignalHandler handler = loop->on_signal(SIGUSR1, [] {}).value();
  struct sigaction action{};
  ASSERT_EQ(::sigaction(SIGUSR1, nullptr, &action), 0);
  EXPECT_NE(action.sa_flags & SA_RESTART, 0);
}

}  // namespace
}  // namespace perdure::io
