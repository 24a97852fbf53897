#include "deploy/derive_spec.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "model/application/derive.h"
#include "model/spec_yaml.h"

namespace perdure::deploy {
namespace {

using placement::PlannedContainer;

class Deriver {
 public:
  Deriver(const Derivation& from, std::size_t index)
      : from_(from), index_(index), container_(from.grouping.containers[index]), dependencies_(model::dependencies_of(from.application)) {}

  model::ContainerSpec run(const std::string& image) {
    model::ContainerSpec spec{.name = container_.name};
    if (container_.settings) spec = from_.application.containers[*container_.settings].settings;
    spec.name = container_.name;
    spec.root_filesystem = model::ImageRoot{image};
    for (const std::size_t member : container_.components) spec.components.push_back(component(member));
    derive_network(spec);
    derive_protection(spec);
    spec.application = {.name = from_.application.name.str(),
                        .sponsors = sponsors(),
                        .near = near(),
                        .memory = given(container_.demand.memory),
                        .cpu = given(container_.demand.cpu),
                        .disk = given(container_.demand.disk)};
    return spec;
  }

 private:
  template <typename T>
  static std::optional<T> given(const T& value) {
    return value.count == 0 ? std::nullopt : std::optional(value);
  }

  const std::string& name_of(std::size_t component) const { return from_.application.components[component].name(); }
  bool is_inside(std::size_t component) const { return std::ranges::contains(container_.components, component); }

  model::ComponentSpec component(std::size_t member) const {
    const model::Component& of = from_.application.components[member];
    model::ComponentSpec spec = of.program;
    spec.state = model::state_of(of);
    for (const model::Dependency& dependency : dependencies_) {
      if (dependency.dependent != member || !is_inside(dependency.sponsor)) continue;
      spec.depends_on.push_back({.component = name_of(dependency.sponsor), .until = dependency.until, .on_restart = dependency.on_restart});
    }
    return spec;
  }

  std::optional<model::IpAddress> address_of(std::size_t container) const {
    const PlannedContainer& planned = from_.grouping.containers[container];
    if (from_.addresses[container]) return model::IpAddress(from_.addresses[container]->address);
    if (!planned.settings) return std::nullopt;
    const model::NetworkSpec& own = from_.application.containers[*planned.settings].settings.network;
    if (own.ipv4) return model::IpAddress(own.ipv4->address);
    if (own.ipv6) return model::IpAddress(own.ipv6->address);
    return std::nullopt;
  }

  void derive_network(model::ContainerSpec& spec) const {
    const model::ApplicationNetwork& common = from_.application.network;
    model::NetworkSpec& network = spec.network;
    const bool addressed = network.ipv4 || network.ipv6 || from_.addresses[index_];
    if (!network.attached() && addressed) {
      network.attachment = common.attachment;
      if (from_.addresses[index_]) network.ipv4 = from_.addresses[index_];
      if (!network.ipv4_gateway) network.ipv4_gateway = common.ipv4_gateway;
      if (network.dns.empty()) network.dns = common.dns;
      if (!network.mtu) network.mtu = common.mtu;
    }
    // Sponsors by their components' names, each where it is; several replicas are several lines.
    std::map<std::size_t, std::vector<std::string>> names;
    for (const model::Dependency& dependency : dependencies_) {
      if (!is_inside(dependency.dependent)) continue;
      for (std::size_t i = 0; i < from_.grouping.containers.size(); ++i) {
        if (!std::ranges::contains(from_.grouping.containers[i].components, dependency.sponsor)) continue;
        if (is_inside(dependency.sponsor) && i != index_) continue;  // another replica
        std::vector<std::string>& known = names[i];
        if (!std::ranges::contains(known, name_of(dependency.sponsor))) known.push_back(name_of(dependency.sponsor));
      }
    }
    for (auto& [container, known] : names) {
      if (container == index_) {
        network.hosts.push_back({model::kProbeLoopback, std::move(known)});
      } else if (const auto address = address_of(container)) {
        network.hosts.push_back({*address, std::move(known)});
      }
    }
  }

