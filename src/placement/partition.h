// Which of several things belong together, by the least of them. Private to this room.
#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <vector>

namespace perdure::placement {

class Partition {
 public:
  explicit Partition(std::size_t size) : parents_(size) { std::iota(parents_.begin(), parents_.end(), std::size_t{0}); }
  std::size_t root_of(std::size_t index) const {
    while (parents_[index] != index) index = parents_[index];
    return index;
  }
  void join(std::size_t one, std::size_t other) {
    one = root_of(one);
    other = root_of(other);
    parents_[std::max(one, other)] = std::min(one, other);
  }

 private:
  std::vector<std::size_t> parents_;
};

}  // namespace perdure::placement
