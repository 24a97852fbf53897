#include "io/realtime_thread.h"

#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <format>
#include <mutex>
#include <utility>

#include "base/assert.h"

namespace perdure::io {
namespace {

// Descriptors that are looked at in one round.
constexpr std::size_t kEventsPerRound = 16;
// The kernel's bound of a thread's name (TASK_COMM_LEN - 1).
constexpr std::size_t kMaxNameBytes = 15;
// What is left where real-time scheduling is refused.
constexpr int kBestNice = -20;

// Of the calling thread.
bool has_capability(unsigned capability) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> data{};
  if (::syscall(SYS_capget, &header, data.data()) != 0) return false;
  return (data[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability)) != 0;
}

std::string remedy(int error_number, int priority) {
  if (error_number != EPERM) return "";
  if (has_capability(CAP_SYS_NICE)) {
    return "; its cpu cgroup has no real-time runtime: raise cpu.rt_runtime_us there, or keep the daemon out of it";
  }
  return std::format("; give the daemon CAP_SYS_NICE or LimitRTPRIO={}", priority);
}

RealtimeFeature schedule(int priority) {
  // Children of ours are to be normal processes.
  const sched_param parameters{.sched_priority = priority};
  if (::sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &parameters) == 0) return {.works = true, .reason = {}};
  const int error_number = errno;
  const bool nice = ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kBestNice) == 0;
  return {.works = false,
          .reason = std::format("SCHED_RR with priority {}: {}{}; it runs at {} instead", priority,
                                ::strerrordesc_np(error_number), remedy(error_number, priority),
                                nice ? "nice -20" : "normal priority")};
}

RealtimeFeature lock_memory(LockedStack& stack) {
  RealtimeFeature feature{.works = true, .reason = {}};
  for (const Status& locked : {stack.lock(), lock_own_heap(), lock_code()}) {
    if (locked) continue;
    feature.works = false;
    feature.reason += (feature.reason.empty() ? "" : "; ") + locked.error().message();
  }
  return feature;
}

itimerspec timer_value(Instant at) {
  // 0 would disarm it.
  const Duration since_boot = std::max(at.time_since_epoch(), Duration(1));
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since_boot);
  return {.it_interval = {}, .it_value = {.tv_sec = seconds.count(), .tv_nsec = (since_boot - seconds).count()}};
}

Status add_to(int epoll, int fd, std::uint32_t events) {
  epoll_event event{.events = events, .data = {.fd = fd}};
  if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) return fail_errno(std::format("watch descriptor {}", fd));
  return {};
}

}  // namespace

Result<std::unique_ptr<RealtimeThread>> RealtimeThread::create(RealtimeThreadOptions options) {
  if (options.priority < ::sched_get_priority_min(SCHED_RR) || options.priority > ::sched_get_priority_max(SCHED_RR)) {
    return fail(ErrorCode::kInvalid, std::format("real-time priority {}: 1 to 99 are possible", options.priority));
  }
  std::unique_ptr<RealtimeThread> thread(new RealtimeThread(std::move(options)));
  thread->epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  thread->wake_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  thread->alarm_ = UniqueFd(::timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!thread->epoll_ || !thread->wake_ || !thread->alarm_) return fail_errno("make the descriptors of a real-time thread");
  // By edge: each post and each expiry wakes once, and neither needs to be read.
  PERDURE_TRY(add_to(thread->epoll_.get(), thread->wake_.get(), EPOLLIN | EPOLLET));
  PERDURE_TRY(add_to(thread->epoll_.get(), thread->alarm_.get(), EPOLLIN | EPOLLET));
  PERDURE_TRY(thread->stack_.map());
  return thread;
}

// Whoever posts holds the mutex for the time of a move, not of an allocation.
RealtimeThread::RealtimeThread(RealtimeThreadOptions options) : options_(std::move(options)) {
  posted_.reserve(options_.max_posted);
  running_.reserve(options_.max_posted);
}

RealtimeThread::~RealtimeThread() { stop(); }

Status RealtimeThread::watch(int fd, std::function<void()> readable) {
  PERDURE_TRY(add_to(epoll_.get(), fd, EPOLLIN));
  watches_[fd] = std::make_shared<std::function<void()>>(std::move(readable));
  return {};
}

