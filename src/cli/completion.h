// Completion scripts for shells, from the command table. Pure.
#pragma once

#include <string>
#include <string_view>

namespace perdure::cli {

// `shell` is bash, zsh or fish. The scripts ask `perdure __complete` for names of containers and
// generations.
std::string completion_script(std::string_view shell);

}  // namespace perdure::cli
