// What the failure of one node, or of all that share a label, would cause. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "deploy/plan.h"

namespace perdure::deploy {

struct Consequence {
  // kServedByReplicas: it is gone until its nodes are back, and others of its kind serve. kGone: nobody does.
  enum class Kind { kGoesOn, kServedByReplicas, kGone };
  std::size_t container = 0;
  Kind kind = Kind::kGone;
  std::optional<std::size_t> node{};  // of kGoesOn: where
};

struct Failure {
  std::string what;                // "node a", "rack r1"
  std::vector<std::size_t> nodes{};
  std::vector<Consequence> consequences{};  // of the containers that ran there, in their order
  std::vector<std::string> broken{};        // dependencies that are not close enough any more, for people
  std::size_t unprotected = 0;              // containers that go on and have no standby left
};

// Each node, then each label that several nodes have, in the order of their names.
std::vector<Failure> failures_of(const Plan& plan);

}  // namespace perdure::deploy
