// Generations that wait until the components have proved healthy. What was captured while a stateful one that is probed
// was failing, or between a failure and its detection, is never shipped, stored or committed: it stays in this host's
// memory until every such component has passed a probe that began after the capture, and until their agent has been
// heard since, for it may stand still itself (docs/components.md).
#pragma once

#include <cstdint>
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
    std::uint64_t heard = 0;    // reports until then: ComponentTable::heard()
    Generation generation() const { return capsule->manifest.generation; }
  };

  explicit HealthGate(const model::ContainerSpec& spec);

  // Its agent is heard: what it says can be waited for.
  void hear_agent() { agent_heard_ = true; }
  // Whether anything has to wait at all.
  bool needed() const { return agent_heard_ || !probed_.empty(); }
  void add(Waiting generation) { waiting_.push_back(std::move(generation)); }
  // Those that have been proved good by now, oldest first. What came later proves what was before it.
  std::vector<Waiting> take_proved(const ComponentTable& table);
  // All of them, proved or not: what follows is handed over, and is judged where it goes.
  std::vector<Waiting> take_all() { return std::exchange(waiting_, {}); }
  void discard(const Generation& generation);
  void clear() { waiting_.clear(); }

  // For people: "component 'db' has passed its probe", "its agent has reported"; empty: nothing waits.
  std::string waits_for(const ComponentTable& table) const;

 private:
  bool has_proved(const std::string& component, const ComponentTable& table, Instant since) const;

  std::vector<std::string> probed_;  // stateful ones
  bool agent_heard_ = false;
  std::vector<Waiting> waiting_;     // oldest first; bounded by policy::ContainerOptions::max_uncommitted
};

}  // namespace perdure::node
