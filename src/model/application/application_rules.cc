// What no single key of an application can tell.
#include <algorithm>
#include <format>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "model/application/application_table.h"
#include "model/application/derive.h"
#include "model/circles.h"

namespace perdure::model {
namespace {

std::string component_path(std::size_t index) { return std::format("components[{}]", index); }
std::string container_path(std::size_t index) { return std::format("containers[{}]", index); }
std::string required_path(std::size_t component, std::size_t index) {
  return std::format("components[{}].requires[{}]", component, index);
}

std::optional<std::size_t> find_component(const Application& application, std::string_view name) {
  const auto found = std::ranges::find(application.components, name, &Component::name);
  if (name.empty() || found == application.components.end()) return std::nullopt;
  return static_cast<std::size_t>(found - application.components.begin());
}

std::string or_one_of(std::string_view name, const std::vector<std::string>& known) {
  return model::did_you_mean(name, known, known.empty() ? "there is none yet" : "there are: " + join(known));
}

// --- Components ---

// The rules of a container's components hold for these too.
void check_programs(Reading& reading, const Application& application) {
  ContainerSpec all = ContainerSettings{}.settings;
  for (const Component& component : application.components) all.components.push_back(component.program);
  check_components(reading, all);
}

void check_artefact(Reading& reading, const std::string& at, const Component& component) {
  const Artefact& artefact = component.artefact;
  const int bases = (artefact.packages.empty() ? 0 : 1) + (artefact.directory ? 1 : 0) + (artefact.oci ? 1 : 0);
  if (bases > 1) reading.complain(at + ".artefact", "has more than one of packages, directory and oci; keep one");
  if (reading.seen(at + ".artefact.tag") && !reading.seen(at + ".artefact.oci")) {
    reading.complain(at + ".artefact.tag", "belongs to an OCI image; remove it or give oci");
  }
  std::set<std::string_view> seen;
  for (std::size_t i = 0; i < artefact.packages.size(); ++i) {
    const std::string_view name = std::string_view(artefact.packages[i]).substr(0, artefact.packages[i].find('='));
    if (seen.insert(name).second) continue;
    reading.complain(at + ".artefact.packages", std::format("'{}' stands in the list twice; keep one of them", name));
  }
  for (std::size_t i = 0; i < artefact.files.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (artefact.files[i].to.empty() || artefact.files[i].to != artefact.files[j].to) continue;
      reading.complain(std::format("{}.artefact.files[{}].to", at, i),
                       std::format("{} is copied twice; remove one of them", quote(artefact.files[i].to)));
    }
  }
}

void check_provided(Reading& reading, const std::string& at, const Component& component) {
  for (std::size_t i = 0; i < component.provides.size(); ++i) {
    const ProvidedInterface& it = component.provides[i];
    const std::string here = std::format("{}.provides[{}]", at, i);
    for (std::size_t j = 0; j < i; ++j) {
      const ProvidedInterface& before = component.provides[j];
      if (!it.name.empty() && it.name == before.name) {
        reading.complain(here + ".name", std::format("'{}' names two interfaces of '{}'; rename one", it.name, component.name()));
      }
      if (it.port && before.port == it.port && (it.protocol == Protocol::kUdp) == (before.protocol == Protocol::kUdp)) {
        reading.complain(here + ".port", std::format("{} is the port of '{}' already; give another one", *it.port, before.name));
      }
    }
    if (it.state_sensitivity && it.state == StateKind::kStateless) {
      reading.complain(here + ".state-sensitivity", "belongs to a stateful interface; remove it or give state: stateful");
    }
    if (reading.seen(here + ".protocol") && !it.port) {
      reading.complain(here + ".protocol", "belongs to a port; remove it or give port");
    }
  }
}

std::vector<std::string> all_interfaces(const Application& application) {
  std::set<std::string> names;
  for (const Component& component : application.components) {
    for (const ProvidedInterface& it : component.provides) {
      if (!it.name.empty()) names.insert(it.name);
    }
  }
  return {names.begin(), names.end()};
}

std::vector<std::string> sponsors_of(const Application& application, std::string_view interface) {
  std::vector<std::string> names;
  for (const Component& component : application.components) {
    if (std::ranges::contains(component.provides, interface, &ProvidedInterface::name)) names.push_back(component.name());
  }
  return names;
}

std::vector<std::string> component_names(const Application& application) {
  std::vector<std::string> names;
  for (const Component& component : application.components) {
    if (!component.name().empty()) names.push_back(component.name());
  }
  return names;
}

void check_sponsor(Reading& reading, const Application& application, std::size_t index, std::size_t place) {
  const RequiredInterface& it = application.components[index].required[place];
  if (it.interface.empty()) return;
  const std::string at = required_path(index, place);
  if (it.sponsor && !find_component(application, *it.sponsor)) {
    return reading.complain(at + ".sponsor", std::format("{} is no component of the application; {}", quote(*it.sponsor),
                                                         or_one_of(*it.sponsor, component_names(application))));
  }
  const Sponsor sponsor = sponsor_of(application, it);
  if (sponsor.found == Sponsor::Found::kSeveral) {
    return reading.complain(at, std::format("interface '{}' is provided by {}; say by sponsor which one is meant", it.interface,
                                            join(sponsors_of(application, it.interface))));
  }
  if (sponsor.found == Sponsor::Found::kNone) {
    if (it.sponsor) {
      return reading.complain(at + ".interface", std::format("'{}' does not provide '{}'; add it to its provides, or name another sponsor",
                                                             *it.sponsor, it.interface));
    }
    return reading.complain(at + ".interface", std::format("nobody provides {}; {}", quote(it.interface),
                                                           or_one_of(it.interface, all_interfaces(application))));
  }
  if (sponsor.component == index) {
    return reading.complain(at + ".interface", "is provided by the component itself; remove it");
  }
  if (it.until == Until::kFinished && application.components[sponsor.component].program.restart.when == RestartWhen::kAlways) {
    reading.complain(at + ".until", std::format("'{}' never ends for good, since it is started again always; wait until ready, or give it "
                                                "restart.when: failure",
                                                application.components[sponsor.component].name()));
  }
}

void check_required(Reading& reading, const Application& application, std::size_t index) {
  const std::vector<RequiredInterface>& all = application.components[index].required;
  for (std::size_t i = 0; i < all.size(); ++i) {
    check_sponsor(reading, application, index, i);
    for (std::size_t j = 0; j < i; ++j) {
      if (all[i].interface.empty() || all[i].interface != all[j].interface || all[i].sponsor != all[j].sponsor) continue;
      reading.complain(required_path(index, i) + ".interface",
                       std::format("'{}' stands in the list already; keep one of them", all[i].interface));
    }
  }
}

void check_component(Reading& reading, const Application& application, std::size_t index) {
  const Component& component = application.components[index];
  const std::string at = component_path(index);
  check_artefact(reading, at, component);
  check_provided(reading, at, component);
  check_required(reading, application, index);
  if (component.replicas > 1 && state_of(component) == StateKind::kStateful) {
    reading.complain(at + ".replicas", std::format("'{}' is stateful, and its state is in one place; remove replicas, or make its interfaces "
                                                   "stateless",
                                                   component.name()));
  }
}

// Whether they share a container or not: each is started behind those that it requires.
void check_start_order(Reading& reading, const Application& application) {
  std::vector<DependencyNode> nodes;
  for (std::size_t i = 0; i < application.components.size(); ++i) {
    const Component& component = application.components[i];
    DependencyNode& node = nodes.emplace_back(component.name());
    for (std::size_t j = 0; j < component.required.size(); ++j) {
      const Sponsor sponsor = sponsor_of(application, component.required[j]);
      if (sponsor.found == Sponsor::Found::kOne) node.edges.push_back({sponsor.component, required_path(i, j) + ".interface"});
    }
  }
  check_circles(reading, nodes);
}

// --- Containers ---

// As the spec of a container of its own, with what the application says for all of them.
void check_settings(Reading& reading, const Application& application, std::size_t index) {
  const std::string prefix = container_path(index) + ".";
  Reading part = reading.part(prefix, reading.position(container_path(index)));
  const Position position = reading.position(container_path(index));
  ContainerSpec spec = application.containers[index].settings;
  part.saw("root-filesystem.oci", position);
  const bool own = part.seen("network.bridge") || part.seen("network.nic");
  if (!own && application.network.attachment.index() != 0) part.saw("network.bridge", position);
  const bool addressed = part.seen("network.ipv4") || part.seen("network.ipv6");
  if (!addressed && !application.network.addresses.empty()) {
    part.saw("network.ipv4", position);
    spec.network.ipv4 = application.network.addresses.front().first;
  }
  check_rules(part, spec);
  reading.take_back(part, prefix);
}

void check_company(Reading& reading, const Application& application, std::size_t index) {
  std::vector<std::size_t> members;
  for (const std::string& name : application.containers[index].components) {
    if (const auto component = find_component(application, name)) members.push_back(*component);
  }
  const std::string at = container_path(index) + ".components";
  const auto name = [&](std::size_t component) { return application.components[component].name(); };
  for (const PortClash& clash : port_clashes_of(application, members)) {
    reading.complain(at, std::format("'{}' and '{}' both listen at port {}; give one of them another port or container", name(clash.first),
                                     name(clash.second), clash.port));
  }
  const auto others = other_bases_of(application, members);
  if (others.empty()) return;
  reading.complain(at, std::format("'{}' and '{}' bring different root file systems; packages go together, of directory and oci both have to "
                                   "name the same one",
                                   name(others.front().first), name(others.front().second)));
}

void check_containers(Reading& reading, const Application& application) {
  std::map<std::string, std::string> at_home;
  for (std::size_t i = 0; i < application.containers.size(); ++i) {
    const ContainerSettings& container = application.containers[i];
    const std::string at = container_path(i);
    for (std::size_t j = 0; j < i; ++j) {
      if (container.name.empty() || container.name != application.containers[j].name) continue;
      reading.complain(at + ".name", std::format("'{}' names two containers; rename one", container.name));
    }
    for (const std::string& name : container.components) {
      const auto found = find_component(application, name);
      if (!found) {
        reading.complain(at + ".components", std::format("{} is no component of the application; {}", quote(name),
                                                         or_one_of(name, component_names(application))));
        continue;
      }
      const auto [entry, is_first] = at_home.try_emplace(name, container.name);
      if (!is_first) {
        reading.complain(at + ".components", std::format("'{}' runs in '{}' already; remove it from one of them", name, entry->second));
      }
      if (application.components[*found].replicas > 1 && container.components.size() > 1) {
        reading.complain(at + ".components", std::format("'{}' has {} replicas, each in a container of its own; take it out, or remove its "
                                                         "replicas",
                                                         name, application.components[*found].replicas));
      }
    }
    check_company(reading, application, i);
    check_settings(reading, application, i);
  }
}

// --- Names, network ---

void check_names(Reading& reading, const Application& application) {
  // The longest name that follows has to be one too: APPLICATION-CONTAINER-REPLICA.
  constexpr std::size_t kMaxName = 63;
  constexpr std::size_t kReplica = 3;
  const auto check = [&](const std::string& name, const std::string& at, bool replicated) {
    const std::size_t length = application.name.str().size() + 1 + name.size() + (replicated ? kReplica : 0);
    if (length <= kMaxName) return;
    reading.complain(at + ".name", std::format("makes the container's name '{}-{}' longer than {} characters; shorten one of both",
                                               application.name.str(), name, kMaxName));
  };
  for (std::size_t i = 0; i < application.components.size(); ++i) {
    check(application.components[i].name(), component_path(i), application.components[i].replicas > 1);
  }
  for (std::size_t i = 0; i < application.containers.size(); ++i) check(application.containers[i].name, container_path(i), false);
}

void check_network(Reading& reading, const Application& application) {
  if (reading.seen("network.bridge") && reading.seen("network.nic")) {
    reading.complain("network.nic", "stands besides bridge; keep one of them");
  }
  if (reading.seen("network.vlan") && !reading.seen("network.nic")) {
    reading.complain("network.vlan", "belongs to a network card; give nic, or tag the bridge on the host");
  }
  const std::vector<Ipv4Range>& ranges = application.network.addresses;
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (ranges[i].first.address > ranges[j].last || ranges[j].first.address > ranges[i].last) continue;
      reading.complain("network.addresses", std::format("{} and {} overlap; separate them", to_string(ranges[j].first), to_string(ranges[i].first)));
    }
  }
  std::map<IpAddress, std::size_t> owners;
  for (std::size_t i = 0; i < application.containers.size(); ++i) {
    const NetworkSpec& network = application.containers[i].settings.network;
    const auto take = [&](const IpAddress& address, std::string_view key) {
      const auto [entry, is_free] = owners.try_emplace(address, i);
      if (is_free) return;
      reading.complain(std::format("{}.network.{}", container_path(i), key),
                       std::format("{} is the address of '{}' already; give another one", to_string(address),
                                   application.containers[entry->second].name));
    };
    if (network.ipv4) take(network.ipv4->address, "ipv4");
    if (network.ipv6) take(network.ipv6->address, "ipv6");
  }
}

