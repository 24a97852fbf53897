#include "io/loop.h"

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <cerrno>
#include <format>
#include <map>
#include <thread>
#include <unordered_map>
#include <utility>

#include "base/assert.h"
#include "base/fd.h"
#include "base/log.h"

namespace perdure::io {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

// asio tells the three kinds of readiness apart as these.
struct Readiness {
  short poll_event;
  asio::posix::descriptor_base::wait_type wait;
};
constexpr std::array<Readiness, 3> kReadiness = {{
    {POLLPRI, asio::posix::descriptor_base::wait_error},
    {POLLIN, asio::posix::descriptor_base::wait_read},
    {POLLOUT, asio::posix::descriptor_base::wait_write},
}};
constexpr short kAllEvents = POLLPRI | POLLIN | POLLOUT;

short with(short events, short event) {
  return static_cast<short>(events | event);
}
short without(short events, short event) {
  return static_cast<short>(events & ~event);
}

// A callback that may be dropped while it runs: it is then destroyed when it has returned.
template <typename... Args>
class Callback {
 public:
  explicit Callback(std::function<void(Args...)> fn) : fn_(std::move(fn)) {}
  void call(Args... args) {
    if (dropped_) return;
    running_ = true;
    fn_(args...);
    running_ = false;
    if (dropped_) fn_ = nullptr;
  }
  void drop() {
    dropped_ = true;
    if (!running_) fn_ = nullptr;
  }
  bool dropped() const { return dropped_; }

 private:
  std::function<void(Args...)> fn_;
  bool running_ = false;
  bool dropped_ = false;
};

struct WatchState {
  WatchState(asio::io_context& context, std::function<void(short)> fn)
      : descriptor(context), callback(std::move(fn)) {}
  // The descriptor is the caller's: asio must never close it.
  ~WatchState() { let_go(); }
  void let_go() {
    if (descriptor.is_open()) descriptor.release();
  }
  asio::posix::stream_descriptor descriptor;
  Callback<short> callback;
  short wanted = 0;
  short pending = 0;  // waits that asio has not completed yet, wanted or not
};

struct SignalState {
  SignalState(asio::io_context& context, std::function<void()> fn)
      : signals(context), callback(std::move(fn)) {}
  asio::signal_set signals;
  Callback<> callback;
};

}  // namespace

// Owned by the Loop; the handles hold it weakly. `context` is declared first: it goes last, after
// all that is registered with it.
class LoopCore {
 public:
  using Kind = Registration::Kind;
  using TimerKey = std::pair<Instant, std::uint64_t>;

  explicit LoopCore(UniqueFd timer_fd, UniqueFd probe)
      : context(1), guard(context.get_executor()), timer(context), probe_epoll(std::move(probe)) {
    timer.assign(timer_fd.release());
    wait_for_timers();
  }

  void assert_thread() const {
    const std::thread::id runner = thread.load(std::memory_order_relaxed);
    PERDURE_ASSERT(runner == std::thread::id() || runner == std::this_thread::get_id());
  }

  template <typename Handle>
  static Handle handle(const std::shared_ptr<LoopCore>& core, Kind kind, std::uint64_t id) {
    return Handle(std::weak_ptr<LoopCore>(core), kind, id);
  }

  void add_timer(std::uint64_t id, Instant when, std::move_only_function<void()> fn);
  void wait_for_timers();
  void fire_timers();
  void set_timer_fd();

  Status add_watch(std::uint64_t id, int fd, short events, std::function<void(short)> fn);
  Status probe(int fd);
  void start_waits(const std::shared_ptr<WatchState>& watch);
  void set_watch_events(std::uint64_t id, short events);

  Status add_signal(std::uint64_t id, int number, std::function<void()> fn);
  void wait_for_signal(const std::shared_ptr<SignalState>& state);

  void remove(Kind kind, std::uint64_t id);
  bool has(Kind kind, std::uint64_t id) const;
  void remove_all();

