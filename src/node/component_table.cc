#include "node/component_table.h"

#include <algorithm>
#include <utility>

namespace perdure::node {
namespace {

using Change = ComponentTable::Change;
using State = agent::ComponentState;

const agent::ComponentReport* find(const agent::Report& report, const std::string& name) {
  const auto found = std::ranges::find(report.components, name, &agent::ComponentReport::name);
  return found == report.components.end() ? nullptr : &*found;
}

void compare(const agent::ComponentReport* before, const agent::ComponentReport& now, std::vector<Change>& changes) {
  const auto add = [&](Change::Kind kind) { changes.push_back({kind, now.name, now.trouble}); };
  const State was = before != nullptr ? before->state : State::kWaiting;
  if (before != nullptr && now.restarts > before->restarts) add(Change::Kind::kRestarted);
  if (now.state == was) return;
  if (now.state == State::kFailing) add(Change::Kind::kFailing);
  if (now.state == State::kRunning && was == State::kFailing) add(Change::Kind::kHealthy);
  if (now.state == State::kFailed) add(Change::Kind::kFailed);
  if (now.state == State::kFinished) add(Change::Kind::kFinished);
}

}  // namespace

std::vector<Change> ComponentTable::take(const agent::Report& report, Instant now, WallTime wall) {
  const bool goes_on = report.life == report_.life && report.sequence > report_.sequence;
  const bool fresh = std::exchange(fresh_, false);
  std::vector<Change> changes;
  std::vector<Passed> passed;
  for (const agent::ComponentReport& it : report.components) {
    const agent::ComponentReport begun{.name = it.name};
    compare(fresh ? &begun : goes_on ? find(report_, it.name) : nullptr, it, changes);
    if (it.passed_realtime_ns == 0) continue;
    const Duration since_wall = wall - WallTime(Duration(it.passed_realtime_ns));
    const Duration age = std::max({since_wall, Duration(it.passed_age_ns), Duration::zero()});
    passed.push_back({it.name, now - age});
  }
  report_ = report;
  passed_ = std::move(passed);
  since_ = now;
  ++heard_;
  current_ = true;
  return changes;
}

std::optional<Instant> ComponentTable::passed(const std::string& component) const {
  const auto found = std::ranges::find(passed_, component, &Passed::component);
  return found == passed_.end() ? std::nullopt : std::optional(found->begun);
}

}  // namespace perdure::node
