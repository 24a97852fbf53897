// What this node is to containers that others own: it holds their capsules, keeps what a restore needs ready, and takes a container
// over in a planned move.
//
// Loop thread only; what blocks goes to the pool.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "coord/cluster_view.h"
#include "coord/record_store.h"
#include "io/loop.h"
#include "io/pool.h"
#include "io/timers.h"
#include "model/cluster.h"
#include "model/spec.h"
#include "node/cluster/failed_over_here.h"
#include "node/cluster/image_exchange.h"
#include "node/cluster/leases.h"
#include "node/cluster/peers.h"
#include "node/cluster/takeover_times.h"
#include "node/container_backend.h"
#include "node/event_log.h"
#include "node/node.h"
#include "node/takeover_meter.h"
#include "policy/restore_turns.h"
#include "policy/standing_by.h"
#include "policy/taking.h"
#include "replica/standby_table.h"

namespace perdure::node {

struct StandbyEnvironment {
  io::Loop& loop;
  io::Pool& pool;
  const Clock& clock;
  EventLog& events;
  const HostServices& host;
  BackendFactory make_backend;
  Peers& peers;
  Leases& leases;
  coord::RecordStore& records;
  coord::ClusterView& view;
  ImageExchange& images;
  model::NodeLife self;
  bool witness = false;
  std::function<coord::Revision()> highest_revision;  // of the store, in earlier lives too
  TakeoverMeter* takeovers = nullptr;                 // null: nobody measures them
  std::size_t parallel_restores = 2;                  // of takeovers, at least 1
  // From the directory that all nodes see. kCorrupt, kNotFound: another generation may do.
  std::function<void(const ContainerName&, const Generation&, std::function<void(Result<replica::RestorableGeneration>)>)>
      load_durable = {};
};

// A container that a move or a takeover has brought here: restored, claimed, its gate open as far as grants allow.
struct TakenContainer {
  model::ContainerSpec spec;
  std::string image_digest;
  std::shared_ptr<ContainerBackend> backend;
  capsule::CapsuleRef capsule;
  Generation generation;
  std::optional<RestoreResult> restored;  // absent: nothing that is here could be restored, and nothing runs
  model::OwnershipRecord record;
  coord::Revision revision = 0;
  std::uint64_t restores = 0;
  std::uint64_t failures = 0;
  WallTime created{};
  std::map<model::NodeLife, replica::Holding> held_by = {};  // the other standbys, as the former owner knows it
  std::optional<TakeoverTimes> takeover = {};                // absent: it was moved
  std::optional<FailedOverHere> failed_over = {};            // because its former owner could not keep it running
  bool asked = false;                                        // an operator has named this node
  bool from_unreachable = false;                             // because its former owner reached none of `network.reachability`
};

struct StandbyHandlers {
  // Becomes the owner's business. False: it cannot (the reason is logged by whoever refuses).
  std::function<void(TakenContainer)> taken;
  // The record says that an earlier life of this node runs it.
  std::function<void(const ContainerName&)> claimed_before;
  // Whether a ContainerService of that name is here (it owns it, or has not left yet).
  std::function<bool(const ContainerName&)> runs_here;
  // The new owner of a container that was handed over has committed a generation which this node holds, or does without this
  // node. False: it is not handed over (yet).
  std::function<bool(const ContainerName&, Term)> target_committed;
  // The new owner of a container that may have been handed over, whose frozen copy is here, is silent.
  std::function<void(const ContainerName&)> target_silent;
};

class StandbyService {
 public:
  StandbyService(StandbyEnvironment environment, replica::StandbyTableOptions table, StandbyHandlers handlers);
  ~StandbyService();

  // The messages it serves.
  void serve(PeerRequestTable& table);
  // Removes what an earlier life has prepared: its memory is gone. Blocking; before anything else.
  static void remove_left_over(const HostServices& host, const BackendFactory& make_backend);

  // This node was the owner and stands by now: what a restore needs is made ready again. What is not here any more is fetched when the
  // owner asks for it.
  void stay(const ContainerName& name, const model::ContainerSpec& spec, const std::string& image_digest);
  // To a node that has just connected.
  void report_held(const NodeName& node);
  // The record of a container, or the store itself, has changed.
  void look_at(const ContainerName& container);
  void look_at_all();
  // At a start: a record names this node as the owner, but nothing of the container is here.
  void found_unfinished(const ContainerName& container, Term term);
  // A move that is going on here, if any.
  bool is_taking(const ContainerName& container) const;
  // Of a container that is being taken over: how its restore waits for its turn, for people; empty: it does not.
  std::string waits_for_turn(const ContainerName& container) const;

  // From the grants: no grant of this node for the container is in force.
  void owner_silent(const policy::lease::OwnerSilent& silent);
  void owner_heard(const ContainerName& container);

