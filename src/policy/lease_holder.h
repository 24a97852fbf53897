// The owner's side of the grants: until when may the gate of each container of this node be open?
//
// A grant is a standby's promise not to become the owner before it has run out. The owner counts it from the moment at which it
// sent the heartbeat that was answered, so the promise lasts longer than it is believed in. The gate is told the earliest end of
// all grants that are needed, as an absolute time: told late, it is as right as told at once.
//
// Which grants are needed is the business of Ownership (NeedGrants): those of every standby of every record that may be in
// force. No clock, no I/O, no threads; it lives on the thread of the heartbeats, behind one lock. SetGate is performed before
// that lock is given up: of two threads the one that was here last has to be the one that writes last, or a deadline from before
// need() would outlive it. Bounded by the containers and peers it is told of. Source: Gray and Cheriton, "Leases" (SOSP 1989), section 2; PacificA (MSR-TR-2008-25), section 4.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "model/cluster.h"
#include "policy/lease_messages.h"
#include "policy/lease_timing.h"

namespace perdure::policy::lease {

// A deadline that no grant bounds: there is no standby.
inline constexpr Instant kOpen = Instant::max();
// A deadline that has always passed.
inline constexpr Instant kShut = Instant::min();

struct Needs {
  Term term;
  std::vector<model::NodeLife> required;  // without one of these grants the gate closes
  std::vector<model::NodeLife> asked;     // learners: heartbeats go to them too
  // Of a daemon that was restarted: the deadline that its earlier life has left in the gate. It counts as a grant of all that
  // are required now, of each until that one has answered this life; and nothing lasts longer, without a standby too: a swap of
  // that life may still come that names one.
  std::optional<Instant> inherited = {};
};

struct SetGate {
  ContainerName container;
  Instant deadline;  // kOpen, kShut, or a time
};
struct SendHeartbeat {
  NodeName to;
  Heartbeat heartbeat;
};
// A life that is asked has begun to answer for the container, or has let half a grant pass.
struct GrantsFlow {
  ContainerName container;
  model::NodeLife from;
};
struct GrantsStopped {
  ContainerName container;
  model::NodeLife from;
};
// What was asked for by ask_long() is held for every container.
struct LongGrantsHeld {};

using HolderEffect = std::variant<SetGate, SendHeartbeat, GrantsFlow, GrantsStopped, LongGrantsHeld>;

class LeaseHolder {
 public:
  LeaseHolder(model::NodeLife self, const Timing& timing) : self_(std::move(self)), timing_(timing) {}

  // From now on these grants are needed. What is set before it returns its effects is in force when they are performed: a swap
  // that makes somebody a standby is sent after that.
  std::vector<HolderEffect> need(const ContainerName& container, const Needs& needs, Instant now);
  // Nothing is renewed any more; the gate is left to its deadline.
  void forget(const ContainerName& container);
  // ... and it is shut at once: another node is the owner.
  std::vector<HolderEffect> shut(const ContainerName& container);
  // From the next heartbeat on, which is due at once. Nobody is silent by a rule that did not hold when he was asked, and the pace
  // does not fall before the longer grants that allow it have come.
  void use(const Timing& timing, Instant now);
  // Heartbeats ask for longer grants from now on: perdured is about to be restarted. There is no way back.
  void ask_long(Duration grant);
  // What of them is not held yet; empty also when none were asked for.
  struct Missing {
    ContainerName container;
    model::NodeLife from;
    bool operator==(const Missing&) const = default;
  };
  std::vector<Missing> missing_long_grants(Instant now) const;

  std::vector<HolderEffect> on(const Grant& grant, Instant now);
  // At next_beat(), or later: heartbeats are sent, and who is silent is told.
  std::vector<HolderEffect> tick(Instant now);
  Instant next_tick() const { return next_tick_; }

  std::optional<Instant> deadline(const ContainerName& container) const;
  std::size_t containers() const { return leases_.size(); }

 private:
  struct Given {
    Instant asked_since{};
    Instant answered{};  // when the last heartbeat that was answered was sent
    Instant end = kShut;
    bool inherited = false;  // of an earlier life: `end` is what that one left in the gate
    bool flows = false;
    bool told = false;  // that they flow, or have stopped
  };
  struct Lease {
    Needs needs;
    std::map<model::NodeLife, Given> given;
    Instant deadline = kShut;
    bool had_inherited = false;
  };
  struct Sent {
    std::uint64_t sequence = 0;
    Instant at{};
    Duration asked{};
  };
  // Answers to older heartbeats than these renew nothing that a newer one does not.
  static constexpr std::size_t kRemembered = 64;
  struct Peer {
    std::array<Sent, kRemembered> sent{};  // by beat, the oldest is overwritten
    std::uint64_t answered = 0;            // the newest that was
  };

  void set_deadline(const ContainerName& container, Lease& lease, std::vector<HolderEffect>& effects);
  void send_heartbeats(Instant now, std::vector<HolderEffect>& effects);
  void tell_silence(Instant now, std::vector<HolderEffect>& effects);
  Instant silent_at(const Given& given) const;
  void note_long_grants(Instant now, std::vector<HolderEffect>& effects);

  const model::NodeLife self_;
  Duration pace(Instant now) const { return now < settled_at_ ? settling_pace_ : timing_.heartbeat; }

  Timing timing_;
  Instant settled_at_ = kShut;  // after a change of the timing
  Duration settling_pace_{};
  std::optional<Duration> long_grant_;
  bool long_told_ = false;
  Instant next_tick_ = kShut;
  std::optional<Instant> last_tick_;
  std::uint64_t sequence_ = 0;  // of the last heartbeat to anybody: never used twice in a life
  std::uint64_t beat_ = 0;
  std::map<ContainerName, Lease> leases_;
  std::map<NodeName, Peer> peers_;
};

}  // namespace perdure::policy::lease
