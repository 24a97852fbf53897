#include "deploy/what_if.h"

#include <algorithm>
#include <format>
#include <map>
#include <utility>

namespace perdure::deploy {
namespace {

using placement::ContainerPlace;

class WhatIf {
 public:
  explicit WhatIf(const Plan& plan) : plan_(plan) {}

  Failure of(std::string what, std::vector<std::size_t> nodes) const {
    Failure failure{.what = std::move(what), .nodes = std::move(nodes)};
    std::vector<std::optional<std::size_t>> where;
    for (const ContainerPlace& place : plan_.placement.places) where.push_back(after(place, failure.nodes));
    for (std::size_t i = 0; i < where.size(); ++i) add(failure, i, where);
    for (const placement::ContainerDependency& dependency : plan_.problem.dependencies) {
      if (!placement::is_kept(plan_.problem, dependency, where)) failure.broken.push_back(words_for(dependency));
    }
    return failure;
  }

 private:
  static bool is_among(const std::vector<std::size_t>& nodes, std::size_t node) { return std::ranges::contains(nodes, node); }

  static std::optional<std::size_t> after(const ContainerPlace& place, const std::vector<std::size_t>& failed) {
    if (!place.owner || !is_among(failed, *place.owner)) return place.owner;
    const auto next = std::ranges::find_if(place.standbys, [&](std::size_t node) { return !is_among(failed, node); });
    return next == place.standbys.end() ? std::nullopt : std::optional(*next);
  }

  void add(Failure& failure, std::size_t container, const std::vector<std::optional<std::size_t>>& where) const {
    const ContainerPlace& place = plan_.placement.places[container];
    const auto left = std::ranges::count_if(place.standbys, [&](std::size_t node) {
      return !is_among(failure.nodes, node) && where[container] != node;
    });
    if (where[container] && left == 0 && plan_.problem.containers[container].standbys > 0) ++failure.unprotected;
    if (!place.owner || !is_among(failure.nodes, *place.owner)) return;
    Consequence consequence{.container = container, .node = where[container]};
    if (where[container]) {
      consequence.kind = Consequence::Kind::kGoesOn;
    } else if (has_replica(container, where)) {
      consequence.kind = Consequence::Kind::kServedByReplicas;
    }
    failure.consequences.push_back(consequence);
  }

  bool has_replica(std::size_t container, const std::vector<std::optional<std::size_t>>& where) const {
    const auto& group = plan_.problem.containers[container].replica_group;
    if (!group) return false;
    for (std::size_t i = 0; i < where.size(); ++i) {
      if (i != container && where[i] && plan_.problem.containers[i].replica_group == group) return true;
    }
    return false;
  }

  std::string words_for(const placement::ContainerDependency& dependency) const {
    std::string sponsors;
    for (const std::size_t sponsor : dependency.sponsors) {
      sponsors += (sponsors.empty() ? "" : " or ") + plan_.problem.containers[sponsor].name.str();
    }
    return std::format("{} would not be in the {} of {}", plan_.problem.containers[dependency.dependent].name.str(),
                       placement::to_string(dependency.within), sponsors);
  }

  const Plan& plan_;
};

}  // namespace

std::vector<Failure> failures_of(const Plan& plan) {
  const WhatIf what_if(plan);
  std::vector<Failure> failures;
  std::map<std::string, std::vector<std::size_t>> nodes;
  for (std::size_t i = 0; i < plan.problem.nodes.size(); ++i) nodes[plan.problem.nodes[i].name.str()].push_back(i);
  for (const auto& [name, members] : nodes) failures.push_back(what_if.of("node " + name, members));
  // The narrowest labels first; a rack's name may mean another rack elsewhere.
  for (std::size_t label = model::kDomainLabels.size(); label-- > 0;) {
    std::map<std::string, std::vector<std::size_t>> domains;
    for (const auto& [name, members] : nodes) {
      const placement::PlaceNode& node = plan.problem.nodes[members.front()];
      if (node.domains[label].empty()) continue;
      std::string what;
      for (std::size_t wider = 0; wider < label; ++wider) {
        if (!node.domains[wider].empty()) what += std::format("{} {}, ", model::kDomainLabels[wider], node.domains[wider]);
      }
      domains[what + std::format("{} {}", model::kDomainLabels[label], node.domains[label])].push_back(members.front());
    }
    for (auto& [what, members] : domains) {
      if (members.size() > 1) failures.push_back(what_if.of(what, std::move(members)));
    }
  }
  return failures;
}

}  // namespace perdure::deploy
