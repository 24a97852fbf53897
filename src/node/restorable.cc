#include "node/restorable.h"

#include <format>

#include "placement/eligibility.h"

namespace perdure::node {

Status check_restorable(const capsule::Manifest& manifest, const model::HostFacts& host) {
  const capsule::Requirements& needs = manifest.requirements;
  if (needs.architecture.empty()) return {};  // nothing is known of the host on which it was taken
  placement::Requirements requirements{.host = {}, .whose = "the host on which it was taken"};
  requirements.host.machine = needs.architecture;
  requirements.host.criu_version = needs.criu_version;
  requirements.host.cpu_features = needs.cpu_features;
  std::string reasons;
  for (const std::string& reason : placement::check_eligible(requirements, host)) {
    reasons += (reasons.empty() ? "" : "; ") + reason;
  }
  if (reasons.empty()) return {};
  return fail(ErrorCode::kUnsupported, std::format("generation {} of '{}' cannot be restored on this host: {}",
                                                   to_string(manifest.generation), manifest.container, reasons));
}

}  // namespace perdure::node
