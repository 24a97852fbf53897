// The life of one protected container on one host.
//
// Told what has happened and what time it is, the policy answers with what is to be done, in order.
// It takes one step at a time: at most one of preparing, starting, capturing and restoring is in
// flight, because CRIU must not run twice on one container; everything that wants to happen next
// waits for the event that ends it. Whatever an event changes, reconcile() then looks only at the
// state reached and asks what it still lacks, so that a lost race (a death during a stop, a stop
// during a restore) needs no case of its own.
//
// Pure: no clock, no I/O, no threads; same inputs, same outputs. Memory is bounded: the generations
// kept by retention, max_uncommitted provisional ones and max_restores instants. Life: construct,
// then SpecAccepted or DaemonRestarted as the first event; kRemoved is the end.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "policy/checkpoint_schedule.h"
#include "policy/container_events.h"
#include "policy/generations.h"
#include "policy/options.h"
#include "policy/recovery.h"

namespace perdure::policy {

enum class Phase {
  kNew,          // no event yet
  kPreparing,    // the image
  kStarting,     // a cold start is in flight or waits for its delay
  kTrial,        // runs; its first checkpoint is not committed yet
  kProtected,    // runs; a failure loses at most the state since the newest generation
  kUnprotected,  // runs; captures fail or are too old: reason and remedy say why
  kRecovering,   // ended; a restore is in flight or on its way
  kStopping,
  kStopped,  // as an operator asked, or finished by itself
  kRemoved,
  kFailed,  // recovery was given up; the gate is closed
};
std::string_view to_string(Phase phase);
enum class GateState { kHeld, kOpen };

struct ContainerStatus {
  Phase phase = Phase::kNew;
  Instant phase_since{};
  std::string reason;  // why unprotected, recovering, stopped or failed
  std::string remedy;
  GateState gate = GateState::kHeld;
  pid_t pid = -1;                             // init, -1: nothing runs
  std::optional<GenerationInfo> newest_good;  // what a failure now would go back to
  std::optional<Generation> newest_durable;
  // When the state was taken that a failure now would go back to; after a restore: when that ended.
  std::optional<Instant> fresh_since;
  Pace pace;
  std::uint32_t capture_failures_in_row = 0;
  std::uint32_t restores_in_window = 0;
};

class ContainerPolicy {
 public:
  // `term` and `incarnation` are this owner's and go into every generation; they never fall from
  // one daemon's life to the next. The options are valid (validate(); asserted).
  ContainerPolicy(ContainerName name, Term term, Incarnation incarnation,
                  const ContainerOptions& options);

  // Events that do not fit the state (late, repeated) are ignored. `now` never goes back.
  std::vector<Effect> handle(const Event& event, Instant now);

  // Whether an operator's event would be taken now: kConflict or kNotFound say why not and what to
  // do. handle() of a refused one changes nothing and emits "refused". Other events are always
  // admitted.
  Status admit(const Event& event) const;

  Phase phase() const { return phase_; }
  ContainerStatus status() const;
  const std::vector<GenerationInfo>& generations() const { return generations_; }

 private:
  enum class Operation { kNone, kPreparing, kStarting, kCapturing, kRestoring };

  void on(const SpecAccepted&);
  void on(const DaemonRestarted&);
  void on(const ImageReady&);
  void on(const ImageFailed&);
  void on(const Started&);
  void on(const StartFailed&);
  void on(const CaptureFinished&);
  void on(const CaptureFailed&);
  void on(const Committed&);
  void on(const CommitFailed&);
  void on(const Durable&);
  void on(const ProcessKilled&);
  void on(const ContainerDied&);
  void on(const RestoreFinished&);
  void on(const RestoreFailed&);
  void on(const OperatorCheckpoint&);
  void on(const OperatorStop&);
  void on(const OperatorStart&);
  void on(const OperatorRestore&);
  void on(const OperatorRemove&);
  void on(const TimerFired&);

  ContainerName name_;
  Term term_;
  Incarnation incarnation_;
  ContainerOptions options_;
  // ... data follows with the implementation
  Phase phase_ = Phase::kNew;
  std::vector<GenerationInfo> generations_;
  std::vector<Effect> effects_;
  Instant now_{};
};

}  // namespace perdure::policy
