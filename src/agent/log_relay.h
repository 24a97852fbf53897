// Passes on what components write, line by line with their names, to the agent's own standard output and
// error, which the host's logger keeps in files of bounded size. Whoever writes faster than that is held up,
// as it would be by a pipe of its own.
#pragma once

#include <poll.h>

#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <vector>

#include "agent/descriptor.h"

namespace perdure::agent {

class LogRelay {
 public:
  // Descriptors to write to; made nonblocking.
  LogRelay(int standard, int error);

  void add(std::string_view component, Descriptor standard, Descriptor error);
  // A line of the agent's own, to the standard error.
  void say(std::string_view text);

  void add_polls(std::vector<pollfd>& polls) const;
  void look(const std::vector<pollfd>& polls);
  // What can be read and written at once; before the agent ends.
  void drain();

 private:
  struct Sink {
    int fd = -1;
    std::string waiting;
    bool gone = false;  // nobody reads any more
  };
  struct Source {
    std::string prefix;
    Descriptor fd;
    std::size_t sink = 0;
    std::string partial;
  };

  // False: it has ended.
  bool read_from(Source& source);
  void pass_on(const Source& source, std::string_view line);
  static void write_to(Sink& sink);

  Sink sinks_[2];
  std::list<Source> sources_;
};

}  // namespace perdure::agent
