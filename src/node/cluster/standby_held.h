// What a StandbyService knows of one container of another node. For standby_*.cc only.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "node/cluster/standby_service.h"
#include "node/cluster/withheld_gate.h"
#include "node/step_runner.h"
#include "node/young_connections.h"

namespace perdure::node {

struct StandbyService::Held {
  Held(io::Loop& loop, io::Pool& pool) : runner(loop, pool) {}

  std::optional<policy::Enlistment> enlistment;
  std::optional<model::NodeLife> reported_to;  // the owner that has been told what is held here
  std::optional<model::ContainerSpec> spec;
  std::string image_digest;
  std::shared_ptr<ContainerBackend> backend;
  std::shared_ptr<WithheldGate> gate;  // of `backend`, from when this node is the owner
  YoungConnections young;  // than the newest generation that is held here
  bool prepared = false;
  bool busy = false;      // a step on the backend is under way
  bool dropping = false;
  std::vector<std::function<void()>> when_idle;  // requests that wait for the end of the step
  std::optional<Generation> staged;
  Instant staged_at{};  // or tried
  std::unique_ptr<policy::Taking> taking;
  std::vector<policy::taking::Event> taking_events;
  bool handling_taking = false;
  io::Timer taking_timer;
  ResponderRef take_respond;
  peer::v1::MoveTake take;
  std::optional<NodeName> failed_from;  // with its failover
  capsule::CapsuleRef taken_capsule;
  std::optional<RestoreResult> restored;
  std::optional<TakeoverTimes> takeover;
  std::optional<Generation> waits_with;  // for its turn to be restored
  bool wait_told = false;
  StepRunner runner;
};

// One step on a container's backend at a time; its result only if the container is held still.
template <typename Work, typename Done>
void StandbyService::run(const ContainerName& name, Work work, Done done) {
  Held& held = at(name);
  held.busy = true;
  held.runner.run(std::move(work), [this, name, done = std::move(done)](auto result) {
    Held* found = find(name);
    if (found == nullptr) return;
    found->busy = false;
    done(*found, std::move(result));
    idle(name);
  });
}

}  // namespace perdure::node
