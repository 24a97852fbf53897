// How a node becomes the owner of a container that another one has owned.
//
// In a planned move: from the source's word that the record names this node, to a gate that may
// open, or to a copy that has never spoken and is gone. The source may take the term back at any
// time until the phase is swapped; its swap and ours compare the same revision, so one of them wins.
//
// In a takeover: from the owner's silence (lease_granter.h, which grants nothing from then on) to the
// swap that names this node, and from there to a restored copy. The owner may have changed the
// record; then its swap wins. A swap that may still come is outdated before anything is granted
// again (docs/protocol.md).
//
// One machine per container that is being taken. As long as the outcome is not known, nothing is
// opened and nothing is killed. No clock, no I/O, no threads.
//
// The requests to the store, their answers and the timer are those of ownership_events.h, with the
// same contract. Restore ends in exactly one of Restored and RestoreFailed; the copy stays behind
// its locked gate until Claimed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "model/cluster.h"
#include "policy/ownership.h"
#include "policy/ownership_events.h"

namespace perdure::policy {

namespace taking {

// MoveTake: first event, repeated when the source comes back.
struct Told {
  Term term;
  Generation generation;
  ownership::Revision revision = 0;  // of the record that names this node
};
// First event of a daemon whose earlier life died while it took the container over: it finds a copy
// behind a locked gate that nothing here owns (`term`: as known here), or sees a record that names
// an earlier life of this node the owner while nothing here knows of owning it (`term`: its).
struct FoundUnfinished {
  Term term;
};
// First event of a takeover: no grant of this node is in force. `record`: as last seen. `holds`: what
// of it can be restored here, the best last; nothing older than the newest that this node knows to be committed, for others hold
// that too.
struct OwnerSilent {
  model::OwnershipRecord record;
  ownership::Revision revision = 0;
  std::vector<Generation> holds;
};
// A heartbeat of the owner has come since.
struct OwnerHeard {};
// It has been received from the owner since, told before it is acknowledged: the owner may count it as committed, so nothing
// older may be restored. After Seized nothing of the former owner is acknowledged any more.
struct Held {
  Generation generation;
};
struct Restored {};
struct RestoreFailed {
  std::string reason;
};

using Event = std::variant<Told, FoundUnfinished, OwnerSilent, OwnerHeard, Held, Restored, RestoreFailed, ownership::RecordRead,
                           ownership::ReadFailed, ownership::SwapApplied, ownership::SwapRefused,
                           ownership::SwapUnknown, ownership::RecordChanged, ownership::TimerFired>;

struct RestoreCopy {
  Generation generation;
};
// Nothing of ours can change the record any more: heartbeats may be answered again.
struct ResumeGrants {};
// The record names this life the owner. From here on heartbeats are sent to its standbys: the gate needs their grants.
struct Seized {
  model::OwnershipRecord record;
  ownership::Revision revision = 0;
};
// It owns the container, and nothing that is here could be restored: what others hold, or what is
// durable, has to do. Ownership begins with this, as with Claimed.
struct ClaimedEmpty {
  model::OwnershipRecord record;
  ownership::Revision revision = 0;
  std::string reason;
};
struct KillCopy {};  // whatever of it there is; the gate stays locked
// The record says: this life owns it and it runs. The gate may open; Ownership begins with this
// (Adopted).
struct Claimed {
  model::OwnershipRecord record;
  ownership::Revision revision = 0;
};
// The record says that an earlier life of this node runs it, or had taken it over: Ownership begins with Restarted. A copy that
// was restored may be here, or none.
struct ClaimedBefore {};
struct Answer {  // MoveTaken, to the source
  Term term;
  std::string error;  // empty: it runs here
};

using Effect =
    std::variant<ownership::ReadRecord, ownership::Swap, ownership::SetTimer, ownership::RaiseTerm,
                 RestoreCopy, KillCopy, ResumeGrants, Seized, Claimed, ClaimedEmpty, ClaimedBefore,
                 Answer, Emit>;
std::string to_string(const Event& event);
std::string to_string(const Effect& effect, Instant origin);

}  // namespace taking

enum class TakingStep {
  kNew,
  kWaiting,   // a move is going on: its source may take the container back
  kSwapping,  // the record is being made to name this node
  kReading,   // does the record name us?
  kRestoring,
  kClaiming,  // the phase is being swapped
  kFencing,   // it failed here: a lost swap of ours must not come any more
  kClaimed,
  kAbandoned,  // no copy is here
};
std::string_view to_string(TakingStep step);

class Taking {
 public:
  // `known`: the highest term this node knows of the container.
  Taking(ContainerName container, model::NodeLife self, Term known, const OwnershipOptions& options,
         NonceSource nonces);

  std::vector<taking::Effect> handle(const taking::Event& event, Instant now);

  TakingStep step() const { return step_; }
  Term term() const { return term_; }
  bool ended() const { return step_ == TakingStep::kClaimed || step_ == TakingStep::kAbandoned; }

 private:
  enum class StoreStep { kIdle, kReading, kSwapping };

  void on(const taking::Told&);
  void on(const taking::FoundUnfinished&);
  void on(const taking::OwnerSilent&);
  void on(const taking::OwnerHeard&);
  void on(const taking::Held&);
  void on(const taking::Restored&);
  void on(const taking::RestoreFailed&);
  void on(const ownership::RecordRead&);
  void on(const ownership::ReadFailed&);
  void on(const ownership::SwapApplied&);
  void on(const ownership::SwapRefused&);
  void on(const ownership::SwapUnknown&);
  void on(const ownership::RecordChanged&);
  void on(const ownership::TimerFired&);
  void judge(const std::optional<model::OwnershipRecord>& record, ownership::Revision revision);
  void judge_own(const model::OwnershipRecord& record);
  void advance();
  void judge_silent(const model::OwnershipRecord& record, bool unchanged);
  bool may_seize(const model::OwnershipRecord& record) const;
  void seized();
  void restore_next();
  model::OwnershipRecord next_record() const;
  void abandon(std::string reason);
  void arm_timer();
  void in_doubt();
  Duration doubled(Duration first, Duration most) const;  // with each call in a row that was not answered

  const ContainerName container_;
  const model::NodeLife self_;
  const OwnershipOptions options_;
  const NonceSource nonces_;
  Instant now_{};
  std::vector<taking::Effect> effects_;
  TakingStep step_ = TakingStep::kNew;
  Term term_;
  Generation generation_;
  bool restoring_ = false;  // in flight
  bool takeover_ = false;
  std::optional<model::NodeLife> silent_;  // the owner that is silent
  Instant wait_until_{};                   // kWaiting
  bool heard_ = false;                     // again
  bool in_doubt_ = false;                  // a swap of ours may still come that compares revision_
  std::optional<model::OwnershipRecord> written_;  // by the swap in flight
  std::vector<Generation> holds_;
  std::string error_;
  StoreStep store_ = StoreStep::kIdle;
  ownership::Request request_ = 0;
  std::optional<Instant> timer_;
  std::optional<Instant> retry_at_;
  Instant store_deadline_{};
  std::optional<model::OwnershipRecord> record_;
  ownership::Revision revision_ = 0;
  bool read_wanted_ = false;
  std::uint32_t unknowns_ = 0;  // swaps in a row whose outcome was not known
  std::uint32_t missed_ = 0;    // calls in a row without an answer
  bool waiting_told_ = false;   // that there is no quorum
  bool strange_told_ = false;   // that the record makes no sense
};

}  // namespace perdure::policy
