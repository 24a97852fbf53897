#include "deploy/plan.h"

#include <algorithm>
#include <format>
#include <map>
#include <set>
#include <utility>

#include "deploy/addresses.h"
#include "placement/vicinity.h"

namespace perdure::deploy {
namespace {

using placement::Demand;
using placement::PlacementProblem;

// Of model::kDomainLabels.
constexpr std::size_t kDataCentre = 0;
constexpr std::size_t kRack = 1;

// At least nothing.
template <typename T>
void take_from(T& capacity, const T& amount) {
  capacity.count -= std::min(capacity.count, amount.count);
}

class Planner {
 public:
  Planner(const model::Application& application, const ClusterView& view) : application_(application), view_(view) {
    plan_.problem.apart = application.placement.apart;
  }

  Plan run() {
    plan_.grouping = placement::group_components(application_);
    plan_.errors = plan_.grouping.conflicts;
    if (!plan_.possible()) return std::move(plan_);
    add_nodes();
    if (plan_.problem.nodes.empty()) {
      plan_.errors.push_back("no node of the cluster can be reached: there is nowhere to run anything");
      return std::move(plan_);
    }
    check_names();
    add_containers();
    reserve_for_others();
    assign();
    if (!plan_.possible()) return std::move(plan_);
    plan_.placement = placement::place(plan_.problem);
    judge();
    return std::move(plan_);
  }

 private:
  void add_nodes() {
    for (const NodeFacts& node : view_.nodes) {
      if (!node.reachable) continue;
      index_.emplace(node.name, plan_.problem.nodes.size());
      const Bytes usable{node.memory.count / 100 * kUsableMemoryPercent};
      plan_.problem.nodes.push_back({.name = node.name,
                                     .domains = node.domains,
                                     .capacity = {usable, node.processors, Bytes{~std::uint64_t{0}}},
                                     .takes_new = node.takes_new});
    }
  }

  std::optional<std::size_t> node_of(const NodeName& name) const {
    const auto found = index_.find(name);
    return found == index_.end() ? std::nullopt : std::optional(found->second);
  }

  const ContainerFacts* running(const ContainerName& name) const {
    const auto found = std::ranges::find(view_.containers, name, &ContainerFacts::name);
    return found == view_.containers.end() ? nullptr : &*found;
  }

  void check_names() {
    for (const placement::PlannedContainer& planned : plan_.grouping.containers) {
      const ContainerFacts* there = running(planned.name);
      if (there == nullptr || there->application == application_.name.str()) continue;
      plan_.errors.push_back(std::format("container '{}' is there already and {}: remove it, or rename the application", planned.name.str(),
                                         there->application.empty() ? "belongs to no application"
                                                                    : std::format("belongs to application '{}'", there->application)));
    }
  }

  void add_containers() {
    std::map<std::vector<std::size_t>, std::size_t> groups;  // replicas have the same components
    for (const placement::PlannedContainer& planned : plan_.grouping.containers) {
      placement::PlaceContainer container{.name = planned.name,
                                          .demand = planned.demand,
                                          .standbys = standbys_of(planned),
                                          .outage_tolerance = planned.outage_tolerance};
      if (application_.components[planned.components.front()].replicas > 1) {
        container.replica_group = groups.try_emplace(planned.components, groups.size()).first->second;
      }
      if (const ContainerFacts* there = running(planned.name)) {
        container.owner = node_of(there->owner);
        for (const NodeName& standby : there->standbys) {
          if (const auto node = node_of(standby)) container.present.push_back(*node);
        }
        if (!container.owner) container.take_over();
      }
      plan_.problem.containers.push_back(std::move(container));
    }
    plan_.problem.dependencies = plan_.grouping.dependencies;
    widen_what_no_label_tells();
  }

  std::uint32_t standbys_of(const placement::PlannedContainer& planned) const {
    if (!planned.settings) return application_.placement.standbys;
    return application_.containers[*planned.settings].settings.checkpoint.standbys.value_or(application_.placement.standbys);
  }

