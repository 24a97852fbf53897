// How a takeover came about, from the last heartbeat that was answered on.
#pragma once

#include <string>

#include "base/clock.h"
#include "base/ids.h"

namespace perdure::node {

struct TakeoverTimes {
  NodeName from;
  Instant last_heard{};
  Instant noticed{};   // that it is silent: no grant of this node is in force any more
  Instant swapped{};   // the record names this node
  Instant begun{};     // its restore, which may have waited for its turn
  Instant restored{};  // the processes run, behind the gate
  std::string ordered_by = {};  // not by itself: "an operator on node 'x'". Then all is counted from the word
};

}  // namespace perdure::node
