// Where `perdure lab` goes: the program of the lab, perdure-lab.
#pragma once

#include <string>
#include <vector>

#include "cli/exit_code.h"

namespace perdure::cli {

// Replaces this process by perdure-lab of the directory in PERDURE_LIBEXEC, else of the source tree
// that this program was built in, else of where it is installed. It learns where this program is:
// it uses the perdured that belongs to it. Returns only on failure.
Failure become_lab(const std::vector<std::string>& arguments);

}  // namespace perdure::cli
