// What happens to a container (events) and what its policy wants done about it (effects).
//
// Contract of whoever performs the effects:
// - in the order given, each begun before the next; Record, HoldGate and Resume are finished before
//   the next;
// - PrepareImage, Start, Capture, Restore, HandOver and FailOver end in exactly one of their events, whatever
//   happens, also after CancelCapture; a Start or Restore that fails has left no process behind;
// - Terminate and Kill end in ContainerDied, reported once per life, when the last process is gone;
// - a delta builds on a generation that was not discarded, of the present life or what it was
//   restored from; in the durable directory on one that generations() calls durable. What was
//   written there and is not called durable after its Durable is worth nothing and is removed there;
// - a timer fires once, at its time or later; SetTimer replaces the timer of the same id.
//
// Contract of whoever reports ownership (docs/cluster.md):
// - a node that does not know its record yet says OwnershipUnknown before the first event; whatever
//   is said of ownership may come at any time, and again;
// - HandOver and FailOver end in HandedOver or HandOverFailed, which come only when the record has been read; after a restart with
//   PersistentState::handing_over set the HandOver counts as under way.
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
  kMove,          // it is still not known who owns the frozen container
};
inline constexpr std::size_t kTimerCount = 10;

// kHandover: the last one before a move. When it has finished, the processes stay frozen and the
// gate stays locked, until Resume or Kill; when it fails, they run as before.
enum class CaptureKind { kTrial, kPeriodic, kRequested, kHandover };
enum class Severity { kInfo, kWarning, kError };

// A move or a failover whose end is not known yet.
struct HandingOver {
  NodeName target;
  Generation generation;  // the state that is handed over
  bool operator==(const HandingOver&) const = default;
};

// What must survive the daemon. Written before what follows from it is done.
struct PersistentState {
  DesiredState desired = DesiredState::kRunning;
  bool begun = false;     // a first start was ordered
  bool finished = false;  // the command ended by itself with exit code 0
  std::string gave_up;    // why recovery was given up; empty: it was not
  // From before the capture for the move until the source has the container back; stays when the
  // target has it, until Leave takes this state away.
  std::optional<HandingOver> handing_over{};
  bool operator==(const PersistentState&) const = default;
};

// ---- Events ----

