// The grants between the nodes, as the parts of perdured see them: whose grants the gate of a container needs, and whose heartbeats
// are answered. LeaseService is the one in products; tests connect several nodes without a network.
//
// Loop thread only; handlers are called from the loop, never from within a call of ours. What is asked for is in force when the
// call returns.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "model/cluster.h"
#include "node/container_backend.h"
#include "policy/lease_granter.h"
#include "policy/lease_holder.h"
#include "policy/lease_timing.h"

namespace perdure::node {

struct LeaseHandlers {
  // Of a container that this node owns: whether this life answers its heartbeats.
  std::function<void(const ContainerName&, const model::NodeLife&)> grants_flow;
  std::function<void(const ContainerName&, const model::NodeLife&)> grants_stopped;
  // Of one that it stands by for; see policy/lease_granter.h.
  std::function<void(const policy::lease::OwnerSilent&)> owner_silent;
  std::function<void(const ContainerName&)> owner_heard;
  std::function<void(const policy::lease::LongGrantGiven&)> long_grant_given;
  std::function<void(const policy::lease::LongGrantGivenBack&)> long_grant_given_back;
  std::function<void(const ContainerName&, Term)> term_unknown;
  std::function<void()> long_grants_held;
};

class Leases {
 public:
  virtual ~Leases() = default;

  // ---- The owner's side ----
  virtual void need(const ContainerName& container, const policy::lease::Needs& needs,
                    std::shared_ptr<GateDeadline> gate) = 0;
  virtual void forget(const ContainerName& container) = 0;  // the gate is left to its deadline
  virtual void shut(const ContainerName& container, std::shared_ptr<GateDeadline> gate) = 0;
  // Of all containers, before a planned restart; long_grants_held follows when they are there. Until this life's end.
  virtual void ask_long(Duration grant) = 0;
  virtual std::vector<policy::lease::LeaseHolder::Missing> missing_long_grants() const = 0;

  // ---- The standby's side ----
  virtual void watch(const ContainerName& container, const std::optional<policy::lease::Charge>& charge) = 0;
  virtual void resume(const ContainerName& container) = 0;
  // Whether nothing is granted because silence was told: a takeover is begun only then.
  virtual bool withholds(const ContainerName& container) const = 0;
  // See LeaseGranter.
  virtual std::optional<Instant> waits_long_until(const ContainerName& container) const = 0;
};

}  // namespace perdure::node
