// Who owns a container and who stands by, as the owner's node decides it: one pure machine per container.
//
// It holds what this node believes of the record and of each standby, and answers events with swaps of the record and orders to the
// rest. It never assumes that a swap was applied: docs/cluster.md, "The record". No clock, no I/O, no threads; the same events
// give the same effects. Source: DESIGN's primary-backup with a consensus store, as in PacificA (MSR-TR-2008-25).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "model/cluster.h"

namespace perdure::policy {

struct OwnershipOptions {
  std::uint32_t standbys = 1;                                    // wanted
  Duration swap_deadline = std::chrono::milliseconds(500);       // for an answer; then the record is read
  Duration read_retry = std::chrono::milliseconds(200);          // while the store cannot be reached
  Duration standby_silence = std::chrono::seconds(2);            // unreachable so long: dropped, if anything else holds newer ones
  Duration acknowledge_limit = std::chrono::seconds(10);         // behind so long: dropped, if another standby holds newer ones
  Duration readmission_first = std::chrono::seconds(1);          // before a node that was dropped is made a learner again; doubles
  Duration readmission_limit = std::chrono::minutes(5);
  Duration move_limit = std::chrono::seconds(30);                // from the freeze to the target's word; then the source takes the term back
};

}  // namespace perdure::policy
