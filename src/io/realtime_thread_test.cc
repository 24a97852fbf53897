// Proves that the thread runs what is posted, reads descriptors before its timer, is real-time with its memory locked where the
// kernel allows it, and says what is missing where not. Refusals are made by giving up capabilities on a thread of the test.
#include "io/realtime_thread.h"

#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <future>
#include <latch>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace perdure::io {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr Duration kTestTime = std::chrono::seconds(20);

std::unique_ptr<RealtimeThread> make_thread(std::size_t max_posted = kMaxPostedTasks) {
  return RealtimeThread::create({.name = "test", .max_posted = max_posted}).value();
}

std::unique_ptr<RealtimeThread> started_thread() {
  auto thread = make_thread();
  EXPECT_TRUE(thread->start());
  return thread;
}

// What it returns, run on the thread.
template <typename Run>
auto on(RealtimeThread& thread, Run run) {
  std::packaged_task<std::invoke_result_t<Run&>()> task(std::move(run));
  auto result = task.get_future();
  EXPECT_TRUE(thread.post([&task] { task(); }));
  EXPECT_EQ(result.wait_for(kTestTime), std::future_status::ready);
  return result.get();
}

TEST(RealtimeThreadTest, RunsWhatIsPostedInOrderOnAThreadOfItsOwn) {
  const auto thread = make_thread();
  std::vector<int> order;
  ASSERT_TRUE(thread->post([&] { order.push_back(0); }));
  ASSERT_TRUE(thread->start());
  for (int i = 1; i < 100; ++i) ASSERT_TRUE(thread->post([&order, i] { order.push_back(i); }));
  EXPECT_FALSE(thread->is_current());
  EXPECT_TRUE(on(*thread, [&] { return thread->is_current(); }));
  ASSERT_EQ(order.size(), 100u);
  EXPECT_TRUE(std::ranges::is_sorted(order));
}

TEST(RealtimeThreadTest, PostsFromManyThreadsAllRun) {
  const auto thread = started_thread();
  int sum = 0;
  {
    std::vector<std::jthread> posters;
    for (int p = 0; p < 4; ++p) {
      posters.emplace_back([&] {
        for (int i = 0; i < 200; ++i) {
          while (!thread->post([&] { ++sum; })) std::this_thread::yield();
        }
      });
    }
  }
  EXPECT_EQ(on(*thread, [&] { return sum; }), 800);
}

TEST(RealtimeThreadTest, StopRunsWhatWasPostedAndRefusesMore) {
  const auto thread = started_thread();
  std::latch refusing(1);
  int ran = 0;
  int accepted = 0;
  ASSERT_TRUE(thread->post([&] { refusing.wait(); }));
  std::jthread stopper([&] { thread->stop(); });
  // Until stop() has begun, of which nothing else tells.
  Status posted;
  const Instant limit = BootClock::now() + kTestTime;
  while (BootClock::now() < limit) {
    posted = thread->post([&] { ++ran; });
    if (posted) ++accepted;
    if (!posted && posted.error().code() == ErrorCode::kCancelled) break;
  }
  refusing.count_down();
  stopper.join();
  ASSERT_FALSE(posted);
  EXPECT_EQ(posted.error().code(), ErrorCode::kCancelled);
  EXPECT_THAT(posted.error().message(), HasSubstr("'test'"));
  EXPECT_EQ(ran, accepted);
  thread->stop();
}

