// One life of a perdured: the machines of policy/ and what node/cluster/ does between them, without
// files, sockets or processes.
//
// It has two threads, as the real one has: the loop, whose tasks wait while it is blocked by a disk,
// and that of the heartbeats. Both stand still while the process is paused; what comes in meanwhile
// is handled afterwards.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "policy/lease_granter.h"
#include "policy/lease_holder.h"
#include "policy/ownership.h"
#include "policy/standing_by.h"
#include "policy/taking.h"
#include "sim/connections.h"
#include "sim/event_queue.h"
#include "sim/messages.h"
#include "sim/names.h"
#include "sim/store.h"

namespace perdure::sim {

class Host;
class World;

class Daemon {
 public:
  using Task = EventQueue::Work;

  Daemon(World& world, Host& host, model::NodeLife life);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  const model::NodeLife& life() const { return life_; }
  void start();
  void resumed();
  // The first owner of a container, at the beginning of everything.
  void found(ContainerIndex container, const StoredRecord& stored);

  // ---- The loop ----
  void post(Task task);
  void peer_connected(SessionId session, const model::NodeLife& peer);
  void peer_lost(SessionId session);
  void receive(const model::NodeLife& from, const Message& message);
  void store_snapshot(const std::vector<StoredRecord>& records, Revision revision);
  void record_changed(const StoredRecord& change);

  // ---- The thread of the heartbeats ----
  void receive(const policy::lease::Heartbeat& received);
  void receive(const policy::lease::Grant& received);

  // ---- For the invariants ----
  const policy::Ownership* owner(ContainerIndex container) const;
  bool is_taking(ContainerIndex container) const;
  const std::set<Generation>& holds(ContainerIndex container) const;
  bool protects(ContainerIndex container) const;  // all wanted standbys, something committed
  void move(ContainerIndex container, NodeIndex target);
  void fail_over(ContainerIndex container);  // to whoever stands by

 private:
  struct Shipping {
    policy::ownership::Pace pace = policy::ownership::Pace::kNone;
    std::optional<Generation> under_way;
    std::optional<Generation> held;  // there, as far as is known here
  };
  // A copy that is not there is looked for: here, at the standbys, at whoever has something.
  struct Recovery {
    bool restoring = false;
    Instant begun{};
    std::set<NodeName> answered = {};
    std::optional<Generation> newest = {};
  };
  struct Place {
    ContainerIndex container = 0;
    Term term;  // the highest known, as a holder
    // As a holder.
    std::set<Generation> holds;  // in memory; as owner: what it has taken or restored
    std::optional<Generation> committed;
    std::optional<policy::Enlistment> enlistment;
    std::optional<policy::lease::Charge> charge;
    std::unique_ptr<policy::Taking> taking;
    bool silence_passed_over = false;  // it came while something else was being taken
    bool restoring = false;            // by `taking`
    Generation restored;
    std::size_t restore_attempts = 0;  // of this takeover
    bool takes_over = false;
    std::uint64_t taking_number = 0;  // of the machines here, one after the other
    std::uint64_t taking_timer = 0;
    std::pair<Term, model::RecordPhase> unfinished_seen;  // of a record that names an earlier life
    // As the owner.
    std::unique_ptr<policy::Ownership> owner;
    std::uint64_t owner_number = 0;  // of the machines here, one after the other
    std::uint64_t owner_timer = 0;
    Term owner_term;  // of the record that has named this node last: everything it sends carries it
    Term lease_term;  // of what is needed now
    std::optional<policy::ownership::NeedGrants> needs;
    std::map<NodeName, Shipping> shipping;
    std::set<Generation> uncommitted;
    bool suspended = false;
    bool freezing = false;
    std::uint64_t next_number = 1;
    std::optional<Recovery> recovery;
  };
  using Life = model::NodeLife;

  // ---- daemon.cc: the loop, the view of the store, connections ----
  void pump();
  void queue_effects(std::vector<Task> tasks);
  void block(Duration duration);
  void after(Duration delay, Task task);  // on the loop
  void at(Instant when, Task task);
  Place& place(ContainerIndex container);
  Place* find(ContainerIndex container);
  Instant now() const;
  std::string name() const;
  void look_at(ContainerIndex container);
  void watch(Place& place, std::optional<policy::lease::Charge> charge);
  void send(const NodeName& to, ContainerIndex container, Body body, Duration size = {});
  void tell_candidates(Place& place);
  bool connected(const Life& life) const;
  template <typename Make>
  void note(ContainerIndex container, Make make) const;

  // ---- daemon_leases.cc ----
  void lease_task(Task task);
  void arm_lease();
  void lease_tick();
  void perform(std::vector<policy::lease::HolderEffect> effects);
  void perform(std::vector<policy::lease::GranterEffect> effects);
  void set_gate(const policy::lease::SetGate& effect);
  void owner_silent(const policy::lease::OwnerSilent& silent);