void RealtimeThread::unwatch(int fd) {
  if (watches_.erase(fd) > 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

void RealtimeThread::on_timer(std::function<void()> expired) { expired_ = std::move(expired); }

void RealtimeThread::set_timer(Instant at) {
  timer_at_ = at;
  const itimerspec value = at == Instant::max() ? itimerspec{} : timer_value(at);
  PERDURE_ASSERT(::timerfd_settime(alarm_.get(), TFD_TIMER_ABSTIME, &value, nullptr) == 0);
}

void RealtimeThread::clear_timer() { set_timer(Instant::max()); }

Status RealtimeThread::start() {
  {
    const std::lock_guard lock(mutex_);
    PERDURE_ASSERT(phase_ == Phase::kNew);
    phase_ = Phase::kStarted;
  }
  const Status launched = launch();
  if (launched) return {};
  const std::lock_guard lock(mutex_);
  phase_ = Phase::kStopped;
  return launched;
}

Status RealtimeThread::launch() {
  pthread_attr_t attributes;
  PERDURE_ASSERT(::pthread_attr_init(&attributes) == 0);
  const std::span<std::byte> stack = stack_.usable();
  PERDURE_ASSERT(::pthread_attr_setstack(&attributes, stack.data(), stack.size()) == 0);
  // Signals are the loop's.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const int error_number = ::pthread_create(&thread_, &attributes, &enter, this);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::pthread_attr_destroy(&attributes);
  if (error_number != 0) {
    return fail(ErrorCode::kTransient,
                Error::from_errno(std::format("start thread '{}'", options_.name), error_number).message());
  }
  prepared_.acquire();
  return {};
}

void* RealtimeThread::enter(void* self) {
  auto& thread = *static_cast<RealtimeThread*>(self);
  thread.prepare();
  thread.prepared_.release();
  thread.run();
  return nullptr;
}

void RealtimeThread::prepare() {
  ::pthread_setname_np(::pthread_self(), options_.name.substr(0, kMaxNameBytes).c_str());
  support_.memory = lock_memory(stack_);
  support_.scheduling = schedule(options_.priority);
}

void RealtimeThread::stop() {
  {
    const std::lock_guard lock(mutex_);
    if (phase_ != Phase::kStarted) {
      phase_ = Phase::kStopped;
      return;
    }
    phase_ = Phase::kStopping;
  }
  PERDURE_ASSERT(!is_current());
  wake();
  PERDURE_ASSERT(::pthread_join(thread_, nullptr) == 0);
  const std::lock_guard lock(mutex_);
  phase_ = Phase::kStopped;
}

bool RealtimeThread::is_current() const { return ::pthread_equal(::pthread_self(), thread_) != 0; }

Status RealtimeThread::post(Task task) {
  {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::kStopping || phase_ == Phase::kStopped) {
      return fail(ErrorCode::kCancelled, std::format("thread '{}' is stopped", options_.name));
    }
    if (posted_.size() >= options_.max_posted) {
      return fail(ErrorCode::kTransient,
                  std::format("thread '{}' has {} tasks waiting", options_.name, posted_.size()));
    }
    posted_.push_back(std::move(task));
    if (posted_.size() > 1) return {};  // woken already
  }
  wake();
  return {};
}

void RealtimeThread::wake() {
  const std::uint64_t one = 1;
  PERDURE_ASSERT(::write(wake_.get(), &one, sizeof one) == sizeof one);
}

void RealtimeThread::run() {
  bool more = true;
  while (more) {
    std::array<epoll_event, kEventsPerRound> events;
    const int ready = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
    PERDURE_ASSERT(ready >= 0 || errno == EINTR);
    for (int i = 0; i < ready; ++i) read_descriptor(events[static_cast<std::size_t>(i)].data.fd);
    more = run_posted();
    run_timer();
  }
}

void RealtimeThread::read_descriptor(int fd) {
  const auto found = watches_.find(fd);
  if (found == watches_.end()) return;  // a wake-up of ours, or an earlier callback of this round has unwatched it
  const auto readable = found->second;  // it may unwatch itself
  (*readable)();
}

bool RealtimeThread::run_posted() {
  bool more = true;
  {
    const std::lock_guard lock(mutex_);
    running_.swap(posted_);
    more = phase_ != Phase::kStopping;
  }
  for (Task& task : running_) {
    task();
    task = nullptr;
  }
  running_.clear();
  return more;
}

void RealtimeThread::run_timer() {
  if (timer_at_ == Instant::max() || BootClock::now() < timer_at_) return;
  timer_at_ = Instant::max();  // what is left in the kernel wakes once at most
  if (expired_) expired_();
}

}  // namespace perdure::io
