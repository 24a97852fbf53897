// Proves that the pool runs work beside the loop, brings results back on the loop's thread, refuses
// beyond its bound, waits for what runs when it stops, and stays silent to owners that have ended.
#include "io/pool.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <future>
#include <latch>

#include "io/patience.h"
#include "io/test_support.h"

namespace perdure::io {
namespace {

std::unique_ptr<Pool> make_pool(std::size_t threads, std::size_t queue_limit) {
  return Pool::create({.name = "test", .threads = threads, .queue_limit = queue_limit}).value();
}

TEST(PoolTest, BringsResultsBackOnTheLoopsThread) {
  const auto loop = make_loop();
  const auto pool = make_pool(2, 64);
  const Lifetime owner;
  const std::thread::id test_thread = std::this_thread::get_id();
  int sum = 0;
  int finished = 0;
  for (int i = 1; i <= 50; ++i) {
    ASSERT_TRUE(pool->submit(
        *loop, owner,
        [i, test_thread] {
          EXPECT_NE(std::this_thread::get_id(), test_thread);
          return std::make_unique<int>(i);
        },
        [&](std::unique_ptr<int> value) {
          EXPECT_EQ(std::this_thread::get_id(), test_thread);
          sum += *value;
          ++finished;
        }));
  }
  ASSERT_TRUE(pool->submit(*loop, owner, [] {}, [&] { ++finished; }));
  ASSERT_TRUE(loop->run_until([&] { return finished == 51; }, kTestTime));
  EXPECT_EQ(sum, 50 * 51 / 2);
}

TEST(PoolTest, RefusesWhenTheQueueIsFull) {
  const auto loop = make_loop();
  const auto pool = make_pool(1, 2);
  const Lifetime owner;
  std::latch running(1);
  std::latch release(1);
  int finished = 0;
  const auto done = [&] { ++finished; };
  ASSERT_TRUE(pool->submit(
      *loop, owner,
      [&] {
        running.count_down();
        release.wait();
      },
      done));
  running.wait();
  ASSERT_TRUE(pool->submit(*loop, owner, [] {}, done));
  ASSERT_TRUE(pool->submit(*loop, owner, [] {}, done));
  const Status refused = pool->submit(*loop, owner, [] {}, done);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kTransient);
  release.count_down();
  ASSERT_TRUE(loop->run_until([&] { return finished == 3; }, kTestTime));
  EXPECT_TRUE(pool->submit(*loop, owner, [] {}, done));
}

TEST(PoolTest, IsSilentToAnOwnerThatHasEnded) {
  const auto loop = make_loop();
  const auto pool = make_pool(1, 8);
  auto owner = std::make_unique<Lifetime>();
  const Lifetime other;
  bool called = false;
  bool end = false;
  ASSERT_TRUE(pool->submit(*loop, *owner, [] { return 1; }, [&](int) { called = true; }));
  ASSERT_TRUE(pool->submit(*loop, other, [] { return 2; }, [&](int) { end = true; }));
  owner.reset();
  ASSERT_TRUE(loop->run_until([&] { return end; }, kTestTime));
  EXPECT_FALSE(called);
}

TEST(PoolTest, StopWaitsForWhatRunsAndDropsTheRest) {
  const auto loop = make_loop();
  const auto pool = make_pool(1, 8);
  const Lifetime owner;
  std::latch running(1);
  std::latch release(1);
  std::latch dropped(1);
  std::shared_ptr<void> token(nullptr, [&](void*) { dropped.count_down(); });
  std::atomic<bool> finished = false;
  bool first_done = false;
  bool second_done = false;
  ASSERT_TRUE(pool->submit(
      *loop, owner,
      [&] {
        running.count_down();
        release.wait();
        finished = true;
      },
      [&] { first_done = true; }));
  ASSERT_TRUE(pool->submit(*loop, owner, [token] {}, [&, token] { second_done = true; }));
  token.reset();
  running.wait();
  std::thread stopper([&] { pool->stop(); });
  // The queued work goes at once, the running one is waited for.
  dropped.wait();
  release.count_down();
  stopper.join();
  EXPECT_TRUE(finished);
  ASSERT_TRUE(loop->run_until([&] { return first_done; }, kTestTime));
  EXPECT_FALSE(second_done);
  const Status refused = pool->submit(*loop, owner, [] {}, [] {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kCancelled);
  pool->stop();
}

TEST(PoolTest, DestroysWorkBeforeItReports) {
  const auto loop = make_loop();
  const auto pool = make_pool(1, 8);
  const Lifetime owner;
  auto token = std::make_shared<int>(0);
  const std::weak_ptr<int> observer = token;
  bool alive_at_done = true;
  bool end = false;
  ASSERT_TRUE(pool->submit(
      *loop, owner, [token = std::move(token)] { return *token; },
      [&](int) {
        alive_at_done = !observer.expired();
        end = true;
      }));
  ASSERT_TRUE(loop->run_until([&] { return end; }, kTestTime));
  EXPECT_FALSE(alive_at_done);
}

TEST(PoolTest, ItsThreadsAreNotInterruptedBySignals) {
  const auto loop = make_loop();
  const auto pool = make_pool(1, 8);
  const Lifetime owner;
  std::optional<bool> blocked;
  ASSERT_TRUE(pool->submit(
      *loop, owner,
      [] {
        sigset_t mask;
        ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
        return ::sigismember(&mask, SIGCHLD) == 1 && ::sigismember(&mask, SIGTERM) == 1;
      },
      [&](bool value) { blocked = value; }));
  ASSERT_TRUE(loop->run_until([&] { return blocked.has_value(); }, kTestTime));
  EXPECT_TRUE(*blocked);
}

TEST(Patience, IsTheThreadsOnlyWhileItLives) {
  const auto nice = [] { return ::getpriority(PRIO_PROCESS, static_cast<id_t>(::gettid())); };
  const int before = nice();
  {
    const Patience none(Patience::Wanted::kNo);
    EXPECT_EQ(nice(), before);
    const Patience some(Patience::Wanted::kYes);
    EXPECT_GE(nice(), before);
    if (::geteuid() == 0) {
      EXPECT_EQ(nice(), std::max(before, 10));
    }
    int elsewhere = -1;
    std::thread([&] { elsewhere = nice(); }).join();
    EXPECT_EQ(elsewhere, nice()) << "what it starts is as patient";
  }
  EXPECT_EQ(nice(), before);
}

}  // namespace
}  // namespace perdure::io
