// One container on the loop's thread: feeds what happens to policy::ContainerPolicy and performs what it
// answers through backend, store and generation table.
//
// All calls and callbacks on the loop's thread. Destroying a service stops nothing: the container runs on;
// blocking work that is under way finishes on the pool and its result is dropped.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "io/loop.h"
#include "io/pool.h"
#include "model/spec.h"
#include "network/exit_hook.h"
#include "node/agent_link.h"
#include "node/agent_silence.h"
#include "node/capture_job.h"
#include "node/cluster/failed_over_here.h"
#include "node/cluster/owned_container.h"
#include "node/cluster/takeover_times.h"
#include "node/component_table.h"
#include "node/container_backend.h"
#include "node/container_cluster.h"
#include "node/container_record.h"
#include "node/event_log.h"
#include "node/health_gate.h"
#include "node/kept_generations.h"
#include "node/paths.h"
#include "node/recovery_meter.h"
#include "node/replication.h"
#include "node/step_runner.h"
#include "node/takeover.h"
#include "policy/container_policy.h"
#include "replica/capsule_store.h"
#include "replica/generation_table.h"

namespace perdure::node {

struct ServiceEnvironment {
  io::Loop& loop;
  io::Pool& pool;
  io::Pool& store_pool;  // for durable directories
  const Clock& clock;
  EventLog& events;
  Term term;
  Incarnation incarnation;
  ContainerCluster* cluster = nullptr;  // null: there is none
  Duration store_patience{};            // of begin_after_restart()
  std::function<void(const CaptureReport&)> on_captured{};  // may be empty
};

// A container that a move or a takeover has brought here: it runs, behind an open gate.
struct Arrival {
  capsule::CapsuleRef capsule;
  RestoreResult restored;
  std::optional<TakeoverTimes> takeover = {};
  std::optional<FailedOverHere> failed_over = {};
};

class ContainerService final : private OwnedSide {
 public:
  ContainerService(ServiceEnvironment environment, model::ContainerSpec spec, const ContainerPaths& paths,
                   std::shared_ptr<ContainerBackend> backend,
                   std::shared_ptr<replica::CapsuleStore> store, ContainerRecord record);
  ~ContainerService();
  ContainerService(const ContainerService&) = delete;
  ContainerService& operator=(const ContainerService&) = delete;

  // Exactly one of these comes first.
  void begin_new();
  // `found`: the host has been looked at; `recovered`: the policy has begun, which may be much later: what is dead and has standbys
  // waits for what `elsewhere` finds (absent: nobody else holds it).
  using Elsewhere = std::function<void(std::function<void(HeldElsewhere)>)>;
  struct Recovery {
    std::function<void()> found;
    std::function<void()> recovered;
    Elsewhere elsewhere;
  };
  void begin_after_restart(Recovery recovery);
  // Imported: a container that is stopped and has these generations.
  void will_be_stopped();  // before its generations are stored
  void begin_stopped(const std::vector<replica::StoredGeneration>& stored);
  void begin_arrived(Arrival arrival);
  // This node has become the owner of a container that nothing runs of: `elsewhere` says what there is to go back to.
  void begin_seized(Recovery recovery);

  // From now on generations go there. What the former one holds must be found through `store` as long as it is needed.
  void change_store(std::shared_ptr<replica::CapsuleStore> store);

  // What it would go back to; null: not in memory, or nothing.
  capsule::CapsuleRef newest_in_memory() const;

  // While what is stored is being replaced: nothing is put there, and commits wait. change_store() ends it too.
  void pause_store() { replication_.leave_store(); }
  void resume_store();

  // In the cluster's directory: ContainerRecord::first_term.
  void begins_with(Term first);

  // Its host has left the cluster: it goes on as it would without one.
  void leave_cluster();

