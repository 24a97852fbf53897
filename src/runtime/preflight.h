// What would make a container unprotectable, said before it starts: CRIU's refusals (they were
// tried: docs/containers.md), and what this host lacks.
#pragma once

#include <string>
#include <vector>

#include "image/image.h"
#include "model/spec.h"
#include "runtime/host_facts.h"

namespace perdure::runtime {

struct Finding {
  enum class Severity { kRefusal, kWarning };
  Severity severity = Severity::kRefusal;
  std::string what;    // names the object
  std::string remedy;  // what the user can do
};

// Findings about the spec on this host; empty: go. Refusals come first.
std::vector<Finding> check_spec(const model::ContainerSpec& spec, const image::PreparedImage& image,
                                const HostFacts& facts);
// Findings about standing by for the container on this host, besides those of check_spec(): the host itself, what of the
// container's surroundings must be here already, and what a standby may not do to a host. Refusals come first.
std::vector<Finding> check_standby(const model::ContainerSpec& spec, const HostFacts& facts);
// Findings about the host alone.
std::vector<Finding> check_host(const HostFacts& facts);

}  // namespace perdure::runtime
