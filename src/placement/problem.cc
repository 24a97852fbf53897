#include "placement/problem.h"

#include <algorithm>
#include <format>
#include <limits>
#include <map>

#include "placement/topology.h"

namespace perdure::placement {
namespace {

using model::FailureDomain;

double share(std::uint64_t used, std::uint64_t of) {
  if (used == 0) return 0;
  return of == 0 ? std::numeric_limits<double>::max() : static_cast<double>(used) / static_cast<double>(of);
}

// Counts the dependencies that are not kept once the first standbys have taken over, one failing domain after the other.
// Only those are looked at whose containers the failure moves; the others are as they are without it.
class FailureCount {
 public:
  FailureCount(const PlacementProblem& problem, const Places& places)
      : problem_(problem), places_(places), topology_(problem), owned_(problem.nodes.size()), touching_(places.size()) {
    for (std::size_t i = 0; i < places.size(); ++i) {
      owners_.push_back(places[i].owner);
      if (places[i].owner) owned_[*places[i].owner].push_back(i);
    }
    for (std::size_t i = 0; i < problem.dependencies.size(); ++i) {
      const ContainerDependency& dependency = problem.dependencies[i];
      if (dependency.within == Closeness::kAnywhere) continue;
      touching_[dependency.dependent].push_back(i);
      for (const std::size_t sponsor : dependency.sponsors) touching_[sponsor].push_back(i);
      if (!is_kept(problem, dependency, owners_)) always_.push_back(i);
    }
  }

  std::size_t broken_by(std::size_t failed) const {
    std::vector<std::optional<std::size_t>> where = owners_;
    std::vector<std::size_t> touched;
    for (std::size_t node = 0; node < owned_.size(); ++node) {
      if (owned_[node].empty() || !topology_.fail_together(node, failed)) continue;
      for (const std::size_t container : owned_[node]) {
        where[container] = standby_after(container, failed);
        touched.insert(touched.end(), touching_[container].begin(), touching_[container].end());
      }
    }
    touched.insert(touched.end(), always_.begin(), always_.end());
    std::ranges::sort(touched);
    const auto repeated = std::ranges::unique(touched);
    touched.erase(repeated.begin(), repeated.end());
    return static_cast<std::size_t>(std::ranges::count_if(
        touched, [&](std::size_t index) { return !is_kept(problem_, problem_.dependencies[index], where); }));
  }

 private:
  std::optional<std::size_t> standby_after(std::size_t container, std::size_t failed) const {
    const auto& standbys = places_[container].standbys;
    const auto next = std::ranges::find_if_not(standbys, [&](std::size_t node) { return topology_.fail_together(node, failed); });
    return next == standbys.end() ? std::nullopt : std::optional(*next);
  }

