// Who owns a container and who stands by, as the owner's node decides it: one pure machine per
// container.
//
// It holds what this node believes of the record and of each standby, and answers events with swaps
// of the record and orders to the rest. One request to the store is in flight at a time. It never
// assumes that a swap was applied: after one without an answer the record is read, and until
// something has been written over the revision that the lost swap compares, both outcomes count
// (docs/cluster.md, "The record"). Whatever an event changes, reconcile() looks only at the state
// reached: what must the record say, who must hold what, and what of that is missing?
//
// A planned move is a second, smaller state beside it (MoveStep); its table is in docs/cluster.md.
// The container is ContainerPolicy's; the gate's deadline is LeaseHolder's, which is told whose
// grants it needs: those of the standbys of every record that may be in force (configurations()),
// the same that a commit needs (docs/protocol.md).
//
// No clock, no I/O, no threads; the same events give the same effects. Memory is bounded by the
// nodes of the cluster and by ContainerPolicy's uncommitted generations. Life: construct, then
// Adopted or Restarted as the first event; EndCopy, OwnershipLost or RemovalComplete is the end.
// Source: DESIGN's primary-backup with a consensus store, as in PacificA (MSR-TR-2008-25).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "model/cluster.h"
#include "policy/options.h"
#include "policy/ownership_events.h"

namespace perdure::policy {

struct OwnershipOptions {
  std::uint32_t standbys = 1;  // wanted
  // For an answer of the store; then the record is read.
  Duration swap_deadline = std::chrono::milliseconds(500);
  Duration read_retry = std::chrono::milliseconds(200);  // while the store cannot be reached
  // For what is read by who takes over when its swap was not answered: etcd's leader may be dying again. Both double with each
  // answer missed, up to the two above, for a store that is only slow.
  Duration first_deadline = std::chrono::milliseconds(100);
  Duration first_retry = std::chrono::milliseconds(20);
  // While the record makes no sense or another node is about to run the container.
  Duration reread = std::chrono::seconds(5);
  // Unreachable so long: dropped, if anything else holds what it holds.
  Duration standby_silence = std::chrono::seconds(2);
  // Behind so long: dropped, if another standby holds newer ones.
  Duration acknowledge_limit = std::chrono::seconds(10);
  // A learner that acknowledges nothing for so long gives its place to another node.
  Duration learner_limit = std::chrono::minutes(2);
  // Before a node that was dropped or refused is made a learner again; doubles. Forgotten when it
  // has stood by for the limit.
  Duration readmission_first = std::chrono::seconds(1);
  Duration readmission_limit = std::chrono::minutes(5);
  Duration prepare_limit = std::chrono::minutes(10);  // of a move, before the freeze
  // Of a failover, whose container runs nowhere meanwhile: the standby has to get the generation and lay out its files.
  Duration failover_limit = std::chrono::seconds(15);
  // From the freeze to the target's word; then the source takes the term back.
  Duration move_limit = std::chrono::seconds(30);
};

struct OwnershipIdentity {
  ContainerName container;
  model::NodeLife self;
  Statefulness statefulness = Statefulness::kStateful;  // stateless: a standby holds nothing
};
using NonceSource = std::function<model::Nonce()>;

namespace ownership {

enum class OwnershipKnowledge {
  kUnread,     // a restarted daemon has not read the record yet
  kKnown,      // this life is the owner
  kUnknown,    // the record makes no sense: an operator has to look
  kSuspended,  // another node is becoming the owner
  kEnded,
};
enum class MoveStep {
  kNone,
  kEnlisting,   // the target becomes a learner
  kPreparing,   // it lays out mounts, network, files
  kFreezing,    // the last capture; of a failover: what kPreparing is else, from when it is written down
  kShipping,    // the target does not hold it yet
  kSwapping,    // the record is about to name the target
  kTaking,      // it does; the target restores
  kTakingBack,  // the target failed or is silent
  kHandedOver,  // it runs there; the frozen copy waits for the target's first generation
};
std::string_view to_string(OwnershipKnowledge knowledge);
std::string_view to_string(MoveStep step);

struct PeerStatus {
  NodeName node;
  bool recorded = false;
  bool learner = false;
  bool connected = false;
  std::optional<Generation> held;
  std::uint64_t behind = 0;  // generations captured since
  std::string refusal;       // why it is none; empty: nothing is known against it
  std::optional<Instant> retry_at;
};
struct OwnershipStatus {
  OwnershipKnowledge knowledge = OwnershipKnowledge::kUnread;
  std::string reason;  // why unknown
  std::optional<model::OwnershipRecord> record;
  Revision revision = 0;
  Term term;
  bool store_reachable = true;
  bool change_waits = false;  // a swap is wanted or its outcome is not known
  std::uint32_t wanted = 0;
  std::vector<PeerStatus> peers;
  std::optional<Generation> committed;
  MoveStep move = MoveStep::kNone;
  std::optional<NodeName> move_target;
};

class Ownership {
 public:
  Ownership(OwnershipIdentity identity, const OwnershipOptions& options, NonceSource nonces);

