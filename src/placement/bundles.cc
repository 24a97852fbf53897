#include "placement/bundles.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "placement/partition.h"

namespace perdure::placement {
namespace {

// By bundle: who has to be how close.
using Neighbours = std::vector<std::vector<std::pair<Closeness, std::size_t>>>;

Neighbours neighbours_of(const PlacementProblem& problem, const std::vector<std::size_t>& bundle_of, std::size_t bundles) {
  Neighbours neighbours(bundles);
  for (const ContainerDependency& dependency : problem.dependencies) {
    if (dependency.within == Closeness::kAnywhere) continue;
    const std::size_t dependent = bundle_of[dependency.dependent];
    for (const std::size_t sponsor : dependency.sponsors) {
      neighbours[dependent].emplace_back(dependency.within, bundle_of[sponsor]);
      neighbours[bundle_of[sponsor]].emplace_back(dependency.within, dependent);
    }
  }
  return neighbours;
}

auto importance_of(const PlacementProblem& problem, const std::vector<std::size_t>& members) {
  Duration tolerance = Duration::max();
  Demand demand;
  for (const std::size_t member : members) {
    tolerance = std::min(tolerance, problem.containers[member].outage_tolerance.value_or(Duration::max()));
    demand = sum_of(demand, problem.containers[member].demand);
  }
  return std::tuple(tolerance, ~demand.memory.count, ~demand.cpu.count, members.front());
}

}  // namespace

Bundles::Bundles(const PlacementProblem& problem) : of_(problem.containers.size()) {
  Partition together(problem.containers.size());
  for (const ContainerDependency& dependency : problem.dependencies) {
    if (dependency.within > Closeness::kHost || dependency.sponsors.size() != 1) continue;
    together.join(dependency.dependent, dependency.sponsors.front());
  }
  for (std::size_t i = 0; i < of_.size(); ++i) {
    const std::size_t root = together.root_of(i);  // the least of its members
    if (root == i) {
      of_[i] = members_.size();
      members_.emplace_back();
    } else {
      of_[i] = of_[root];
    }
    members_[of_[i]].push_back(i);
  }
  sort(problem);
}

void Bundles::sort(const PlacementProblem& problem) {
  std::vector<decltype(importance_of(problem, {}))> importance;
  for (const auto& members : members_) importance.push_back(importance_of(problem, members));
  std::vector<std::size_t> by_importance(members_.size());
  for (std::size_t i = 0; i < by_importance.size(); ++i) by_importance[i] = i;
  std::ranges::sort(by_importance, {}, [&](std::size_t bundle) { return importance[bundle]; });
  const Neighbours neighbours = neighbours_of(problem, of_, members_.size());
  rank_.assign(members_.size(), members_.size());
  std::vector<std::size_t> position(members_.size());
  for (std::size_t i = 0; i < by_importance.size(); ++i) position[by_importance[i]] = i;
  for (const std::size_t first : by_importance) {
    std::set<std::pair<Closeness, std::size_t>> next{{Closeness::kContainer, position[first]}};
    while (!next.empty()) {
      const std::size_t bundle = by_importance[next.extract(next.begin()).value().second];
      if (rank_[bundle] != members_.size()) continue;
      rank_[bundle] = order_.size();
      order_.push_back(bundle);
      for (const auto& [within, other] : neighbours[bundle]) {
        if (rank_[other] == members_.size()) next.emplace(within, position[other]);
      }
    }
  }
}

}  // namespace perdure::placement