  const PlacementProblem& problem_;
  const Places& places_;
  const Topology topology_;
  std::vector<std::optional<std::size_t>> owners_{};
  std::vector<std::vector<std::size_t>> owned_;     // by node: containers
  std::vector<std::vector<std::size_t>> touching_;  // by container: dependencies
  std::vector<std::size_t> always_{};               // dependencies that are not kept even without a failure
};

}  // namespace

void PlaceContainer::take_over() {
  owner.reset();
  owner_is_gone = !present.empty();
  if (present.empty()) return;
  owner = present.front();
  present.erase(present.begin());
}

std::size_t label_of(FailureDomain domain) {
  switch (domain) {
    case FailureDomain::kDataCentre:
      return 0;
    case FailureDomain::kRack:
      return 1;
    case FailureDomain::kServer:
      return 2;
    case FailureDomain::kNode:
      break;
  }
  return model::kDomainLabels.size();
}

bool share_domain(const PlaceNode& one, const PlaceNode& other, FailureDomain domain) {
  if (one.name == other.name) return true;
  const std::size_t label = label_of(domain);
  if (label == model::kDomainLabels.size()) return false;
  for (std::size_t wider = 0; wider < label; ++wider) {
    if (!one.domains[wider].empty() && !other.domains[wider].empty() && one.domains[wider] != other.domains[wider]) return false;
  }
  return !one.domains[label].empty() && one.domains[label] == other.domains[label];
}

bool are_close(const PlaceNode& one, const PlaceNode& other, Closeness closeness) {
  switch (closeness) {
    case Closeness::kAnywhere:
      return true;
    case Closeness::kDataCentre:
      return share_domain(one, other, FailureDomain::kDataCentre);
    case Closeness::kRack:
      return share_domain(one, other, FailureDomain::kRack);
    case Closeness::kHost:
      return share_domain(one, other, FailureDomain::kNode);
    case Closeness::kContainer:
      return false;
  }
  return false;
}

bool is_kept(const PlacementProblem& problem, const ContainerDependency& dependency,
             const std::vector<std::optional<std::size_t>>& where) {
  const auto at = [&](std::size_t container) { return where[container]; };
  return is_kept(dependency, at, [&](std::size_t one, std::size_t other, Closeness within) {
    return are_close(problem.nodes[one], problem.nodes[other], within);
  });
}

double fullness_of(const Demand& load, const Demand& capacity) {
  return std::max(share(load.memory.count, capacity.memory.count), share(load.cpu.count, capacity.cpu.count));
}

std::vector<std::size_t> failing_domains_of(const PlacementProblem& problem) { return Topology(problem).domains(); }

std::vector<Demand> loads_of(const PlacementProblem& problem, const Places& places) {
  const std::vector<std::size_t> domains = failing_domains_of(problem);
  std::vector<Demand> loads(problem.nodes.size());
  std::vector<std::map<std::size_t, std::uint32_t>> brought(problem.nodes.size());
  for (std::size_t i = 0; i < places.size(); ++i) {
    const Demand& demand = problem.containers[i].demand;
    const ContainerPlace& place = places[i];
    std::vector<std::size_t> holders = place.standbys;
    if (place.owner) holders.push_back(*place.owner);
    for (const std::size_t node : holders) {
      loads[node] = sum_of(loads[node], {demand.memory, {}, demand.disk});
    }
    if (!place.owner) continue;
    loads[*place.owner] = sum_of(loads[*place.owner], {{}, demand.cpu, {}});
    if (place.standbys.empty()) continue;
    std::uint32_t& all = brought[place.standbys.front()][domains[*place.owner]];
    all = sum_of(all, demand.cpu.count);
  }
  for (std::size_t node = 0; node < loads.size(); ++node) {
    std::uint32_t most = 0;
    for (const auto& [domain, cpu] : brought[node]) most = std::max(most, cpu);
    loads[node] = sum_of(loads[node], {{}, {most}, {}});
  }
  return loads;
}

std::vector<std::size_t> urgencies_of(const PlacementProblem& problem) {
  std::vector<Duration> known;
  for (const PlaceContainer& container : problem.containers) {
    if (container.outage_tolerance) known.push_back(*container.outage_tolerance);
  }
  std::ranges::sort(known, std::ranges::greater{});
  const auto repeated = std::ranges::unique(known);
  known.erase(repeated.begin(), repeated.end());
  std::vector<std::size_t> urgencies;
  for (const PlaceContainer& container : problem.containers) {
    if (!container.outage_tolerance) {
      urgencies.push_back(0);
      continue;
    }
    const auto found = std::ranges::lower_bound(known, *container.outage_tolerance, std::ranges::greater{});
    urgencies.push_back(static_cast<std::size_t>(found - known.begin()) + 1);
  }
  return urgencies;
}

std::size_t moves_of(const PlaceContainer& container, const ContainerPlace& place) {
  if (!container.owner || !place.owner) return 0;
  const auto is_new = [&](std::size_t node) { return container.owner != node && !std::ranges::contains(container.present, node); };
  return (place.owner != container.owner ? 1U : 0U) + (is_new(*place.owner) ? 1U : 0U) +
         static_cast<std::size_t>(std::ranges::count_if(place.standbys, is_new));
}

Score score_of(const PlacementProblem& problem, const Places& places) {
  Score score;
  const std::vector<std::size_t> urgencies = urgencies_of(problem);
  for (std::size_t i = 0; i < places.size(); ++i) {
    const PlaceContainer& container = problem.containers[i];
    if (!places[i].owner) {
      ++score.unplaced;
      score.urgency_unplaced += urgencies[i];
    }
    score.missing_standbys += container.standbys - std::min<std::size_t>(container.standbys, places[i].standbys.size());
    score.moves += moves_of(container, places[i]);
  }
  std::vector<std::size_t> failing = failing_domains_of(problem);
  std::ranges::sort(failing);
  const auto repeated = std::ranges::unique(failing);
  failing.erase(repeated.begin(), repeated.end());
  if (!problem.dependencies.empty()) {
    const FailureCount count(problem, places);
    for (const std::size_t failed : failing) score.broken_by_failures += count.broken_by(failed);
  }
  const std::vector<Demand> loads = loads_of(problem, places);
  for (std::size_t node = 0; node < problem.nodes.size(); ++node) {
    score.imbalance = std::max(score.imbalance, fullness_of(loads[node], problem.nodes[node].capacity));
  }
  return score;
}

std::vector<std::string> violations_of(const PlacementProblem& problem, const Places& places) {
  std::vector<std::string> all;
  const auto name = [&](std::size_t node) { return problem.nodes[node].name.str(); };
  const std::vector<Demand> loads = loads_of(problem, places);
  for (std::size_t node = 0; node < problem.nodes.size(); ++node) {
    const Demand& load = loads[node];
    const Demand& capacity = problem.nodes[node].capacity;
    if (load.memory > capacity.memory) all.push_back(std::format("node '{}' has not that much memory", name(node)));
    if (load.cpu > capacity.cpu) all.push_back(std::format("node '{}' has not that many processors", name(node)));
    if (load.disk > capacity.disk) all.push_back(std::format("node '{}' has not that much disk", name(node)));
  }
  std::vector<std::optional<std::size_t>> where;
  for (std::size_t i = 0; i < places.size(); ++i) {
    const PlaceContainer& container = problem.containers[i];
    const ContainerPlace& place = places[i];
    where.push_back(place.owner);
    std::vector<std::size_t> nodes = place.standbys;
    if (place.owner) nodes.insert(nodes.begin(), *place.owner);
    if (!place.owner && !place.standbys.empty()) all.push_back(std::format("'{}' has standbys and no owner", container.name.str()));
    for (std::size_t a = 0; a < nodes.size(); ++a) {
      const bool was_there = container.owner == nodes[a] || std::ranges::contains(container.present, nodes[a]);
      if (!problem.nodes[nodes[a]].takes_new && !was_there) {
        all.push_back(std::format("'{}' is new on node '{}', which is cordoned", container.name.str(), name(nodes[a])));
      }
      for (std::size_t b = 0; b < a; ++b) {
        if (!share_domain(problem.nodes[nodes[a]], problem.nodes[nodes[b]], problem.apart)) continue;
        all.push_back(std::format("'{}' is on nodes '{}' and '{}', which fail together", container.name.str(), name(nodes[b]), name(nodes[a])));
      }
    }
    for (std::size_t j = 0; j < i; ++j) {
      const bool replicas = container.replica_group && container.replica_group == problem.containers[j].replica_group;
      if (!replicas || !place.owner || !places[j].owner) continue;
      if (!share_domain(problem.nodes[*place.owner], problem.nodes[*places[j].owner], problem.apart)) continue;
      all.push_back(std::format("replicas '{}' and '{}' fail together", problem.containers[j].name.str(), container.name.str()));
    }
  }
  for (const ContainerDependency& dependency : problem.dependencies) {
    if (is_kept(problem, dependency, where)) continue;
    all.push_back(std::format("'{}' is not in the {} of its sponsor", problem.containers[dependency.dependent].name.str(),
                              to_string(dependency.within)));
  }
  return all;
}

}  // namespace perdure::placement
