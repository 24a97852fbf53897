// The life of one protected container on the host that owns it.
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
// then SpecAccepted, DaemonRestarted or TakenOver as the first event (what is known of ownership
// may come before it); kRemoved and kGone are the ends.
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
  kStarting,     // a cold start is in flight
  kTrial,        // runs; its first checkpoint is not committed yet
  kProtected,    // runs; a failure loses at most the state since the newest generation
  kUnprotected,  // runs; captures fail or are too old: reason and remedy say why
  kRecovering,   // ended; a restore is in flight or on its way, or a cold start waits for its delay
  kStopping,
  kStopped,  // as an operator asked, or finished by itself
  kRemoved,
  kFailed,   // recovery was given up; the gate is closed
  kMoving,   // to another node: runs until the capture for the move, then frozen and silent
  kLeaving,  // another node owns it; what is left here is killed
  kGone,     // another node owns it; nothing of it runs here
  kWaiting,  // nothing is killed, started or restored: ownership is not known, or an operator has
             // to say which generation is gone back to
};
std::string_view to_string(Phase phase);
enum class GateState { kHeld, kOpen };

struct ContainerStatus {
  Phase phase = Phase::kNew;
  Instant phase_since{};
  std::string reason{};  // why unprotected, recovering, stopped or failed
  std::string remedy{};
  GateState gate = GateState::kHeld;
  pid_t pid = -1;                               // init, -1: nothing runs
  std::optional<GenerationInfo> newest_good{};  // what a failure now would go back to
  std::optional<Generation> newest_durable{};
  // When the state was taken that a failure now would go back to; after a restore: when that ended.
  std::optional<Instant> fresh_since{};
  Pace pace{};
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
  Term term() const { return term_; }
  ContainerStatus status() const;
  const std::vector<GenerationInfo>& generations() const { return generations_; }
  // What would follow if it was killed now; absent: it does not run.
  std::optional<RecoveryDecision> if_it_died(Instant now) const;

 private:
  enum class Operation { kNone, kPreparing, kStarting, kCapturing, kRestoring };
  struct Interrupted {
    Phase phase;
    std::string reason;
    std::string remedy{};
  };
  enum class Waiting { kOwnership, kWord };
  struct Move {
    enum class Stage {
      kBegins,     // a capture in flight and commits are waited for
      kCaptures,   // the capture for the move is in flight
      kHandsOver,  // only HandedOver and HandOverFailed end it
    };
    NodeName target;
    Stage stage = Stage::kBegins;
    Interrupted before;          // the phase to go back to
    Instant frozen_since{};      // from kCaptures on
    bool found = false;          // begun by a daemon before this one
    bool committed = false;      // a good generation was, since it began
    bool captures_fail = false;  // for good
    bool fails_over = false;     // nothing is frozen here: it could not be kept running
  };

  // container_policy.cc: the life from start to stop.
  void on(const SpecAccepted&);
  void on(const ImageReady&);
  void on(const ImageFailed&);
  void on(const Started&);
  void on(const StartFailed&);
  void on(const ProcessKilled&);
  void on(const ComponentRestarted&);
  void on(const OperatorStop&);
  void on(const OperatorStart&);
  void on(const OperatorRemove&);
  void on(const TimerFired&);
  void reconcile();
  void step();
  void advance_stopping();
  void begin_start();
  void finish_start();
  void start_again_later(std::string reason, FailureClass failure);
  void stop_as(DesiredState desired);
  void fail_stuck(const std::string& reason, const std::string& remedy);
  void kill();
  void set_phase(Phase phase, std::string reason = {}, std::string remedy = {});
  bool running() const;
  // Runs, speaks and is captured: running, or moving and not frozen yet.
  bool serving() const;
  void record();
  void forget_failures();
  void hold_gate();
  void open_gate();
  void arm(TimerId timer, Instant at);
  void disarm(TimerId timer);
  std::optional<Instant>& timer(TimerId id) { return timers_[static_cast<std::size_t>(id)]; }
  void emit(Severity severity, std::string kind, std::string text, std::string reason = {});

  // policy_captures.cc: captures, commits, protection, retention.
  void on(const CaptureFinished&);
  void on(const CaptureFailed&);
  void on(const Committed&);
  void on(const CommitFailed&);
  void on(const Durable&);
  void on(const StoredKnown&);
  void on(const OperatorCheckpoint&);
  void advance_captures();
  void begin_capture();
  void cancel_capture();
  void commit(GenerationInfo& generation);
  void count_failure(const std::string& reason, const std::string& remedy, FailureClass failure);
  void fail_commit(const Generation& generation, const std::string& reason, FailureClass failure);
  void fail_late_commits();
  void await_oldest_commit();
  Instant commit_due(const GenerationInfo& generation) const;
  std::size_t uncommitted() const;
  void announce_commit();
  void become_protected(const Generation& generation, const std::string& text);
  void protect_by_newest();
  void become_unprotected(const std::string& reason, const std::string& remedy);
  void set_fresh(Instant since);
  void watch_age();
  void announce_pace();
  void discard(GenerationInfo& generation, Mark mark, const std::string& reason);
  void leave_uncommitted(const std::string& reason);
  void leave_orphans();
  void fail_orphan();
  void abandon_after(std::optional<Generation> kept, const std::string& reason);
  void apply_retention();
  GenerationInfo* known(const Generation& id);
  Duration age_limit() const;

