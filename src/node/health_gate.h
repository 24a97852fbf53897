// Generations that wait until the components have proved healthy: those of a container with stateful components
// that are probed. What was captured while one was failing, or between a failure and its detection, is never
// shipped, stored or committed: it stays in this host's memory until every such component has passed a probe that
// began after the capture (docs/recovery.md).
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "capsule/format/capsule.h"
#include "model/spec.h"
#include "node/component_table.h"

namespace perdure::node {

class HealthGate {
 public:
  struct Waiting {
    capsule::CapsuleRef capsule;
    capsule::CapsuleRef base;  // with which it shares pages; may be null
    Instant thawed{};
    Generation generation() const { return capsule->manifest.generation; }
  };

  explicit HealthGate(const model::ContainerSpec& spec);

  // Whether anything has to wait at all.
  bool needed() const { return !probed_.empty(); }
  void add(Waiting generation) { waiting_.push_back(std::move(generation)); }
  // Those that have been proved good by now, oldest first. What came later proves what was before it.
  std::vector<Waiting> take_proved(const ComponentTable& table);
  // All of them, proved or not: what follows is handed over, and is judged where it goes.
  std::vector<Waiting> take_all() { return std::exchange(waiting_, {}); }
  void discard(const Generation& generation);
  void clear() { waiting_.clear(); }

  // For people: whose probe is waited for, "component 'db'"; empty: nothing waits.
  std::string waits_for(const ComponentTable& table) const;

 private:
  bool has_proved(const std::string& component, const ComponentTable& table, Instant since) const;

  std::vector<std::string> probed_;  // stateful ones
  std::vector<Waiting> waiting_;     // oldest first; bounded by policy::ContainerOptions::max_uncommitted
};

}  // namespace perdure::node
