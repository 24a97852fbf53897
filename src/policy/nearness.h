// When a container that has come to be too far from what it depends on follows it (paper III-A, delay tolerance): a failover has
// taken the one and left the other.
//
// Both run, so it is a planned move, with nothing lost. It goes to a standby, where placement has put it beside the other's (paper
// III-B); it never goes farther away. Whoever it depends on does not follow it: among those that want to be close the arrows make no
// circle (application.near of the specification), so nobody is chased. Pure: (event, now) -> effects. One for each container with
// `application.near`, as long as this node owns it.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "policy/container_events.h"

namespace perdure::policy::nearness {

struct Options {
  // From one look to the next: a lookup of names in what the node knows already.
  Duration look_interval = std::chrono::seconds(1);
  // How long all that it depends on has run where it is before it follows: whoever fails over once may do so again, and another
  // one of them may be on its way. A longer way costs round trips, no state.
  Duration settle = std::chrono::seconds(3);
  // After a move that has failed. It froze the container.
  Duration move_again = std::chrono::minutes(1);
  // How long it has been too far before that is told: a standby needs its time to be ready again after a failover.
  Duration tell_after = std::chrono::seconds(30);
};

// ---- Events ----

struct Candidate {
  NodeName node;
  std::size_t too_far = 0;  // how many of them would be, from there
};
// `candidates`: the standbys to which the container could be moved now, the best first; none while it is not protected or is on its
// way already.
struct Looked {
  std::map<std::string, NodeName> sponsors_at = {};  // where they are, those that are anywhere
  bool settled = true;                               // none of them is on its way
  std::vector<std::string> too_far = {};             // from here, for people: "'db' on node 'b', not on the same host"
  std::vector<Candidate> candidates = {};
};
// It is here because an operator said so, because it did not hold elsewhere or its clients could not be reached from there, or this
// node cannot know: its perdured has begun anew. It stays until one of those that it depends on goes elsewhere: back where they are
// may be back where it failed.
struct WasPlaced {};
struct MoveFailed {
  std::string reason;
};
using Event = std::variant<Looked, WasPlaced, MoveFailed>;

// ---- Effects ----

// By a planned move. MoveFailed follows if it fails; else the container leaves.
struct HandOver {
  NodeName target;
};
using Effect = std::variant<HandOver, Emit>;

class Nearness {
 public:
  explicit Nearness(Options options) : options_(options) {}

  std::vector<Effect> handle(const Event& event, Instant now);

  // Those too far away, as at the last look; empty: all are close, or nowhere.
  const std::vector<std::string>& too_far() const { return too_far_; }
  // Why it does not follow, as long as any is; for people. Empty: it is about to.
  const std::string& held_back() const { return held_back_; }

 private:
  void looked(const Looked& event, Instant now);
  void follow(const Looked& event, Instant now);
  std::string list() const;

  const Options options_;
  std::map<std::string, NodeName> sponsors_at_;
  std::map<std::string, NodeName> last_known_;  // also of those that are nowhere now
  std::vector<std::string> too_far_;
  std::optional<Instant> far_since_;
  std::optional<Instant> settled_since_;
  std::optional<Instant> no_move_before_;
  std::string move_failure_;
  bool was_placed_ = false;
  bool moving_ = false;
  bool told_ = false;  // that it is too far
  std::string held_back_;
  std::vector<Effect> effects_;
};

std::string to_string(const Event& event);
std::string to_string(const Effect& effect);

}  // namespace perdure::policy::nearness