  // policy_recovery.cc: deaths, restores, a restarted daemon.
  void on(const DaemonRestarted&);
  void on(const ContainerDied&);
  void on(const RestoreFinished&);
  void on(const RestoreFailed&);
  void on(const OperatorRestore&);
  void advance_recovery();
  void follow_death(ExitStatus status, std::size_t left_behind = 0);
  void perform(const RecoveryDecision& decision);
  bool misses_stored(const RecoveryDecision& decision);
  RecoveryDecision decide();
  void complete(RecoveryQuestion& question, Instant now) const;
  static std::uint32_t within(const std::deque<Instant>& times, Duration window, Instant now);
  void begin_restore(const Generation& generation);
  void finish_restore();
  void give_up(const std::string& reason, const std::string& remedy);
  void fail_with(const std::string& reason, const std::string& remedy);
  void delay_attempts();
  Duration restart_delay(std::uint32_t in_row) const;
  void count_restore() { restores_.push_back(now_); }
  void forget_old_restores();
  void resume_watch();
  std::optional<Generation> of_later_owner() const;
  bool fails_for_later_owner();

  // policy_ownership.cc: what the record says of this owner.
  void on(const TakenOver&);
  void on(const TermRaised&);
  void on(const StandbysReady&);
  void on(const OwnershipLost&);
  void on(const OwnershipUnknown&);
  void on(const OwnershipKnown&);
  void raise_term(Term raised);
  void know_ownership();
  [[nodiscard]] std::string recover_command() const;
  void advance_leaving();
  void advance_waiting();
  // Whether nothing may be killed, started or restored now; then the phase is kWaiting.
  bool held_back();
  void wait_for(Waiting reason);
  // Another node owns it; nothing here is its business any more.
  bool leaving() const;

  // policy_move.cc: a move to another node, and a failover to one.
  void on(const OperatorMove&);
  void on(const HandedOver&);
  void on(const HandOverFailed&);
  void advance_move();
  void hand_over();
  void fail_over(const RecoveryDecision& decision);
  void fail_back(const std::string& reason);
  void forget_old_failovers();
  void await_move(const HandingOver& moving);
  void fail_move(const std::string& reason);
  void end_move(const std::string& reason);
  void warn_of_move();
  bool frozen() const;  // or its capture for the move is in flight

  ContainerName name_;
  Term term_;
  Incarnation incarnation_;
  ContainerOptions options_;

  Instant now_{};
  std::vector<Effect> effects_;  // of the event being handled
  Phase phase_ = Phase::kNew;
  Instant phase_since_{};
  std::string reason_;
  std::string remedy_;
  std::optional<Interrupted> resume_;     // in kFailed: where to go on once what hangs has ended
  std::optional<Interrupted> held_back_;  // in kWaiting: where to go on
  Waiting waiting_ = Waiting::kOwnership;
  std::optional<std::string> ownership_unknown_;  // why
  bool ownership_settles_ = false;                // while ownership_unknown_: by itself
  bool gate_untouched_ = false;  // found so while ownership was not known: it stays as it is
  bool stored_unknown_ = false;  // StoredKnown is to come
  bool began_anew_ = false;      // meanwhile: what is stored is not gone back to
  bool stored_missed_ = false;   // and a recovery waits for it
  bool awaits_word_ = false;     // an operator has to say what is gone back to
  std::optional<Move> move_;     // in kMoving
  PersistentState persistent_;
  std::optional<PersistentState> recorded_;

  Operation operation_ = Operation::kNone;
  Generation operation_generation_;  // while capturing or restoring
  Instant operation_since_{};
  bool alive_ = false;  // processes exist
  pid_t pid_ = -1;
  std::optional<Duration> stop_deadline_;  // of the stop that was asked for last
  bool terminating_ = false;               // Terminate was sent to this life
  bool killing_ = false;                   // Kill was sent to this life
  bool half_restored_ = false;             // the processes are left of a restore nobody finished
  bool image_ready_ = false;
  GateState gate_ = GateState::kHeld;
  std::array<std::optional<Instant>, kTimerCount> timers_{};
  ProcessKilled killed_process_;  // while the exit grace runs

  CheckpointSchedule schedule_;
  std::vector<GenerationInfo> generations_;  // ascending
  std::uint64_t next_number_ = 1;
  CaptureKind capture_kind_ = CaptureKind::kPeriodic;
  std::optional<Generation> announced_;  // its commit is worth an event
  Instant fresh_since_{};                // see ContainerStatus
  Instant too_old_at_{};                 // when that ends to be protection
  Instant commits_awaited_since_{};      // nothing could be committed before
  std::string last_error_;               // of a capture, since the last commit
  std::string last_remedy_;
  Pace announced_pace_;

  RecoveryQuestion question_;  // what recovery answers; its list is filled in by decide()
  std::optional<Generation> asked_restore_;  // by an operator
  std::optional<Generation> restored_;       // behind the held gate; the life goes on from it
  std::optional<Probation> probation_;
  bool cold_life_ = false;  // this life began with a cold start
  Instant life_began_{};
  std::deque<Instant> restores_;  // restores and cold starts of recovery, within the window
  std::uint32_t failed_attempts_ =
      0;                           // restores and starts that failed by no fault of a generation
  std::uint32_t failed_in_place_ = 0;      // restores in a row here, see RecoveryQuestion
  std::deque<Instant> failovers_;          // within the window, also those of owners before
  std::optional<std::vector<NodeName>> others_;  // StandbysReady
  std::vector<NodeName> refused_by_;       // did not go on with it, in this trouble
  std::uint32_t short_lives_ = 0;  // lives in a row that began cold and ended soon
  Instant next_attempt_{};         // nothing is tried before
  Instant next_cold_start_{};      // no cold start is tried before
};

}  // namespace perdure::policy
