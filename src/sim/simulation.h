// One run: a cluster founded, troubled, healed, and troubled once more in a way that it has to get
// over within the bound. Pure: the same options give the same run.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "sim/invariants.h"
#include "sim/options.h"
#include "sim/schedule.h"
#include "sim/world.h"

namespace perdure::sim {

class Simulation {
 public:
  explicit Simulation(const SimulationOptions& options);

  // Absent: no rule was broken, and all ended well.
  std::optional<Violation> run();

  const Tally& tally() const { return world_.tally; }
  // The last of what concerns the container, if the run was traced.
  std::string trace(std::optional<ContainerIndex> container, std::size_t lines) const {
    return world_.trace.last(container, lines);
  }
  std::string trace() const { return world_.trace.all(); }

 private:
  void found();
  void play(Duration duration);
  // Until `well` says of every container that it is; else `rule` is broken.
  using Well = std::function<std::string(ContainerIndex)>;  // empty: it is well; else why not
  void require_within(Duration bound, const Well& well, const std::string& rule);
  std::string runs(ContainerIndex container) const;
  std::string is_protected(ContainerIndex container) const;
  void lose_an_owner();
  bool broken() const { return world_.invariants.violation().has_value(); }

  World world_;
  Schedule schedule_;
  TrueTime healed_{};
};

}  // namespace perdure::sim
