// How a takeover came about, from the last heartbeat that was answered on.
#pragma once

#include "base/clock.h"
#include "base/ids.h"

namespace perdure::node {

struct TakeoverTimes {
  NodeName from;
  Instant last_heard{};
  Instant noticed{};   // that it is silent: no grant of this node is in force any more
  Instant swapped{};   // the record names this node
  Instant restored{};  // the processes run, behind the gate
};

}  // namespace perdure::node
