#include "placement/grouping.h"

#include <algorithm>
#include <format>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "model/application/derive.h"
#include "placement/partition.h"

namespace perdure::placement {
namespace {

using model::Application;
using model::Component;

std::string both(const Application& application, const model::Dependency& dependency) {
  return std::format("'{}' and '{}'", application.components[dependency.dependent].name(),
                     application.components[dependency.sponsor].name());
}

class Grouper {
 public:
  explicit Grouper(const Application& application)
      : application_(application),
        latencies_(application.placement.latency),
        dependencies_(model::dependencies_of(application)),
        partition_(application.components.size()),
        homes_(application.components.size()) {}

  Grouping run() {
    take_settings();
    join_dependents();
    make_containers();
    if (grouping_.conflicts.empty()) make_dependencies();
    return std::move(grouping_);
  }

 private:
  void conflict(std::string text) { grouping_.conflicts.push_back(std::move(text)); }

  void take_settings() {
    for (std::size_t i = 0; i < application_.containers.size(); ++i) {
      std::optional<std::size_t> first;
      for (const std::string& name : application_.containers[i].components) {
        const auto found = std::ranges::find(application_.components, name, &Component::name);
        if (found == application_.components.end()) continue;  // refused by every reader
        const auto index = static_cast<std::size_t>(found - application_.components.begin());
        homes_[index] = i;
        if (first) partition_.join(*first, index);
        first = first.value_or(index);
      }
    }
  }

  // Those that bear no more than one container.
  void join_dependents() {
    for (const model::Dependency& dependency : dependencies_) {
      const auto within = closeness_within(dependency.delay_tolerance, latencies_);
      if (!within) {
        conflict(std::format("{} are to be within {}, and even in one container they are {} apart: raise the delay tolerance",
                             both(application_, dependency), format_duration(*dependency.delay_tolerance),
                             format_duration(latencies_.container)));
        continue;
      }
      if (*within != Closeness::kContainer) continue;
      if (is_kept_apart(dependency)) continue;
      if (partition_.root_of(dependency.dependent) == partition_.root_of(dependency.sponsor)) continue;
      partition_.join(dependency.dependent, dependency.sponsor);
      reasons_.emplace_back(dependency.dependent, std::format("{} bear {} at most", both(application_, dependency),
                                                              format_duration(*dependency.delay_tolerance)));
    }
  }

  bool is_kept_apart(const model::Dependency& dependency) {
    const auto& one = homes_[dependency.dependent];
    const auto& other = homes_[dependency.sponsor];
    if (one && other && *one != *other) {
      conflict(std::format("{} bear {} at most, which only one container keeps, and the model puts them into '{}' and '{}': put "
                           "them together, or raise the delay tolerance",
                           both(application_, dependency), format_duration(*dependency.delay_tolerance),
                           application_.containers[*one].name, application_.containers[*other].name));
      return true;
    }
    for (const std::size_t index : {dependency.dependent, dependency.sponsor}) {
      const Component& component = application_.components[index];
      if (component.replicas == 1) continue;
      conflict(std::format("{} bear {} at most, which only one container keeps, and '{}' has {} replicas, each in a container of "
                           "its own: remove them, or raise the delay tolerance",
                           both(application_, dependency), format_duration(*dependency.delay_tolerance), component.name(),
                           component.replicas));
      return true;
    }
    return false;
  }

  void make_containers() {
    std::map<std::size_t, std::vector<std::size_t>> groups;
    for (std::size_t i = 0; i < application_.components.size(); ++i) groups[partition_.root_of(i)].push_back(i);
    places_.resize(application_.components.size());
    for (const auto& [root, members] : groups) {
      check_group(members);
      const unsigned replicas = application_.components[members.front()].replicas;
      for (unsigned replica = 1; replica <= replicas; ++replica) {
        for (const std::size_t member : members) places_[member].push_back(grouping_.containers.size());
        add_container(members, replicas == 1 ? 0 : replica);
      }
    }
    check_names();
  }

  void check_group(const std::vector<std::size_t>& members) {
    if (members.size() > model::kMaxComponents) {
      conflict(std::format("{} components have to share a container, and {} can: raise a delay tolerance", members.size(),
                           model::kMaxComponents));
    }
    for (const model::PortClash& clash : model::port_clashes_of(application_, members)) {
      conflict(std::format("'{}' and '{}' have to share a container, and both listen at port {}: give one of them another port",
                           application_.components[clash.first].name(), application_.components[clash.second].name(), clash.port));
    }
    for (const auto& [first, second] : model::other_bases_of(application_, members)) {
      conflict(std::format("'{}' and '{}' have to share a container, and bring different root file systems: use packages for both, "
                           "or name the same one",
                           application_.components[first].name(), application_.components[second].name()));
    }
    std::set<std::size_t> settings;
    for (const std::size_t member : members) {
      if (homes_[member]) settings.insert(*homes_[member]);
    }
    if (settings.size() > 1) {
      conflict(std::format("containers '{}' and '{}' have to be one, since their components bear no greater delay: put them together",
                           application_.containers[*settings.begin()].name, application_.containers[*settings.rbegin()].name));
    }
  }

