// Starts what the configuration names, and reaps: the agent is PID 1.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/configuration.h"
#include "agent/descriptor.h"
#include "agent/supervisor.h"

namespace perdure::agent {

struct Output {  // read ends of what a component writes; nonblocking, close-on-exec
  Descriptor standard;
  Descriptor error;
};

struct ChildEnd {
  pid_t pid = 0;
  Exited::How how = Exited::How::kExited;
  int value = 0;
  bool core = false;
  std::string reason;  // with kNotStarted
};

class Processes {
 public:
  // In a session and process group of its own. What fails in the child (user, directory, command) is told by
  // reap() as kNotStarted. -1 with `error`: no process could be made.
  pid_t start(const Component& component, Output& output, std::string& error);
  // The same program, user and environment, its output nowhere.
  pid_t start_quietly(const Component& component, const std::vector<std::string>& command, std::string& error);
  // A child of the agent's own program in the component's place, which ends with what `body` returns.
  pid_t start_inside(const Component& component, const std::function<int()>& body, std::string& error);

  // SIGKILL to the groups of those that have ended, then reaps them; orphans are reaped and not told.
  std::vector<ChildEnd> reap();
  // Nothing to signal any more is fine.
  static void signal_group(pid_t pid, int signal);

 private:
  pid_t fork_child(const Component& component, Output* output, const std::function<void()>& body, std::string& error);

  int complain_to_ = -1;  // in a child: the write end
  std::map<pid_t, Descriptor> children_;  // with the read end of what they say if they cannot begin
};

}  // namespace perdure::agent
