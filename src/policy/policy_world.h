// A host that a ContainerPolicy can be let loose on: it performs effects, answers with events, and
// holds what the policy does against its invariants. Test code only.
//
// Seeded: the same seed plays the same life. The world knows the truth that the policy may not see
// (which capsule is corrupt on disk, which state kills its container) and draws what happens next
// from what can happen now: results in any order, deaths at any instant, operators, restarts of the
// daemon, stray events. In half of the lives the host is one of a cluster: standbys commit, a
// directory is written behind them, the container moves away and comes back, and the record is
// lost, raised or another owner's.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "policy/container_policy.h"

namespace perdure::policy {

class PolicyWorld {
 public:
  explicit PolicyWorld(std::uint64_t seed);

  // Plays `steps` random ones, then heals the world and lets it run: nothing fails any more, and
  // the container has to end up well. False once an invariant is broken.
  bool play(int steps);

  const std::string& violation() const { return violation_; }
  std::string trace() const;  // the last steps, with their effects

  struct Tally {
    std::uint64_t captures = 0;
    std::uint64_t restores = 0;
    std::uint64_t starts = 0;
    std::uint64_t given_up = 0;
    std::uint64_t deletions = 0;
    std::uint64_t restarts = 0;  // of the daemon
    std::uint64_t moves = 0;     // begun
    std::uint64_t failovers = 0;
    std::uint64_t handed_over = 0;
    std::uint64_t resumed = 0;
    std::uint64_t arrivals = 0;
    std::uint64_t waits = 0;  // for ownership or an operator's word
    std::map<Phase, std::uint64_t> ends;
  };
  const Tally& tally() const { return tally_; }

 private:
  enum class Operation { kNone, kPreparing, kStarting, kCapturing, kRestoring };
  struct Capsule {
    GenerationInfo info;
    bool corrupt_on_disk = false;
    bool poisoned = false;  // its container dies soon after the restore
  };

  // ---- What happens (policy_world.cc) ----
  void step();
  void finish_operation(bool well);
  void finish_capture(bool well);
  void finish_restore(bool well);
  void kill_container(ExitStatus status);
  void tell_kill();
  void deliver_death();
  void ask_something();
  void note_operator(const Event& event);
  void settle_commit(bool well);
  void note_commit(const Generation& id);
  void fire_timer();
  void pass_time(Duration duration);
  void strike();
  void restart_daemon();
  DaemonRestarted::Found what_is_left();
  void send_stray();
  void heal();
  bool heal_one();
  void tell(const Event& event);
  void perform(const Effect& effect);

  // ---- The cluster (policy_world_cluster.cc) ----
  void step_in_cluster();
  void arrive();
  void end_hand_over(bool well);
  void write_directory();
  void make_durable(const Generation& id);
  void tell_ready();
  void raise_term();
  void lose_ownership();
  void forget_ownership();
  void learn_ownership();
  void give_word();
  void lose_memory(DaemonRestarted& event);
  void forget_daemon();

  // ---- Effects (policy_world_effects.cc) ----
  void on(const Record& e) { recorded_ = e.state; }
  void on(const PrepareImage&);
  void on(const Start&);
  void on(const Capture& e);
  void on(const CancelCapture& e);
  void on(const Restore& e);
  void on(const HoldGate&) { gate_ = GateState::kHeld; }
  void on(const OpenGate&);
  void on(const Terminate&);
  void on(const Kill&);
  void on(const DiscardGeneration& e);
  void on(const ReinstateGeneration& e);
  void on(const DeleteGeneration& e);
  void on(const SetTimer& e);
  void on(const CancelTimer& e) { timers_.erase(e.timer); }
  void on(const Emit& e);
  void on(const DeclareProtected& e);
  void on(const DeclareUnprotected& e);
  void on(const GiveUp& e);
  void on(const Release&);
  void on(const HandOver& e);
  void on(const FailOver& e);
  void on(const Resume&);
  void on(const Leave&);

  // ---- Invariants (policy_invariants.cc) ----
  void require(bool holds, const std::string& what);
  void check_operation_begins();
  void check_restore(const Generation& id);
  void check_attempt_is_within_limits();
  void check_deletion(const Generation& id);
  void check_state_reached();
  void check_progress();
  void check_all_marked_after(std::optional<Generation> kept);
  void check_healed();
  void check_cluster_state();
  void check_gate();

  std::vector<GenerationInfo> listing() const;
  bool capsule_is_sound(const Generation& id) const;
  bool policy_runs() const;
  bool policy_serves() const;  // runs, or moves and is not frozen yet
  bool hand_over_begun() const { return recorded_ && recorded_->handing_over.has_value(); }
  std::uint64_t draw(std::uint64_t below) { return random_() % below; }
  bool chance(unsigned percent) { return draw(100) < percent; }
  void note(std::string line);

  std::mt19937_64 random_;
  ContainerOptions options_;
  std::unique_ptr<ContainerPolicy> policy_;
  bool cluster_ = false;
  Term term_{1};
  std::uint64_t incarnation_ = 1;
  Instant now_{};

  std::optional<PersistentState> recorded_;
  Operation operation_ = Operation::kNone;
  Generation operation_generation_;
  bool cancelled_ = false;
  unsigned failing_percent_ = 30;  // of what may fail
  bool alive_ = false;
  std::optional<ExitStatus> death_;         // happened, not reported yet
  bool doomed_ = false;                     // Terminate or Kill is under way
  bool poisoned_ = false;                   // the present life dies soon
  std::optional<Generation> capture_base_;  // of the capture in flight
  std::optional<Generation> base_;          // what a delta of the present life builds on
  GateState gate_ = GateState::kHeld;
  std::vector<ProcessKilled> kills_;  // happened, not reported yet
  bool end_is_known_ = false;         // init was said to be on its end
  std::map<TimerId, Instant> timers_;
  std::map<Generation, Capsule> store_;
  std::set<Generation> uncommitted_;
  bool released_ = false;

  // What the cluster knows.
  bool theirs_ = false;       // the record names another owner, who runs it
  bool told_theirs_ = false;  // to this daemon
  bool unknown_ = false;
  bool frozen_ = false;        // by a capture for a move
  std::vector<NodeName> ready_;
  bool handing_over_ = false;  // HandOver was ordered and has not ended
  bool untouched_ = false;     // a gate found while ownership was unknown
  bool needs_word_ = false;
  bool left_ = false;
  std::optional<Generation> writing_;  // to the directory
  std::optional<Generation> writing_base_;
  std::optional<Generation> pending_;  // restored while ownership was unknown
  bool healed_ = false;
  int firings_at_this_instant_ = 0;

  // What the invariants remember.
  Event event_ = SpecAccepted{};     // being handled
  Generation highest_;               // captured so far
  std::optional<Generation> asked_;  // by an operator, until a restore of it ends
  bool free_attempt_ = true;         // the next one answers an operator, a voluntary exit, or a failure of the host's own
  bool prepared_ = false;            // the start that follows was counted with the preparation
  std::deque<Instant> attempts_;     // counted ones
  std::optional<Probation> probation_;
  bool gave_up_ = false;
  std::uint32_t failures_in_row_ = 0;  // of captures and commits, since the last good commit
  bool half_restored_ = false;         // what the daemon found; nobody wants those processes
  std::string violation_;
  std::deque<std::string> trace_;
  Tally tally_;
};

}  // namespace perdure::policy
