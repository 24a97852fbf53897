// What follows when one component of a container fails: the upper half of Fig. 6 of the paper. The agent
// asks this inside the container, so it needs nothing but the compiler; recovery.h continues where a
// failure becomes the container's, and testdata/recovery.txt shows both as one table.
#pragma once

#include <cstdint>

namespace perdure::policy {

struct ComponentQuestion {
  bool stateful = true;
  std::uint32_t restarts_in_window = 0;  // of this component, not counting the one in question
  std::uint32_t restart_limit = 0;
};

enum class ComponentAction {
  kRestart,    // of the component alone, afresh, in the same container
  kContainer,  // the failure is the container's: all of it goes back to a healthy state together
};

// A stateful component is never started afresh beside components that remember it; a stateless one is, until
// that has not helped often enough.
constexpr ComponentAction decide_component(const ComponentQuestion& question) {
  if (question.stateful) return ComponentAction::kContainer;
  return question.restarts_in_window < question.restart_limit ? ComponentAction::kRestart : ComponentAction::kContainer;
}

}  // namespace perdure::policy
