// When an owner whose container's clients cannot be reached hands it over to a standby that reaches them.
//
// Nodes hear each other all the while, so no takeover comes of it: this is a planned move, with nothing lost. Pure: (event, now)
// -> effects. One for each container with `network.reachability`, as long as this node owns it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "model/address.h"
#include "policy/container_events.h"

namespace perdure::policy::reachability {

struct Options {
  // From one round of probes to the next. A broadcast per address and second is what a link does not notice.
  Duration probe_interval = std::chrono::seconds(1);
  // How long no address has answered before the container may go. A switch whose spanning tree is rapid is through in less, so
  // is a router that fails over; who is cut off for good loses little more than the move takes.
  Duration silence = std::chrono::seconds(5);
  // ... in at least so many rounds: a perdured that has not run for a while has not heard silence.
  unsigned silent_rounds = 3;
  // From one question to the standbys to the next, while none of them reaches an address either.
  Duration ask_again = std::chrono::seconds(10);
  // After a move that has failed. It froze the container.
  Duration move_again = std::chrono::minutes(1);
  // What has come here because its former owner reached nobody stays so long, whatever is reached: two such moves of one
  // container are at least so far apart.
  Duration stay = std::chrono::minutes(5);
};

// ---- Events ----

// A round has ended. `candidates`: the standbys to which the container could be moved now; none while it is not protected or is on
// its way already.
struct Probed {
  std::set<model::IpAddress> answered;
  std::vector<NodeName> candidates;
};
// The link could not be asked, which says nothing about who is there.
struct ProbeFailed {
  std::string reason;
};
enum class Reaches { kYes, kNo };
// To the question with this number; every question is answered, by kNo where a standby does not.
struct StandbyAnswered {
  NodeName node;
  std::uint64_t question = 0;
  Reaches reaches = Reaches::kNo;
};
// It was handed over to this node because of what its former owner did not reach, or this node cannot know whether it was: its
// perdured has begun anew.
struct CameFromUnreachable {};
struct MoveFailed {
  std::string reason;
};
using Event = std::variant<Probed, ProbeFailed, StandbyAnswered, CameFromUnreachable, MoveFailed>;

// ---- Effects ----

// Whether one of the addresses answers there.
struct AskStandby {
  NodeName node;
  std::uint64_t question = 0;
};
// By a planned move. MoveFailed follows if it fails; else the container leaves.
struct HandOver {
  NodeName target;
};
using Effect = std::variant<AskStandby, HandOver, Emit>;

enum class State { kUnknown, kReachable, kUnreachable };

struct AddressStatus {
  model::IpAddress address;
  State state = State::kUnknown;
  std::optional<Instant> last_answer;  // absent: none since this node owns the container
};

class Reachability {
 public:
  Reachability(std::vector<model::IpAddress> addresses, Options options);

  std::vector<Effect> handle(const Event& event, Instant now);

  // kUnreachable: none has answered for the time of `silence`. kUnknown: no round has ended, or the last one could not be held.
  State state() const { return state_; }
  // Each by the last round; kUnknown as above.
  std::vector<AddressStatus> addresses() const;
  // Why it has not been handed over, while it is kUnreachable; for people. Empty: nothing is known against it.
  const std::string& held_back() const { return held_back_; }

 private:
  struct Handler;
  void probed(const Probed& event, Instant now);
  void heard();
  void silent(const Probed& event, Instant now);
  void ask(const std::vector<NodeName>& candidates, Instant now);
  void standby_answered(const StandbyAnswered& event, Instant now);
  void emit(Severity severity, std::string kind, std::string text, std::string reason = {});
  std::string list() const;

  const std::vector<model::IpAddress> addresses_;
  const Options options_;
  State state_ = State::kUnknown;
  std::set<model::IpAddress> answered_;  // in the last round
  std::map<model::IpAddress, Instant> last_answers_;
  std::optional<Instant> silent_since_;
  unsigned silent_rounds_ = 0;
  std::set<NodeName> asked_;  // whose answers to the current question are awaited
  std::uint64_t question_ = 0;
  std::optional<Instant> next_question_;
  std::optional<Instant> no_move_before_;
  std::string held_for_;  // why not before that
  bool moving_ = false;
  bool told_nobody_ = false;  // in this silence: that no standby reaches an address
  std::string held_back_;
  std::vector<Effect> effects_;
};

std::string to_string(const Event& event);
std::string to_string(const Effect& effect);

}  // namespace perdure::policy::reachability