  void derive_protection(model::ContainerSpec& spec) const {
    const model::CheckpointSpec standard;
    const bool interval_said = spec.checkpoint.interval != standard.interval || spec.checkpoint.interval_source != standard.interval_source;
    if (!interval_said && container_.state_sensitivity) {
      spec.checkpoint.interval = *container_.state_sensitivity;
      spec.checkpoint.interval_source = model::IntervalSource::kStateSensitivity;
    }
    if (!spec.checkpoint.standbys) spec.checkpoint.standbys = from_.application.placement.standbys;
    if (spec.checkpoint.standby_nodes.empty() && index_ < from_.standbys.size()) {
      for (const NodeName& node : from_.standbys[index_]) spec.checkpoint.standby_nodes.push_back(node.str());
    }
    if (!spec.availability.outage_tolerance) spec.availability.outage_tolerance = container_.outage_tolerance;
  }

  std::vector<std::string> sponsors() const {
    std::vector<std::string> names;
    for (const placement::ContainerDependency& dependency : from_.grouping.dependencies) {
      if (dependency.dependent != index_) continue;
      for (const std::size_t sponsor : dependency.sponsors) names.push_back(from_.grouping.containers[sponsor].name.str());
    }
    std::ranges::sort(names);
    const auto same = std::ranges::unique(names);
    names.erase(same.begin(), same.end());
    return names;
  }

  // Vicinities that lead from container to container, `from` included.
  bool leads_to(std::size_t from, std::size_t wanted, std::set<std::size_t>& seen) const {
    if (from == wanted) return true;
    if (!seen.insert(from).second) return false;
    return std::ranges::any_of(from_.grouping.dependencies, [&](const placement::ContainerDependency& dependency) {
      return dependency.dependent == from && dependency.within != placement::Closeness::kAnywhere &&
             std::ranges::any_of(dependency.sponsors, [&](std::size_t sponsor) { return leads_to(sponsor, wanted, seen); });
    });
  }

  // Whoever is near somebody follows it (policy/nearness.h), so these must not go round in a circle: each circle has somebody who
  // depends on one behind it, and that one does not follow.
  bool follows(std::size_t sponsor) const {
    std::set<std::size_t> seen;
    return sponsor < index_ || !leads_to(sponsor, index_, seen);
  }

  std::vector<model::Vicinity> near() const {
    std::vector<model::Vicinity> all;
    for (const placement::ContainerDependency& dependency : from_.grouping.dependencies) {
      const auto within = within_of(dependency.within);
      if (dependency.dependent != index_ || !within || !std::ranges::all_of(dependency.sponsors, [&](std::size_t it) { return follows(it); })) continue;
      model::Vicinity vicinity{.within = *within};
      for (const std::size_t sponsor : dependency.sponsors) vicinity.sponsors.push_back(from_.grouping.containers[sponsor].name.str());
      if (!std::ranges::contains(all, vicinity)) all.push_back(std::move(vicinity));
    }
    return all;
  }

  static std::optional<model::Within> within_of(placement::Closeness closeness) {
    switch (closeness) {
      case placement::Closeness::kContainer:  // nobody is closer than beside it
      case placement::Closeness::kHost:
        return model::Within::kHost;
      case placement::Closeness::kRack:
        return model::Within::kRack;
      case placement::Closeness::kDataCentre:
        return model::Within::kDataCentre;
      case placement::Closeness::kAnywhere:
        return std::nullopt;
    }
    return std::nullopt;
  }

  const Derivation& from_;
  const std::size_t index_;
  const PlannedContainer& container_;
  const std::vector<model::Dependency> dependencies_;
};

}  // namespace

std::string no_digest() { return "sha256:" + std::string(64, '0'); }

Result<model::ContainerSpec> derive_spec(const Derivation& derivation, std::size_t container, const std::string& image) {
  const model::ContainerSpec spec = Deriver(derivation, container).run(image);
  // What a reader takes is what the nodes take.
  return model::read_spec(model::to_yaml(spec), "container " + spec.name.str());
}

Result<model::ContainerSpec> derive_image_spec(const model::Application& application, const placement::Grouping& grouping, std::size_t container) {
  const std::vector<std::optional<model::Ipv4Prefix>> no_addresses(grouping.containers.size());
  const model::ContainerSpec spec = Deriver({application, grouping, no_addresses, {}}, container).run(no_digest());
  model::ContainerSpec reduced{.name = ContainerName::parse("image").value()};
  reduced.root_filesystem = spec.root_filesystem;
  reduced.environment = spec.environment;
  reduced.working_directory = spec.working_directory;
  reduced.user = spec.user;
  reduced.components = spec.components;
  reduced.stop = spec.stop;
  return model::read_spec(model::to_yaml(reduced), "image of " + spec.name.str());
}

}  // namespace perdure::deploy
