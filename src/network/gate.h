// The gate: a tc-BPF program on the host end of a container's veth that every frame of the
// container has to pass (docs/recovery.md). It compares CLOCK_BOOTTIME with an absolute deadline in a map
// that is mapped into the daemon, so that a renewal is one store (about 1 µs with the clock read)
// and a late one is harmless. It lives in a clsact filter: the daemon's death does not detach it,
// and output stops by itself.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "network/address.h"
#include "network/gate_abi.h"
#include "network/kernel_clock.h"

namespace perdure::network {

enum class GateFlags : std::uint32_t {
  kNone = 0,
  kLocked = PD_GATE_LOCKED,              // drops every frame: a capture or a recovery is going on
  kRstGuard = PD_GATE_RST_GUARD,         // drops TCP RST and ICMP, ICMPv6 destination unreachable
  kArpOnly = PD_GATE_ARP_ONLY,           // passes ARP, neighbour discovery and MLD only
  kHoldOnDeath = PD_GATE_HOLD_ON_DEATH,  // any process killed by a signal closes the gate
  kHoldOnInitDeath = PD_GATE_HOLD_ON_INIT_DEATH,  // only PID 1 of the container does
  kInputLocked = PD_GATE_INPUT_LOCKED,            // drops frames into the container
  // With kHoldOnDeath: only PID 1 and what ExitHook::list() names. What the hook cannot tell holds.
  kListedDeathsOnly = PD_GATE_LISTED_DEATHS_ONLY,
};
constexpr GateFlags operator|(GateFlags a, GateFlags b) {
  return GateFlags(std::uint32_t(a) | std::uint32_t(b));
}
constexpr GateFlags operator&(GateFlags a, GateFlags b) {
  return GateFlags(std::uint32_t(a) & std::uint32_t(b));
}
constexpr GateFlags operator~(GateFlags a) {
  return GateFlags(~std::uint32_t(a));
}
constexpr bool has(GateFlags set, GateFlags flag) {
  return (set & flag) != GateFlags::kNone;
}

// Never: the default on one node. A deadline in the past closes.
inline constexpr Instant kNoDeadline = Instant::max();

struct GateState {
  Instant deadline = kNoDeadline;
  GateFlags flags = GateFlags::kNone;
};

struct GateCounters {  // frames since the gate was attached
  std::uint64_t passed = 0;
  std::uint64_t dropped_deadline = 0;
  std::uint64_t dropped_locked = 0;
  std::uint64_t dropped_held = 0;
  std::uint64_t dropped_guard = 0;
  std::uint64_t dropped_arp_only = 0;
  std::uint64_t input_passed = 0;
  std::uint64_t input_dropped = 0;
};

// Any thread may call any member; set_flags and its relatives have one writer at a time (the owner
// of the container). Dropping the object leaves the gate in place and as it is.
class Gate {
 public:
  // Loads the program, writes `initial` and puts it in front of the link, which should still be
  // down. A gate that is there already is replaced. kNotFound: no such link; kUnsupported: the
  // kernel refuses, the message carries its reason. The link is looked up in the caller's network
  // namespace.
  static Result<Gate> attach(unsigned link_index, const GateState& initial);
  // Finds the gate of a link that outlived the daemon, and leaves it as it is. kNotFound;
  // kUnsupported if it was made by an incompatible version.
  static Result<Gate> recover(unsigned link_index);
  // Takes it away: frames pass freely. For tests and for giving a link back.
  static Status remove(unsigned link_index);

  Gate(Gate&&) noexcept;
  Gate& operator=(Gate&&) noexcept;
  ~Gate();

  void set_deadline(Instant deadline);
  void set_flags(GateFlags flags);
  void add_flags(GateFlags flags) { set_flags(state().flags | flags); }
  void clear_flags(GateFlags flags) { set_flags(state().flags & ~flags); }
  void lock() { add_flags(GateFlags::kLocked); }
  void unlock() { clear_flags(GateFlags::kLocked); }
  // No lock, no ARP-only, no guard, no input lock; the hold flags stay, and so does the deadline. Does
  // not end a hold.
  void open();
  // Sets this gate's deadline from any thread, for as long as it lives, also when the Gate is gone.
  class DeadlineWriter;
  Result<DeadlineWriter> deadline_writer() const;

  GateState state() const;
  GateCounters counters() const;

  // How often a death by a signal closed this gate; it is held until the daemon has released up to
  // this very number. Separate from the flags: the kernel counts up, the daemon says with which
  // count it has dealt, so a death that happens meanwhile is never lost. Read holds() first, look
  // after the death, then release_holds() that number, and never deaths(): one process can count
  // more than once here.
  std::uint64_t holds() const;
  bool held() const;
  void release_holds(std::uint64_t up_to);
  std::uint64_t deaths() const;  // all deaths by a signal, also those that held nothing

  // The connections for which an RST was dropped by a lock or a hold since the last call, each
  // once; of more than 1024 the newest. The kernel sends one when a process ends with data it has
  // not read, and forgets the connection at once: nothing else tells of it.
  Result<std::vector<TcpTuple>> take_refused();
  // The connections whose SYN, or answer to one, the gate has let out since the last call, each once; of more than 1024 the
  // newest. They may have ended since, or never have been accepted. Nothing is told of one whose SYN carries more than a few
  // bytes of data, nor by a gate that was made before there was this.
  Result<std::vector<TcpTuple>> take_begun();

  unsigned link_index() const { return link_index_; }
  int map_fd() const { return maps_.entry.get(); }

 private:
  struct Maps {
    UniqueFd entry;
    UniqueFd refusals;
    UniqueFd begun;  // none: an earlier version made the gate
  };
  Gate(unsigned link_index, KernelClock clock, Maps maps, pd_gate_entry* entry)
      : link_index_(link_index), clock_(clock), maps_(std::move(maps)), entry_(entry) {}
  Result<std::vector<TcpTuple>> take_all(const UniqueFd& queue, std::string_view what);

  unsigned link_index_ = 0;
  KernelClock clock_;
  Maps maps_;
  pd_gate_entry* entry_ = nullptr;  // mapped; shared with the kernel
};

class Gate::DeadlineWriter {
 public:
  DeadlineWriter(DeadlineWriter&& other) noexcept;
  DeadlineWriter& operator=(DeadlineWriter&& other) noexcept;
  ~DeadlineWriter();
  void set(Instant deadline);  // one store; no lock, no system call
  Instant get() const;

 private:
  friend class Gate;
  DeadlineWriter(KernelClock clock, pd_gate_entry* entry) : clock_(clock), entry_(entry) {}
  KernelClock clock_;
  pd_gate_entry* entry_;  // a mapping of its own
};

struct Feature {
  bool works = false;
  std::string reason;  // the kernel's, if it does not work
};

struct GateSupport {
  Feature gate;       // clsact, BPF, mapped entry
  Feature exit_hook;  // closing on a death by a signal
  Feature pinning;    // the hook outlives the daemon
  Feature destroy;    // aborting a restored socket (INET_DIAG_DESTROY)
};

// Tries everything for real, in a network and mount namespace of its own that vanishes afterwards.
// Fails only if no such namespace can be made.
Result<GateSupport> probe_gate();

}  // namespace perdure::network