  asio::io_context context;
  asio::executor_work_guard<asio::io_context::executor_type> guard;
  asio::posix::stream_descriptor timer;  // a timerfd, set to the first of `timers`
  UniqueFd probe_epoll;
  std::atomic<std::thread::id> thread{};  // that runs the loop; none: nobody does
  std::uint64_t next_id = 1;
  std::map<TimerKey, std::move_only_function<void()>> timers;
  std::unordered_map<std::uint64_t, Instant> timer_instants;
  std::unordered_map<std::uint64_t, std::shared_ptr<WatchState>> watches;
  std::unordered_map<std::uint64_t, std::shared_ptr<SignalState>> signals;
};

// --- timers

void LoopCore::add_timer(std::uint64_t id, Instant when, std::move_only_function<void()> fn) {
  timer_instants.emplace(id, when);
  const auto added = timers.emplace(TimerKey(when, id), std::move(fn)).first;
  if (added == timers.begin()) set_timer_fd();
}

void LoopCore::set_timer_fd() {
  if (timers.empty()) return;  // an expiry with nothing due is harmless
  // An absolute time of zero would disarm it; one in the past fires at once.
  const auto when = std::max(timers.begin()->first.first.time_since_epoch(),
                             Duration(std::chrono::nanoseconds(1)));
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(when);
  itimerspec spec{};
  spec.it_value.tv_sec = seconds.count();
  spec.it_value.tv_nsec = (when - seconds).count();
  const int result = ::timerfd_settime(timer.native_handle(), TFD_TIMER_ABSTIME, &spec, nullptr);
  PERDURE_ASSERT(result == 0);
}

void LoopCore::wait_for_timers() {
  timer.async_wait(asio::posix::descriptor_base::wait_read, [this](const error_code& error) {
    if (error) return;  // the loop's end
    std::uint64_t expirations = 0;
    // Nothing to read: it was set anew since it became readable.
    [[maybe_unused]] const ssize_t got =
        ::read(timer.native_handle(), &expirations, sizeof expirations);
    fire_timers();
    wait_for_timers();
  });
}

void LoopCore::fire_timers() {
  const Instant now = BootClock::now();
  while (!timers.empty() && timers.begin()->first.first <= now && !context.stopped()) {
    auto due = timers.extract(timers.begin());
    timer_instants.erase(due.key().second);
    due.mapped()();
  }
  set_timer_fd();
}

// --- watches

