// How a value of a key is written as texts of a stereotype's attribute, and read from them. Private to this room.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/reading.h"
#include "model/spec_keys.h"
#include "model/yaml_adapter.h"

namespace perdure::model {

struct UmlText {
  std::string text{};
  Position position{};
};

// The texts of a value, of which a list or a map has as many as it has items:
//   a single value, an item of a list   as it is
//   an entry of a map                   NAME=VALUE
//   an item of a list of maps           a YAML map in one line, "{port: 80, policy: splice}"; of files also FROM -> TO
// What XML cannot write is a YAML text behind "yaml:". A list that is empty, though that is not its default, is "[]".
std::vector<std::string> write_uml_texts(const SpecKey& key, const YamlNode& node);

// The other way round; complains about `at`, and gives nothing, where they are no such texts. `values_left` is what the whole
// document may still hold, and becomes less. Precondition: there is a text.
std::optional<YamlNode> read_uml_texts(Reading& reading, const std::string& at, const SpecKey& key, const std::vector<UmlText>& texts,
                                       std::size_t& values_left);

// Of one line: {a: "b", c: [d]}. parse_yaml() of it gives the same tree.
std::string write_flow_yaml(const YamlNode& node);

}  // namespace perdure::model
