// perdured's command line, as it was given. What it may be is said in usage.h.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/log.h"
#include "base/units.h"
#include "capsule/criu/engine.h"
#include "node/paths.h"
#include "policy/lease_timing.h"
#include "runtime/host_facts.h"

namespace perdure::node {

inline constexpr std::string_view kDefaultGroup = "perdure";

struct DaemonOptions {
  Paths paths;
  std::string group;  // of the control socket; empty: kDefaultGroup if there is such a group, else root only
  log::Level log_level = log::Level::kInfo;
  runtime::ProgramPaths programs;
  capsule::MemoryTracking tracking = capsule::MemoryTracking::kOn;
  std::size_t pool_threads = 0;
  Bytes standby_memory;  // for capsules of other nodes' containers
  std::size_t parallel_restores = 0;  // of takeovers
  Duration image_life = std::chrono::days(1);  // of an image that no container needs
  std::string metrics = "127.0.0.1:7480";      // where they are served; empty: nowhere
  // For how long the standbys are asked to wait when perdured ends on purpose; zero: not at all.
  Duration restart_grant = policy::lease::kLongGrant;
  bool trial_process = false;  // hidden: the process that doctor takes a trial checkpoint of
  Duration wall_clock_offset{};  // hidden: for tests of clocks that are wrong; boot time is not touched
  Duration key_life = std::chrono::days(30);  // hidden, for tests: age at which the key of stored capsules is replaced
};

// What the command line says; or, after --help, --version or an error (already printed), the exit status.
struct ParsedOptions {
  DaemonOptions options;
  std::optional<int> exit_status;
};
ParsedOptions parse_options(int argc, char** argv);

}  // namespace perdure::node
