// What a member of a cluster does before its perdured ends on purpose, so that nobody takes its end for a failure: the standbys of
// what it owns are asked for one long grant, within which the next life goes on; and whoever it stands by for is told, and drops it
// while it still answers heartbeats (docs/upgrades.md).
//
// Loop thread only.
#pragma once

#include <functional>
#include <vector>

#include "base/clock.h"
#include "io/loop.h"
#include "node/cluster/leases.h"
#include "node/cluster/peers.h"

namespace perdure::node {

// A heartbeat's answer takes milliseconds, a swap of the record its deadline of half a second at most; both may be needed twice.
// Whoever has not answered by then is not waited for.
inline constexpr Duration kPlannedEndLimit = std::chrono::seconds(1);

struct PlannedEndOptions {
  io::Loop& loop;
  Leases& leases;
  Peers& peers;
  Duration grant{};                    // zero: none is asked for
  Duration limit = kPlannedEndLimit;
  std::function<bool()> stands_by;     // whether a record names this life a standby
};

class PlannedEnd {
 public:
  // `done` from the loop, once: with what is not granted, if grants were asked for.
  using Done = std::function<void(std::vector<policy::lease::LeaseHolder::Missing>)>;
  PlannedEnd(PlannedEndOptions options, Done done);

  void long_grants_held();
  void records_changed();

 private:
  void look();
  void finish();

  const PlannedEndOptions options_;
  Done done_;
  bool granted_ = false;
  io::Timer limit_;
};

}  // namespace perdure::node