  void add_container(const std::vector<std::size_t>& members, unsigned replica) {
    const Component& first = application_.components[members.front()];
    const auto home = std::ranges::find_if(members, [this](std::size_t member) { return homes_[member].has_value(); });
    std::optional<std::size_t> settings;
    if (home != members.end()) settings = homes_[*home];
    std::string name = std::format("{}-{}", application_.name.str(), settings ? application_.containers[*settings].name : first.name());
    if (replica != 0) name += std::format("-{}", replica);
    auto parsed = ContainerName::parse(name);
    if (!parsed) {
      conflict(std::format("'{}' would be the name of a container and is none: shorten the name of '{}'", name, first.name()));
      parsed = application_.name;
    }
    PlannedContainer container{.name = *parsed, .components = members, .settings = settings};
    for (const std::size_t member : members) {
      const Component& component = application_.components[member];
      if (model::state_of(component) == model::StateKind::kStateful) container.state = model::StateKind::kStateful;
      model::take_shorter(container.state_sensitivity, model::state_sensitivity_of(component));
      container.demand = sum_of(container.demand, {component.resources.memory.value_or(Bytes{}), component.resources.cpu.value_or(model::MilliCores{}),
                                                   component.resources.disk.value_or(Bytes{})});
    }
    container.why = why(members, settings);
    grouping_.containers.push_back(std::move(container));
  }

  std::string why(const std::vector<std::size_t>& members, const std::optional<std::size_t>& settings) const {
    if (members.size() == 1) return settings ? "as the model says" : "by itself: no dependency asks for company";
    std::string text;
    if (settings && application_.containers[*settings].components.size() > 1) text = "as the model says";
    for (const auto& [dependent, reason] : reasons_) {
      if (std::ranges::contains(members, dependent)) text += (text.empty() ? "" : "; ") + reason;
    }
    return text;
  }

  void check_names() {
    std::map<ContainerName, std::size_t> seen;
    for (std::size_t i = 0; i < grouping_.containers.size(); ++i) {
      const PlannedContainer& container = grouping_.containers[i];
      if (seen.try_emplace(container.name, i).second) continue;
      conflict(std::format("'{}' would be the name of two containers: rename '{}'", container.name.str(),
                           application_.components[container.components.front()].name()));
    }
  }

  void make_dependencies() {
    std::map<std::pair<std::size_t, std::size_t>, ContainerDependency> all;
    for (const model::Dependency& dependency : dependencies_) {
      const Closeness within = closeness_within(dependency.delay_tolerance, latencies_).value_or(Closeness::kContainer);
      const std::vector<std::size_t>& sponsors = places_[dependency.sponsor];
      for (const std::size_t dependent : places_[dependency.dependent]) {
        if (std::ranges::contains(sponsors, dependent)) continue;
        const auto [entry, is_new] = all.try_emplace(
            {dependent, sponsors.front()}, ContainerDependency{.dependent = dependent, .sponsors = sponsors, .within = within});
        entry->second.within = std::min(entry->second.within, within);
        model::take_shorter(entry->second.outage_tolerance, dependency.outage_tolerance);
      }
    }
    for (auto& [key, dependency] : all) {
      for (const std::size_t sponsor : dependency.sponsors) {
        model::take_shorter(grouping_.containers[sponsor].outage_tolerance, dependency.outage_tolerance);
      }
      grouping_.dependencies.push_back(std::move(dependency));
    }
  }

  const Application& application_;
  const model::Latencies& latencies_;
  const std::vector<model::Dependency> dependencies_;
  Partition partition_;
  std::vector<std::optional<std::size_t>> homes_;              // by component: the container that the model says
  std::vector<std::pair<std::size_t, std::string>> reasons_;   // of a dependent: why it is where its sponsor is
  std::vector<std::vector<std::size_t>> places_;               // by component: its containers
  Grouping grouping_;
};

template <typename Count>
Count saturated_sum(Count one, Count other) {
  return one > std::numeric_limits<Count>::max() - other ? std::numeric_limits<Count>::max() : one + other;
}

}  // namespace

std::uint32_t sum_of(std::uint32_t one, std::uint32_t other) { return saturated_sum(one, other); }
std::uint64_t sum_of(std::uint64_t one, std::uint64_t other) { return saturated_sum(one, other); }

Demand sum_of(const Demand& one, const Demand& other) {
  return {Bytes{sum_of(one.memory.count, other.memory.count)}, model::MilliCores{sum_of(one.cpu.count, other.cpu.count)},
          Bytes{sum_of(one.disk.count, other.disk.count)}};
}

Grouping group_components(const Application& application) {
  return Grouper(application).run();
}

}  // namespace perdure::placement
