// A small cluster that Ownership and Taking can be let loose on: a store whose answers get lost,
// nodes that crash, restart and are cut off, and one container. Test code only.
//
// Seeded: the same seed plays the same life. The world knows what the machines may not see: what
// the record says at this instant, who holds what, whose gate is open.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "policy/ownership.h"
#include "policy/standing_by.h"
#include "policy/taking.h"

namespace perdure::policy {

class OwnershipWorld {
 public:
  explicit OwnershipWorld(std::uint64_t seed);

  // Plays `steps` random ones, then heals the world: everything is reachable, nothing fails any
  // more, and the container has to end up well. False once an invariant is broken.
  bool play(int steps);

  const std::string& violation() const { return violation_; }
  std::string trace() const;

  struct Tally {
    std::uint64_t swaps = 0;
    std::uint64_t lost_answers = 0;
    std::uint64_t commits = 0;
    std::uint64_t added = 0;       // standbys
    std::uint64_t moved = 0;       // EndCopy
    std::uint64_t undone = 0;      // HandOverFailed
    std::uint64_t failovers = 0;   // asked for while a standby was ready
    std::uint64_t taken_back = 0;  // records of a source that took the term back
    std::uint64_t removed = 0;
    std::uint64_t restarts = 0;
  };
  const Tally& tally() const { return tally_; }

 private:
  using Record = model::OwnershipRecord;
  using Life = model::NodeLife;
  enum class Copy { kNone, kRunning, kFrozen, kLocked };  // kLocked: restored, has never spoken
  enum class Role { kOwner, kTaker };

  struct Node {
    explicit Node(NodeName n) : name(std::move(n)) {}
    NodeName name;
    bool up = true;
    bool store_cut = false;
    bool cordoned = false;
    bool refuses = false;  // to be enlisted
    std::uint64_t incarnation = 1;
    std::unique_ptr<Ownership> owner;
    std::unique_ptr<Taking> taking;
    std::map<Role, Instant> timers;
    std::set<Generation> holds;  // in memory
    std::optional<Enlistment> enlistment;
    std::map<NodeName, ownership::Pace> paces;  // of the owner here
    std::vector<Life> asked;                    // for grants, by the event being handled
    Copy copy = Copy::kNone;
    bool fails_over = false;  // there is none, and none is begun here
    bool gate_open = false;
    bool prepared = false;  // the target of the move here has said so
    bool freezing = false;
    bool restoring = false;
    Generation restoring_generation;
    bool removing = false;
    std::set<NodeName> sees;  // connected, as this node believes
    // Survives the daemon.
    bool owns = false;
    bool removed = false;
    Term term;
    std::optional<ownership::HandingOver> handing_over;
    std::set<Generation> durable;
    std::optional<Generation> committed;
    std::set<Generation> uncommitted;
    Life life() const { return {name, Incarnation{incarnation}}; }
  };

  // ---- The store ----
  struct Operation {
    enum class Kind { kRead, kSwap, kRemove } kind = Kind::kRead;
    std::optional<Life> from;
    Role role = Role::kOwner;
    ownership::Request request = 0;
    std::optional<Record> record;
    ownership::Revision expected = 0;
    std::size_t discarded = 0;  // how many generations were, when it was sent
    bool answer_lost = false;
    bool failed = false;  // the answer says: not known
  };
  void store_step();
  void execute(const Operation& operation);
  void answer(const Operation& operation, bool applied);
  void check_drop(const Operation& operation);
  bool ever_held(const Life& life, const Generation& generation) const;

  // ---- Messages: in order per pair of nodes; kept while the link is cut, gone with the connection
  // ----
  struct Enlist {
    Term term;
  };
  struct EnlistReply {
    std::string refusal;
    std::optional<Generation> held;
  };
  struct Ship {
    Term term;
    Generation generation;
  };
  struct ShipReply {
    Generation generation;
  };
  struct CommitNotice {
    Generation generation;
  };
  struct DiscardNotice {
    std::vector<Generation> generations;
  };
  struct Dismiss {
    Term term;
  };
  struct DismissReply {
    std::string refusal;
  };
  struct Prepare {};
  struct PrepareReply {
    std::string refusal;
  };
  struct Take {
    Term term;
    Generation generation;
    ownership::Revision revision = 0;
  };
  struct TakeReply {
    Term term;
    std::string error;
  };
  using Body = std::variant<Enlist, EnlistReply, Ship, ShipReply, CommitNotice, DiscardNotice,
                            Dismiss, DismissReply, Prepare, PrepareReply, Take, TakeReply>;
  struct Message {
    NodeName from;
    NodeName to;
    Body body;
  };
  void deliver_message();
  void receive(Node& to, const Node& from, const Body& body);
  void on(Node& to, const Node& from, const Enlist& enlist);
  void on(Node& to, const Node& from, const EnlistReply& reply);
  void on(Node& to, const Node& from, const Ship& ship);
  void on(Node& to, const Node& from, const ShipReply& reply);
  void on(Node& to, const Node& from, const CommitNotice& commit);
  void on(Node& to, const Node& from, const DiscardNotice& discard);
  void on(Node& to, const Node& from, const Dismiss& dismiss);
  void on(Node& to, const Node& from, const DismissReply& reply);
  void on(Node& to, const Node& from, const Prepare& prepare);
  void on(Node& to, const Node& from, const PrepareReply& reply);
  void on(Node& to, const Node& from, const Take& take);
  void on(Node& to, const Node& from, const TakeReply& reply);
  static bool is_moving(const Node& node);
  static std::optional<Generation> newest(const std::set<Generation>& some);
  void send(const Node& from, const NodeName& to, Body body);
  void connect_or_notice();
  void break_connection(Node& one, Node& other);
  bool linked(const Node& one, const Node& other) const;
  static std::pair<NodeName, NodeName> pair_of(const NodeName& one, const NodeName& other);

