// Heartbeats and what they are answered with: lease grants (docs/protocol.md, "Grants"). One message is about all containers of
// a pair of nodes, or about as many as fit into a datagram.
#pragma once

#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "model/cluster.h"

namespace perdure::policy::lease {

struct Row {
  ContainerName container;
  Term term;
  // Of a heartbeat: the gate does not rest on any grant that was given to an earlier life of the owner, and will not again.
  bool former_given_back = false;
  auto operator<=>(const Row&) const = default;
};

struct Heartbeat {
  model::NodeLife from;  // the owner; its node is what the seal proves
  std::uint64_t sequence = 0;
  Duration grant{};            // asked for
  std::uint64_t answered = 0;  // the newest of its heartbeats to this node that was answered, as far as it has heard
  std::vector<Row> rows;
  bool operator==(const Heartbeat&) const = default;
};

struct Grant {
  model::NodeLife from;
  Incarnation to;              // whose heartbeat is answered
  std::uint64_t sequence = 0;  // of it
  Duration grant{};            // counted by the owner from when it sent the heartbeat
  std::vector<Row> rows;       // what is granted of it
  bool operator==(const Grant&) const = default;
};

}  // namespace perdure::policy::lease
