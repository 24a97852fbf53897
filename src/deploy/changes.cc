#include "deploy/changes.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "model/spec_yaml.h"

namespace perdure::deploy {
namespace {

// Each behind those that it needs; where they go round in a circle, the first by its place in the list begins.
std::vector<std::size_t> in_order(const std::vector<std::set<std::size_t>>& needs) {
  std::vector<std::size_t> order;
  std::vector<bool> done(needs.size(), false);
  while (order.size() < needs.size()) {
    std::size_t next = needs.size();
    std::size_t first_left = needs.size();
    for (std::size_t i = needs.size(); i-- > 0;) {
      if (done[i]) continue;
      first_left = i;
      if (std::ranges::all_of(needs[i], [&](std::size_t other) { return done[other] || other == i; })) next = i;
    }
    if (next == needs.size()) next = first_left;
    done[next] = true;
    order.push_back(next);
  }
  return order;
}

const ContainerFacts* find(const ClusterView& view, const ContainerName& name) {
  const auto found = std::ranges::find(view.containers, name, &ContainerFacts::name);
  return found == view.containers.end() ? nullptr : &*found;
}

// What the nodes would take for the same: what the reader makes of it.
std::vector<std::string> differences(const model::ContainerSpec& wanted, const ContainerFacts& there) {
  const auto spec = model::read_spec(there.spec_yaml, "the specification of " + wanted.name.str());
  if (!spec) return {"its specification cannot be read"};
  std::vector<std::string> keys = model::differing_keys(*spec, wanted);
  std::erase(keys, "checkpoint.standby-nodes");
  return keys;
}

Change change_of(const model::ContainerSpec& spec, std::size_t index, const NodeName& owner, const ClusterView& view) {
  Change change{.name = spec.name, .wanted = index, .to = owner};
  const ContainerFacts* there = find(view, spec.name);
  if (there == nullptr) {
    change.kind = Change::Kind::kCreate;
    return change;
  }
  change.from = there->owner;
  if (!there->spec_yaml.empty()) change.differs = differences(spec, *there);
  if (!change.differs.empty()) {
    change.kind = Change::Kind::kReplace;
  } else if (there->owner != owner) {
    change.kind = Change::Kind::kMove;
  }
  return change;
}

}  // namespace

std::vector<ContainerName> removal_order(const std::string& application, const ClusterView& view) {
  std::vector<const ContainerFacts*> mine;
  for (const ContainerFacts& container : view.containers) {
    if (container.application == application) mine.push_back(&container);
  }
  std::ranges::sort(mine, {}, [](const ContainerFacts* it) { return it->name; });
  std::map<std::string, std::size_t> index;
  for (std::size_t i = 0; i < mine.size(); ++i) index.emplace(mine[i]->name.str(), i);
  std::vector<std::set<std::size_t>> needs(mine.size());
  for (std::size_t i = 0; i < mine.size(); ++i) {
    for (const std::string& sponsor : mine[i]->sponsors) {
      if (const auto found = index.find(sponsor); found != index.end()) needs[i].insert(found->second);
    }
  }
  std::vector<std::size_t> order = in_order(needs);
  std::ranges::reverse(order);
  std::vector<ContainerName> names;
  for (const std::size_t i : order) names.push_back(mine[i]->name);
  return names;
}

std::vector<Change> changes_of(const std::string& application, const std::vector<model::ContainerSpec>& wanted,
                               const std::vector<NodeName>& owners, const std::vector<placement::ContainerDependency>& dependencies,
                               const ClusterView& view) {
  std::vector<Change> changes;
  std::set<ContainerName> names;
  for (const model::ContainerSpec& spec : wanted) names.insert(spec.name);
  for (const ContainerName& name : removal_order(application, view)) {
    if (names.contains(name)) continue;
    changes.push_back({.kind = Change::Kind::kRemove, .name = name, .from = find(view, name)->owner});
  }
  std::vector<std::set<std::size_t>> needs(wanted.size());
  for (const placement::ContainerDependency& dependency : dependencies) {
    needs[dependency.dependent].insert(dependency.sponsors.begin(), dependency.sponsors.end());
  }
  for (const std::size_t index : in_order(needs)) changes.push_back(change_of(wanted[index], index, owners[index], view));
  return changes;
}

}  // namespace perdure::deploy
