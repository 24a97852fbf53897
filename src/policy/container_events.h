// What happens to a container (events) and what its policy wants done about it (effects).
//
// Contract of whoever performs the effects:
// - in the order given, each begun before the next; Record and HoldGate are finished before the
// next;
// - PrepareImage, Start, Capture and Restore end in exactly one of their events, whatever happens,
// also
//   after CancelCapture; a Start or Restore that fails has left no process behind;
// - Terminate and Kill end in ContainerDied, reported once per life, when the last process is gone;
// - a delta builds on a generation that was not discarded, of the present life or what it was
// restored from;
// - a timer fires once, at its time or later; SetTimer replaces the timer of the same id.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "policy/checkpoint_schedule.h"
#include "policy/generations.h"
#include "policy/recovery.h"

namespace perdure::policy {

enum class TimerId {
  kCapture,       // the next capture is due
  kAge,           // the newest generation becomes too old
  kCommit,        // a capture should have been committed by now
  kExitGrace,     // does init outlive the process that was killed?
  kProbation,     // the restored container counts as healthy
  kCaptureEnd,    // a cancelled capture should have ended by now
  kRestartDelay,  // before the next attempt
  kStop,          // SIGTERM was not enough
  kKill,          // SIGKILL was not enough
};
inline constexpr std::size_t kTimerCount = 9;

enum class CaptureKind { kTrial, kPeriodic, kRequested };
enum class Severity { kInfo, kWarning, kError };

// What must survive the daemon. Written before what follows from it is done.
struct PersistentState {
  DesiredState desired = DesiredState::kRunning;
  bool begun = false;     // a first start was ordered
  bool finished = false;  // the command ended by itself with exit code 0
  std::string gave_up;    // why recovery was given up; empty: it was not
  bool operator==(const PersistentState&) const = default;
};

// ---- Events ----

struct SpecAccepted {};  // first event of a new container
// First event after a daemon's start for a container it knew. `generations`: what the store holds,
// marks included. kHalfRestored: processes of a restore that nobody finished.
struct DaemonRestarted {
  enum class Found { kAlive, kDead, kHalfRestored } found = Found::kDead;
  pid_t pid = -1;  // with kAlive
  PersistentState state;
  std::vector<GenerationInfo> generations;
};
struct ImageReady {};
struct ImageFailed {
  std::string reason;
  FailureClass failure = FailureClass::kPermanent;
};
struct Started {
  pid_t pid = -1;
};
struct StartFailed {
  std::string reason;
  FailureClass failure = FailureClass::kPermanent;
};
struct CaptureStats {
  Duration cpu{};  // of one core: capture, encoding, writing
  Duration frozen{};
  std::uint64_t kept_bytes = 0;
};
struct CaptureFinished {
  Generation generation;
  std::optional<Generation> parent;
  CaptureStats stats;
  CommitState state = CommitState::kProvisional;  // committed: no Committed follows
};
struct CaptureFailed {
  Generation generation;
  std::string reason;  // CRIU's last error
  std::string remedy;  // what the operator can do; may be empty
  FailureClass failure = FailureClass::kTransient;
  Duration cpu{};
};
struct Committed {
  Generation generation;
};
struct CommitFailed {
  Generation generation;
  std::string reason;
  FailureClass failure = FailureClass::kTransient;
};
struct Durable {
  Generation generation;
};
// A process of the container was killed by a signal; the exit hook has closed the gate already.
struct ProcessKilled {
  pid_t pid = -1;
  int signal = 0;
};
struct ContainerDied {
  ExitStatus status;
};
struct RestoreFinished {
  Generation generation;
  pid_t pid = -1;
};
struct RestoreFailed {
  Generation generation;
  RestoreFailure why = RestoreFailure::kCriu;
  std::string reason;
};
struct OperatorCheckpoint {};
struct OperatorStop {
  std::optional<Duration> deadline{};  // from the signal to the kill; absent: the spec's
};
struct OperatorStart {};
struct OperatorRestore {
  Generation generation;
};
struct OperatorRemove {};
struct TimerFired {
  TimerId timer;
};

using Event =
    std::variant<SpecAccepted, DaemonRestarted, ImageReady, ImageFailed, Started, StartFailed,
                 CaptureFinished, CaptureFailed, Committed, CommitFailed, Durable, ProcessKilled,
                 ContainerDied, RestoreFinished, RestoreFailed, OperatorCheckpoint, OperatorStop,
                 OperatorStart, OperatorRestore, OperatorRemove, TimerFired>;

// ---- Effects ----

struct Record {
  PersistentState state;
};
struct PrepareImage {};
struct Start {};  // cold: a new life of the command on the writable layer as it is
struct Capture {
  Generation generation;
  CaptureKind kind = CaptureKind::kPeriodic;
};
// Ends CRIU and thaws; CaptureFailed or CaptureFinished still comes.
struct CancelCapture {
  Generation generation;
};
struct Restore {
  Generation generation;  // in place: same files, same address; gate held
};
struct HoldGate {};
struct OpenGate {};
struct Terminate {};  // the spec's stop signal (SIGTERM) to init
struct Kill {};       // SIGKILL to everything inside
// Marks the generation in the store and keeps it for inspection. Also ends its shipping if it is
// provisional.
struct DiscardGeneration {
  Generation generation;
  Mark mark = Mark::kSuspect;
  std::string reason;
};
struct ReinstateGeneration {  // takes the mark off: an operator vouches for it
  Generation generation;
};
struct DeleteGeneration {
  Generation generation;
};
struct SetTimer {
  TimerId timer;
  Instant at;
};
struct CancelTimer {
  TimerId timer;
};
struct Emit {
  Severity severity = Severity::kInfo;
  std::string kind;    // one word, stable
  std::string text;    // for people
  std::string reason;  // may be empty
};
struct DeclareProtected {
  Generation generation;  // zero for a stateless container
};
struct DeclareUnprotected {
  std::string reason;
  std::string remedy;
};
struct GiveUp {
  std::string reason;
  std::string remedy;
};
struct Release {};  // the container is to leave no trace: network, files, capsules

using Effect = std::variant<Record, PrepareImage, Start, Capture, CancelCapture, Restore, HoldGate,
                            OpenGate, Terminate, Kill, DiscardGeneration, ReinstateGeneration,
                            DeleteGeneration, SetTimer, CancelTimer, Emit, DeclareProtected,
                            DeclareUnprotected, GiveUp, Release>;

// One line each, for logs and golden tests. Times as "+1.2 s" since `origin`.
std::string to_string(const Event& event);
std::string to_string(const Effect& effect, Instant origin);
std::string_view to_string(TimerId timer);
std::string_view to_string(CaptureKind kind);
std::string_view to_string(Severity severity);
std::string_view to_string(DesiredState state);

}  // namespace perdure::policy
