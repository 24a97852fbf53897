// What `perdure status` looks at, and what of it is not as it should be. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "control.pb.h"

namespace perdure::cli {

struct Overview {
  control::v1::VersionReply daemon;
  control::v1::ClusterReply cluster;  // its id is empty: this host is in none
  control::v1::ListReply list;
  std::int64_t now_unix_ms = 0;
};

struct Problem {
  std::string object;  // "container web", "node gamma", "cluster"
  std::string what;    // lower case, no full stop
  std::string remedy;  // what to do; may be empty
};

// As an operator wants it, or about to be: a container that is to run or to stop.
bool should_run(const control::v1::ContainerStatus& status);
// A failure now would lose nothing that the specification wants kept.
bool is_protected(const control::v1::ContainerStatus& status);
std::int64_t ready_standbys(const control::v1::ContainerStatus& status);

// Containers that should run and are not protected or lack standbys, a cluster without quorum,
// nodes that are not reached, a certificate that was not renewed: in that order. Texts are as they
// came: not cleaned.
std::vector<Problem> problems_of(const Overview& overview);
// What could be better and harms nobody now.
std::vector<std::string> advice_of(const Overview& overview);

}  // namespace perdure::cli