  // In a cluster: who decides what is committed and whether this node is still the owner. Null: this node alone does. Outlives
  // the service, or is taken away before it ends.
  void join(OwnedContainer* owned);
  OwnedSide& owned_side() { return *this; }
  Replication& replication() { return replication_; }
  std::optional<replica::DestinationStatus> shipping(const NodeName& node) const {
    return replication_.shipper().status(node.str());
  }
  // What of it is here, for the ownership's first event.
  policy::ownership::Stock stock() const;
  // From the policy to the cluster: it wants this. Set with join().
  OwnedContainer* owned() const { return owned_; }
  const ContainerCluster* cluster() const { return environment_.cluster; }

  // Whether ask() would take it now.
  Status admit(const policy::Event& operator_event) const {
    return takeover_error_.empty() ? policy_.admit(operator_event) : Status{};
  }
  // Operator's wishes; refused ones say why and what to do.
  Status ask(const policy::Event& operator_event);
  // With `remove`: what becomes of the capsules.
  void keep_capsules(ContainerBackend::Capsules capsules) { capsules_at_release_ = capsules; }
  void set_stop_deadline_passed(bool killed) { stop_was_kill_ = killed; }
  // Whether the last stop took SIGKILL.
  bool stop_was_kill() const { return stop_was_kill_; }

  // From the exit hook.
  void process_killed(const network::Death& death);

  // Called after every change; used by requests that wait. Called also when `removed()`.
  using Listener = std::function<void()>;
  std::uint64_t add_listener(Listener listener);
  void remove_listener(std::uint64_t id);
  // Text of the step that is under way, for progress lines.
  const std::string& progress_stage() const { return progress_stage_; }
  const std::string& progress_text() const { return progress_text_; }

  const model::ContainerSpec& spec() const { return spec_; }
  const ContainerPaths& paths() const { return paths_; }
  const ContainerRecord& record() const { return record_; }
  policy::ContainerStatus status() const { return policy_.status(); }
  bool comes_up() const;  // it does not run yet, and is on its way to
  // What its policy would do; absent: it does not run.
  std::optional<policy::RecoveryDecision> if_it_died() const { return policy_.if_it_died(environment_.clock.now()); }
  const std::vector<policy::GenerationInfo>& generations() const { return policy_.generations(); }
  const replica::GenerationTable& table() const { return *generations_.table(); }
  replica::CapsuleStore& store() const { return *generations_.store(); }
  std::shared_ptr<replica::GenerationTable> shared_table() const { return generations_.table(); }
  std::shared_ptr<replica::CapsuleStore> shared_store() const { return generations_.store(); }
  const ContainerBackend& backend() const { return *backend_; }
  const std::optional<CaptureReport>& last_capture() const { return last_capture_; }
  const std::optional<RestoreReport>& last_restore() const { return meter_.last(); }
  std::uint64_t captures() const { return captures_; }
  // Of all captures of this life of the daemon together.
  struct CaptureTotals {
    Duration frozen{};
    Duration cpu{};
  };
  const CaptureTotals& capture_totals() const { return capture_totals_; }
  // How often its gate was closed in this life of the daemon; captures, which silence it too, are not counted.
  struct GateClosures {
    std::uint64_t by_perdured = 0;
    std::uint64_t by_death = 0;  // the kernel was first
  };
  const GateClosures& gate_closures() const { return gate_closures_; }
  std::uint64_t capture_failures() const { return capture_failures_; }
  // Of the last preparation or start that failed: its kind, for who asked for it.
  std::optional<ErrorCode> start_error() const { return start_error_; }
  const std::string& last_capture_error() const { return last_capture_error_; }
  // After a restart of the daemon: why it is not looked after yet, and since when. Empty: it is.
  const std::string& takeover_error() const { return takeover_error_; }
  Instant takeover_since() const { return takeover_since_; }
  // Why generations are marked, for `perdure generations`.
  std::string mark_reason(const Generation& generation) const {
    return generations_.mark_reason(generation);
  }
  // As its agent has reported them last; none: it has a command.
  const ComponentTable& components() const { return components_; }
  // What the newest generations wait for, "component 'db' has passed its probe"; empty: they do not.
  std::string health_awaited() const { return health_.waits_for(components_); }
  // For those who may outlive it.
  io::Lifetime::Token token() const { return lifetime_.token(); }
  bool removed() const { return removed_; }
  bool left() const { return left_; }  // removed, because another node owns it
  const std::string& release_error() const { return release_error_; }

