// The expected availability of an application, with the arithmetic (paper III-B). Pure.
//
// A failure that comes once in MTTF and lasts for D takes D / (MTTF + D) of the time. Failures are taken to be rare and independent, so
// a container misses the sum of its shares, and the application the sum of its containers': those of replicas only when all are missing
// at once, and those that every dependent survives (outage tolerance) not at all.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/clock.h"
#include "deploy/plan.h"
#include "model/application/application.h"

namespace perdure::deploy {

struct Assumptions {
  Duration node_mttf = std::chrono::hours(8766);          // of a node: a year
  Duration node_repair = std::chrono::hours(4);           // until it is back
  Duration takeover = std::chrono::milliseconds(500);     // by a standby: silence, swap, restore
  Duration restore = std::chrono::milliseconds(200);      // of a container in place, from memory
  Duration start = std::chrono::seconds(5);               // of a component afresh that says no recovery time
};

struct OutageShare {
  std::string cause;         // for people: "its node fails, node b takes over"
  Duration every{};          // mean time between two of them
  Duration lasts{};
  double unavailability = 0;
};

struct ContainerAvailability {
  std::vector<OutageShare> shares{};
  double unavailability = 0;  // the sum
  bool hidden = false;        // no outage of it lasts longer than everybody who depends on it survives
};

struct Availability {
  std::vector<ContainerAvailability> containers{};  // of the plan, in their order
  double unavailability = 0;                        // of the application
  bool mttf_missing = false;                        // some component says no MTTF: only nodes' failures are counted for it
};

Availability availability_of(const model::Application& application, const Plan& plan, const Assumptions& assumptions);

// Of an unavailability of 0.00001: 5. At most 9: beyond that the failures that are not independent decide.
double nines_of(double unavailability);

}  // namespace perdure::deploy