  // ---- What happens (ownership_world.cc) ----
  void step();
  void misfortune();
  void ask_something();
  void container_step(Node& node);
  void capture(Node& node);
  void roll_back(Node& node);
  void discard(Node& node, const std::vector<Generation>& gone);
  void fail_over(Node& node);
  void pass_time(Duration duration);
  bool fire_timers();
  void announce_end(Node& node);
  void crash(Node& node, bool host);
  void start(Node& node);
  void watch(Node& node);
  void find_unfinished(Node& node, Term term);
  void hold_decision(Node& node);
  void update_candidates();
  void heal();
  void run_to_rest();
  bool quiet() const;
  void check_rest();

  // ---- The machines and their effects (ownership_world_effects.cc) ----
  void tell(Node& node, const ownership::Event& event);
  void tell(Node& node, const taking::Event& event);
  void perform(Node& node, const ownership::Effect& effect);
  void perform(Node& node, const taking::Effect& effect);
  void on(Node& node, const ownership::ReadRecord& e);
  void on(Node& node, const ownership::Swap& e);
  void on(Node& node, const ownership::RemoveRecord& e);
  void on(Node& node, const ownership::Enlist& e);
  void on(Node& node, const ownership::NeedGrants& e);
  void on(Node& node, const ownership::SetPace& e);
  void on(Node& node, const ownership::Dismiss& e);
  void on(Node& node, const ownership::Commit& e);
  void on(Node& node, const ownership::SetTimer& e);
  void on(Node& node, const ownership::RaiseTerm& e);
  void on(Node& node, const ownership::Remember& e);
  void on(Node& node, const ownership::AskPrepare& e);
  void on(Node& node, const ownership::BeginHandover& e);
  void on(Node& node, const ownership::TellTake& e);
  void on(Node& node, const ownership::EndCopy& e);
  void on(Node& node, const ownership::HandOverFailed& e);
  void on(Node& node, const ownership::Suspend& e);
  void on(Node& node, const ownership::OwnershipLost& e);
  void on(Node& node, const ownership::OwnershipUnknown& e);
  void on(Node& node, const ownership::DesiredSettled& e);
  void on(Node& node, const ownership::RemovalComplete& e);
  void on(Node& node, const taking::RestoreCopy& e);
  void on(Node& node, const taking::KillCopy& e);
  void on(Node& node, const taking::Claimed& e);
  void on(Node& node, const taking::ClaimedBefore& e);
  void on(Node& node, const taking::Answer& e);
  template <typename T>
  void on(Node&, const T&) {}  // nothing is done: words for people, the end of a move
  void operate(Node& node, Operation operation);
  void ship(Node& owner, const NodeName& to, const Generation& generation);
  void open_gate(Node& node);
  void begin_owning(Node& node, const ownership::Event& first);
  void check_commit(const Node& node, const Generation& generation);
  void check_kill(const Node& node, std::string_view what);
  void check_gates();
  void require(bool holds, const std::string& what);
  NonceSource nonces();
  OwnershipOptions options() const;

  Node* find(const NodeName& name);
  Node* owner_node();  // whose machine runs the container
  std::uint64_t draw(std::uint64_t below) { return random_() % below; }
  bool chance(unsigned percent) { return draw(100) < percent; }
  Node& any_node() { return nodes_[draw(nodes_.size())]; }
  void note(std::string line);

  std::mt19937_64 random_;
  std::vector<Node> nodes_;
  Instant now_{};
  std::optional<Record> record_;
  ownership::Revision revision_ = 0;  // of the record
  ownership::Revision store_revision_ = 10;
  std::deque<Operation> operations_;
  std::deque<Message> messages_;
  std::set<std::pair<NodeName, NodeName>> cuts_;
  std::map<Life, std::set<Generation>> ever_held_;
  std::set<Generation> discarded_;
  Term highest_term_;
  std::uint64_t next_number_ = 1;
  std::uint32_t wanted_ = 1;
  unsigned trouble_percent_ = 20;
  bool healed_ = false;
  bool capturing_ = true;
  bool hints_ = true;             // the watch of the store works
  std::optional<NodeName> lost_;  // never comes back
  std::string violation_;
  std::deque<std::string> trace_;
  Tally tally_;
};

}  // namespace perdure::policy
