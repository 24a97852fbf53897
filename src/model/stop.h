// How a container, or one component of it, is asked to stop.
#pragma once

#include <chrono>

#include "base/clock.h"

namespace perdure::model {

struct StopSpec {
  int signal = 15;                               // SIGTERM; the number of this host's architecture
  Duration deadline = std::chrono::seconds(10);  // from the signal to the kill
  bool operator==(const StopSpec&) const = default;
};

}  // namespace perdure::model
