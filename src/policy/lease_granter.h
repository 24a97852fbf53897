// The standby's side of the grants: whose heartbeats are answered for which container, and when has its owner been silent for long
// enough to take it over?
//
// An owner that has heard no answer for two grants is deaf: its gate has been shut for one of them. It is answered no more, and so
// becomes one that is silent. (Of a learner's answers it may have no keys yet.)
//
// From the moment at which silence is told, nothing is granted until resume(): a swap may be under way by then. No clock, no I/O,
// no threads; it lives on the thread of the heartbeats, behind one lock.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "model/cluster.h"
#include "policy/lease_messages.h"
#include "policy/lease_timing.h"

namespace perdure::policy::lease {

// What this node is to a container of another one.
struct Charge {
  model::NodeLife owner;
  Term term;
  enum class Role { kLearner, kStandby } role = Role::kLearner;  // only a standby takes over
  bool operator==(const Charge&) const = default;
};

struct SendGrant {
  NodeName to;
  Grant grant;
};
// No grant of this node is in force any more, to nobody; none is given until resume().
struct OwnerSilent {
  ContainerName container;
  Charge charge;
  Instant last_heard{};  // its last heartbeat that was answered, or when it was first expected
};
// A heartbeat came after OwnerSilent, and was not answered.
struct OwnerHeard {
  ContainerName container;
};
// The owner has been granted more than the usual, for the first time in its life: it is about to be restarted.
struct LongGrantGiven {
  ContainerName container;
  model::NodeLife owner;
  Duration grant{};
};
// A later life of that owner has given it back: nobody waits for more than the usual any more.
struct LongGrantGivenBack {
  ContainerName container;
  model::NodeLife owner;  // the later life
};
// A heartbeat of a term that is not known here: the record has changed.
struct TermUnknown {
  ContainerName container;
  Term term;
};

using GranterEffect = std::variant<SendGrant, OwnerSilent, OwnerHeard, LongGrantGiven, LongGrantGivenBack, TermUnknown>;

class LeaseGranter {
 public:
  LeaseGranter(model::NodeLife self, const Timing& timing) : self_(std::move(self)), timing_(timing) {}

  // Absent: this node has nothing to do with it (any more). What was granted before is waited out all the same. The same
  // charge again changes nothing.
  void watch(const ContainerName& container, const std::optional<Charge>& charge, Instant now);
  // What has been granted is waited out by the margin that held then.
  void use(const Timing& timing) { timing_ = timing; }
  // After OwnerSilent: the record is as it was, and no swap of ours can change it any more; or no takeover is begun, because the
  // charge is another one by now.
  void resume(const ContainerName& container, Instant now);
  // Whether nothing is granted because silence was told. A takeover is begun only then: another thread may have resumed since.
  bool withholds(const ContainerName& container) const;

  std::vector<GranterEffect> on(const Heartbeat& heartbeat, Instant now);
  // At next_tick(), or later, when what has arrived by then has been handled. Who calls it much later was paused, and gives the
  // owner one more heartbeat's time.
  std::vector<GranterEffect> tick(Instant now);
  // Instant::max(): nothing is waited for.
  Instant next_tick() const;

  // Until when this node would wait for a silent owner, if that is longer than after a grant of the usual length: it was
  // restarted on purpose. Absent: it does not, or is no standby.
  std::optional<Instant> waits_long_until(const ContainerName& container, Instant now) const;

 private:
  struct Held {
    std::optional<Charge> charge;
    Instant since{};                  // of the charge
    Instant last_heard{};             // answered
    std::uint64_t answered = 0;       // as its owner last said
    Instant heard_by_owner{};         // when that last rose, or an answer was first due
    Instant wait_until = Instant::min();  // the end of the longest grant given to this owner's life, with its margin
    Instant former_until = Instant::min();  // ... to any other, under any other term
    bool withheld = false;
    bool heard_told = false;
    bool long_told = false;
    bool former_long_told = false;  // of what former_until is about
  };
  static Instant granted_until(const Held& held) { return std::max(held.wait_until, held.former_until); }
  Instant silent_at(const Held& held) const;
  static bool is_waited_for(const Held& held) {
    return held.charge && held.charge->role == Charge::Role::kStandby && !held.withheld;
  }

  const model::NodeLife self_;
  Timing timing_;
  std::optional<Instant> last_tick_;
  Instant patient_until_ = Instant::min();
  std::map<ContainerName, Held> held_;
};

}  // namespace perdure::policy::lease
