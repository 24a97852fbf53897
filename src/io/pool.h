// Threads for what blocks: runc, CRIU, files, compression. Bounded in threads and in queue; results
// come back as callbacks on a loop's thread.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/result.h"
#include "io/loop.h"

namespace perdure::io {

struct PoolOptions {
  std::string name = "pool";  // of its threads (shown by ps and top; 15 characters are)
  std::size_t threads = 4;    // each may sit in a blocking call for as long as that call's deadline
  std::size_t queue_limit = 64;  // work that waits for a thread; beyond it submit() refuses
};

class Pool {
 public:
  // kTransient: no thread to be had now.
  static Result<std::unique_ptr<Pool>> create(PoolOptions options);
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool() { stop(); }

  // Runs `work` on a thread of the pool and then `done(its result)` (or `done()`) on the loop's
  // thread, unless `owner` has ended by then. `work` must not touch what lives on the loop's
  // thread: give it copies. `work` is destroyed on the pool's thread right after it ran, `done` on
  // the loop's (or, if never run, with the loop or in stop()). The loop must outlive the pool. Any
  // thread. kTransient: the queue is full, `work` and `done` are gone unrun. kCancelled: the pool
  // is stopped.
  template <typename Work, typename Done>
  Status submit(Loop& loop, const Lifetime& owner, Work work, Done done) {
    return enqueue(
        [&loop, token = owner.token(), work = std::move(work), done = std::move(done)]() mutable {
          using T = std::invoke_result_t<Work&>;
          if constexpr (std::is_void_v<T>) {
            {
              Work(std::move(work))();
            }
            loop.post([token = std::move(token), done = std::move(done)]() mutable {
              if (token.alive()) done();
            });
          } else {
            T result = Work(std::move(work))();
            loop.post([token = std::move(token), done = std::move(done),
                       result = std::move(result)]() mutable {
              if (token.alive()) done(std::move(result));
            });
          }
        });
  }

  // Refuses new work, drops what waits (its `done` is never called) and returns when what runs is
  // finished. Any thread but the pool's own. A second call does nothing.
  void stop();

 private:
  explicit Pool(PoolOptions options);
  Status enqueue(std::move_only_function<void()> task);
  void work_until_stopped();

  const PoolOptions options_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::move_only_function<void()>> queue_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace perdure::io
