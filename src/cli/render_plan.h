// A plan as text for people. Pure.
#pragma once

#include <string>
#include <vector>

#include "cli/text.h"
#include "deploy/availability.h"
#include "deploy/changes.h"
#include "deploy/plan.h"
#include "model/application/application.h"

namespace perdure::cli {

std::string render_plan(const model::Application& application, const deploy::Plan& plan, const Style& style);
// One line for each change that is none of kKeep; empty: there is none.
std::string render_changes(const std::vector<deploy::Change>& changes, const Style& style);

// "99.9998 %", with as many digits as say something.
std::string percent_of(double unavailability);

}  // namespace perdure::cli
