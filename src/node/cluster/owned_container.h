// Performs what policy::Ownership wants for one container of this node: swaps of its record, orders to its standbys, a move.
//
// Loop thread only. Lives as long as this node has to do with the ownership of the container, which may be longer than its
// ContainerService (a removal) or shorter (a lost ownership).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "coord/record_store.h"
#include "io/loop.h"
#include "model/cluster.h"
#include "network/address.h"
#include "node/cluster/leases.h"
#include "node/cluster/peers.h"
#include "node/event_log.h"
#include "node/young_connections.h"
#include "policy/container_events.h"
#include "policy/ownership.h"
#include "replica/shipper.h"

namespace perdure::node {

// How a move ended.
struct MoveResult {
  NodeName target;
  std::string failure;      // empty: it runs there
  Duration frozen{};        // from the freeze here to the target's word
  std::optional<Generation> generation;
  std::uint64_t bytes = 0;  // of the last delta
};

// Why it is moved: what the target has to know.
enum class MoveCause { kOther, kAsked, kUnreachable };

// A standby is to go on with a container that does not hold here.
struct FailoverOrder {
  policy::FailOver what;
  // Of the recovery under way, on this host's clock; absent: not known.
  std::optional<Instant> failed_at;
  std::optional<Instant> noticed_at;
};

// What ownership needs of the container that runs here. ContainerService is it; null once that is gone.
class OwnedSide {
 public:
  virtual ~OwnedSide() = default;
  virtual void tell(const policy::Event& event) = 0;         // to ContainerPolicy
  virtual Status ask_policy(const policy::Event& wish) = 0;  // what the policy refuses says why
  virtual replica::Shipper& shipper() = 0;
  // Whether commits wait for the durable directory: there is no standby. Else it may leave generations out.
  virtual void durable_counts(bool counts) = 0;
  virtual std::string spec_yaml() const = 0;
  virtual std::string image_digest() const = 0;
  virtual std::shared_ptr<GateDeadline> gate_deadline() = 0;
  virtual std::vector<network::TcpTuple> take_begun() = 0;   // connections, since it was asked last
  virtual std::uint64_t state_bytes() const = 0;             // of its newest generation, complete
  // Durable when it returns.
  virtual Status remember(Term term, const std::optional<policy::ownership::HandingOver>& handing_over) = 0;
  struct Counters {
    std::uint64_t restores = 0;
    std::uint64_t failures = 0;
    WallTime created{};
  };
  virtual Counters counters() const = 0;  // go along with a move
};

struct OwnedEnvironment {
  io::Loop& loop;
  const Clock& clock;
  EventLog& events;
  coord::RecordStore& records;
  Peers& peers;
  Leases& leases;
  model::NodeLife self;
  std::function<coord::Revision()> store_revision;  // up to which the store has been seen
  std::function<void(const MoveResult&)> on_moved{};  // or not; may be empty
  std::function<model::HostFacts()> host = {};      // this one, on which its capsules are taken; empty: not told
};

class OwnedContainer {
 public:
  struct Handlers {
    std::function<void()> ended;  // nothing more to be done; destroy it later
    std::function<void()> runs;   // the container runs now: it can be stood by for
    // It is handed over: the generation that the target has got, and in which form it has it there. What this node holds as
    // the new owner's standby.
    std::function<void(Term, const replica::Holding&)> handing_over;
  };
  OwnedContainer(OwnedEnvironment environment, policy::OwnershipIdentity identity, policy::OwnershipOptions options,
                 OwnedSide* side, Handlers handlers);
  ~OwnedContainer();

  void handle(const policy::ownership::Event& event);
  // Ends in HandOverFailed or HandedOver, told to the OwnedSide.
  void fail_over(FailoverOrder order);
  Status admit(const policy::ownership::Event& event) const { return machine_.admit(event); }
  policy::ownership::OwnershipStatus status() const { return machine_.status(); }
  const ContainerName& container() const { return identity_.container; }
  void detach() { side_ = nullptr; }  // the ContainerService goes
  // Its processes run here: from now on it can be captured, and its root file system is known.
  void runs();
  bool can_be_stood_by() const { return side_ != nullptr && !side_->image_digest().empty(); }

