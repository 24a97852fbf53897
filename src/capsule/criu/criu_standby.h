// A CRIU that is started before it is needed and stops short of main() until its order comes (standby.c).
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "capsule/criu/criu_rpc.h"
#include "io/process.h"

namespace perdure::capsule {

class CriuStandby {
 public:
  // In the network namespace and in the cgroups of these v1 directories, where it counts as one process until it
  // is used or dropped. kUnsupported: `program` names no standby library.
  static Result<CriuStandby> spawn(const CriuProgram& program, const std::vector<std::string>& arguments,
                                   int network_namespace_fd, const std::vector<std::string>& v1_cgroups);

  // Uses it up. The CRIU that goes on is a child of ours, born in the v2 cgroup of this directory and in the v1
  // cgroups of spawn(). The inherited descriptors' targets are 20 and above, at most 16. On error there is none.
  Result<io::ChildProcess> go(const std::string& v2_cgroup, const std::vector<io::InheritedFd>& inherited,
                              Instant deadline);
  bool alive() const { return process_.running(); }

 private:
  explicit CriuStandby(ConnectedCriu criu) : process_(std::move(criu.process)), socket_(std::move(criu.socket)) {}

  io::ChildProcess process_;
  UniqueFd socket_;
};

// Moves the process into the cgroups of these directories.
Status enter_cgroups(const std::vector<std::string>& directories, pid_t pid);

}  // namespace perdure::capsule
