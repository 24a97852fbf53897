// Runs the blocking steps of one container on the pool and brings their results back to the loop.
//
// Loop thread only. When the runner ends, a step that is under way finishes on the pool and its
// result is dropped.
#pragma once

#include <chrono>
#include <memory>
#include <utility>

#include "base/result.h"
#include "io/loop.h"
#include "io/pool.h"
#include "io/timers.h"

namespace perdure::node {

class StepRunner {
 public:
  StepRunner(io::Loop& loop, io::Pool& pool) : loop_(loop), pool_(pool) {}
  StepRunner(const StepRunner&) = delete;
  StepRunner& operator=(const StepRunner&) = delete;

  // Calls `work()` on a thread of the pool, then `done(its result)` on the loop. The pool is
  // bounded. A container's steps come one at a time, so a refusal means a host with more busy
  // containers than places: the step is tried again, nothing is lost.
  template <typename Work, typename Done>
  void run(Work work, Done done) {
    struct Job {
      Work work;
      Done done;
    };
    submit(std::make_shared<Job>(std::move(work), std::move(done)));
  }

 private:
  template <typename Job>
  void submit(std::shared_ptr<Job> job) {
    const Status submitted = pool_.submit(
        loop_, lifetime_, [job] { return job->work(); },
        [job](auto result) { job->done(std::move(result)); });
    if (submitted || submitted.error().code() != ErrorCode::kTransient) return;
    constexpr Duration kAgain = std::chrono::milliseconds(20);
    retries_.add(loop_.after(kAgain, [this, job = std::move(job)] { submit(job); }));
  }

  io::Loop& loop_;
  io::Pool& pool_;
  io::Timers retries_;  // steps that the pool had no room for
  io::Lifetime lifetime_;
};

}  // namespace perdure::node
