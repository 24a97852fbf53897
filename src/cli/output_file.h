// A file that a command writes for its user: whole, or not there.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace perdure::cli {

enum class Existing { kRefuse, kReplace };

// kExists: something is at `path` already, which is left as it is; with kReplace it is replaced at once. Otherwise errors of the
// file system.
Status write_output_file(const std::string& path, std::string_view text, Existing existing);

}  // namespace perdure::cli
