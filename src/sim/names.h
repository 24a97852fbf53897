// Nodes are n0, n1, ..., containers c0, c1, ...: numbers inside the simulation, names for the
// machines.
#pragma once

#include <cstddef>
#include <format>
#include <string>

#include "base/ids.h"

namespace perdure::sim {

using NodeIndex = std::size_t;
using ContainerIndex = std::size_t;

inline NodeName node_name(NodeIndex index) {
  return NodeName::parse(std::format("n{}", index)).value();
}
inline ContainerName container_name(ContainerIndex index) {
  return ContainerName::parse(std::format("c{}", index)).value();
}
inline NodeIndex index_of(const NodeName& name) { return std::stoul(name.str().substr(1)); }
inline ContainerIndex index_of(const ContainerName& name) {
  return std::stoul(name.str().substr(1));
}

}  // namespace perdure::sim
