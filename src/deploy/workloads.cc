#include "deploy/workloads.h"

#include <algorithm>
#include <format>
#include <set>

#include "model/application/derive.h"

namespace perdure::deploy {
namespace {

std::string quoted(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "'" : ", '") + name + "'";
  return text;
}

}  // namespace

std::vector<Workload> workloads_of(const model::Application& application, const Plan& plan) {
  std::vector<Workload> workloads;
  std::map<std::size_t, std::size_t> by_group;
  for (std::size_t i = 0; i < plan.grouping.containers.size(); ++i) {
    const placement::PlannedContainer& planned = plan.grouping.containers[i];
    const auto& group = plan.problem.containers[i].replica_group;
    const auto known = group ? by_group.find(*group) : by_group.end();
    if (known == by_group.end()) {
      if (group) by_group.emplace(*group, workloads.size());
      const std::string own = planned.settings ? application.containers[*planned.settings].name
                                               : application.components[planned.components.front()].name();
      workloads.push_back({.name = application.name.str() + "-" + own});
    }
    Workload& workload = known == by_group.end() ? workloads.back() : workloads[known->second];
    workload.containers.push_back(i);
    if (const auto owner = plan.placement.places[i].owner) workload.nodes.push_back(plan.problem.nodes[*owner].name.str());
  }
  return workloads;
}

std::map<std::size_t, placement::Closeness> sponsors_of(const Plan& plan, const std::vector<Workload>& workloads, std::size_t workload) {
  std::map<std::size_t, placement::Closeness> sponsors;
  for (const placement::ContainerDependency& dependency : plan.grouping.dependencies) {
    if (!std::ranges::contains(workloads[workload].containers, dependency.dependent)) continue;
    for (std::size_t other = 0; other < workloads.size(); ++other) {
      if (!std::ranges::contains(workloads[other].containers, dependency.sponsors.front())) continue;
      const auto [entry, fresh] = sponsors.try_emplace(other, dependency.within);
      entry->second = std::min(entry->second, dependency.within);
    }
  }
  return sponsors;
}

std::vector<std::size_t> criticality_of(const Plan& plan, const std::vector<Workload>& workloads) {
  const auto tolerance = [&](const Workload& workload) {
    return plan.grouping.containers[workload.containers.front()].outage_tolerance.value_or(Duration::max());
  };
  std::set<Duration> all;
  for (const Workload& workload : workloads) all.insert(tolerance(workload));
  std::vector<std::size_t> ranks;
  for (const Workload& workload : workloads) ranks.push_back(static_cast<std::size_t>(std::distance(all.begin(), all.find(tolerance(workload)))));
  return ranks;
}

std::vector<std::string> notes_of(const model::Application& application, const Plan& plan, const std::vector<Workload>& workloads,
                                  const std::string& system) {
  std::vector<std::string> notes;
  std::vector<std::string> stateful;
  std::vector<std::string> images;
  for (const Workload& workload : workloads) {
    const placement::PlannedContainer& planned = plan.grouping.containers[workload.containers.front()];
    images.push_back(workload.name);
    if (planned.state == model::StateKind::kStateful) stateful.push_back(workload.name);
  }
  if (!stateful.empty()) {
    notes.push_back(std::format("{}: {} has no checkpoints and no standbys: after a failure they begin without what they had in memory, and "
                                "without what they wrote outside of volumes",
                                quoted(stateful), system));
  }
  for (const model::Dependency& dependency : model::dependencies_of(application)) {
    const std::string& name = application.components[dependency.dependent].name();
    const std::string& sponsor = application.components[dependency.sponsor].name();
    if (dependency.until == model::Until::kFinished) {
      notes.push_back(std::format("'{}' waits until '{}' has finished: {} starts both at once", name, sponsor, system));
    }
    if (dependency.on_restart != model::OnRestart{}) {
      notes.push_back(std::format("'{}' is to be told when '{}' has been restarted (on-restart): {} tells nobody", name, sponsor, system));
    }
  }
  notes.push_back(std::format("images {} have to be in a registry that {} reads: 'perdure apply' builds them as OCI layouts", quoted(images), system));
  for (const model::ContainerSettings& settings : application.containers) {
    if (!settings.settings.volumes.empty()) {
      notes.push_back(std::format("'{}-{}': its volumes are not written: say which storage of {} they are", application.name.str(), settings.name,
                                  system));
    }
  }
  if (!std::holds_alternative<model::NoNetwork>(application.network.attachment)) {
    notes.push_back(std::format("network.addresses: {} gives addresses of its own, and others after a failure", system));
  }
  return notes;
}

}  // namespace perdure::deploy
