#include "io/pool.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <format>
#include <system_error>

#include "base/assert.h"

namespace perdure::io {

namespace {

// Threads inherit the mask of their creator: signals go to the loop's thread, none interrupts a
// pool's.
class AllSignalsBlocked {
 public:
  AllSignalsBlocked() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  AllSignalsBlocked(const AllSignalsBlocked&) = delete;
  AllSignalsBlocked& operator=(const AllSignalsBlocked&) = delete;
  ~AllSignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

constexpr std::size_t kThreadNameBytes = 15;  // pthread_setname_np(3)

}  // namespace

Pool::Pool(PoolOptions options) : options_(std::move(options)) {}

Result<std::unique_ptr<Pool>> Pool::create(PoolOptions options) {
  PERDURE_ASSERT(options.threads > 0);
  std::unique_ptr<Pool> pool(new Pool(std::move(options)));
  const AllSignalsBlocked blocked;
  for (std::size_t i = 0; i < pool->options_.threads; ++i) {
    try {
      pool->threads_.emplace_back([raw = pool.get()] { raw->work_until_stopped(); });
    } catch (const std::system_error& error) {
      return fail(ErrorCode::kTransient, std::format("start thread {} of pool '{}': {}", i + 1,
                                                     pool->options_.name, error.what()));
    }
    const std::string name = pool->options_.name.substr(0, kThreadNameBytes);
    ::pthread_setname_np(pool->threads_.back().native_handle(), name.c_str());
  }
  return pool;
}

Status Pool::enqueue(std::move_only_function<void()> task) {
  {
    const std::scoped_lock lock(mutex_);
    if (stopping_) {
      return fail(ErrorCode::kCancelled, std::format("pool '{}' is stopped", options_.name));
    }
    if (queue_.size() >= options_.queue_limit) {
      return fail(ErrorCode::kTransient, std::format("queue of pool '{}' is full ({} waiting)",
                                                     options_.name, queue_.size()));
    }
    queue_.push_back(std::move(task));
  }
  wake_.notify_one();
  return {};
}

void Pool::work_until_stopped() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    std::move_only_function<void()> task = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    task();
    task = nullptr;  // destroyed outside the lock
    lock.lock();
  }
}

void Pool::stop() {
  std::deque<std::move_only_function<void()>> dropped;
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
    dropped.swap(queue_);
  }
  wake_.notify_all();
  dropped.clear();  // outside the lock, and before the wait
  for (std::thread& thread : threads_) {
    PERDURE_ASSERT(thread.get_id() != std::this_thread::get_id());
    if (thread.joinable()) thread.join();
  }
}

}  // namespace perdure::io