 private:
  void handle(const policy::Event& event);
  void perform(const policy::Effect& effect);
  void do_record(const policy::Record& effect);
  void do_prepare();
  const std::string* sponsor_to_wait_for() const;  // nullptr: none
  bool wait_for_sponsors();
  void do_start();
  void do_capture(const policy::Capture& effect);
  void do_restore(const policy::Restore& effect);
  void restore(const policy::Restore& effect, const capsule::CapsuleRef& capsule);
  void gone_back_to(const capsule::CapsuleRef& capsule);
  void capture_failed(const Generation& generation, const Error& error);
  void captured(CaptureOutcome outcome);
  void stored(const StoredDurably& stored);
  void remove_what_is_superseded();
  void not_stored(const Generation& generation, const Error& error);
  void commit(const Generation& generation);
  void discard(const policy::DiscardGeneration& effect);
  void do_hold_gate();
  void do_open_gate();
  void do_resume();
  void do_leave();
  Replication::Handlers replication_handlers();

  // OwnedSide
  void tell(const policy::Event& event) override;
  Status ask_policy(const policy::Event& wish) override;
  replica::Shipper& shipper() override { return replication_.shipper(); }
  void durable_counts(bool counts) override;
  std::string spec_yaml() const override;
  std::string image_digest() const override { return record_.image_digest; }
  std::shared_ptr<GateDeadline> gate_deadline() override { return backend_->gate_deadline(); }
  std::vector<network::TcpTuple> take_begun() override { return backend_->take_begun(); }
  std::uint64_t state_bytes() const override;
  Status remember(Term term, const std::optional<policy::ownership::HandingOver>& handing_over) override;
  Counters counters() const override { return {record_.restores, record_.failures, record_.created}; }

  void do_fail_over(const policy::FailOver& effect);
  void with_capsule(const Generation& generation, std::function<void(const Result<capsule::CapsuleRef>&)> then);
  void do_terminate();
  void do_kill();
  void do_timer(const policy::SetTimer& effect);
  void timer_fired(policy::TimerId timer);
  void do_release();
  void remove_shared_capsules();
  void emit(const policy::Emit& effect);

  // After a restart of the daemon: container_takeover.cc.
  void list_stored();
  void load_newest_stored();
  void store_failed(const Error& error);
  void store_ready();
  void look_for_it();
  void take_over();
  void perform_takeover();
  TakeoverNeeds takeover_needs() const;
  void ask_others();
  void wait_for_store(const std::string& why);
  void revive(const Found& found, const HeldElsewhere& elsewhere, std::vector<policy::GenerationInfo> generations);
  void add_held(const capsule::CapsuleRef& capsule, std::vector<policy::GenerationInfo>& generations);
  std::optional<policy::GenerationInfo> take_in(const capsule::CapsuleRef& capsule,
                                                const std::vector<policy::GenerationInfo>& stored);
  void finish_recovery(const Found& found, std::vector<policy::GenerationInfo> generations);
  void leave_untaken(const policy::Event& event);
  void leave_now();
  void stored_known(std::vector<policy::GenerationInfo> stored);
  void recovery_finished();
  void not_taken_over(const std::string& why);
  void recover_later(const Error& error);
  void tell_found();
  Status ask_before_takeover(const policy::Event& operator_event);
  void end_takeover();

  // Its components: container_components.cc.
  void hear_agent();
  void agent_reports(const agent::Report& report);
  void hold_for_stateful();
  bool may_have_held(const std::string& component) const;
  void look_at_agent();
  Status agent_may_be_moved();
  void agent_is_silent(Duration silent);
  policy::ExitStatus ended_as(policy::ExitStatus status);
  std::string with_evidence(std::string trouble);
  void offer_when_healthy(const CaptureOutcome& outcome);
  void offer(const std::vector<HealthGate::Waiting>& proved);

