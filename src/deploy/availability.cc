#include "deploy/availability.h"

#include <algorithm>
#include <cmath>
#include <format>
#include <map>

#include "model/application/derive.h"

namespace perdure::deploy {
namespace {

// Beyond that failures are not independent any more: a whole data centre, a mistake of an operator.
constexpr double kMostNines = 9;

double share_of(Duration every, Duration lasts) {
  const auto out = static_cast<double>(lasts.count());
  return out / (static_cast<double>(every.count()) + out);
}

class Arithmetic {
 public:
  Arithmetic(const model::Application& application, const Plan& plan, const Assumptions& assumptions)
      : application_(application), plan_(plan), assumptions_(assumptions) {}

  Availability run() {
    Availability all;
    for (std::size_t i = 0; i < plan_.grouping.containers.size(); ++i) all.containers.push_back(of(i, all));
    add_up(all);
    return all;
  }

 private:
  ContainerAvailability of(std::size_t index, Availability& all) const {
    const placement::PlannedContainer& planned = plan_.grouping.containers[index];
    ContainerAvailability container;
    for (const std::size_t member : planned.components) {
      const model::Component& component = application_.components[member];
      if (!component.mttf) {
        all.mttf_missing = true;
        continue;
      }
      const bool alone = model::recovery_scope_of(component) == model::RecoveryScope::kComponent;
      container.shares.push_back({.cause = alone ? std::format("{} fails and is started again", component.name())
                                                 : std::format("{} fails, its container is restored in place", component.name()),
                                  .every = *component.mttf,
                                  .lasts = alone ? start_of(component) : assumptions_.restore});
    }
    container.shares.push_back(of_its_node(index));
    Duration longest{};
    for (OutageShare& share : container.shares) {
      share.unavailability = share_of(share.every, share.lasts);
      container.unavailability += share.unavailability;
      longest = std::max(longest, share.lasts);
    }
    container.hidden = planned.outage_tolerance && everybody_inside_tolerates(index) && *planned.outage_tolerance >= longest;
    return container;
  }

  Duration start_of(const model::Component& component) const { return component.recovery_time.value_or(assumptions_.start); }

  OutageShare of_its_node(std::size_t index) const {
    const placement::ContainerPlace& place = plan_.placement.places[index];
    OutageShare share{.cause = "its node fails, and nobody stands by", .every = assumptions_.node_mttf, .lasts = assumptions_.node_repair};
    if (place.standbys.empty()) return share;
    const placement::PlannedContainer& planned = plan_.grouping.containers[index];
    share.lasts = assumptions_.takeover;
    share.cause = std::format("its node fails, {} takes over", plan_.problem.nodes[place.standbys.front()].name.str());
    if (planned.state == model::StateKind::kStateful) return share;
    Duration slowest{};  // afresh
    for (const std::size_t member : planned.components) slowest = std::max(slowest, start_of(application_.components[member]));
    share.lasts += slowest;
    return share;
  }

  // Everybody depends on it with a tolerance; one that is required by nobody is what users see.
  bool everybody_inside_tolerates(std::size_t index) const {
    bool any = false;
    for (const placement::ContainerDependency& dependency : plan_.problem.dependencies) {
      if (!std::ranges::contains(dependency.sponsors, index)) continue;
      any = true;
      if (!dependency.outage_tolerance) return false;
    }
    return any;
  }

  void add_up(Availability& all) const {
    std::map<std::size_t, double> groups;  // of replicas: the share in which all of them are missing
    for (std::size_t i = 0; i < all.containers.size(); ++i) {
      const ContainerAvailability& container = all.containers[i];
      if (container.hidden) continue;
      const auto& group = plan_.problem.containers[i].replica_group;
      if (!group) {
        all.unavailability += container.unavailability;
      } else {
        groups.try_emplace(*group, 1.0).first->second *= container.unavailability;
      }
    }
    for (const auto& [group, missing] : groups) all.unavailability += missing;
    all.unavailability = std::min(all.unavailability, 1.0);
  }

  const model::Application& application_;
  const Plan& plan_;
  const Assumptions& assumptions_;
};

}  // namespace

Availability availability_of(const model::Application& application, const Plan& plan, const Assumptions& assumptions) {
  return Arithmetic(application, plan, assumptions).run();
}

double nines_of(double unavailability) {
  if (unavailability <= 0) return kMostNines;
  return std::clamp(-std::log10(unavailability), 0.0, kMostNines);
}

}  // namespace perdure::deploy
