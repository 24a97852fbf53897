// Circles of dependencies, of which nothing could be started. Private to this room.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "model/reading.h"

namespace perdure::model {

struct DependencyEdge {
  std::size_t target = 0;  // index of what is depended on
  std::string at{};        // the key that says so
};
struct DependencyNode {
  std::string name{};
  std::vector<DependencyEdge> edges{};
};

// Each circle is complained about once, at the dependency that closes it. Edges of a node to itself are passed over.
void check_circles(Reading& reading, const std::vector<DependencyNode>& nodes);

}  // namespace perdure::model
