#include "node/cluster/arrival.h"

#include <utility>

namespace perdure::node {

Node::Arrived arrived_from(TakenContainer& taken) {
  Node::Arrived arrived{.spec = std::move(taken.spec),
                        .record = {},
                        .backend = std::move(taken.backend),
                        .arrival = {}};
  if (taken.restored) arrived.arrival = Arrival{std::move(taken.capsule), *std::move(taken.restored), taken.takeover};
  arrived.record.image_digest = taken.image_digest;
  arrived.record.restores = taken.restores;
  arrived.record.failures = taken.failures;
  arrived.record.created = taken.created;
  arrived.record.term = taken.record.term;
  return arrived;
}

}  // namespace perdure::node
