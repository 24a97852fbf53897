// A table of keys as JSON Schema (draft 2020-12), for editors that complete and check while a file is written. What binds
// several keys, and what a text has to look like, only the reader knows. Private to this room.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/spec_keys.h"

namespace perdure::model {

// `keys` in the order and with the paths of the manual. A value may be quoted or not, as in YAML.
std::string json_schema_of(std::string_view title, const std::vector<SpecKey>& keys);

}  // namespace perdure::model