  void watch_init(std::optional<runtime::ProcessWatch> process);
  bool is_of_init(const network::Death& death) const;
  void init_ended();
  std::optional<Instant> captured_at(const Generation& generation) const;
  Instant taken_at(const capsule::Capsule& capsule) const;
  void save_record();
  Status write_record() const;
  void notify();

  ServiceEnvironment environment_;
  const model::ContainerSpec spec_;
  const ContainerPaths paths_;
  std::shared_ptr<ContainerBackend> backend_;
  StepRunner runner_;
  StepRunner store_runner_;  // of what waits for the durable directory
  KeptGenerations generations_;
  ContainerRecord record_;
  Replication replication_;
  OwnedContainer* owned_ = nullptr;
  policy::ContainerPolicy policy_;

  std::array<io::Timer, policy::kTimerCount> timers_;
  std::optional<runtime::ProcessWatch> process_;
  io::Watch process_watch_;
  Instant process_since_;       // watched
  bool told_of_init_ = false;   // that it was killed, to the policy, in this life
  bool reporting_end_ = false;  // of init, as soon as nothing of the container is left
  std::shared_ptr<CancelFlag> cancel_;
  std::optional<Generation> before_;  // whose pages the next capture shares
  bool in_handle_ = false;
  std::vector<policy::Event> pending_;

  std::map<std::uint64_t, Listener> listeners_;
  std::uint64_t next_listener_ = 1;
  std::string progress_stage_;
  std::string progress_text_;

  std::uint64_t memory_kills_ = 0;  // that are known of
  ComponentTable components_;
  HealthGate health_;
  std::optional<AgentLink> agent_;
  AgentSilence agent_silence_;
  io::Timer agent_look_;
  std::optional<StatefulProcesses> held_for_;  // whose deaths close the gate; absent: every one does
  Instant held_for_since_;
  std::optional<Duration> killed_silent_;  // this life was killed because its agent was silent for so long

  RecoveryMeter meter_;
  std::optional<CaptureReport> last_capture_;
  std::uint64_t captures_ = 0;
  CaptureTotals capture_totals_;
  GateClosures gate_closures_;
  bool gate_open_ = false;        // as the policy has ordered it
  Instant gate_opened_at_;
  bool closed_by_death_ = false;  // since then, by the kernel
  bool closed_by_any_ = false;    // since then, by a death of which nobody had said that it should not
  std::uint64_t capture_failures_ = 0;
  std::string last_capture_error_;
  std::optional<ErrorCode> start_error_;
  Recovery recovery_;           // until it has ended
  std::string takeover_error_;  // of the last attempt, as long as none succeeds
  Instant takeover_since_;
  bool removal_waits_ = false;  // for the end of an attempt
  io::Timer takeover_retry_;
  std::optional<TakeoverFacts> taking_;  // until it is taken over
  bool waits_for_store_ = false;
  io::Timer store_patience_;
  io::Timer store_retry_;
  io::Timer sponsor_timer_;
  std::optional<Instant> sponsors_awaited_until_{};  // of the start that waits for them
  Duration shipping_cpu_{};     // since the last capture
  bool durable_counts_ = true;  // a commit waits for the durable directory
  std::string store_trouble_;   // of the durable directory, while it lasts
  bool store_holds_more_ = false;  // than the policy has been told of
  bool stored_untold_ = false;     // it waits for StoredKnown
  bool newer_discarded_ = false;   // than what is restored next
  ContainerBackend::Capsules capsules_at_release_ = ContainerBackend::Capsules::kDelete;
  bool stop_was_kill_ = false;
  ContainerBackend::Capsules leave_capsules_ = ContainerBackend::Capsules::kDelete;
  bool hands_over_ = false;  // the capture under way is the last one of a move
  bool left_ = false;
  bool removed_ = false;
  std::string release_error_;
  io::Lifetime lifetime_;
};

}  // namespace perdure::node
