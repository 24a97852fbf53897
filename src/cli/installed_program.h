// Where the programs are that belong to this one.
#pragma once

#include <string>
#include <string_view>

namespace perdure::cli {

// Of this process; empty: not known.
std::string own_path();

// The program of this name in the directory that PERDURE_LIBEXEC names, else in the build that this program is of, at
// `place_in_build` ("/src/agent/perdure-agent"), else where it is installed. Whether it is there is not looked at.
std::string installed_program(std::string_view name, std::string_view place_in_build);

// The same for perdure-lab, which a build leaves in the source tree.
std::string lab_program();

}  // namespace perdure::cli
