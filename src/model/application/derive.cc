#include "model/application/derive.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

namespace perdure::model {
namespace {

// kStarted waits for less than kReady, kFinished for more.
int reach(Until until) {
  switch (until) {
    case Until::kStarted:
      return 0;
    case Until::kReady:
      return 1;
    case Until::kFinished:
      return 2;
  }
  return 1;
}

bool provides(const Component& component, std::string_view interface) {
  return std::ranges::find(component.provides, interface, &ProvidedInterface::name) != component.provides.end();
}

}  // namespace

void take_shorter(std::optional<Duration>& value, const std::optional<Duration>& other) {
  if (other && (!value || *other < *value)) value = other;
}

std::vector<PortClash> port_clashes_of(const Application& application, const std::vector<std::size_t>& members) {
  std::vector<PortClash> clashes;
  std::map<std::pair<bool, std::uint16_t>, std::size_t> ports;
  for (const std::size_t member : members) {
    for (const ProvidedInterface& it : application.components[member].provides) {
      if (!it.port) continue;
      const auto [entry, is_free] = ports.try_emplace({it.protocol == Protocol::kUdp, *it.port}, member);
      if (!is_free && entry->second != member) clashes.push_back({entry->second, member, *it.port});
    }
  }
  return clashes;
}

std::vector<std::pair<std::size_t, std::size_t>> other_bases_of(const Application& application, const std::vector<std::size_t>& members) {
  std::vector<std::pair<std::size_t, std::size_t>> others;
  std::optional<std::size_t> first;
  for (const std::size_t member : members) {
    const Artefact& artefact = application.components[member].artefact;
    if (!artefact.directory && !artefact.oci && artefact.packages.empty()) continue;
    if (!first) first = member;
    const Artefact& base = application.components[*first].artefact;
    if (base.directory != artefact.directory || base.oci != artefact.oci) others.emplace_back(*first, member);
  }
  return others;
}

StateKind state_of(const Component& component) {
  const bool stateful = std::ranges::find(component.provides, StateKind::kStateful, &ProvidedInterface::state) !=
                        component.provides.end();
  return stateful ? StateKind::kStateful : StateKind::kStateless;
}

std::optional<Duration> state_sensitivity_of(const Component& component) {
  std::optional<Duration> shortest;
  for (const ProvidedInterface& provided : component.provides) {
    if (provided.state == StateKind::kStateful) take_shorter(shortest, provided.state_sensitivity);
  }
  return shortest;
}

RecoveryScope recovery_scope_of(const Component& component) {
  return state_of(component) == StateKind::kStateful ? RecoveryScope::kContainer : RecoveryScope::kComponent;
}

Sponsor sponsor_of(const Application& application, const RequiredInterface& required) {
  Sponsor sponsor;
  for (std::size_t i = 0; i < application.components.size(); ++i) {
    const Component& component = application.components[i];
    if (required.sponsor && component.name() != *required.sponsor) continue;
    if (!provides(component, required.interface)) continue;
    if (sponsor.found == Sponsor::Found::kOne) return {Sponsor::Found::kSeveral, 0};
    sponsor = {Sponsor::Found::kOne, i};
  }
  return sponsor;
}

std::vector<Dependency> dependencies_of(const Application& application) {
  std::vector<Dependency> all;
  for (std::size_t i = 0; i < application.components.size(); ++i) {
    std::map<std::size_t, Dependency> by_sponsor;
    for (const RequiredInterface& required : application.components[i].required) {
      const Sponsor sponsor = sponsor_of(application, required);
      if (sponsor.found != Sponsor::Found::kOne) continue;
      const auto [entry, is_new] = by_sponsor.try_emplace(
          sponsor.component, Dependency{.dependent = i, .sponsor = sponsor.component, .until = required.until});
      Dependency& dependency = entry->second;
      take_shorter(dependency.delay_tolerance, required.delay_tolerance);
      take_shorter(dependency.outage_tolerance, required.outage_tolerance);
      if (reach(required.until) > reach(dependency.until)) dependency.until = required.until;
      if (dependency.on_restart == OnRestart{}) dependency.on_restart = required.on_restart;
    }
    for (auto& [sponsor, dependency] : by_sponsor) all.push_back(std::move(dependency));
  }
  return all;
}

std::optional<Duration> outage_tolerance_of(const Application& application, std::size_t component) {
  std::optional<Duration> shortest;
  for (const Dependency& dependency : dependencies_of(application)) {
    if (dependency.sponsor == component) take_shorter(shortest, dependency.outage_tolerance);
  }
  return shortest;
}

}  // namespace perdure::model
