// What both recommendations begin with: the containers of a plan, replicas joined. Private to this room.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "deploy/plan.h"
#include "model/application/application.h"

namespace perdure::deploy {

struct Workload {
  std::string name{};                      // of the container, without the replica's number
  std::vector<std::size_t> containers{};   // of the grouping: one, or all replicas
  std::vector<std::string> nodes{};        // where they are planned
};

// In the order of their first containers.
std::vector<Workload> workloads_of(const model::Application& application, const Plan& plan);

// Dependencies of a workload on another one, the closest of several.
std::map<std::size_t, placement::Closeness> sponsors_of(const Plan& plan, const std::vector<Workload>& workloads, std::size_t workload);

// What neither system has words for; `system` is its name.
std::vector<std::string> notes_of(const model::Application& application, const Plan& plan, const std::vector<Workload>& workloads,
                                  const std::string& system);

// 0 is the most critical: the shortest outage tolerance of all; those that say none are the last.
std::vector<std::size_t> criticality_of(const Plan& plan, const std::vector<Workload>& workloads);

}  // namespace perdure::deploy