  // ---- daemon_owner.cc ----
  void begin_owning(Place& place, const policy::ownership::Event& first);
  void restart(Place& place);
  void tell(Place& place, const policy::ownership::Event& event);
  void owner_ended(Place& place);
  void on(Place& place, const policy::ownership::ReadRecord& e);
  void on(Place& place, const policy::ownership::Swap& e);
  void on(Place& place, const policy::ownership::Enlist& e);
  void on(Place& place, const policy::ownership::NeedGrants& e);
  void on(Place& place, const policy::ownership::RenewNothing& e);
  void on(Place& place, const policy::ownership::SetPace& e);
  void on(Place& place, const policy::ownership::Dismiss& e);
  void on(Place& place, const policy::ownership::Commit& e);
  void on(Place& place, const policy::ownership::SetTimer& e);
  void on(Place& place, const policy::ownership::RaiseTerm& e);
  void on(Place& place, const policy::ownership::Remember& e);
  void on(Place& place, const policy::ownership::TellTerm& e);
  void on(Place& place, const policy::ownership::AskPrepare& e);
  void on(Place& place, const policy::ownership::BeginHandover& e);
  void on(Place& place, const policy::ownership::TellTake& e);
  void on(Place& place, const policy::ownership::HandedOver& e);
  void on(Place& place, const policy::ownership::EndCopy& e);
  void on(Place& place, const policy::ownership::HandOverFailed& e);
  void on(Place& place, const policy::ownership::Suspend& e);
  void on(Place& place, const policy::ownership::OwnershipLost& e);
  void on(Place& place, const policy::ownership::OwnershipUnknown& e);
  void on(Place& place, const policy::ownership::OwnershipKnown& e);
  template <typename T>
  void on(Place&, const T&) {}  // words for people
  void swap_answered(Place& place, std::uint64_t owner, policy::ownership::Request request,
                     const StoreAnswer& answer);

  // ---- daemon_container.cc: captures, shipping, recovery ----
  void schedule_capture(Place& place);
  void capture(Place& place);
  void captured(Place& place, const Generation& generation);
  void write_durable(Place& place);
  void ship_next(Place& place, const NodeName& to);
  void thaw(Place& place);
  void recover(Place& place);
  void recovery_round(Place& place);
  void recovered(Place& place, const Generation& generation);

  // ---- daemon_standby.cc ----
  void begin_taking(Place& place, const policy::taking::Event& first);
  void may_die_soon();
  void await_word(Place& place);
  void brought_back(Place& place, const StoredRecord& stored);
  void tell(Place& place, const policy::taking::Event& event);
  void taking_ended(Place& place);
  void on(Place& place, const policy::taking::RestoreCopy& e);
  void restore_ended(Place& place, const Generation& generation);
  void on(Place& place, const policy::taking::KillCopy& e);
  void on(Place& place, const policy::taking::ResumeGrants& e);
  void on(Place& place, const policy::taking::Seized& e);
  void on(Place& place, const policy::taking::Claimed& e);
  void on(Place& place, const policy::taking::ClaimedEmpty& e);
  void on(Place&, const policy::taking::ClaimedBefore&) {}  // await_word()
  void on(Place& place, const policy::taking::Answer& e);
  void perform(Place& place, const policy::taking::Effect& effect);
  void taking_answered(Place& place, std::uint64_t taking, policy::ownership::Request request,
                       const StoreAnswer& answer);
  bool fenced(const Place& place, Term term) const;
  void raise(Place& place, Term term);

  // ---- daemon_messages.cc ----
  void on(Place& place, const Life& from, const AskHeld& m);
  void on(Place& place, const Life& from, const HeldNow& m);
  void on(Place& place, const Life& from, const Enlist& m);
  void on(Place& place, const Life& from, const EnlistReply& m);
  void on(Place& place, const Life& from, const Ship& m);
  void on(Place& place, const Life& from, const ShipReply& m);
  void on(Place& place, const Life& from, const CommitNotice& m);
  void on(Place& place, const Life& from, const Dismiss& m);
  void on(Place& place, const Life& from, const DismissReply& m);
  void on(Place& place, const Life& from, const Fetch& m);
  void on(Place& place, const Life& from, const Fetched& m);
  void on(Place& place, const Life& from, const Prepare& m);
  void on(Place& place, const Life& from, const PrepareReply& m);
  void on(Place& place, const Life& from, const Take& m);
  void on(Place& place, const Life& from, const TakeReply& m);
  void on(Place&, const Life&, const HeldReport&) {}
  void held_report(const Life& from, const HeldReport& report);
  void peer_up(Place& place, const Life& from, std::optional<Generation> held);

  World& world_;
  Host& host_;
  const Life life_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  std::deque<Task> effects_;  // of machines, in the order of their events; before any other task
  std::deque<Task> tasks_;
  bool pumping_ = false;
  TrueTime blocked_until_{};

  std::deque<Task> lease_tasks_;  // of a paused process
  std::uint64_t lease_timer_ = 0;
  std::optional<TrueTime> lease_armed_;
  policy::lease::LeaseHolder holder_;
  policy::lease::LeaseGranter granter_;

  bool store_known_ = false;
  Revision view_revision_ = 0;
  std::map<ContainerIndex, StoredRecord> view_;

  struct Connected {
    SessionId session = 0;
    Life life;
    bool reported = false;
  };
  std::map<NodeName, Connected> peers_;
  std::map<ContainerIndex, Place> places_;
};

}  // namespace perdure::sim
