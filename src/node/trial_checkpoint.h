// A checkpoint taken for trial: the only way to know that CRIU works on this kernel (`criu check` says "Looks
// good" where it cannot dump a socket).
#pragma once

#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "capsule/criu/criu_rpc.h"

namespace perdure::node {

struct TrialOptions {
  capsule::CriuProgram criu;
  std::string scratch_dir;  // on a tmpfs
  // The trial's own process is this program once more, with --trial-process.
  std::string program = "/proc/self/exe";
};
struct TrialReport {
  Duration took{};
  std::string warnings;  // error lines that CRIU wrote although it succeeded
};

// Dumps a process with a listening and an established TCP connection, in a network namespace of its own; all of
// it is gone afterwards. Blocking, at most half a minute. An error of CRIU carries its own last lines.
Result<TrialReport> try_checkpoint(const TrialOptions& options);

// What --trial-process does: says "ready" on standard output and waits for the end of standard input. The exit
// status.
int run_trial_process();

}  // namespace perdure::node
