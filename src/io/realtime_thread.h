// A thread for what must not wait: heartbeats, grants and the gate. SCHED_RR, its memory locked, and nothing on it that blocks.
//
// It waits for descriptors, for one timer and for what other threads post. In each round what has come in is read first, then
// what was posted is run, and the timer last: whoever was held up does not take a peer for silent whose word is there already. So
// a callback reads a bounded number of datagrams and returns, or the timer waits.
//
// Real-time scheduling may be refused: without CAP_SYS_NICE (and RLIMIT_RTPRIO), and in a cgroup without real-time runtime
// (RT_GROUP_SCHED). Locking may be, without CAP_IPC_LOCK. Then it goes on without, at nice -20 if that is allowed, and
// realtime() says what is missing and what to do.
//
// What is locked, and why not everything: mlockall() would hold gigabytes of capsules in memory, with MCL_ONFAULT as well, only
// later, and make every MADV_DONTNEED of them fail. So these are locked: the stack, whole; program and libraries, whole (else
// the code of a takeover is read from a disk that may hang, at the instant it is needed); the part of the heap from which malloc
// serves this thread, as far as it is touched. What other threads have allocated is not: use of it 20 times a second keeps
// it in memory.
//
// Locks that malloc takes do not inherit priority. It takes one when this thread frees what another has allocated, or the
// other way round: post little, and let values that live long stay where they were made.
#pragma once

#include <pthread.h>

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <semaphore>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "io/memory_lock.h"
#include "io/priority_mutex.h"

namespace perdure::io {

// Above everything that is not real-time, and below the kernel's own threads (interrupts: 50) and what an administrator
// has set higher on purpose.
inline constexpr int kRealtimePriority = 10;
// Keys, containers and gates of one change each; more than that wait only if the thread does not run at all.
inline constexpr std::size_t kMaxPostedTasks = 1024;

struct RealtimeThreadOptions {
  std::string name = "realtime";  // shown by ps and top; 15 characters are
  int priority = kRealtimePriority;  // 1 to 99
  std::size_t max_posted = kMaxPostedTasks;
};

struct RealtimeFeature {
  bool works = false;
  std::string reason;  // if it does not: the kernel's, what it is instead, and what to do
};

struct RealtimeSupport {
  RealtimeFeature scheduling;  // SCHED_RR
  RealtimeFeature memory;      // locked
};

class RealtimeThread {
 public:
  using Task = std::move_only_function<void()>;

  // kInvalid: the priority. kIo.
  static Result<std::unique_ptr<RealtimeThread>> create(RealtimeThreadOptions options);
  RealtimeThread(const RealtimeThread&) = delete;
  RealtimeThread& operator=(const RealtimeThread&) = delete;
  ~RealtimeThread();

  // From here to clear_timer(): on the thread itself, or before start(). Callbacks run on the thread, may call all of these, and
  // must not block.

  // `readable` is called while the descriptor is, sometimes once too often: it is non-blocking. Unwatch before closing it.
  Status watch(int fd, std::function<void()> readable);
  void unwatch(int fd);
  void on_timer(std::function<void()> expired);  // not from within `expired`
  // Once, not before `at`; also if the host slept meanwhile. Replaces what was set. Passed already: in this round or the next.
  void set_timer(Instant at);
  void clear_timer();

  // Once. Returns when the thread has its priority and its memory, or is known to go without. kTransient: no thread to be had.
  Status start();
  // Runs what was posted before, and returns when the thread has ended. Not on the thread itself. A second call does nothing.
  void stop();

  // Any thread. In order; what is posted before start() runs after it. Destroyed on the thread, right after it ran. kTransient: too
  // many wait. kCancelled: stopped; in both cases it is gone unrun.
  Status post(Task task);

  const RealtimeSupport& realtime() const { return support_; }  // after start()
  bool is_current() const;  // whether the caller runs on it

 private:
  explicit RealtimeThread(RealtimeThreadOptions options);
  static void* enter(void* self);
  Status launch();
  void prepare();
  void run();
  void read_descriptor(int fd);
  bool run_posted();  // false: for the last time
  void run_timer();
  void wake();

  const RealtimeThreadOptions options_;
  UniqueFd epoll_;
  UniqueFd wake_;
  UniqueFd alarm_;
  LockedStack stack_;
  pthread_t thread_{};
  std::binary_semaphore prepared_{0};
  RealtimeSupport support_;

  // Of the thread.
  std::map<int, std::shared_ptr<std::function<void()>>> watches_;
  std::function<void()> expired_;
  Instant timer_at_ = Instant::max();  // never
  std::vector<Task> running_;

  PriorityMutex mutex_;  // guards what follows
  std::vector<Task> posted_;
  enum class Phase { kNew, kStarted, kStopping, kStopped } phase_ = Phase::kNew;
};

}  // namespace perdure::io
