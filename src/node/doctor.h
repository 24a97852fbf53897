// What this host can and cannot do for containers: `perdure doctor`.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "control.pb.h"
#include "node/linux_backend.h"
#include "node/trial_checkpoint.h"

namespace perdure::node {

struct DoctorOptions {
  Paths paths;
  runtime::ProgramPaths programs;
  capsule::MemoryTracking tracking = capsule::MemoryTracking::kOn;
  std::string metrics_address = {};  // where the daemon that asks serves them; empty: nowhere
  std::string metrics_trouble = {};  // why not; empty: it does
  std::string no_hook;  // why the daemon that asks has no exit hook; empty: it has one
  std::string trial_program = "/proc/self/exe";
};

// Looks at everything anew, for real where trying is possible: namespaces, BPF programs and a checkpoint are made
// and thrown away. Blocking, up to a minute on a sick host. `progress` is told before each check; any thread.
control::v1::DoctorReport examine_host(const DoctorOptions& options,
                                       const std::function<void(std::string_view check)>& progress);

}  // namespace perdure::node