void check_latencies(Reading& reading, const Application& application) {
  struct Step {
    const char* name;
    Duration latency;
  };
  const Latencies& latency = application.placement.latency;
  const Step steps[] = {{"container", latency.container}, {"host", latency.host}, {"rack", latency.rack}, {"data-centre", latency.data_centre},
                        {"anywhere", latency.anywhere}};
  for (std::size_t i = 1; i < std::size(steps); ++i) {
    if (steps[i].latency >= steps[i - 1].latency) continue;
    // At the one that was written; both may be.
    const std::string own = std::string("placement.latency.") + steps[i].name;
    const std::string narrower = std::string("placement.latency.") + steps[i - 1].name;
    reading.complain(reading.seen(own) ? own : narrower,
                     std::format("{} of {} are less than {} of {}, which is nearer; change one of them", format_duration(steps[i].latency),
                                 steps[i].name, format_duration(steps[i - 1].latency), steps[i - 1].name));
  }
}

}  // namespace

void check_application(Reading& reading, const Application& application) {
  check_network(reading, application);
  check_latencies(reading, application);
  check_names(reading, application);
  check_programs(reading, application);
  for (std::size_t i = 0; i < application.components.size(); ++i) check_component(reading, application, i);
  check_start_order(reading, application);
  check_containers(reading, application);
}

}  // namespace perdure::model
