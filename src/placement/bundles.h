// Which containers share a host, and in which order containers get their places. Private to this room.
#pragma once

#include <cstddef>
#include <vector>

#include "placement/problem.h"

namespace perdure::placement {

class Bundles {
 public:
  explicit Bundles(const PlacementProblem& problem);

  std::size_t of(std::size_t container) const { return of_[container]; }
  const std::vector<std::size_t>& members(std::size_t bundle) const { return members_[bundle]; }  // rising
  // Bundles: who depends on each other closely comes one behind the other, those that have to be closest first; of these, and of
  // those that do not, the one with the shortest tolerance, then the largest, then by its first member.
  const std::vector<std::size_t>& order() const { return order_; }
  std::size_t rank(std::size_t bundle) const { return rank_[bundle]; }  // its place in the order

 private:
  void sort(const PlacementProblem& problem);

  std::vector<std::size_t> of_;
  std::vector<std::vector<std::size_t>> members_{};
  std::vector<std::size_t> order_{};
  std::vector<std::size_t> rank_{};
};

}  // namespace perdure::placement
