// Both sides of the grants of one node, behind one lock: what the loop's thread asks for is in force at once, and what comes from
// other nodes is answered on the thread that brings it. Knows no socket and no thread of its own.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "io/priority_mutex.h"
#include "node/cluster/leases.h"
#include "policy/lease_messages.h"

namespace perdure::node {

// What goes on the wire.
struct LeaseSend {
  NodeName to;
  std::variant<policy::lease::Heartbeat, policy::lease::Grant> body;
};
// What the loop is to hear.
using LeaseNews = std::variant<policy::lease::GrantsFlow, policy::lease::GrantsStopped, policy::lease::LongGrantsHeld,
                               policy::lease::OwnerSilent, policy::lease::OwnerHeard, policy::lease::LongGrantGiven, policy::lease::LongGrantGivenBack,
                               policy::lease::TermUnknown>;
void tell(const LeaseHandlers& handlers, const LeaseNews& news);

struct LeaseOutput {
  std::vector<LeaseSend> messages;
  std::vector<LeaseNews> news;
};

class LeaseEngine {
 public:
  LeaseEngine(model::NodeLife self, const policy::lease::Timing& timing, const Clock& clock);

  // As in Leases; any thread. The gates are written before it returns.
  LeaseOutput need(const ContainerName& container, const policy::lease::Needs& needs, std::shared_ptr<GateDeadline> gate);
  void forget(const ContainerName& container);
  void shut(const ContainerName& container, const std::shared_ptr<GateDeadline>& gate);
  void ask_long(Duration grant);
  std::vector<policy::lease::LeaseHolder::Missing> missing_long_grants() const;
  void watch(const ContainerName& container, const std::optional<policy::lease::Charge>& charge);
  void resume(const ContainerName& container);
  bool withholds(const ContainerName& container) const;
  std::optional<Instant> waits_long_until(const ContainerName& container) const;
  void use(const policy::lease::Timing& timing);

  LeaseOutput on(const policy::lease::Heartbeat& heartbeat);
  LeaseOutput on(const policy::lease::Grant& grant);
  // When what has arrived has been handled, and no later than this says.
  LeaseOutput tick();
  Instant next_tick() const;

 private:
  void perform(std::vector<policy::lease::HolderEffect> effects, LeaseOutput& output);
  void perform(std::vector<policy::lease::GranterEffect> effects, LeaseOutput& output);

  const Clock& clock_;
  mutable io::PriorityMutex mutex_;
  policy::lease::LeaseHolder holder_;
  policy::lease::LeaseGranter granter_;
  std::map<ContainerName, std::shared_ptr<GateDeadline>> gates_;
};

}  // namespace perdure::node
