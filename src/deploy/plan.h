// What is to run where (paper III-B): grouping, addresses, placement. Pure; the same model and the same view give the same plan.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "deploy/cluster_view.h"
#include "model/address.h"
#include "model/application/application.h"
#include "placement/distance.h"
#include "placement/grouping.h"
#include "placement/place.h"
#include "placement/problem.h"

namespace perdure::deploy {

// What of a node's memory containers may reserve; the rest is the host's own and the capsules' that are under way.
inline constexpr unsigned kUsableMemoryPercent = 90;

struct Plan {
  placement::Grouping grouping{};
  std::vector<std::optional<model::Ipv4Prefix>> addresses{};  // by container of the grouping, as below
  placement::PlacementProblem problem{};
  placement::Placement placement{};
  std::vector<std::string> errors{};    // it cannot be carried out: each says what is missing, and of whom
  std::vector<std::string> warnings{};  // it can, and something is less than the model asks for

  bool possible() const { return errors.empty(); }
};

// By container: where its standbys are planned, the first one takes over first.
std::vector<std::vector<NodeName>> standbys_of(const Plan& plan);

// Where no node says in which rack, or data centre, it is, all are taken to be in one: that is a warning. Containers of the
// application stay where they are as long as they may. What others have reserved is not given out again. Nodes
// that cannot be reached get nothing; what they own goes to those that stand by.
Plan make_plan(const model::Application& application, const ClusterView& view);

}  // namespace perdure::deploy
