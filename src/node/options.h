// perdured's command line.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "base/log.h"
#include "capsule/criu/engine.h"
#include "node/paths.h"
#include "runtime/host_facts.h"

namespace perdure::node {

struct DaemonOptions {
  Paths paths;
  std::string group;  // of the control socket; empty: "perdure" if there is such a group, else root only
  log::Level log_level = log::Level::kInfo;
  runtime::ProgramPaths programs;
  capsule::MemoryTracking tracking = capsule::MemoryTracking::kOn;
  std::size_t pool_threads = 0;
  bool trial_process = false;  // hidden: the process that doctor takes a trial checkpoint of
};

// One thread per container that is captured or restored at the same time, and some for what an operator does
// meanwhile. Most of a thread's time is waiting for CRIU.
std::size_t default_pool_threads();

// What the command line says; or, after --help, --version or an error (already printed), the exit status.
struct ParsedOptions {
  DaemonOptions options;
  std::optional<int> exit_status;
};
ParsedOptions parse_options(int argc, char** argv);

}  // namespace perdure::node
