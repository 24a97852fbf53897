#include "sim/invariants.h"

#include <algorithm>
#include <format>
#include <utility>

#include "policy/ownership_events.h"
#include "sim/daemon.h"
#include "sim/host.h"
#include "sim/world.h"

namespace perdure::sim {

using policy::ownership::to_string;

void Invariants::broken(ContainerIndex container, std::string rule, std::string detail) {
  if (violation_) return;
  world_.note(container, [&] { return std::format("BROKEN: {} ({})", rule, detail); });
  violation_ = Violation{container, std::move(rule), std::move(detail)};
}

// ---- Gates ----

void Invariants::gate_is_open(NodeIndex node, ContainerIndex container, Term term) {
  Truth& truth = containers_[container];
  for (const auto& other : world_.hosts) {
    if (other->index() == node || !other->gate_open(container)) continue;
    broken(container, "at most one gate is open",
           std::format("n{} opens its gate while that of n{} is open", node, other->index()));
  }
  const bool named = std::ranges::any_of(truth.owners, [&](const auto& owner) {
    return owner.first == term && index_of(owner.second.node) == node;
  });
  if (!named) {
    broken(container, "a gate is open only where the record has named the owner",
           std::format("n{} under term {}", node, term.value));
  }
  const bool later = term > truth.spoken || (term == truth.spoken && truth.speaker == node);
  if (!later) {
    broken(container, "who has been followed by another speaks under a newer term only",
           std::format("n{} under term {}, after n{} under term {}", node, term.value,
                       truth.speaker, truth.spoken.value));
  }
  truth.spoken = term;
  truth.speaker = node;
}

// ---- The record ----

void Invariants::founded(ContainerIndex container, const model::OwnershipRecord& record) {
  containers_[container].owners.insert({record.term, record.owner});
}

// Whether this life could give back what was committed last.
bool Invariants::has_state(const model::NodeLife& life, ContainerIndex container) const {
  const Host& host = *world_.hosts[index_of(life.node)];
  if (host.daemon() == nullptr || host.daemon()->life() != life) return false;
  const auto& committed = containers_[container].committed;
  return std::ranges::any_of(host.daemon()->holds(container),
                             [&](const Generation& g) { return g >= committed; });
}

void Invariants::swapped(ContainerIndex container, const model::OwnershipRecord& before,
                         const model::OwnershipRecord& after, const model::NodeLife& writer) {
  Truth& truth = containers_[container];
  const auto says = [&] {
    return std::format("{} became {} (by {})", to_string(before), to_string(after),
                       to_string(writer));
  };
  if (after.term < before.term) {
    broken(container, "a lower term never overwrites a higher one", says());
  }
  truth.owners.insert({after.term, after.owner});
  if (after.owner.node != before.owner.node) {
    if (after.term.value != before.term.value + 1) {
      broken(container, "a change of owner raises the term by one", says());
    }
    const bool stood_by = std::ranges::contains(before.standbys, writer);
    const bool takes = after.owner == writer;
    // The source of a move takes its own container back, in a later life too.
    const bool takes_back = before.phase == model::RecordPhase::kMoving &&
                            before.standby(writer.node) != nullptr;
    if (takes && !stood_by && !takes_back) {
      broken(container, "only a standby of the record, in its present life, takes over", says());
    }
    return;
  }
  // What its owner has is in its copy, frozen or not, in its memory, or on its disk.
  Host& owner = *world_.hosts[index_of(after.owner.node)];
  const auto in_kernel = owner.containers().find(container);
  const bool has_copy = in_kernel != owner.containers().end() && in_kernel->second.copy;
  const auto& durable = owner.disk()[container].durable;
  const bool on_disk = !durable.empty() && *durable.rbegin() >= truth.committed;
  // A swap that was sent by a life that has ended since was right when it was sent.
  const bool writer_lives = owner.daemon() != nullptr && owner.daemon()->life() == writer;
  if (!writer_lives || has_copy || on_disk || has_state(after.owner, container)) return;
  const auto anybody = [&](const model::OwnershipRecord& record) {
    return std::ranges::any_of(record.standbys,
                               [&](const auto& life) { return has_state(life, container); });
  };
  if (!anybody(before) || anybody(after)) return;
  // A learner is about to be named in the place of the one that goes.
  const bool elsewhere = std::ranges::any_of(world_.hosts, [&](const auto& host) {
    return host->daemon() != nullptr && before.standby(node_name(host->index())) == nullptr &&
           has_state(host->daemon()->life(), container);
  });
  if (elsewhere) return;
  broken(container, "the last one that holds what was committed is not dropped", says());
}

// ---- Generations ----

void Invariants::held(const model::NodeLife& holder, ContainerIndex container,
                      const Shipped& shipped, Term known) {
  Truth& truth = containers_[container];
  truth.ever_held[holder].insert(shipped.generation);
  const auto says = [&] {
    return std::format("{} takes {} of {} under term {}, and knows term {}", to_string(holder),
                       perdure::to_string(shipped.generation), to_string(shipped.from),
                       shipped.term.value, known.value);
  };
  if (shipped.term < known) {
    broken(container, "a holder takes nothing of a lower term than it knows", says());
  }
  const bool named = std::ranges::any_of(truth.owners, [&](const auto& owner) {
    return owner.first == shipped.term && owner.second.node == shipped.from.node;
  });
  if (!named) broken(container, "an owner speaks under no term but its own", says());
}

void Invariants::let_go(const model::NodeLife& holder, ContainerIndex container) {
  const model::OwnershipRecord& record = world_.store.truth(container).record;
  if (!std::ranges::contains(record.standbys, holder)) return;
  broken(container, "nothing is dropped by a standby of the record",
         std::format("{}: {}", to_string(holder), to_string(record)));
}

// Whatever the owner believes, every standby of the record as it is now holds it, or has held it
// under this life's name.
void Invariants::committed(NodeIndex owner, ContainerIndex container,
                           const Generation& generation) {
  Truth& truth = containers_[container];
  const model::OwnershipRecord& record = world_.store.truth(container).record;
  if (index_of(record.owner.node) != owner && truth.went_back && generation > *truth.went_back) return;
  for (const model::NodeLife& standby : record.standbys) {
    if (index_of(standby.node) == owner) continue;
    const auto& ever = truth.ever_held[standby];
    if (std::ranges::any_of(ever, [&](const Generation& g) { return g >= generation; })) continue;
    broken(container, "what is committed has been acknowledged by every standby of the record",
           std::format("{} at n{}: {}", perdure::to_string(generation), owner, to_string(record)));
  }
  truth.committed = std::max(truth.committed, std::optional(generation));
}

void Invariants::takes_over(NodeIndex node, ContainerIndex container,
                            const Generation& generation, Attempt attempt) {
  const auto& committed = containers_[container].committed;
  // One that hung between its swap and the answer may restore what another one has taken from it since; nobody opens its gate.
  const bool named = world_.store.truth(container).record.owner.node == node_name(node);
  if (attempt == Attempt::kLater || !named || generation >= committed) return;
  broken(container, "a takeover restores nothing older than the newest committed generation",
         std::format("n{} restores {}, but {} was committed", node,
                     perdure::to_string(generation), perdure::to_string(*committed)));
}

void Invariants::goes_back(NodeIndex node, ContainerIndex container,
                           const std::optional<Generation>& generation) {
  const Truth& truth = containers_[container];
  const model::OwnershipRecord& record = world_.store.truth(container).record;
  const bool owns = index_of(record.owner.node) == node;  // else what it restores never speaks
  if (owns && truth.committed && generation < truth.committed) {
    for (const model::NodeLife& standby : record.standbys) {
      if (!has_state(standby, container)) continue;
      broken(container, "an owner goes back behind nothing that a standby of the record holds",
             std::format("n{} goes back to {}, but {} holds {}", node,
                         generation ? perdure::to_string(*generation) : "nothing",
                         to_string(standby), perdure::to_string(*truth.committed)));
    }
  }
}

void Invariants::recovered(ContainerIndex container, const std::optional<Generation>& generation) {
  Truth& truth = containers_[container];
  truth.committed = std::min(truth.committed, generation);  // the rest is lost
}

void Invariants::killed(NodeIndex node, ContainerIndex container, Term known) {
  const model::OwnershipRecord& record = world_.store.truth(container).record;
  const bool elsewhere = index_of(record.owner.node) != node &&
                         (record.phase == model::RecordPhase::kRunning || record.term > known);
  if (elsewhere) return;
  broken(container, "nothing is killed while it is the only copy",
         std::format("n{}: {}", node, to_string(record)));
}

}  // namespace perdure::sim
