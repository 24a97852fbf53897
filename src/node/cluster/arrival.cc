#include "node/cluster/arrival.h"

#include <utility>

namespace perdure::node {

Node::Arrived arrived_from(TakenContainer& taken) {
  Node::Arrived arrived{.spec = std::move(taken.spec),
                        .record = {},
                        .backend = std::move(taken.backend),
                        .arrival = {}};
  if (taken.restored) arrived.arrival = Arrival{std::move(taken.capsule), *std::move(taken.restored), taken.takeover, taken.failed_over};
  // What this node would have to know if it ended at once.
  arrived.record.state.begun = arrived.record.first_start_done = true;
  if (arrived.arrival) arrived.record.runtime = arrived.arrival->restored.life.facts;
  arrived.record.image_digest = taken.image_digest;
  arrived.record.restores = taken.restores;
  arrived.record.failures = taken.failures;
  arrived.record.created = taken.created;
  arrived.record.term = taken.record.term;
  return arrived;
}

HeldElsewhere together(HeldElsewhere others, std::vector<capsule::CapsuleRef> here, Term term) {
  HeldElsewhere all = std::move(others);
  all.lost = !all.capsule && here.empty();
  if (!all.capsule) {
    all.term = term;
    if (here.empty()) return all;
    all.capsule = here.front();
  }
  for (capsule::CapsuleRef& one : here) {
    if (one->manifest.generation < all.capsule->manifest.generation) all.older.push_back(std::move(one));
  }
  return all;
}

}  // namespace perdure::node
