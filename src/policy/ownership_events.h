// What the owner's node learns about a container's record, its standbys and its move (events), and
// what it wants done (effects).
//
// Contract of whoever performs the effects:
// - in the order given; RaiseTerm and Remember are durable, and NeedGrants is in force, before the
//   next one is begun; where a handing-over cannot be written down NotRemembered follows;
// - ReadRecord, Swap and RemoveRecord are answered at most once, with their request's number; an
// answer that comes after another
//   request was made is passed on all the same and ignored here;
// - Enlist ends in Enlisted, EnlistRefused or PeerDown, AskPrepare in MovePrepared or PeerDown,
// Dismiss in Dismissed, DismissRefused or PeerDown;
// - BeginHandover ends in HandoverCaptured (everything frozen, the gate shut, until HandOverFailed,
// EndCopy or OwnershipLost) or
//   in HandoverCaptureFailed (it runs on);
// - SetTimer replaces the timer before it; TimerFired comes once, at its time or later.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "model/cluster.h"
#include "policy/container_events.h"

namespace perdure::policy::ownership {

using Revision = std::int64_t;  // the record's modification revision
using Request = std::uint64_t;  // of the store; rises
using model::DesiredState;
using model::NodeLife;
using model::OwnershipRecord;
using policy::Emit;
using policy::Severity;

// A move from the freeze on. Survives the daemon.
struct HandingOver {
  NodeLife target;
  Generation generation;
  Term term;                       // of this owner when it began
  std::vector<NodeLife> standbys;  // of the record before
  bool operator==(const HandingOver&) const = default;
};

// What the owner's node has of the container: generations that are not discarded, oldest first.
struct Stock {
  std::vector<Generation> generations;
  std::optional<Generation> committed;
  std::optional<Generation> durable;
};

// ---- Events ----

// First event: this life made the record, or took it (Claimed of taking.h).
struct Adopted {
  OwnershipRecord record;
  Revision revision = 0;
  Stock stock;
};
// First event of a daemon that finds a container it owned when it ended.
struct Restarted {
  Term term;              // the highest that RaiseTerm has said
  Revision revision = 0;  // of the newest record it has seen; 0: not known
  std::optional<HandingOver> handing_over;
  bool removed = false;  // ContainerRemoved was reached: a record that is gone is no surprise
  Stock stock;
};

struct RecordRead {
  Request request = 0;
  std::optional<OwnershipRecord> record;
  Revision revision = 0;  // the record's; without one: the store's
};
struct ReadFailed {
  Request request = 0;
  std::string reason;
};
struct SwapApplied {  // also of RemoveRecord
  Request request = 0;
  Revision revision = 0;
};
struct SwapRefused {
  Request request = 0;
  std::optional<OwnershipRecord> record;
  Revision revision = 0;
};
struct SwapUnknown {
  Request request = 0;
  std::string reason;
};
// A hint from the watch, or from a peer that refused us as fenced: the record is read when it is
// not known that well.
struct RecordChanged {
  Revision revision = 0;  // 0: not known
};
// The store is not the one of this cluster.
struct StoreForeign {
  std::string reason;
};

// The peer is connected, in this life. `held`: its newest generation of this container. Repeated
// when it reports again; only after a PeerDown may it be less than before (else: HoldingShrank).
struct PeerUp {
  NodeLife life;
  std::optional<Generation> held;
};
struct PeerDown {
  NodeName node;
};
// Its perdured is about to end, and will come back as another life: what it holds goes with this one. It answers heartbeats
// until it is no standby any more, or cannot wait any longer.
struct PeerEnds {
  NodeLife life;
};
// Who may stand by, the best first, present standbys where they rank (placement/choose_standbys.h);
// and why the rest may not.
struct Candidates {
  std::vector<NodeName> order;
  std::map<NodeName, std::string> refused;
};
struct Enlisted {
  NodeLife life;
  std::optional<Generation> held;
};
struct EnlistRefused {
  NodeName node;
  std::string reason;
};
struct Dismissed {
  NodeName node;
};
struct DismissRefused {  // it cannot let go yet: asked again later
  NodeName node;
  std::string reason;
};
struct Captured {
  Generation generation;
};
struct Held {  // acknowledged
  NodeLife life;
  Generation generation;
};
struct HoldingShrank {
  NodeLife life;
  std::optional<Generation> held;
};
struct Durable {
  Generation generation;
};
struct GenerationsDiscarded {
  std::vector<Generation> generations;
};
// What is newer is discarded. Known or not, it is what counts now.
struct GoneBackTo {
  Generation generation;
  bool durable = false;
};
struct ContainerRuns {};  // for the record's phase
struct ContainerRemoved {
};  // after DesiredSettled{removed}: nothing of it is left on this node but what the record needs

struct DesiredAsked {
  DesiredState desired = DesiredState::kRunning;
};
struct StandbysWanted {
  std::uint32_t count = 0;
};

struct MoveAsked {
  NodeName target;
};
// It runs nowhere and is not brought back here: a standby goes on with `generation`, which is what counts now (GoneBackTo).
// Ends in HandOverFailed or HandedOver, as a move does from the freeze on.
struct FailOverAsked {
  NodeName target;
  Generation generation;
};
struct MovePrepared {
  NodeName target;
  std::string refusal;  // empty: ready
};
struct HandoverCaptured {
  Generation generation;
};
struct HandoverCaptureFailed {
  std::string reason;
};
// What Remember said would not outlive this daemon: a full disk.
struct NotRemembered {
  std::string reason;
};
struct Taken {
  NodeName target;
  Term term;
  std::string error;  // why not; the copy there is gone. Empty: it runs
};
// This node, as standby of the new owner, holds a generation of it.
struct TargetCommitted {
  Term term;
};
// No grant of this node is in force any more for the new owner, whose standby it is: it grants nothing until it is asked again.
// `held`: the newest generation that it holds as its standby.
struct TargetSilent {
  std::optional<Generation> held;
};
// This life answers the heartbeats for the container, or has let half a grant pass without an answer
// (lease_holder.h). Of what is not known, neither is assumed.
struct GrantsFlow {
  NodeLife life;
};
struct GrantsStopped {
  NodeLife life;
};
struct TimerFired {};

using Event =
    std::variant<Adopted, Restarted, RecordRead, ReadFailed, SwapApplied, SwapRefused, SwapUnknown,
                 RecordChanged, StoreForeign, PeerUp, PeerDown, PeerEnds, Candidates, Enlisted, EnlistRefused,
                 Dismissed, DismissRefused, Captured, Held, HoldingShrank, Durable,
                 GenerationsDiscarded, GoneBackTo, ContainerRuns, ContainerRemoved, DesiredAsked,
                 StandbysWanted, MoveAsked, FailOverAsked, MovePrepared, HandoverCaptured, HandoverCaptureFailed,
                 NotRemembered, Taken, TargetCommitted, TargetSilent, GrantsFlow, GrantsStopped, TimerFired>;

// ---- Effects ----

struct ReadRecord {  // linearizable
  Request request = 0;
};
struct Swap {
  Request request = 0;
  OwnershipRecord record;
  Revision expected = 0;
};
// The record, its addresses and its specification, in one transaction.
struct RemoveRecord {
  Request request = 0;
  Revision expected = 0;
};
struct Enlist {
  NodeName node;
};
enum class Pace { kNone, kNewest, kEvery };  // kNone: nothing is shipped there
// Without a grant of each of these lives under this term the gate closes, from before the next
// effect on; those that are asked are to be heard of too. `inherits`: what an earlier life of this
// daemon has left in the gate counts for them.
struct NeedGrants {
  Term term;
  std::vector<NodeLife> required;
  std::vector<NodeLife> asked;
  bool inherits = false;
  bool operator==(const NeedGrants&) const = default;
};
// No heartbeats any more. The gate is left to the deadline it has.
struct RenewNothing {};
struct SetPace {
  NodeName node;
  Pace pace = Pace::kNone;
};
struct Dismiss {
  NodeName node;
  bool everything = false;  // the container is being removed
  std::string reason;
};
struct Commit {  // ContainerPolicy's Committed, and a notice to the standbys
  Generation generation;
};
struct SetTimer {
  Instant at;
};
struct RaiseTerm {
  Term term;
};
struct Remember {
  std::optional<HandingOver> handing_over;
};
// To a peer that may not know: the record holds this term now. May get lost.
struct TellTerm {
  NodeName node;
  Term term;
};
struct AskPrepare {
  NodeName target;
};
struct BeginHandover {  // freeze, shut the gate, capture, stay frozen
  NodeName target;
};
// Repeated when the target comes back; it answers with Taken.
struct TellTake {
  NodeLife target;
  Term term;
  Generation generation;
  Revision revision = 0;
};
struct HandedOver {  // it runs there; the copy here stays frozen until EndCopy
  NodeLife target;
  Term term;
};
struct EndCopy {};  // kill what is frozen here; the last effect of this machine
// Thaw and open the gate, under this term. Also after Suspend.
struct HandOverFailed {
  std::string reason;
  Term term;
};
struct MoveFailed {  // for whoever asked; it stays where it is
  NodeName target;
  std::string reason;
};
// Another node is becoming the owner: shut the gate and freeze; HandOverFailed or OwnershipLost
// follows. The state here may be the only one.
struct Suspend {
  NodeLife owner;
  Term term;
};
struct OwnershipLost {  // kill the copy here; the last effect of this machine
  NodeLife owner;
  Term term;
};
// Kill nothing, renew nothing, record nothing: an operator has to look. The gate stays as it is.
struct OwnershipUnknown {
  std::string reason;
};
// The record names this life as the owner; after Restarted or OwnershipUnknown. What is found
// frozen after a restart without `handing_over` is thawed now; with it, HandOverFailed or
// HandedOver says so.
struct OwnershipKnown {};
struct DesiredSettled {
  DesiredState desired = DesiredState::kRunning;
};
struct RemovalComplete {};  // the record is gone; the last effect of this machine
struct Refuse {
  std::string what;  // "move", "stop", "remove", "start"
  std::string why;
};

using Effect =
    std::variant<ReadRecord, Swap, RemoveRecord, Enlist, NeedGrants, RenewNothing, SetPace, Dismiss, Commit, Emit, SetTimer,
                 RaiseTerm, Remember, TellTerm, AskPrepare, BeginHandover, TellTake, HandedOver,
                 EndCopy, HandOverFailed, MoveFailed, Suspend, OwnershipLost, OwnershipUnknown,
                 OwnershipKnown, DesiredSettled, RemovalComplete, Refuse>;

// One line each, for logs and golden tests. Times as "+1.2 s" since `origin`.
std::string to_string(const Event& event);
std::string to_string(const Effect& effect, Instant origin);
std::string to_string(const NodeLife& life);           // "b/3": incarnation hexadecimal
std::string to_string(const OwnershipRecord& record);  // "a/1 term 7 running standbys b/2,c/3"
std::string_view to_string(Pace pace);

}  // namespace perdure::policy::ownership
