// Looks where those are that the containers of this node have to be close to (`application.near`), and does what policy::nearness makes
// of it. Loop thread only.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "control.pb.h"
#include "io/loop.h"
#include "model/spec.h"
#include "node/event_log.h"
#include "policy/nearness.h"

namespace perdure::node {

class NearnessWatch {
 public:
  using Failed = std::function<void(const std::string& why)>;
  struct Environment {
    io::Loop& loop;
    const Clock& clock;
    EventLog& events;
    std::function<policy::nearness::Looked(const ContainerName&, const std::vector<model::Vicinity>&)> look;
    // Moves it; `failed` if that comes to nothing.
    std::function<void(const ContainerName&, const NodeName& target, Failed failed)> hand_over;
  };
  NearnessWatch(Environment environment, policy::nearness::Options options);

  // From the beginning, whatever was known of it. Near nobody: nothing is watched.
  void watch(const ContainerName& name, std::vector<model::Vicinity> near);
  void was_placed(const ContainerName& name);
  void forget(const ContainerName& name) { watched_.erase(name); }
  void fill(control::v1::ContainerStatus& status, const ContainerName& name) const;

 private:
  struct Watched {
    std::vector<model::Vicinity> near;
    std::uint64_t since = 0;  // tells this one from another of the same name
    policy::nearness::Nearness machine;
  };

  void look_at_all();
  void handle(const ContainerName& name, const policy::nearness::Event& event);
  void hand_over(const ContainerName& name, std::uint64_t since, const NodeName& target);

  const Environment environment_;
  const policy::nearness::Options options_;
  std::map<ContainerName, Watched> watched_;
  std::uint64_t next_ = 1;
  io::Timer timer_;
  io::Lifetime lifetime_;
};

}  // namespace perdure::node
