// perdured(8). What it takes and how it ends is said in node/usage.h.
#include <unistd.h>

#include <utility>

#include "base/log.h"
#include "coord/etcd_client.h"
#include "node/daemon.h"
#include "node/options.h"
#include "node/trial_checkpoint.h"
#include "node/usage.h"

using perdure::node::DaemonExit;

int main(int argc, char** argv) {
  const auto parsed = perdure::node::parse_options(argc, argv);
  if (parsed.exit_status) return *parsed.exit_status;
  if (parsed.options.trial_process) return perdure::node::run_trial_process();
  if (const perdure::Status strict = perdure::coord::require_tls_1_3(); !strict) {
    perdure::log::error("{}", strict.error().message());
    return std::to_underlying(DaemonExit::kFailure);
  }
  perdure::log::set_level(parsed.options.log_level);
  if (::geteuid() != 0) {
    perdure::log::error("perdured must run as root: it makes namespaces and takes checkpoints of other processes");
    return std::to_underlying(DaemonExit::kNotRoot);
  }
  if (const perdure::Status ran = perdure::node::run_daemon(parsed.options); !ran) {
    perdure::log::error("{}", ran.error().message());
    return std::to_underlying(DaemonExit::kFailure);
  }
  return std::to_underlying(DaemonExit::kDone);
}