  // Events that do not fit the state (late, repeated) are ignored. `now` never goes back.
  std::vector<Effect> handle(const Event& event, Instant now);

  // Whether an operator's event (DesiredAsked, MoveAsked) would be taken now: kConflict says why
  // not.
  Status admit(const Event& event) const;

  OwnershipStatus status() const;
  // The standbys of the record that could go on with it now, in the order of the candidates.
  std::vector<NodeName> ready_standbys() const;
  // Whether a commit waits until a generation is durable: a record that may be in force has no standby, or none is known.
  bool durable_counts() const;
  bool ended() const { return knowledge_ == OwnershipKnowledge::kEnded; }

 private:
  using Record = model::OwnershipRecord;
  using Life = model::NodeLife;
  using Set = std::set<NodeName>;

  enum class Role { kNone, kEnlisting, kLearner };
  enum class Grants { kUnknown, kFlow, kStopped };
  struct Peer {
    std::optional<Incarnation> incarnation;  // of the life last seen
    bool up = false;
    Instant since{};            // up or down
    std::set<Generation> held;  // of this life, not discarded; below the newest committed only one
    Grants grants = Grants::kUnknown;  // of this life
    bool ends = false;                 // this life, soon
    Role role = Role::kNone;
    bool unseen = true;              // not seen by this life yet: what it holds is not known
    std::optional<Generation> goal;  // a learner that holds this has caught up
    Instant progress{};              // when a learner was last heard of
    Pace pace = Pace::kNone;         // as last told
    bool has_ours = false;           // may hold something of this container
    bool dismissing = false;
    bool dismissing_everything = false;
    Instant dismiss_after{};
    bool dismissed = false;  // everything, for a removal
    bool lag_told = false;
    std::string refusal;
    Instant not_before{};
    Duration back_off{};
    Instant recorded_since{};
  };
  struct Move {
    MoveStep step = MoveStep::kNone;
    std::optional<Life> target;
    std::optional<Generation> generation;
    std::vector<Life> standbys;  // of the record before
    Term term;                   // before
    Instant deadline{};
    std::string failure;  // why it is undone; empty: it is not
    bool fails_over = false;  // there is no copy here, and `generation` is there from the beginning
    bool asked = false;   // it was asked to be a learner
    bool prepared = false;
    bool told = false;       // to take it, since it was last connected
    bool restarted = false;  // the daemon was, in the middle
    bool remembered = false;
    bool target_committed = false;
    std::optional<Instant> target_gone;
  };
  enum class StoreStep { kIdle, kReading, kSwapping, kRemoving };

  // ownership.cc: the machine as a whole, peers, generations, commits, wishes.
  void on(const Adopted&);
  void on(const Restarted&);
  void on(const PeerUp&);
  void on(const PeerDown&);
  void on(const PeerEnds&);
  void on(const Captured&);
  void on(const Held&);
  void on(const HoldingShrank&);
  void on(const Durable&);
  void on(const GenerationsDiscarded&);
  void on(const GoneBackTo&);
  void on(const ContainerRuns&) { runs_ = true; }
  void on(const ContainerRemoved&) { removed_ = true; }
  void on(const DesiredAsked&);
  void on(const GrantsFlow& event) { note_grants(event.life, Grants::kFlow); }
  void on(const GrantsStopped& event) { note_grants(event.life, Grants::kStopped); }
  void on(const TimerFired&) { timer_.reset(); }
  void note_grants(const Life& life, Grants grants);
  void take_stock(const Stock& stock);
  void reconcile();
  void settle_desired();
  std::optional<Refuse> objection(const DesiredAsked& event) const;
  std::optional<Refuse> objection(const MoveAsked& event) const;
  bool owning() const;  // this life is, and no other has been named yet
  void advance_commits();
  void arm_timer();
  void end();
  void emit(Severity severity, std::string kind, std::string text);
  Peer& peer(const NodeName& node);
  const Peer* find_peer(const NodeName& node) const;
  const Peer* live_peer(const Life& life) const;  // connected in this life
  std::optional<Generation> newest() const;
  static std::optional<Generation> holds(const Peer& peer);
  void acknowledge(Peer& peer, const Generation& generation);

