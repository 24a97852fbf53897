// Whether a node could run a container that another host runs now: what CRIU and the kernel need to
// restore it there. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/cluster.h"

namespace perdure::placement {

// Of the container as it runs on its owner's host.
struct Requirements {
  model::HostFacts host;           // of the owner
  std::string whose = "the owner";  // in the reasons: whose host that is
  std::uint64_t memory_bytes = 0;  // of its state: what has to fit
  bool other_users = false;        // it has processes that do not run as root of its user namespace
};

// Empty: it could. Each reason says what is missing and what to do, both ends named:
// "kernel 6.1.0 is older than 6.18 of the owner: update the kernel".
std::vector<std::string> check_eligible(const Requirements& requirements,
                                        const model::HostFacts& node);

}  // namespace perdure::placement
