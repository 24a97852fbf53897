// `perdure cluster recover` on the daemon's side.
#pragma once

#include <memory>

#include "node/control_request.h"

namespace perdure::node {

std::unique_ptr<ControlRequest> make_recover_request(RequestSetup& setup);

}  // namespace perdure::node
