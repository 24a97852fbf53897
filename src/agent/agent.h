// The shell around the supervisor: one thread, one poll(2), no file or connection to the outside that stays
// open. Runs as PID 1 of a container.
#pragma once

#include "agent/configuration.h"

namespace perdure::agent {

// Blocks until the agent has to end; returns its exit code. Signals are blocked and taken by signalfd(2).
int run(const Configuration& configuration);

}  // namespace perdure::agent
