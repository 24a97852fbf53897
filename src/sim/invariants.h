// What must never happen (docs: DESIGN of ownership and takeover). The simulation knows what no node
// can see: what the record says at this instant, who holds what, whose gate is open.
//
// Every change that could break a rule is reported here when it is made. The first broken rule ends
// the run.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/ids.h"
#include "model/cluster.h"
#include "sim/names.h"

namespace perdure::sim {

class World;

struct Violation {
  ContainerIndex container = 0;
  std::string rule;
  std::string detail;
};

class Invariants {
 public:
  Invariants(World& world, std::size_t containers) : world_(world), containers_(containers) {}

  const std::optional<Violation>& violation() const { return violation_; }
  void broken(ContainerIndex container, std::string rule, std::string detail);

  // After it was opened, or renewed.
  void gate_is_open(NodeIndex node, ContainerIndex container, Term term);
  // In the store.
  void founded(ContainerIndex container, const model::OwnershipRecord& record);
  void swapped(ContainerIndex container, const model::OwnershipRecord& before,
               const model::OwnershipRecord& after, const model::NodeLife& writer);
  // It has captured or restored it.
  void made(const model::NodeLife& owner, ContainerIndex container, const Generation& generation) {
    containers_[container].ever_held[owner].insert(generation);
  }
  // A holder has taken a generation from an owner of `term`, though it knew `known`.
  struct Shipped {
    Generation generation;
    model::NodeLife from;
    Term term;
  };
  void held(const model::NodeLife& holder, ContainerIndex container, const Shipped& shipped,
            Term known);
  void let_go(const model::NodeLife& holder, ContainerIndex container);
  void committed(NodeIndex owner, ContainerIndex container, const Generation& generation);
  // By an automatic takeover; `first`: nothing newer has failed to be restored before.
  enum class Attempt { kFirst, kLater };
  void takes_over(NodeIndex node, ContainerIndex container, const Generation& generation,
                  Attempt attempt);
  // What is newer could not be restored. A former owner may not know yet, and commit what was acknowledged to it before.
  void went_back(ContainerIndex container, const Generation& generation) {
    Truth& truth = containers_[container];
    truth.committed = std::min(truth.committed, std::optional(generation));
    truth.went_back = generation;
  }
  // Its owner, which has lost its copy, begins to restore; absent: it begins anew.
  void goes_back(NodeIndex node, ContainerIndex container, const std::optional<Generation>& generation);
  void recovered(ContainerIndex container, const std::optional<Generation>& generation);
  void killed(NodeIndex node, ContainerIndex container, Term known);

  const std::optional<Generation>& newest_committed(ContainerIndex container) const {
    return containers_[container].committed;
  }

 private:
  struct Truth {
    std::set<std::pair<Term, model::NodeLife>> owners;  // that the record has ever named
    Term spoken;                                        // of the last gate that was open
    NodeIndex speaker = 0;
    std::optional<Generation> committed;
    std::optional<Generation> went_back;
    std::map<model::NodeLife, std::set<Generation>> ever_held;
  };
  bool has_state(const model::NodeLife& life, ContainerIndex container) const;

  World& world_;
  std::vector<Truth> containers_;
  std::optional<Violation> violation_;
};

}  // namespace perdure::sim
