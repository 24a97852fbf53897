// The event loop: one thread on which all state of a daemon lives. Blocking work goes to a Pool
// (pool.h) and comes back through post().
//
// Threads: post() and stop() may be called from any thread; everything else, also creating, moving
// and destroying the handles, belongs to the thread that runs the loop (or to the only thread there
// is while nobody runs it).
//
// Handles (Timer, Watch, SignalHandler) own their registration: once a handle is destroyed, reset
// or assigned over, its callback does not run any more, also if the event had happened already. A
// callback may destroy its own handle. A handle may outlive the loop; it is then inert. Callbacks
// must not throw.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/clock.h"
#include "base/result.h"

namespace perdure::io {

class LoopCore;

// Base of the handles: a place in the loop's tables.
class Registration {
 public:
  Registration() = default;
  Registration(Registration&& other) noexcept;
  Registration& operator=(Registration&& other) noexcept;
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;
  ~Registration() { reset(); }

  void reset();
  // False for an empty handle, a timer that has fired, and after the loop's end.
  bool active() const;

 protected:
  friend class LoopCore;
  enum class Kind : std::uint8_t { kTimer, kWatch, kSignal };
  Registration(std::weak_ptr<LoopCore> core, Kind kind, std::uint64_t id)
      : core_(std::move(core)), id_(id), kind_(kind) {}

  std::weak_ptr<LoopCore> core_;
  std::uint64_t id_ = 0;
  Kind kind_ = Kind::kTimer;
};

// Fires once.
class Timer : public Registration {
  using Registration::Registration;
};

// Fires whenever the descriptor is ready, again and again while it stays so (level-triggered).
class Watch : public Registration {
 public:
  // Replaces the events that are waited for; 0 pauses.
  void set_events(short poll_events);

 private:
  using Registration::Registration;
};

class SignalHandler : public Registration {
  using Registration::Registration;
};

class Loop {
 public:
  // kIo: the process has no descriptors left.
  static Result<std::unique_ptr<Loop>> create();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  ~Loop();

  // Runs until stop(). May be called again afterwards.
  void run();
  // Runs until the condition holds, asked after each callback; false if it does not within `limit`
  // or stop() came first. For tests and start-up.
  bool run_until(const std::function<bool()>& condition, Duration limit);
  // The callback that runs now is finished, no other is begun. Any thread.
  void stop();

  // Runs `fn` on the loop's thread, in the order of the calls. Any thread, never blocks. The queue
  // itself has no bound: producers are bounded (a pool by its own queue). What is still queued when
  // the loop is destroyed is destroyed with it, unrun.
  void post(std::move_only_function<void()> fn);

  // CLOCK_BOOTTIME: goes on while the host sleeps. In the order of their instants, then of the
  // calls; an instant in the past fires at the next turn of the loop.
  Timer after(Duration delay, std::move_only_function<void()> fn);
  Timer at(Instant when, std::move_only_function<void()> fn);

  // Calls `fn` while `fd` is readable (a pidfd: since the process's end; stays so: drop the
  // handle). The descriptor stays the caller's and must stay open until the handle is gone; one
  // watch per descriptor. kInvalid: not a descriptor that can be waited for (a regular file),
  // kConflict: watched already.
  Result<Watch> watch_readable(int fd, std::function<void()> fn);
  // The same for a set of POLLIN, POLLOUT, POLLPRI; `fn` gets one of them per call. POLLPRI is what
  // a file of the cgroup file system reports on a change (read it from its beginning, or the event
  // stays). An error or hang-up counts as each event that is waited for: the next read or write
  // says what happened.
  Result<Watch> watch(int fd, short poll_events, std::function<void(short)> fn);

  // Calls `fn` on the loop's thread after the signal came; several that came together may be seen
  // as one. The signal's default action is off while a handle exists. kInvalid: SIGKILL, SIGSTOP,
  // no signal.
  Result<SignalHandler> on_signal(int signal_number, std::function<void()> fn);

  bool on_loop_thread() const;

 private:
  explicit Loop(std::shared_ptr<LoopCore> core);
  std::shared_ptr<LoopCore> core_;
};

// How an owner keeps late results from reaching it: callbacks carry a token and ask it on the
// loop's thread.
//
//   Lifetime lifetime_;   // last member: ends first
//   loop.post([token = lifetime_.token(), this] { if (token.alive()) finish(); });
class Lifetime {
 public:
  class Token {
   public:
    bool alive() const { return !mark_.expired(); }

   private:
    friend class Lifetime;
    explicit Token(std::weak_ptr<const char> mark) : mark_(std::move(mark)) {}
    std::weak_ptr<const char> mark_;
  };

  Lifetime() : mark_(std::make_shared<const char>('\0')) {}
  Lifetime(const Lifetime&) = delete;
  Lifetime& operator=(const Lifetime&) = delete;

  Token token() const { return Token(mark_); }
  // All tokens die; for the stop() of an owner that lives on.
  void end() { mark_.reset(); }

 private:
  std::shared_ptr<const char> mark_;
};

}  // namespace perdure::io
