// Whether a container's agent has been silent for too long while it could have spoken: pure.
//
// An agent reports once a second, whatever its components do. One that does not any more (it was stopped, it
// spins, it waits in the kernel for ever) looks after nobody, and nobody would notice. What does not count: the time in
// which it could not run, because the container was frozen, and the time in which nobody listened, because perdured
// itself did not run.
#pragma once

#include <algorithm>
#include <optional>

#include "base/clock.h"

namespace perdure::node {

// Several reports: a host that is short of processor time or memory delays one, hardly ten in a row.
inline constexpr Duration kAgentSilenceLimit = std::chrono::seconds(10);
// To the first report of a life, or after a restore. Shorter than the probation of a restore by default, so that a state
// whose agent stands still speaks against its own generation.
inline constexpr Duration kFirstReportLimit = std::chrono::seconds(5);
// Who has been silent for longer is not moved: the copy would stand still at the target too, with nothing to go back to.
inline constexpr Duration kSilenceThatForbidsAMove = std::chrono::seconds(3);
inline constexpr Duration kAgentLookEvery = std::chrono::seconds(1);

class AgentSilence {
 public:
  // A life has begun here, was restored, or is seen again.
  void begin(Instant now);
  void heard(Instant now);
  void end() { since_.reset(); }
  // Up to the capture that is under way. Zero: nobody is waited for.
  Duration lasts(Instant now) const {
    return since_ ? std::max(capture_since_.value_or(now) - *since_ - excused_, Duration::zero()) : Duration::zero();
  }

  void capture_begins(Instant now) { capture_since_ = now; }
  // `frozen`: for how long the container was; nullopt: not known.
  void capture_ended(Instant now, std::optional<Duration> frozen);

  // Every kAgentLookEvery, when all that was reported has been heard. How long the silence has lasted, once it is too
  // long; then no more until begin() or heard(). kNo: the time since the last look does not count, for the container is
  // stopped as a whole, or nothing could be done about it now.
  enum class Counts { kYes, kNo };
  std::optional<Duration> look(Instant now, Counts counts);

 private:
  std::optional<Instant> since_;  // of the silence
  bool first_ = true;             // nothing was heard since begin()
  Duration excused_{};            // of the time since then
  Instant looked_{};
  std::optional<Instant> capture_since_;
};

}  // namespace perdure::node
