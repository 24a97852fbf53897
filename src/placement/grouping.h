// Which components share a container (paper III-B): those whose dependencies bear no more, and those that the model puts
// together. Everybody else has a container of its own, so that a failure concerns nobody else. Pure, deterministic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/units.h"
#include "model/application/application.h"
#include "placement/distance.h"

namespace perdure::placement {

struct Demand {
  Bytes memory{};
  model::MilliCores cpu{};
  Bytes disk{};
  auto operator<=>(const Demand&) const = default;
};

// Each as much as it can count at most: a sum that would be more is too much for any node, and does not become little.
std::uint32_t sum_of(std::uint32_t one, std::uint32_t other);
std::uint64_t sum_of(std::uint64_t one, std::uint64_t other);
Demand sum_of(const Demand& one, const Demand& other);

struct PlannedContainer {
  ContainerName name;                                   // APPLICATION-NAME, with replicas APPLICATION-NAME-N from 1
  std::vector<std::size_t> components{};                // of the application, rising
  std::optional<std::size_t> settings{};                // of the application's containers
  model::StateKind state = model::StateKind::kStateless;
  std::optional<Duration> state_sensitivity{};          // the shortest; nullopt: stateless, or nobody says
  // The shortest of those that depend on it from outside; nullopt: nobody says.
  std::optional<Duration> outage_tolerance{};
  Demand demand{};                                      // of all its components
  std::string why{};                                    // why these are together, for people
};

// One container depends on another, by any of its components.
struct ContainerDependency {
  std::size_t dependent = 0;             // of the containers, here and below
  std::vector<std::size_t> sponsors{};   // several: replicas, of which one is enough; rising, never empty
  Closeness within = Closeness::kAnywhere;  // the dependent and one of them have to be in one
  std::optional<Duration> outage_tolerance{};
  bool operator==(const ContainerDependency&) const = default;
};

struct Grouping {
  std::vector<PlannedContainer> containers{};           // in the order of their first components, replicas by number
  std::vector<ContainerDependency> dependencies{};      // by dependent, then first sponsor
  // Why the model cannot be grouped: each names the components and what to change. Empty: it can.
  std::vector<std::string> conflicts{};
};

// Never more than model::kMaxComponents in one container. Each replica depends on the sponsors of its component.
Grouping group_components(const model::Application& application);

}  // namespace perdure::placement
