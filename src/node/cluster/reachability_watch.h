// Asks the links of the containers that this node owns for the addresses of `network.reachability`, and does what
// policy::reachability makes of the answers.
//
// All bridges are asked by one job of the pool after the other: whatever does not answer, one of the pool's threads waits for it.
// Loop thread only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "control.pb.h"
#include "io/loop.h"
#include "io/pool.h"
#include "model/spec.h"
#include "network/reach.h"
#include "node/event_log.h"
#include "policy/reachability.h"

namespace perdure::node {

class ReachabilityWatch {
 public:
  using Addresses = std::set<model::IpAddress>;
  using Reached = std::function<void(policy::reachability::Reaches)>;
  using Failed = std::function<void(const std::string& why)>;
  struct Environment {
    io::Loop& loop;
    io::Pool& pool;
    const Clock& clock;
    EventLog& events;
    std::function<Result<Addresses>(const network::ReachQuery&)> find_reachable;  // blocks; any thread
    // To which the container could be moved now.
    std::function<std::vector<NodeName>(const ContainerName&)> candidates;
    // Answers once, whatever happens.
    std::function<void(const NodeName&, const ContainerName&, Reached)> ask_standby;
    // Moves it; `failed` if that comes to nothing.
    std::function<void(const ContainerName&, const NodeName& target, Failed failed)> hand_over;
  };
  ReachabilityWatch(Environment environment, policy::reachability::Options options);

  // From the beginning, whatever was known of it. Without addresses: nothing is watched.
  void watch(const ContainerName& name, const model::NetworkSpec& network);
  void came_from_unreachable(const ContainerName& name);
  void forget(const ContainerName& name) { watched_.erase(name); }
  // Of a container that is watched.
  void fill(control::v1::ContainerStatus& status, const ContainerName& name) const;

  // Once, for the owner of a container that this node stands by for. kConflict: it is being asked for already.
  void look(const ContainerName& name, const model::NetworkSpec& network, std::function<void(Result<Addresses>)> done);

 private:
  struct Watched {
    std::string bridge;
    Addresses addresses;
    std::uint64_t since = 0;  // tells this one from another of the same name
    policy::reachability::Reachability machine;
  };
  using Answers = std::map<std::string, Result<Addresses>>;  // by bridge

  void begin_round();
  void end_round(const Answers& answers);
  void handle(const ContainerName& name, const policy::reachability::Event& event);
  void perform(const ContainerName& name, const policy::reachability::Effect& effect);
  void emit(const ContainerName& name, const policy::Emit& effect);
  // For an answer that comes later: only if it is watched still, and not anew.
  void handle_later(const ContainerName& name, std::uint64_t since, const policy::reachability::Event& event);

  const Environment environment_;
  const policy::reachability::Options options_;
  std::map<ContainerName, Watched> watched_;
  std::set<ContainerName> looking_;
  std::uint64_t next_ = 1;
  io::Timer round_;
  bool is_asking_ = false;
  io::Lifetime lifetime_;
};

}  // namespace perdure::node