  replica::StandbyTable& table() { return *table_; }
  std::shared_ptr<replica::StandbyTable> shared_table() { return table_; }
  std::string image_of(const ContainerName& container) const;  // empty: not known
  // Of a container that this node is prepared to take; null: it is not. Valid until anything happens.
  const model::ContainerSpec* spec_of(const ContainerName& container) const;
  std::size_t prepared() const { return held_.size(); }
  // This node leaves: everything that is held here goes. `done` when it has, or could not.
  void drop_all(std::function<void()> done);
  std::set<std::string> images() const;  // of the containers that this node stands by for, or is about to
  std::size_t standing_by() const;  // in the records

 private:
  struct Held;
  using Request = PeerRequest;

  void on_enlist(Request request);
  void enlist_when_left(Request request, Instant leave_limit);
  std::vector<std::string> unfit_for(const peer::v1::EnlistRequest& request) const;
  using Prepared = std::function<void(std::vector<std::string> reasons)>;
  void enlist(const ContainerName& name, const model::ContainerSpec& spec, Request request);
  static bool begin_preparing(Held& held, const model::ContainerSpec& spec, const std::string& image_digest);
  void prepare(const ContainerName& name, const model::ContainerSpec& spec, const std::string& image_digest,
               const NodeName& owner, Prepared done);
  void prepare_backend(const ContainerName& name, Prepared done);
  void stage_newest(const ContainerName& name, std::function<void(std::string)> answer);
  void stage_again(const ContainerName& name);
  void refuse_enlist(const Request& request, std::vector<std::string> reasons);
  void on_ship(Request request);
  void make_ready(const ContainerName& name, std::size_t bytes);
  void on_commit(const Request& request);
  void on_discard(const Request& request);
  void on_connections(const Request& request);
  void on_dismiss(Request request);
  void on_fetch_generation(Request request);
  void on_move_prepare(Request request);
  void prepare_move(Request request, Instant leave_limit);
  // Of a container that has just moved away from here, and is asked for again: it leaves within this time, or something
  // is wrong. `again` is called until then from time to time. False: the time is over.
  static constexpr Duration kLeaveTime = std::chrono::seconds(10);
  bool look_again(Instant leave_limit, std::function<void()> again);
  void bring(const ContainerName& name, const peer::v1::MovePrepare& wanted, std::function<void(Status)> done);
  void fetch_from(const NodeName& from, const ContainerName& name, const peer::v1::MovePrepare& wanted,
                  std::function<void(Result<replica::RestorableGeneration>)> done);
  void on_move_take(Request request);
  void ordered(const ContainerName& name, const peer::v1::MoveTake& take);
  void handle_taking(const ContainerName& name, const policy::taking::Event& event);
  void perform_taking(const ContainerName& name, const policy::taking::Effect& effect);
  void swap_for_taking(const ContainerName& name, const policy::ownership::Swap& swap);
  void read_for_taking(const ContainerName& name, const policy::ownership::ReadRecord& read);
  void kill_copy(const ContainerName& name);
  void answer_mover(Held& held, const policy::taking::Answer& answer);
  void seized(const ContainerName& name, const policy::taking::Seized& seized);
  void watch(const ContainerName& name, const policy::HolderDecision& decision);
  void begin_takeovers();
  void begin_takeover(const policy::lease::OwnerSilent& silent);
  void wait_for_turn(const ContainerName& name, const Generation& generation);
  void begin_restores();
  void begin_restore(const ContainerName& name, std::size_t waiting);
  bool is_being_restored(const ContainerName& name) const;
  void leave_turns(const ContainerName& name);
  void restore_copy(const ContainerName& name, const Generation& generation);
  std::optional<FailedOverHere> failed_over(const Held& held) const;
  TakenContainer taken_from(Held& held, const model::OwnershipRecord& record, coord::Revision revision) const;
  void measure(const ContainerName& name, TakeoverMeter::Step step, Instant at) const;
  void takeover_ended(const ContainerName& name, TakeoverMeter::End end) const;
  void claimed(const ContainerName& name, const policy::taking::Claimed& claim);
  void claimed_empty(const ContainerName& name, const policy::taking::ClaimedEmpty& claim);
  void drop(const ContainerName& name, const std::string& reason, std::function<void(Status)> done);
  Held* find(const ContainerName& name);
  Held& at(const ContainerName& name);
  void idle(const ContainerName& name);
  template <typename Work, typename Done>
  void run(const ContainerName& name, Work work, Done done);

  StandbyEnvironment environment_;
  const StandbyHandlers handlers_;
  std::shared_ptr<replica::StandbyTable> table_;
  std::map<ContainerName, std::unique_ptr<Held>> held_;
  std::vector<policy::lease::OwnerSilent> silent_;  // takeovers that begin together
  std::vector<policy::PendingRestore> restores_;    // of takeovers
  io::Timer turn_timer_;
  io::Timers leave_timers_;
  io::Lifetime lifetime_;
};

}  // namespace perdure::node
