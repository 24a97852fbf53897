// The component diagram of an application as an SVG document.
#pragma once

#include <string>

#include "base/result.h"
#include "deploy/plan.h"
#include "model/application/application.h"
#include "placement/grouping.h"

namespace perdure::deploy {

// SVG 1.1 in UTF-8: without scripts, links and fonts of its own; the same for the same arguments. Components with the interfaces
// that they provide (balls) and require (sockets), the containers that they share. `plan`, of this application and grouping: each
// container with its node and those that stand by; nullptr: without places. kInvalid: more lines than a picture shows.
Result<std::string> draw(const model::Application& application, const placement::Grouping& grouping, const Plan* plan);

}  // namespace perdure::deploy
