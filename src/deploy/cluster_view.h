// The nodes and containers of a cluster, as far as a plan needs them. Values only.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/units.h"
#include "model/address.h"
#include "model/cluster.h"
#include "placement/grouping.h"

namespace perdure::deploy {

struct NodeFacts {
  NodeName name;
  std::array<std::string, model::kDomainLabels.size()> domains{};  // in the order of model::kDomainLabels; empty: no label
  Bytes memory{};                  // of the host
  model::MilliCores processors{};  // the same
  bool reachable = true;
  bool takes_new = true;           // false: cordoned
};

struct ContainerFacts {
  ContainerName name;
  std::string application{};  // empty: none
  NodeName owner;
  std::vector<NodeName> standbys{};
  std::vector<model::IpAddress> addresses{};
  std::string spec_yaml{};           // empty: not known, its owner is away
  placement::Demand reserved{};      // zero: nothing was counted
  std::vector<std::string> sponsors{};
};

// Without witnesses, which run nothing.
struct ClusterView {
  std::vector<NodeFacts> nodes{};
  std::vector<ContainerFacts> containers{};
};

}  // namespace perdure::deploy
