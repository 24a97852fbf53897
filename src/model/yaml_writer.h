// A tree of plain values as YAML text. Private to this room.
#pragma once

#include <string>

#include "model/yaml_adapter.h"

namespace perdure::model {

// Block style, two spaces. parse_yaml() of it gives the same tree, for a map or a list whose nodes are scalars, maps and
// lists. What any YAML reader might take for something else is quoted.
std::string write_yaml(const YamlNode& root);

}  // namespace perdure::model
