// perdured: everything, built outermost first, and its life from start to stop.
#pragma once

#include "base/result.h"
#include "node/options.h"

namespace perdure::node {

// Runs until SIGTERM or SIGINT. Containers live on over its end: processes, network, gates and mounts stay as
// they are, and the next daemon takes them over. The other nodes of a cluster are told before, for a second at most; a second
// signal does not wait for that. What blocks (a capture, a restore) is finished first. An error
// means that it could not begin: the message says why, and nothing of a container was touched.
Status run_daemon(const DaemonOptions& options);

}  // namespace perdure::node
