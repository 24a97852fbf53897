// The state of a node as samples, from what the control protocol says of it. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "control.pb.h"
#include "node/metrics/families.h"

namespace perdure::node {

// Of perdured's own process.
struct ProcessUse {
  Duration cpu{};
  std::uint64_t resident_bytes = 0;
};

// What is held here of other nodes' containers.
struct HeldForOthers {
  std::uint64_t containers = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t memory_limit_bytes = 0;
  std::uint64_t disk_bytes = 0;
};

struct NodeState {
  control::v1::VersionReply daemon;
  std::uint64_t starts = 0;  // of perdured on this host
  std::optional<ProcessUse> process;
  std::optional<Duration> collect;  // of the scrape before
  std::vector<control::v1::ContainerStatus> containers;  // that this node has
  control::v1::ClusterReply cluster;  // its id is empty: there is none
  std::optional<HeldForOthers> held;
  std::optional<bool> etcd_runs;  // the member of this node
};

void add_state(Families& families, const NodeState& state);

}  // namespace perdure::node
