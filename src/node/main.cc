// perdured(8). Exit status: 0 after SIGTERM or SIGINT (or --help, --version); 1 when it could not begin, the
// reason is in its log; 64 for a wrong command line; 77 when it is not root.
#include <unistd.h>

#include "base/log.h"
#include "node/daemon.h"
#include "node/options.h"
#include "node/trial_checkpoint.h"

namespace {

constexpr int kFailureStatus = 1;
constexpr int kNoPermissionStatus = 77;  // EX_NOPERM of sysexits.h

}  // namespace

int main(int argc, char** argv) {
  const auto parsed = perdure::node::parse_options(argc, argv);
  if (parsed.exit_status) return *parsed.exit_status;
  if (parsed.options.trial_process) return perdure::node::run_trial_process();
  perdure::log::set_level(parsed.options.log_level);
  if (::geteuid() != 0) {
    perdure::log::error("perdured must run as root: it makes namespaces and takes checkpoints of other processes");
    return kNoPermissionStatus;
  }
  if (const perdure::Status ran = perdure::node::run_daemon(parsed.options); !ran) {
    perdure::log::error("{}", ran.error().message());
    return kFailureStatus;
  }
  return 0;
}