  // Whoever else is there keeps what it has, also where it stands by.
  void reserve_for_others() {
    for (const ContainerFacts& other : view_.containers) {
      if (other.application == application_.name.str()) continue;
      if (const auto owner = node_of(other.owner)) {
        take_from(plan_.problem.nodes[*owner].capacity.cpu, other.reserved.cpu);
        take_from(plan_.problem.nodes[*owner].capacity.memory, other.reserved.memory);
      }
      for (const NodeName& standby : other.standbys) {
        if (const auto node = node_of(standby)) take_from(plan_.problem.nodes[*node].capacity.memory, other.reserved.memory);
      }
    }
  }

  void assign() {
    TakenAddresses taken;
    for (const ContainerFacts& container : view_.containers) {
      for (const model::IpAddress& address : container.addresses) {
        if (!address.is_v4()) continue;
        model::Ipv4Address v4;
        std::ranges::copy_n(address.bytes.begin(), v4.bytes.size(), v4.bytes.begin());
        if (container.application == application_.name.str()) {
          taken.kept.emplace(container.name, v4);
        } else {
          taken.foreign.insert(v4);
        }
      }
    }
    auto addresses = assign_addresses(application_, plan_.grouping, taken);
    if (addresses) {
      plan_.addresses = *std::move(addresses);
    } else {
      plan_.errors.push_back(addresses.error().message());
    }
  }

  // Where nobody has said what is in one rack, or in one data centre, all nodes are taken to be.
  void widen_what_no_label_tells() {
    for (placement::ContainerDependency& dependency : plan_.problem.dependencies) {
      const placement::Closeness asked = dependency.within;
      dependency.within = placement::widened(asked, plan_.problem.nodes);
      if (dependency.within == asked) continue;
      if (asked == placement::Closeness::kRack) warn_once("no node has a label rack, so all are taken to be in one");
      if (dependency.within == placement::Closeness::kAnywhere) {
        warn_once("no node has a label data-centre, so all are taken to be in one");
      }
    }
  }

  // Beside others that have one, a node without is far from all.
  void look_for_labels() {
    for (const auto& [within, label] : {std::pair{placement::Closeness::kDataCentre, kDataCentre}, std::pair{placement::Closeness::kRack, kRack}}) {
      const bool asked = std::ranges::any_of(plan_.problem.dependencies, [&](const auto& it) { return it.within == within; });
      if (!asked) continue;
      for (const placement::PlaceNode& node : plan_.problem.nodes) {
        if (!node.domains[label].empty()) continue;
        warn_once(std::format("a dependency asks for one {0}, and {1} has no label {0}, so it is taken to be far from all others: "
                              "'perdure node label {1} {0}=NAME'",
                              model::kDomainLabels[label], node.name.str()));
      }
    }
  }

  void warn_once(std::string text) {
    if (!std::ranges::contains(plan_.warnings, text)) plan_.warnings.push_back(std::move(text));
  }

  void judge() {
    look_for_labels();
    for (std::size_t i = 0; i < plan_.placement.places.size(); ++i) {
      const placement::ContainerPlace& place = plan_.placement.places[i];
      const placement::PlaceContainer& container = plan_.problem.containers[i];
      if (!place.owner) {
        plan_.errors.push_back(std::format("'{}' has no place: {}", container.name.str(), plan_.placement.why[i]));
      } else if (place.standbys.size() < container.standbys) {
        plan_.warnings.push_back(std::format("'{}' has {} of {} standbys: {}", container.name.str(), place.standbys.size(),
                                             container.standbys, plan_.placement.why[i]));
      }
    }
  }

  const model::Application& application_;
  const ClusterView& view_;
  std::map<NodeName, std::size_t> index_;
  Plan plan_;
};

}  // namespace

std::vector<std::vector<NodeName>> standbys_of(const Plan& plan) {
  std::vector<std::vector<NodeName>> all;
  for (const placement::ContainerPlace& place : plan.placement.places) {
    std::vector<NodeName>& nodes = all.emplace_back();
    for (const std::size_t node : place.standbys) nodes.push_back(plan.problem.nodes[node].name);
  }
  return all;
}

Plan make_plan(const model::Application& application, const ClusterView& view) {
  return Planner(application, view).run();
}

}  // namespace perdure::deploy
