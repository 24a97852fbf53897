// Performs probes: connections of its own inside the container, or a child process where a file system or a
// program could keep it waiting. Nothing here blocks.
#pragma once

#include <poll.h>

#include <map>
#include <string>
#include <vector>

#include "agent/configuration.h"
#include "agent/descriptor.h"
#include "agent/processes.h"
#include "agent/supervisor.h"

namespace perdure::agent {

class Prober {
 public:
  Prober(const Configuration& configuration, Processes& processes) : configuration_(configuration), processes_(processes) {}

  // Ended already: the result.
  std::optional<ProbeEnded> begin(std::size_t component, std::uint32_t run, Instant now);
  void cancel(std::size_t component);

  bool busy() const { return !flights_.empty(); }
  std::optional<Instant> next_deadline() const;
  void add_polls(std::vector<pollfd>& polls) const;

  // What came of the descriptors that poll found ready, of a child, of the time.
  std::vector<ProbeEnded> look(const std::vector<pollfd>& polls);
  std::optional<ProbeEnded> child_ended(const ChildEnd& end);  // nullopt: none of these children
  std::vector<ProbeEnded> pass_time(Instant now);

 private:
  struct Flight {
    std::uint32_t run = 0;
    std::int64_t begun_realtime_ns = 0;
    Instant deadline{};
    Descriptor socket;    // of what connects
    bool connected = false;
    std::string answer;
    pid_t child = 0;      // of what runs
  };

  void connect(Flight& flight, const std::string& address, std::uint16_t port, std::string& error);
  // nullopt: it is not known yet. An empty text: passed.
  std::optional<std::string> progress(const Probe& probe, Flight& flight) const;
  ProbeEnded end(std::size_t component, std::string why);

  const Configuration& configuration_;
  Processes& processes_;
  std::map<std::size_t, Flight> flights_;  // by component
};

}  // namespace perdure::agent
