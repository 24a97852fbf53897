// What people see of `perdure status`: one screen. Pure, as render.h.
#pragma once

#include <string>

#include "cli/health.h"
#include "cli/text.h"

namespace perdure::cli {

std::string render_overview(const Overview& overview, const Style& style);

// Of one application, whose containers alone are in the list: its components, where they run and how they are.
std::string render_application(const std::string& application, const Overview& overview, const Style& style);

}  // namespace perdure::cli
