// What Compose files take from the host on which they are read.
#pragma once

#include "model/application/application_compose.h"

namespace perdure::cli {

// The variables of this process's environment, and the images of OCI layouts for this architecture.
model::ComposeOptions compose_options();

}  // namespace perdure::cli
