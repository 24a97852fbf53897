// A plan in the words of other systems (paper III-B: placement recommendations to the cloud management system). Pure.
#pragma once

#include <string>
#include <vector>

#include "deploy/plan.h"
#include "model/application/application.h"

namespace perdure::deploy {

struct Recommendation {
  std::string text{};                // JSON, which ends in a line break
  std::vector<std::string> notes{};  // rules of the model and of the plan that the system cannot express, for people
};

// Kubernetes: a List of PriorityClasses, Deployments (one for each container, one for the replicas of a container) and Services, which
// have the names of the components that others find. Labels of failure domains: the node's own (kubernetes.io/hostname), `server` and
// `rack` as in Perdure, topology.kubernetes.io/zone for a data centre. Images are named APPLICATION-NAME:latest.
Recommendation kubernetes_of(const model::Application& application, const Plan& plan);

// Nomad: a job in the form that its API and `nomad job run -json` take, a group for each container.
Recommendation nomad_of(const model::Application& application, const Plan& plan);

// Everything that `perdure plan` shows, with stable names (docs/application.md).
std::string json_of(const model::Application& application, const Plan& plan);

}  // namespace perdure::deploy
