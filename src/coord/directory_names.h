// Inside of this room.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace perdure::coord {

// The names in a directory that begin with `prefix`, the greatest first. A directory that is missing holds none. Blocking.
Result<std::vector<std::string>> names_in(const std::string& directory, std::string_view prefix);

}  // namespace perdure::coord
