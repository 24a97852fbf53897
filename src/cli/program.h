#pragma once

#include <string_view>

namespace perdure::cli {
extern const std::string_view kProgramVersion;  // "0.1.0"
}
