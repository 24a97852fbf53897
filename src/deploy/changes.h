// What has to be done so that a cluster runs an application as planned. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/ids.h"
#include "deploy/cluster_view.h"
#include "model/application/application.h"
#include "model/spec.h"
#include "placement/problem.h"

namespace perdure::deploy {

struct Change {
  // kReplace: its specification has changed; it is removed, with its memory and its files, and made anew. Where its standbys were
  // planned is no reason for that.
  enum class Kind { kKeep, kCreate, kReplace, kMove, kRemove };
  Kind kind = Kind::kKeep;
  ContainerName name;
  std::size_t wanted = 0;            // of the specifications; not of kRemove
  std::optional<NodeName> from{};    // where it is; absent: nowhere, or its owner is away
  std::optional<NodeName> to{};      // absent of kRemove
  std::vector<std::string> differs{};  // of kReplace: keys of the specification that have other values
};

// What is no longer wanted is removed first, dependants before those they depend on; then each container comes behind its sponsors.
std::vector<Change> changes_of(const std::string& application, const std::vector<model::ContainerSpec>& wanted,
                               const std::vector<NodeName>& owners, const std::vector<placement::ContainerDependency>& dependencies,
                               const ClusterView& view);

// The order in which an application's containers are removed: dependants first.
std::vector<ContainerName> removal_order(const std::string& application, const ClusterView& view);

}  // namespace perdure::deploy
