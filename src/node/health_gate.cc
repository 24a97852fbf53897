#include "node/health_gate.h"

#include <algorithm>
#include <format>
#include <utility>

namespace perdure::node {

HealthGate::HealthGate(const model::ContainerSpec& spec) {
  for (const model::ComponentSpec& component : spec.components) {
    if (component.state == model::StateKind::kStateful && component.probe) probed_.push_back(component.name);
  }
}

bool HealthGate::has_proved(const std::string& component, const ComponentTable& table, Instant since) const {
  if (!table.current()) return false;
  const auto it = std::ranges::find(table.components(), component, &agent::ComponentReport::name);
  if (it == table.components().end()) return false;
  if (it->state == agent::ComponentState::kFinished) return true;
  const auto passed = table.passed(component);
  return it->state == agent::ComponentState::kRunning && passed && *passed >= since;
}

std::vector<HealthGate::Waiting> HealthGate::take_proved(const ComponentTable& table) {
  const auto is_proved = [&](const Waiting& waiting) {
    return table.heard() > waiting.heard &&
           std::ranges::all_of(probed_, [&](const std::string& name) { return has_proved(name, table, waiting.thawed); });
  };
  const auto newest = std::ranges::find_last_if(waiting_, is_proved);
  std::vector<Waiting> proved;
  if (newest.empty()) return proved;
  const auto end = std::next(newest.begin());
  std::move(waiting_.begin(), end, std::back_inserter(proved));
  waiting_.erase(waiting_.begin(), end);
  return proved;
}

void HealthGate::discard(const Generation& generation) {
  std::erase_if(waiting_, [&](const Waiting& waiting) { return waiting.generation() == generation; });
}

std::string HealthGate::waits_for(const ComponentTable& table) const {
  if (waiting_.empty()) return {};
  for (const std::string& name : probed_) {
    if (!has_proved(name, table, waiting_.front().thawed)) return std::format("component '{}' has passed its probe", name);
  }
  return "its agent has reported";
}

}  // namespace perdure::node
