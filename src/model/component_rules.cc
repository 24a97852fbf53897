// What no single key of a component can tell; called by check_rules().
#include <algorithm>
#include <array>
#include <cstddef>
#include <format>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "model/circles.h"
#include "model/component.h"
#include "model/spec.h"
#include "model/table.h"

namespace perdure::model {
namespace {

using Components = std::vector<ComponentSpec>;

std::string path_of(std::size_t component) {
  return std::format("components[{}]", component);
}

std::string path_of(std::size_t component, std::size_t dependency) {
  return std::format("components[{}].depends-on[{}]", component, dependency);
}

// An empty name has been complained about already.
std::optional<std::size_t> index_of(const Components& components, std::string_view name) {
  const auto found = std::ranges::find(components, name, &ComponentSpec::name);
  if (name.empty() || found == components.end()) return std::nullopt;
  return static_cast<std::size_t>(found - components.begin());
}

void check_program(Reading& reading, const std::string& path,
                   const std::vector<std::string>& command) {
  if (!command.empty() && command.front().empty()) {
    reading.complain(path, "begins with an empty word; begin it with the program");
  }
}

void check_probe(Reading& reading, const std::string& at, const ProbeSpec& probe) {
  static constexpr std::array kKinds = {"exec", "tcp", "http", "rtsp", "unix", "file"};
  const auto seen = [&](std::string_view key) {
    return reading.seen(std::format("{}.{}", at, key));
  };
  const auto given = std::ranges::count_if(kKinds, seen);
  if (given == 0)
    reading.complain(at, "has none of exec, tcp, http, rtsp, unix and file; give one");
  if (given > 1) {
    reading.complain(at, "has more than one of exec, tcp, http, rtsp, unix and file; keep one");
  }
  if (given != 1) return;
  if (seen("path") && !seen("http")) {
    reading.complain(at + ".path", "belongs to an HTTP probe; remove it or give http");
  }
  if (seen("max-age") && !seen("file")) {
    reading.complain(at + ".max-age", "belongs to a file; remove it or give file");
  }
  if (seen("file") && !seen("max-age")) {
    reading.complain(at + ".max-age", "is missing; say how old the file's last change may be");
  }
  if (seen("address") && !seen("tcp") && !seen("http") && !seen("rtsp")) {
    reading.complain(at + ".address", "belongs to a port; remove it or give tcp, http or rtsp");
  }
  if (const auto* exec = std::get_if<ExecProbe>(&probe.kind)) {
    check_program(reading, at + ".exec", exec->command);
  }
}

std::string unknown_component(const Components& components, std::string_view name) {
  std::vector<std::string> names;
  for (const ComponentSpec& component : components) {
    if (!component.name.empty()) names.push_back(component.name);
  }
  return std::format("{} is no component of the container; {}", quote(name), did_you_mean(name, names, "write one of: " + join(names)));
}

void check_dependency(Reading& reading, const Components& components, std::size_t index,
                      std::size_t place) {
  const std::vector<DependencySpec>& all = components[index].depends_on;
  const DependencySpec& dependency = all[place];
  if (dependency.component.empty()) return;
  const std::string at = path_of(index, place);
  if (dependency.component == components[index].name) {
    return reading.complain(at + ".component", "is the component itself; name another one");
  }
  const auto end = all.begin() + static_cast<std::ptrdiff_t>(place);
  if (std::find_if(all.begin(), end, [&](const DependencySpec& before) {
        return before.component == dependency.component;
      }) != end) {
    return reading.complain(
        at + ".component",
        std::format("'{}' stands in the list already; keep one of them", dependency.component));
  }
  const auto other = index_of(components, dependency.component);
  if (!other) {
    return reading.complain(at + ".component", unknown_component(components, dependency.component));
  }
  if (dependency.until == Until::kFinished &&
      components[*other].restart.when == RestartWhen::kAlways) {
    reading.complain(at + ".until",
                     std::format("'{}' never ends for good, since it is started again always; wait "
                                 "until ready, or give it restart.when: failure",
                                 dependency.component));
  }
}

void check_component(Reading& reading, const Components& components, std::size_t index) {
  const ComponentSpec& component = components[index];
  const std::string at = path_of(index);
  const auto first = index_of(components, component.name);
  if (first && *first < index) {
    reading.complain(at + ".name",
                     std::format("'{}' names two components; rename one", component.name));
  }
  check_program(reading, at + ".command", component.command);
  if (component.probe) check_probe(reading, at + ".probe", *component.probe);
  if (component.restart.delay > component.restart.delay_limit) {
    reading.complain(
        at + ".restart.delay",
        std::format("{} is longer than delay-limit {}; shorten it, or raise "
                    "delay-limit",
                    spell(component.restart.delay), spell(component.restart.delay_limit)));
  }
  for (std::size_t i = 0; i < component.depends_on.size(); ++i) {
    check_dependency(reading, components, index, i);
  }
}

}  // namespace

void check_components(Reading& reading, const ContainerSpec& spec) {
  if (reading.seen("components") && reading.seen("command")) {
    reading.complain("components", "stand besides command; keep one of them");
  }
  std::vector<DependencyNode> nodes;
  for (std::size_t i = 0; i < spec.components.size(); ++i) {
    check_component(reading, spec.components, i);
    DependencyNode& node = nodes.emplace_back(spec.components[i].name);
    const std::vector<DependencySpec>& all = spec.components[i].depends_on;
    for (std::size_t j = 0; j < all.size(); ++j) {
      const auto other = index_of(spec.components, all[j].component);
      if (other) node.edges.push_back({*other, path_of(i, j) + ".component"});
    }
  }
  check_circles(reading, nodes);
}

}  // namespace perdure::model
