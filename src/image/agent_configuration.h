// From a specification with components to what the agent in the container is told.
#pragma once

#include <string>
#include <string_view>

#include "agent/configuration.h"
#include "base/result.h"
#include "image/image.h"
#include "model/spec.h"

namespace perdure::image {

// The abstract address, in the container's network namespace, that its agent reports to.
inline constexpr std::string_view kAgentReportsTo = "perdure-agent";

// Users are looked up in ROOT_DIR/etc/passwd and group. kNotFound: one is not there.
Result<agent::Configuration> make_agent_configuration(const model::ContainerSpec& spec, const PreparedImage& image,
                                                      const std::string& root_dir);

}  // namespace perdure::image
