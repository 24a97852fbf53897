// Why containers are where they are, and not elsewhere, in words. Private to this room.
#pragma once

#include <string>
#include <vector>

#include "placement/arrangement.h"
#include "placement/bundles.h"

namespace perdure::placement {

// One for each container. Containers give up their places and get them again; in the end all is as before.
std::vector<std::string> explain(Arrangement& arrangement, const Bundles& bundles);

}  // namespace perdure::placement
