// What happens next in true time. Events of the same instant come in the order in which they were
// added, so that a seed plays the same run on every machine.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "sim/true_time.h"

namespace perdure::sim {

class EventQueue {
 public:
  using Work = std::move_only_function<void()>;

  TrueTime now() const { return now_; }
  std::uint64_t executed() const { return executed_; }
  // Since time last went on.
  std::uint64_t executed_at_once() const { return at_once_; }

  void at(TrueTime when, Work work) {
    heap_.push_back({std::max(when, now_), next_++, std::move(work)});
    std::ranges::push_heap(heap_, later);
  }
  void after(Duration delay, Work work) { at(now_ + delay, std::move(work)); }

  // Time goes to `when`, or to the next event if that comes first. True: that event was executed.
  bool step(TrueTime when) {
    if (heap_.empty() || heap_.front().when > when) {
      now_ = std::max(now_, when);
      return false;
    }
    std::ranges::pop_heap(heap_, later);
    Entry next = std::move(heap_.back());
    heap_.pop_back();
    at_once_ = next.when == now_ ? at_once_ + 1 : 0;
    now_ = next.when;
    ++executed_;
    next.work();
    return true;
  }

 private:
  struct Entry {
    TrueTime when;
    std::uint64_t order;
    Work work;
  };
  static bool later(const Entry& one, const Entry& other) {
    return std::pair(one.when, one.order) > std::pair(other.when, other.order);
  }

  TrueTime now_{};
  std::uint64_t next_ = 0;
  std::uint64_t executed_ = 0;
  std::uint64_t at_once_ = 0;
  std::vector<Entry> heap_;
};

}  // namespace perdure::sim
