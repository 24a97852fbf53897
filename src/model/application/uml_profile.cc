#include "model/application/uml_profile.h"

#include <cstddef>
#include <algorithm>
#include <optional>
#include <utility>

#include "model/application/application_table.h"

namespace perdure::model {
namespace {

// "probe.max-age" as probeMaxAge.
std::string attribute_name(std::string_view path) {
  std::string name;
  bool begins_word = false;
  for (const char c : path) {
    if (c == '.' || c == '-') {
      begins_word = true;
      continue;
    }
    name += begins_word && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    begins_word = false;
  }
  return name;
}

// The keys below `prefix` that UML has no place of its own for. Of lists of maps the list only: each item is one text.
std::vector<UmlAttribute> attributes_below(std::string_view prefix, const std::vector<std::string_view>& drawn) {
  std::vector<UmlAttribute> attributes;
  for (SpecKey& key : all_application_keys()) {
    if (!key.path.starts_with(prefix)) continue;
    std::string path = key.path.substr(prefix.size());
    const bool is_drawn = std::ranges::any_of(drawn, [&](std::string_view one) { return path == one; });
    if (is_drawn || path.contains("[]") || key.structure == KeyStructure::kMap) continue;
    key.path = path;
    attributes.push_back({attribute_name(path), std::move(key)});
  }
  return attributes;
}

std::vector<UmlStereotype> make_profile() {
  return {
      {"Application", "An application of Perdure; its name is that of the package.", {"Package"}, {"Model", "Package"},
       attributes_below("", {"application", "components", "containers"})},
      {"Component",
       "A program. What it provides and requires is drawn: interface realizations and usages, or ports and connectors.",
       {"Component"},
       {"Component"},
       attributes_below("components[].", {"name", "provides", "requires"})},
      {"ProvidedInterface",
       "What is to be known of an interface that a component provides. At the interface for all that provide it; at the "
       "realization or the port for that one, which comes first.",
       {"Interface", "InterfaceRealization", "Port"},
       {"Interface", "InterfaceRealization", "Realization", "Port"},
       attributes_below("components[].provides[].", {"name"})},
      {"RequiredInterface",
       "What is to be known of an interface that a component requires. At the interface for all that require it; at the usage, "
       "the port or the connector for that one, which comes first.",
       {"Interface", "Usage", "Port", "Connector"},
       {"Interface", "Usage", "Dependency", "Port", "Connector"},
       attributes_below("components[].requires[].", {"interface"})},
      {"Container",
       "What is to be said of one container. The components that run in it are named by it, or stand in the package.",
       {"Node", "Package"},
       {"Node", "Device", "ExecutionEnvironment", "Package"},
       attributes_below("containers[].", {"name", "components"}),
       true},
  };
}

}  // namespace

std::span<const UmlStereotype> uml_profile() {
  static const std::vector<UmlStereotype> kProfile = make_profile();
  return kProfile;
}

}  // namespace perdure::model