// Whether epoll takes the descriptor: asio itself takes anything and fails later.
Status LoopCore::probe(int fd) {
  epoll_event event{};
  if (::epoll_ctl(probe_epoll.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    if (errno == EPERM) {
      return fail(ErrorCode::kInvalid,
                  std::format("watch descriptor {}: a file that is always ready", fd));
    }
    if (errno == EBADF) {
      return fail(ErrorCode::kInvalid, std::format("watch descriptor {}: not open", fd));
    }
    return fail_errno(std::format("watch descriptor {}", fd));
  }
  ::epoll_ctl(probe_epoll.get(), EPOLL_CTL_DEL, fd, &event);
  return {};
}

Status LoopCore::add_watch(std::uint64_t id, int fd, short events, std::function<void(short)> fn) {
  PERDURE_TRY(probe(fd));
  auto watch = std::make_shared<WatchState>(context, std::move(fn));
  error_code error;
  watch->descriptor.assign(fd, error);
  if (error) {
    if (error.value() == EEXIST) {
      return fail(ErrorCode::kConflict, std::format("watch descriptor {}: watched already", fd));
    }
    return fail(Error::from_errno(std::format("watch descriptor {}", fd), error.value()));
  }
  watch->wanted = events;
  watches.emplace(id, watch);
  start_waits(watch);
  return {};
}

void LoopCore::start_waits(const std::shared_ptr<WatchState>& watch) {
  for (const Readiness& readiness : kReadiness) {
    const short event = readiness.poll_event;
    if ((watch->wanted & event) == 0 || (watch->pending & event) != 0) continue;
    watch->pending = with(watch->pending, event);
    watch->descriptor.async_wait(readiness.wait, [this, watch, event](const error_code& error) {
      watch->pending = without(watch->pending, event);
      if (watch->callback.dropped()) return;
      if (error) {
        log::error("watch descriptor {}: {}", watch->descriptor.native_handle(), error.message());
        return;
      }
      if ((watch->wanted & event) != 0) watch->callback.call(event);
      if (!watch->callback.dropped()) start_waits(watch);
    });
  }
}

void LoopCore::set_watch_events(std::uint64_t id, short events) {
  const auto found = watches.find(id);
  if (found == watches.end()) return;
  found->second->wanted = events;
  start_waits(std::shared_ptr<WatchState>(found->second));
}

// --- signals

Status LoopCore::add_signal(std::uint64_t id, int number, std::function<void()> fn) {
  auto state = std::make_shared<SignalState>(context, std::move(fn));
  error_code error;
  state->signals.add(number, error);
  if (error) {
    return fail(ErrorCode::kInvalid, std::format("handle signal {}: {}", number, error.message()));
  }
  // asio installs its handler without SA_RESTART: every thread would have to expect EINTR
  // everywhere.
  struct sigaction action{};
  if (::sigaction(number, nullptr, &action) == 0) {
    action.sa_flags |= SA_RESTART;
    ::sigaction(number, &action, nullptr);
  }
  signals.emplace(id, state);
  wait_for_signal(state);
  return {};
}

void LoopCore::wait_for_signal(const std::shared_ptr<SignalState>& state) {
  state->signals.async_wait([this, state](const error_code& error, int) {
    if (error || state->callback.dropped()) return;
    state->callback.call();
    if (!state->callback.dropped()) wait_for_signal(state);
  });
}

// --- the end of registrations. Callbacks are destroyed outside the tables: what they hold may
// itself be handles that come back here.

void LoopCore::remove(Kind kind, std::uint64_t id) {
  assert_thread();
  if (kind == Kind::kTimer) {
    const auto instant = timer_instants.find(id);
    if (instant == timer_instants.end()) return;
    const TimerKey key(instant->second, id);
    timer_instants.erase(instant);
    const auto dropped = timers.extract(key);
  } else if (kind == Kind::kWatch) {
    const auto node = watches.extract(id);
    if (node.empty()) return;
    node.mapped()->let_go();
    node.mapped()->callback.drop();
  } else {
    const auto node = signals.extract(id);
    if (node.empty()) return;
    error_code ignored;
    node.mapped()->signals.clear(ignored);
    node.mapped()->signals.cancel(ignored);
    node.mapped()->callback.drop();
  }
}

bool LoopCore::has(Kind kind, std::uint64_t id) const {
  switch (kind) {
    case Kind::kTimer:
      return timer_instants.contains(id);
    case Kind::kWatch:
      return watches.contains(id);
    case Kind::kSignal:
      return signals.contains(id);
  }
  return false;
}

void LoopCore::remove_all() {
  while (!timer_instants.empty()) remove(Kind::kTimer, timer_instants.begin()->first);
  while (!watches.empty()) remove(Kind::kWatch, watches.begin()->first);
  while (!signals.empty()) remove(Kind::kSignal, signals.begin()->first);
}

// --- handles

Registration::Registration(Registration&& other) noexcept
    : core_(std::exchange(other.core_, {})), id_(std::exchange(other.id_, 0)), kind_(other.kind_) {}

Registration& Registration::operator=(Registration&& other) noexcept {
  if (this == &other) return *this;
  reset();
  core_ = std::exchange(other.core_, {});
  id_ = std::exchange(other.id_, 0);
  kind_ = other.kind_;
  return *this;
}

void Registration::reset() {
  const std::uint64_t id = std::exchange(id_, 0);
  if (id == 0) return;
  if (const auto core = std::exchange(core_, {}).lock()) core->remove(kind_, id);
}

bool Registration::active() const {
  if (id_ == 0) return false;
  const auto core = core_.lock();
  return core != nullptr && core->has(kind_, id_);
}

void Watch::set_events(short poll_events) {
  PERDURE_ASSERT((poll_events & ~kAllEvents) == 0);
  if (const auto core = core_.lock()) {
    core->assert_thread();
    core->set_watch_events(id_, poll_events);
  }
}

// --- the loop

Result<std::unique_ptr<Loop>> Loop::create() {
  UniqueFd timer(::timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!timer) return fail_errno("create the loop's timer");
  UniqueFd probe(::epoll_create1(EPOLL_CLOEXEC));
  if (!probe) return fail_errno("create the event loop");
  try {
    return std::unique_ptr<Loop>(
        new Loop(std::make_shared<LoopCore>(std::move(timer), std::move(probe))));
  } catch (const std::exception& exception) {
    return fail(ErrorCode::kIo, std::format("create the event loop: {}", exception.what()));
  }
}

Loop::Loop(std::shared_ptr<LoopCore> core) : core_(std::move(core)) {}

Loop::~Loop() {
  core_->assert_thread();
  core_->remove_all();
}

void Loop::run() {
  PERDURE_ASSERT(core_->thread.load() == std::thread::id());
  core_->thread = std::this_thread::get_id();
  core_->context.run();
  core_->context.restart();
  core_->thread = std::thread::id();
}

bool Loop::run_until(const std::function<bool()>& condition, Duration limit) {
  PERDURE_ASSERT(core_->thread.load() == std::thread::id());
  core_->thread = std::this_thread::get_id();
  const auto deadline = std::chrono::steady_clock::now() + limit;
  bool holds = condition();
  while (!holds && core_->context.run_one_until(deadline) > 0) holds = condition();
  if (core_->context.stopped()) core_->context.restart();
  core_->thread = std::thread::id();
  return holds;
}

void Loop::stop() {
  core_->context.stop();
}

void Loop::post(std::move_only_function<void()> fn) {
  asio::post(core_->context, std::move(fn));
}

Timer Loop::after(Duration delay, std::move_only_function<void()> fn) {
  return at(BootClock::now() + delay, std::move(fn));
}

Timer Loop::at(Instant when, std::move_only_function<void()> fn) {
  core_->assert_thread();
  const std::uint64_t id = core_->next_id++;
  core_->add_timer(id, when, std::move(fn));
  return LoopCore::handle<Timer>(core_, LoopCore::Kind::kTimer, id);
}

Result<Watch> Loop::watch_readable(int fd, std::function<void()> fn) {
  return watch(fd, POLLIN, [fn = std::move(fn)](short) { fn(); });
}

Result<Watch> Loop::watch(int fd, short poll_events, std::function<void(short)> fn) {
  PERDURE_ASSERT((poll_events & ~kAllEvents) == 0);
  core_->assert_thread();
  const std::uint64_t id = core_->next_id++;
  PERDURE_TRY(core_->add_watch(id, fd, poll_events, std::move(fn)));
  return LoopCore::handle<Watch>(core_, LoopCore::Kind::kWatch, id);
}

Result<SignalHandler> Loop::on_signal(int signal_number, std::function<void()> fn) {
  core_->assert_thread();
  const std::uint64_t id = core_->next_id++;
  PERDURE_TRY(core_->add_signal(id, signal_number, std::move(fn)));
  return LoopCore::handle<SignalHandler>(core_, LoopCore::Kind::kSignal, id);
}

bool Loop::on_loop_thread() const {
  return core_->thread.load(std::memory_order_relaxed) == std::this_thread::get_id();
}

}  // namespace perdure::io
