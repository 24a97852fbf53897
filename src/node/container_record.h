// What the daemon remembers of a container between its own lives: state.json beside spec.yaml.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "node/container_backend.h"
#include "policy/container_events.h"
#include "policy/ownership_events.h"

namespace perdure::node {

struct ContainerRecord {
  policy::PersistentState state;
  std::optional<RuntimeFacts> runtime;  // of the life that runs, or ran last
  bool first_start_done = false;        // addresses are probed at the first start only
  WallTime created{};
  std::uint64_t failures = 0;
  std::uint64_t restores = 0;
  std::optional<int> exit_status;  // of the last init that ended: code, or 128 + signal
  std::string image_digest;
  // Of a container of a cluster (policy/ownership_events.h: Restarted); 0: it is of none.
  Term term;
  std::optional<policy::ownership::HandingOver> handing_over;
  // Its standbys have lost its memory: an operator has to say what is gone back to (policy/container_events.h: DaemonRestarted).
  bool awaits_word = false;
  bool left_cluster = false;  // the one that `term` is of
  // Under which its name was claimed; 0: not known. Generations of lower ones in the cluster's directory are another container's.
  Term first_term;
  bool in_cluster() const { return term > Term{} && !left_cluster; }
  bool operator==(const ContainerRecord&) const = default;
};

std::string to_json(const ContainerRecord& record);
// kCorrupt naming `path` and the member.
Result<ContainerRecord> record_from_json(const std::string& text, const std::string& path);

}  // namespace perdure::node
