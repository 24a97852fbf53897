// Timers of which several may run at once, each until it fires or this ends. Loop thread only.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "io/loop.h"

namespace perdure::io {

class Timers {
 public:
  void add(Timer timer) {
    std::erase_if(timers_, [](const Timer& one) { return !one.active(); });
    timers_.push_back(std::move(timer));
  }

 private:
  std::vector<Timer> timers_;
};

}  // namespace perdure::io