  // A peer has said what it holds of this container; first thing after it has connected.
  void peer_holds(const model::NodeLife& life, const std::optional<replica::Holding>& held);
  // From the shipper.
  void held(const NodeName& node, const replica::HoldReceipt& receipt);
  void shipping_failed(const NodeName& node, const Error& error);

  // For requests that wait. Called after every event.
  using Listener = std::function<void()>;
  std::uint64_t add_listener(Listener listener);
  void remove_listener(std::uint64_t id) { listeners_.erase(id); }
  // How the last wish ended.
  void clear_settled() {
    settled_.reset();
    refusal_.clear();
  }
  const std::string& last_refusal() const { return refusal_; }
  const std::optional<model::DesiredState>& settled() const { return settled_; }
  using MoveResult = node::MoveResult;
  void move_to(const NodeName& target, MoveCause cause);
  void is_asked_for() { move_cause_ = MoveCause::kAsked; }  // what is under way already
  // Those that could go on with it now, the best first.
  std::vector<NodeName> ready_standbys() const { return machine_.ready_standbys(); }
  void clear_move() { move_.reset(); }
  const std::optional<MoveResult>& last_move() const { return move_; }
  // Of a standby, for `inspect`.
  struct StandbyFacts {
    std::uint64_t held_bytes = 0;
    bool on_disk = false;
  };
  StandbyFacts facts_of(const NodeName& node) const;

 private:
  struct Performer;
  void perform(const policy::ownership::Effect& effect);
  void read(const policy::ownership::ReadRecord& effect);
  void swap(const policy::ownership::Swap& effect);
  void remove(const policy::ownership::RemoveRecord& effect);
  void enlist(const policy::ownership::Enlist& effect);
  void need_grants(const policy::ownership::NeedGrants& effect);
  void shut_gate();
  void set_pace(const policy::ownership::SetPace& effect);
  void dismiss(const policy::ownership::Dismiss& effect);
  void commit(const policy::ownership::Commit& effect);
  void ask_prepare(const policy::ownership::AskPrepare& effect);
  void begin_handover(const policy::ownership::BeginHandover& effect);
  void tell_take(const policy::ownership::TellTake& effect);
  void add_failover(peer::v1::MoveTake& take) const;
  void tell_ready_standbys();
  void emit(const policy::Emit& effect);
  void say_term(const NodeName& node, Term term, std::optional<Generation> committed);
  bool is_stood_by() const;
  void look_for_connections();
  void tell_connections(const NodeName& node, std::span<const network::TcpTuple> begun);
  void notify();
  Instant call_deadline() const { return environment_.clock.now() + options_.swap_deadline; }
  template <typename... Args>
  auto guarded(std::function<void(Args...)> callback);

  OwnedEnvironment environment_;
  const policy::OwnershipIdentity identity_;
  const policy::OwnershipOptions options_;
  OwnedSide* side_;
  const Handlers handlers_;
  policy::ownership::Ownership machine_;
  bool handling_ = false;
  bool runs_ = false;  // as last told
  std::vector<policy::ownership::Event> pending_;
  io::Timer timer_;
  std::map<NodeName, replica::Holding> holdings_;  // newest that each peer has said it holds, in its present life
  std::map<NodeName, StandbyFacts> facts_;
  std::map<NodeName, policy::ownership::Pace> paces_;
  std::optional<policy::ownership::HandingOver> handing_over_;
  Term term_;
  Term own_term_;  // of the newest record that names this life: what is said to others is said under this one
  std::optional<Generation> committed_;
  YoungConnections young_;  // than `committed_`
  io::Timer connections_timer_;
  std::map<std::uint64_t, Listener> listeners_;
  std::uint64_t next_listener_ = 1;
  std::string refusal_;
  std::optional<model::DesiredState> settled_;
  std::optional<MoveResult> move_;
  MoveCause move_cause_ = MoveCause::kOther;  // of the move under way, or the last one
  std::optional<FailoverOrder> failover_;               // the move under way is one
  std::optional<std::vector<NodeName>> ready_standbys_;  // as last told
  Instant frozen_at_{};
  std::optional<Generation> handed_;
  std::uint64_t shipped_before_ = 0;  // to the target, when the handover began
  std::uint64_t handed_bytes_ = 0;
  bool ended_ = false;
  io::Lifetime lifetime_;
};

// 16 random bytes of the kernel.
model::Nonce random_nonce();

}  // namespace perdure::node
