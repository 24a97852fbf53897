// When the next capture of one container starts, and why then.
//
// The asked interval counts from due time to due time, so that containers with the same interval
// keep the phase that their names gave them and do not freeze together. It is stretched when a
// capture costs more CPU than the budget allows, or takes so long that the container would be
// captured half of the time; it shrinks back when captures become cheaper. Missed beats are
// skipped, never made up for. Failures back off exponentially to a bound and never end the trying.
//
// A pure state machine: no clock, no I/O; calls in the order in which things happen, `now` never
// going back. Copyable; one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "policy/options.h"

namespace perdure::policy {

enum class PaceReason {
  kAsked,      // the spec's interval, or what its state sensitivity asks for
  kCpuBudget,  // captures are too dear
  kDuration,   // captures take too long
  kRetry,      // after failures
  kRequested,  // an operator asked
  kOff,        // nothing to capture
};

// The interval in force. `text` for people: "every 1.2 s instead of 1 s: a capture costs 240 ms
// CPU, budget 20 %".
struct Pace {
  Duration interval{};
  PaceReason reason = PaceReason::kOff;
  std::string text;
};

enum class FailureClass {
  kTransient,  // may succeed without any change: an in-flight connection, a busy host
  kPermanent,  // will not succeed until the container or the host changes; still tried, at the
               // slowest pace
};

class CheckpointSchedule {
 public:
  CheckpointSchedule(const ContainerName& name, const ScheduleOptions& options);

  // Captures may be taken from now on; the first is due at `first`, or at now + a share of the
  // interval that follows from the name. Ends a back-off. A request still open is dropped.
  void enable(Instant now, std::optional<Instant> first = std::nullopt);
  void disable();

  // One capture at a time: started() only while none is in flight (asserted).
  void started(Instant now);
  // `cpu` as measured: of the capture, the encoding and the writing. Does not end a back-off.
  void finished(Instant now, Duration cpu);
  void failed(Instant now, Duration cpu, FailureClass failure);
  // What was captured is committed: a back-off ends.
  void committed(Instant now);
  // A finished capture could not be committed: counts as a failure.
  void commit_failed(Instant now, FailureClass failure);

  // At once, whatever the back-off; while a capture is in flight: another one right after it, for
  // what the operator wants in it may have happened after the freeze. Several requests become one.
  void request(Instant now);

  // When the next capture is due; nullopt while disabled or in flight. Never moves without a call
  // above.
  std::optional<Instant> next() const;
  bool due(Instant now) const { return next() && *next() <= now; }
  bool in_flight() const { return in_flight_; }
  bool requested() const { return requested_; }
  std::uint32_t failures_in_row() const { return failures_in_row_; }
  // The interval in force, back-off aside.
  Duration interval() const;
  Pace pace() const;

 private:
  struct Sample {
    Duration cpu{};
    Duration wall{};
  };
  struct Demand {  // the interval in force and what demands it
    Duration interval{};
    PaceReason reason = PaceReason::kAsked;
  };

  Duration phase() const;
  Duration median_of(Duration Sample::* member) const;
  Demand demand() const;
  Duration back_off() const;
  void end_capture(Instant now, Duration cpu);
  void count_failure(Instant now, FailureClass failure);
  Instant next_beat(Instant now) const;

  ScheduleOptions options_;
  std::uint32_t name_hash_;
  std::vector<Sample> samples_;  // the last options_.cost_samples, oldest first
  bool enabled_ = false;
  bool in_flight_ = false;
  bool requested_ = false;
  std::uint32_t failures_in_row_ = 0;
  FailureClass last_failure_ = FailureClass::kTransient;
  Duration last_cost_{};  // CPU of the last attempt, failed ones too
  Instant last_start_{};  // of the last attempt
  Instant beat_{};        // the newest due time passed, or the first: the interval counts from it
  Instant due_{};         // while enabled and nothing is in flight
};

}  // namespace perdure::policy