struct SpecAccepted {};  // first event of a new container
// First event after a daemon's start for a container it knew. `generations`: what the store holds,
// marks included, and what standbys hold (committed, without a parent). kHalfRestored: processes of
// a restore that nobody finished; one that is frozen for a move is kAlive.
struct DaemonRestarted {
  enum class Found { kAlive, kDead, kHalfRestored } found = Found::kDead;
  pid_t pid = -1;  // with kAlive
  PersistentState state;
  std::vector<GenerationInfo> generations;
  // The record names standbys and none of them holds its memory any more: newer committed
  // generations than those listed may have been lost, so an operator has to say what is gone back
  // to.
  bool awaits_word = false;
  // What is stored could not be listed yet: StoredKnown follows. Until then nothing begins anew for want of a generation.
  bool stored_unknown = false;
};
struct StoredKnown {
  std::vector<GenerationInfo> generations;
};
// What a node is told with a container that its owner could not keep running.
struct FailedOver {
  NodeName from;
  std::string reason;
  std::vector<Duration> ago;  // each such failover within the window, the newest last: this one
  bool operator==(const FailedOver&) const = default;
};
// First event on a node that a move or a takeover has made the owner: the container has been restored from
// `generation`, behind its held gate. `state`: as it is written on this host.
struct TakenOver {
  pid_t pid = -1;
  PersistentState state;
  std::vector<GenerationInfo> generations;
  Generation generation;
  // It was neither moved nor taken over: its owner could not keep it running.
  std::optional<FailedOver> failed_over{};
  std::optional<NodeName> silent_owner{};  // it was not moved: this one has fallen silent
  std::string ordered_by{};                // ... or cannot be reached, and somebody has ordered it
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
// `parent`: what it builds on in the durable directory, if it is there already.
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
// Every standby holds it, or the durable directory if there is none. What is older and still waits
// for its commit is superseded and counts as committed too.
struct Committed {
  Generation generation;
};
struct CommitFailed {
  Generation generation;
  std::string reason;
  FailureClass failure = FailureClass::kTransient;
};
// The durable directory holds it, as a delta against `parent` there or complete in itself. In the
// order of the writes, and before the next one begins.
struct Durable {
  Generation generation;
  std::optional<Generation> parent{};
};
// A process of the container was killed by a signal; the exit hook has closed the gate already.
struct ProcessKilled {
  pid_t pid = -1;
  int signal = 0;
  // It is the container's first process: ContainerDied follows as soon as the kernel is done with the others.
  bool is_init = false;
  std::string command{};  // its name, as the kernel has it
};
// The container's agent has started a component again; its host was told before anything else of it failed.
struct ComponentRestarted {};
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
struct OperatorMove {
  NodeName target;
};
// The target runs and has committed: the frozen copy here is of no use any more.
struct HandedOver {};
// The record names this node again, under `term`.
struct HandOverFailed {
  std::string reason;
  Term term;
};
// The standbys that could go on with it now, the best first. Said when it changes, and at the latest with the first event after
// which there is a record; never said: there is no cluster.
struct StandbysReady {
  std::vector<NodeName> nodes;
};
// This node is the owner still, under a higher term.
struct TermRaised {
  Term term;
};
// The record names another owner, and the container runs there.
struct OwnershipLost {
  NodeName owner;
  Term term;
};
// No record, one older than what is known here, another cluster's, or none has been read since the
// daemon's start.
struct OwnershipUnknown {
  std::string reason;
  bool passing = false;  // settles by itself if all goes well: an operator's time has not come
};
// The record names this node.
struct OwnershipKnown {};
struct TimerFired {
  TimerId timer;
};

using Event =
    std::variant<SpecAccepted, DaemonRestarted, StoredKnown, TakenOver, ImageReady, ImageFailed, Started,
                 StartFailed, CaptureFinished, CaptureFailed, Committed, CommitFailed, Durable,
                 ProcessKilled, ComponentRestarted, ContainerDied, RestoreFinished, RestoreFailed, OperatorCheckpoint,
                 OperatorStop, OperatorStart, OperatorRestore, OperatorRemove, OperatorMove,
                 HandedOver, HandOverFailed, StandbysReady, TermRaised, OwnershipLost, OwnershipUnknown,
                 OwnershipKnown, TimerFired>;

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
// Ships `generation` to the target and lets it become the owner. The copy here stays frozen and
// silent until HandedOver or HandOverFailed.
struct HandOver {
  Generation generation;
  NodeName target;
};
// What runs nowhere any more: `generation`, which is committed, goes to the target, and it becomes the owner.
struct FailOver {
  Generation generation;
  NodeName target;
  std::string reason;
  std::vector<Duration> ago;  // FailedOver's
};
struct Resume {};  // thaws what a capture for a move has left frozen, and opens the gate
// Another node owns the container: what this host had to run it goes (files, network, the recorded
// state). Capsules stay; the node may be a standby.
struct Leave {};

using Effect = std::variant<Record, PrepareImage, Start, Capture, CancelCapture, Restore, HoldGate,
                            OpenGate, Terminate, Kill, DiscardGeneration, ReinstateGeneration,
                            DeleteGeneration, SetTimer, CancelTimer, Emit, DeclareProtected,
                            DeclareUnprotected, GiveUp, Release, HandOver, FailOver, Resume, Leave>;

// One line each, for logs and golden tests. Times as "+1.2 s" since `origin`.
std::string to_string(const Event& event);
std::string to_string(const Effect& effect, Instant origin);
std::string_view to_string(TimerId timer);
std::string_view to_string(CaptureKind kind);
std::string_view to_string(Severity severity);
std::string_view to_string(DesiredState state);

}  // namespace perdure::policy
