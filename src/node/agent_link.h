// Receives what the agent in a container reports: a datagram socket in the container's network namespace,
// which outlives any life of the container there. Only what its first process sends counts.
#pragma once

#include <functional>
#include <optional>

#include "agent/report.h"
#include "base/fd.h"
#include "base/result.h"
#include "io/loop.h"

namespace perdure::node {

// Bound to kAgentReportsTo in that namespace. kExists: somebody else has the address, which only the
// container itself can be.
Result<UniqueFd> open_agent_socket(int netns_fd);

class AgentLink {
 public:
  using Handler = std::function<void(const agent::Report&)>;
  // Loop thread only; the handler is not called after destruction.
  static Result<AgentLink> open(io::Loop& loop, UniqueFd socket, Handler handler);

  // Whose reports count. Until then, and after stop_listening(), what arrives stays where it is: a life may have reported
  // before its host knows its number, and its end may be among that.
  void listen_to(pid_t init);
  void stop_listening();
  // What has arrived and was not handled yet.
  void drain() { state_->drain(); }

 private:
  struct State {
    UniqueFd socket;
    Handler handler;
    pid_t init = -1;
    std::uint64_t refused = 0;  // malformed ones
    void drain();
  };
  AgentLink(std::unique_ptr<State> state, io::Watch watch) : state_(std::move(state)), watch_(std::move(watch)) {}

  std::unique_ptr<State> state_;
  io::Watch watch_;  // gone before the socket
};

}  // namespace perdure::node