  // ownership_record.cc: the record, its swaps, what it must say.
  void on(const RecordRead&);
  void on(const ReadFailed&);
  void on(const SwapApplied&);
  void on(const SwapRefused&);
  void on(const SwapUnknown&);
  void on(const RecordChanged&);
  void on(const StoreForeign&);
  void judge(const std::optional<Record>& record, Revision revision);
  void judge_own(const Record& record);
  void judge_foreign(const Record& record);
  void know();
  void lose_sight(std::string reason);
  void raise_term(Term term);
  void advance_store();
  void check_deadline();
  void send_read();
  void send_swap(Record record);
  std::optional<Record> wanted_record() const;
  Record retried_record() const;
  bool record_goes() const;
  std::vector<std::vector<Life>> configurations() const;
  void advance_grants(const std::vector<Life>& about_to_be_named);
  Set possible_standbys() const;

  // ownership_standbys.cc: learners, additions, drops, dismissals.
  void on(const Candidates&);
  void on(const Enlisted&);
  void on(const EnlistRefused&);
  void on(const Dismissed&);
  void on(const DismissRefused&);
  void on(const StandbysWanted& event) { wanted_ = event.count; }
  void advance_learners();
  void advance_paces();
  void advance_dismissals();
  void note_standbys(const std::vector<Life>& before, const std::vector<Life>& after);
  void note_lag();
  std::vector<Life> wanted_standbys() const;
  bool must_drop(const Life& standby) const;
  std::string drop_reason(const Life& standby) const;
  bool covered(const Life& standby, const std::vector<Life>& others) const;
  std::vector<Life> holders() const;
  std::vector<Life> steady_holders() const;
  bool slow(const Life& standby) const;
  bool silent(const NodeName& node) const;
  bool acceptable(const NodeName& node) const;
  bool ready(const Peer& peer) const;
  void refuse_peer(Peer& peer, std::string reason);
  std::string fault_of(const Peer& peer, const Life& standby) const;
  std::size_t missing_standbys() const;

  // ownership_moves.cc: a planned move, from the source's side.
  void on(const MoveAsked&);
  void on(const FailOverAsked&);
  void on(const MovePrepared&);
  void on(const HandoverCaptured&);
  void on(const HandoverCaptureFailed&);
  void on(const NotRemembered&);
  void on(const Taken&);
  void on(const TargetCommitted&);
  void on(const TargetSilent&);
  void remember_handing_over(const Generation& generation);
  void advance_move();
  void watch_target();
  void fail_move(std::string reason);
  void finish_move_back();
  void handed_over();
  bool frozen() const { return move_.step >= MoveStep::kFreezing; }
  bool is_target(const NodeName& node) const;
  bool own_move(const Record& record) const;
  Record handover_record() const;
  Record take_back_record() const;

  const OwnershipIdentity identity_;
  const OwnershipOptions options_;
  const NonceSource nonces_;

  Instant now_{};
  std::vector<Effect> effects_;  // of the event being handled
  std::optional<Instant> timer_;

  OwnershipKnowledge knowledge_ = OwnershipKnowledge::kUnread;
  bool begun_ = false;
  std::string reason_;
  Term term_;                     // highest known
  std::optional<Term> own_term_;  // under which this life has seen this node named the owner
  std::optional<Record> record_;  // as last known
  Revision revision_ = 0;         // its
  StoreStep store_ = StoreStep::kIdle;
  Request request_ = 0;
  Instant store_deadline_{};
  std::optional<Instant> retry_at_;
  bool read_wanted_ = false;
  bool store_reachable_ = true;
  std::optional<Record> in_flight_;
  std::optional<Record> sent_;  // what may be in force beside record_, in flight or in doubt
  bool doubt_ = false;          // a write of ours may still come that compares revision_
  std::uint32_t unknowns_ = 0;  // answers missed in a row
  Revision hint_ = 0;
  bool known_told_ = false;
  std::optional<NeedGrants> needs_;  // as last told
  bool restarted_ = false;           // and no swap of this life has been applied yet

  std::set<Generation> generations_;  // not discarded, from the newest committed on
  std::map<Generation, Instant> captured_at_;
  std::optional<Generation> committed_;
  std::set<Generation> durable_;  // of generations_, and the newest before
  // Of this term, that some node has said to hold: an earlier life of this node may have committed it, and this one not know it.
  // Who holds less cannot stand by.
  std::optional<Generation> newest_of_earlier_life_;

  std::uint32_t wanted_ = 0;
  std::map<NodeName, Peer> peers_;
  std::vector<NodeName> candidates_;
  std::map<NodeName, std::string> not_candidates_;
  bool candidates_known_ = false;

  std::optional<model::DesiredState> wish_;
  std::optional<model::DesiredState> settled_;  // as last told
  bool runs_ = false;
  bool removed_ = false;
  Move move_;
};

}  // namespace ownership

using ownership::MoveStep;
using ownership::Ownership;
using ownership::OwnershipKnowledge;
using ownership::OwnershipStatus;

}  // namespace perdure::policy
