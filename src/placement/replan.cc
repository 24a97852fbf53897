#include "placement/replan.h"

#include <limits>

#include "placement/solve.h"

namespace perdure::placement {

Remainder remainder_of(const PlacementProblem& problem, const std::vector<bool>& lost) {
  constexpr std::size_t kLost = std::numeric_limits<std::size_t>::max();
  Remainder left{.problem = {.dependencies = problem.dependencies, .apart = problem.apart}};
  std::vector<std::size_t> new_index(problem.nodes.size(), kLost);
  for (std::size_t node = 0; node < problem.nodes.size(); ++node) {
    if (lost[node]) continue;
    new_index[node] = left.nodes.size();
    left.nodes.push_back(node);
    left.problem.nodes.push_back(problem.nodes[node]);
  }
  for (PlaceContainer container : problem.containers) {
    for (std::size_t& node : container.present) node = new_index[node];
    std::erase(container.present, kLost);
    if (container.owner && new_index[*container.owner] != kLost) {
      container.owner = new_index[*container.owner];
    } else if (container.owner) {
      container.take_over();
    }
    left.problem.containers.push_back(std::move(container));
  }
  return left;
}

Placement replan(const PlacementProblem& problem, const Effort& effort) { return solve(problem, effort, MayChange::kWhatLacks); }

}  // namespace perdure::placement
