// What is known of a container after a restart of the daemon, as it comes, and what follows from it (container_takeover.cc acts).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "node/container_backend.h"
#include "node/container_cluster.h"
#include "policy/container_events.h"
#include "policy/generations.h"
#include "replica/capsule_store.h"

namespace perdure::node {

struct TakeoverFacts {
  std::optional<Found> found;                                 // on the host
  std::optional<std::vector<policy::GenerationInfo>> stored;  // what its store lists
  std::string store_error;
  bool store_ready = false;  // it has listed, and has loaded the newest generation if that loads
  bool store_late = false;   // it has failed, or has had its time
  bool others_asked = false;
  std::optional<HeldElsewhere> elsewhere;
  std::optional<policy::Event> leaves;  // another node owns it
};

// Of what its record on this host says.
struct TakeoverNeeds {
  bool state = false;   // it is to run, and is worth nothing without what it held
  bool others = false;  // its standbys may hold newer generations than its store
};

enum class TakeoverStep {
  kWait,           // something is to come that is waited for
  kLeave,          // nothing is done for it but to leave it to its owner
  kReadStore,      // it is dead: its newest generation is being read, which takes as long as it takes
  kAskOthers,      // it is dead: they are asked, once
  kWaitForOthers,  // and answer late, or never
  kWaitForStore,   // it is dead, and without what is stored it would begin anew
  kTakeOver,
};
// What keeps the newest generation, or one that it builds on, from being read, though it may be in order; nullptr: nothing.
const Error* unreadable_now(const std::vector<replica::StoredGeneration>& listed);  // as a store lists

TakeoverStep next_step(const TakeoverFacts& facts, const TakeoverNeeds& needs);

}  // namespace perdure::node