TEST(RealtimeThreadTest, AFullQueueRefuses) {
  const auto thread = make_thread(2);
  ASSERT_TRUE(thread->post([] {}));
  ASSERT_TRUE(thread->post([] {}));
  const auto refused = thread->post([] {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kTransient);
}

TEST(RealtimeThreadTest, TheTimerExpiresOnceAndNotEarly) {
  const auto thread = make_thread();
  std::promise<Instant> expired;
  const Instant at = BootClock::now() + std::chrono::milliseconds(30);
  thread->on_timer([&] { expired.set_value(BootClock::now()); });  // a second time would throw
  thread->set_timer(BootClock::now() + std::chrono::hours(1));
  thread->set_timer(at);
  ASSERT_TRUE(thread->start());
  auto when = expired.get_future();
  ASSERT_EQ(when.wait_for(kTestTime), std::future_status::ready);
  EXPECT_GE(when.get(), at);
  on(*thread, [] {});
}

TEST(RealtimeThreadTest, APassedTimerExpiresAtOnceAndAClearedOneNever) {
  const auto thread = started_thread();
  int expirations = 0;
  const auto set = [&](Instant at) { on(*thread, [&thread, at] { thread->set_timer(at); }); };
  const auto count = [&] { return on(*thread, [&] { return expirations; }); };
  on(*thread, [&] { thread->on_timer([&] { ++expirations; }); });
  set(Instant());
  EXPECT_EQ(count(), 1) << "in the round in which it was set";
  on(*thread, [&] {
    thread->set_timer(Instant());
    thread->clear_timer();
  });
  EXPECT_EQ(count(), 1);
}

// Who was held up reads what has come before it acts on silence.
TEST(RealtimeThreadTest, DescriptorsAreReadBeforeTheTimer) {
  const auto thread = started_thread();
  const UniqueFd readable(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  std::vector<std::string> order;
  std::promise<void> expired;
  on(*thread, [&] {
    thread->on_timer([&] {
      order.push_back("timer");
      expired.set_value();
    });
    ASSERT_TRUE(thread->watch(readable.get(), [&] {
      std::uint64_t count = 0;
      ASSERT_EQ(::read(readable.get(), &count, sizeof count), static_cast<ssize_t>(sizeof count));
      order.push_back("descriptor");
      // Due in this very round.
      thread->set_timer(Instant());
      ASSERT_TRUE(thread->post([&] { order.push_back("posted"); }));
    }));
  });
  const std::uint64_t one = 1;
  ASSERT_EQ(::write(readable.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
  ASSERT_EQ(expired.get_future().wait_for(kTestTime), std::future_status::ready);
  on(*thread, [&] { thread->unwatch(readable.get()); });
  EXPECT_THAT(order, ElementsAre("descriptor", "posted", "timer"));
}

TEST(RealtimeThreadTest, ACallbackMayUnwatchItself) {
  const auto thread = started_thread();
  const UniqueFd always(::eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC));
  int calls = 0;
  on(*thread, [&] {
    ASSERT_TRUE(thread->watch(always.get(), [&] {
      ++calls;
      thread->unwatch(always.get());
    }));
  });
  // Several rounds.
  for (int i = 0; i < 5; ++i) on(*thread, [] {});
  EXPECT_EQ(on(*thread, [&] { return calls; }), 1);
}

TEST(RealtimeThreadTest, TakesNoSignals) {
  const auto thread = started_thread();
  const bool blocked = on(*thread, [] {
    sigset_t mask;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    return ::sigismember(&mask, SIGTERM) == 1;
  });
  EXPECT_TRUE(blocked);
}

TEST(RealtimeThreadTest, APriorityThatDoesNotExistIsRefused) {
  for (const int priority : {0, 100, -1}) {
    const auto thread = RealtimeThread::create({.priority = priority});
    ASSERT_FALSE(thread);
    EXPECT_EQ(thread.error().code(), ErrorCode::kInvalid);
    EXPECT_THAT(thread.error().message(), HasSubstr(std::to_string(priority)));
  }
}

TEST(RealtimeThreadTest, IsRealTimeAndItsChildrenAreNot) {
  const auto thread = started_thread();
  const RealtimeFeature& scheduling = thread->realtime().scheduling;
  if (!scheduling.works) GTEST_SKIP() << scheduling.reason;
  EXPECT_THAT(scheduling.reason, IsEmpty());
  EXPECT_EQ(on(*thread, [] { return ::sched_getscheduler(0); }), SCHED_RR | SCHED_RESET_ON_FORK);
  const int priority = on(*thread, [] {
    sched_param parameters{};
    ::sched_getparam(0, &parameters);
    return parameters.sched_priority;
  });
  EXPECT_EQ(priority, kRealtimePriority);
  const int child_policy = on(*thread, [] {
    int policy = -1;
    std::thread([&] { policy = ::sched_getscheduler(0); }).join();
    return policy;
  });
  EXPECT_EQ(child_policy, SCHED_OTHER);
}

// The flags of the mapping that contains an address: "rd wr mr mw me ac lo".
std::string flags_of(std::uintptr_t address) {
  const std::string smaps = read_file("/proc/self/smaps", std::size_t{64} << 20).value();
  bool within = false;
  for (std::string_view rest = smaps; !rest.empty();) {
    const std::size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    std::uintptr_t first = 0;
    std::uintptr_t last = 0;
    const auto begin = std::from_chars(line.data(), line.data() + line.size(), first, 16);
    if (begin.ec == std::errc() && *begin.ptr == '-') {
      std::from_chars(begin.ptr + 1, line.data() + line.size(), last, 16);
      within = address >= first && address < last;
    }
    if (within && line.starts_with("VmFlags:")) return std::string(line) + " ";
  }
  return "no such mapping";
}

TEST(RealtimeThreadTest, ItsStackItsHeapAndTheCodeAreLocked) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers leave mlock() out";
#endif
  const auto thread = started_thread();
  const RealtimeFeature& memory = thread->realtime().memory;
  if (!memory.works) GTEST_SKIP() << memory.reason;
  EXPECT_THAT(memory.reason, IsEmpty());
  const auto locked = [&](auto address_of) {
    return on(*thread, [&] { return flags_of(address_of()); });
  };
  EXPECT_THAT(locked([] {
                int local = 0;
                return reinterpret_cast<std::uintptr_t>(&local);
              }),
              HasSubstr(" lo "));
  EXPECT_THAT(locked([] {
                const auto small = std::make_unique<int>();
                return reinterpret_cast<std::uintptr_t>(small.get());
              }),
              HasSubstr(" lo "));
  EXPECT_THAT(locked([] { return reinterpret_cast<std::uintptr_t>(&RealtimeThread::create); }), HasSubstr(" lo "));
  EXPECT_THAT(locked([] { return reinterpret_cast<std::uintptr_t>(&::getppid); }), HasSubstr(" lo "));
}

// What the daemon has beside it is not locked: it may be gigabytes.
TEST(RealtimeThreadTest, NothingElseIsLocked) {
  const auto thread = started_thread();
  const std::vector<std::byte> large(std::size_t{8} << 20);
  EXPECT_THAT(flags_of(reinterpret_cast<std::uintptr_t>(large.data() + large.size() / 2)),
              testing::Not(HasSubstr(" lo ")));
}

// A thread inherits the capabilities of its creator.
RealtimeSupport support_without(unsigned capability, __rlimit_resource limit) {
  RealtimeSupport support;
  std::thread([&] {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> data{};
    ASSERT_EQ(::syscall(SYS_capget, &header, data.data()), 0);
    data[CAP_TO_INDEX(capability)].effective &= ~CAP_TO_MASK(capability);
    ASSERT_EQ(::syscall(SYS_capset, &header, data.data()), 0);
    rlimit before{};
    ASSERT_EQ(::getrlimit(limit, &before), 0);
    const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
    ASSERT_EQ(::setrlimit(limit, &none), 0);
    const auto thread = started_thread();
    support = thread->realtime();
    EXPECT_TRUE(on(*thread, [] { return true; })) << "it goes on without";
    thread->stop();
    ASSERT_EQ(::setrlimit(limit, &before), 0);
  }).join();
  return support;
}

TEST(RealtimeThreadTest, WithoutLeaveToBeRealTimeItSaysSoAndGoesOn) {
  const auto support = support_without(CAP_SYS_NICE, RLIMIT_RTPRIO);
  EXPECT_FALSE(support.scheduling.works);
  EXPECT_THAT(support.scheduling.reason, HasSubstr("SCHED_RR with priority 10: Operation not permitted"));
  EXPECT_THAT(support.scheduling.reason, HasSubstr("CAP_SYS_NICE or LimitRTPRIO=10"));
  EXPECT_THAT(support.scheduling.reason, HasSubstr("normal priority instead"));
}

// What a cgroup without real-time runtime does (RT_GROUP_SCHED): EPERM to who has all capabilities. A filter of system calls
// answers so here, because the cgroups of the machine are not the test's.
bool refuse_real_time() {
  std::array<sock_filter, 4> program{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sched_setscheduler, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog filter{.len = program.size(), .filter = program.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

TEST(RealtimeThreadTest, InACgroupWithoutRealTimeItRunsAtTheBestNormalPriority) {
  if (::geteuid() != 0) GTEST_SKIP() << "without CAP_SYS_NICE that is another refusal";
  std::thread([] {
    ASSERT_TRUE(refuse_real_time());
    const auto thread = started_thread();
    const RealtimeFeature& scheduling = thread->realtime().scheduling;
    EXPECT_FALSE(scheduling.works);
    EXPECT_THAT(scheduling.reason, HasSubstr("cpu.rt_runtime_us"));
    EXPECT_THAT(scheduling.reason, HasSubstr("it runs at nice -20 instead"));
    EXPECT_EQ(on(*thread, [] { return ::getpriority(PRIO_PROCESS, static_cast<id_t>(::gettid())); }), -20);
  }).join();
}

TEST(RealtimeThreadTest, WithoutLeaveToLockMemoryItSaysSoAndGoesOn) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers leave mlock() out";
#endif
  const auto support = support_without(CAP_IPC_LOCK, RLIMIT_MEMLOCK);
  EXPECT_FALSE(support.memory.works);
  EXPECT_THAT(support.memory.reason, HasSubstr("lock 524 kB of the stack in memory"));
  EXPECT_THAT(support.memory.reason, HasSubstr("CAP_IPC_LOCK or LimitMEMLOCK=infinity"));
}

TEST(PriorityMutexTest, KeepsOthersOut) {
  PriorityMutex mutex;
  int count = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 1000; ++i) {
          const std::lock_guard lock(mutex);
          ++count;
        }
      });
    }
  }
  EXPECT_EQ(count, 4000);
}

}  // namespace
}  // namespace perdure::io
