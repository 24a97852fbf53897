// One machine: a clock, a kernel with containers and their gates, a disk, and on it a daemon that may
// hang, die and begin again without them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "base/ids.h"
#include "policy/lease_holder.h"
#include "policy/ownership_events.h"
#include "sim/event_queue.h"
#include "sim/names.h"
#include "sim/true_time.h"

namespace perdure::sim {

class Daemon;
class World;

// The processes of a container.
struct Copy {
  bool frozen = false;
  bool locked = true;  // the lock bit of its gate: it has been restored and has not spoken yet
};

// What the kernel keeps of a container, whatever becomes of the daemon.
struct InKernel {
  std::optional<Copy> copy;
  Instant deadline = policy::lease::kShut;  // of the gate, by this host's clock
  Term term;                                // under which that was written
  bool open = false;                        // as last looked at
};

// What survives the host.
struct OnDisk {
  bool owns = false;
  Term term;
  std::optional<policy::ownership::HandingOver> handing_over;
  std::set<Generation> durable;
  std::optional<Generation> committed;
};

class Host {
 public:
  Host(World& world, NodeIndex index, NodeClock clock);
  ~Host();

  NodeIndex index() const { return index_; }
  const NodeClock& clock() const { return clock_; }
  Instant local_now() const;
  bool up() const { return up_; }
  bool paused() const { return paused_; }
  Daemon* daemon() { return daemon_.get(); }
  const Daemon* daemon() const { return daemon_.get(); }

  void start_daemon();
  void crash_daemon();
  void crash();   // all of it
  void boot();    // and its daemon
  void pause();   // SIGSTOP: the kernel goes on
  void resume();  // what has come in meanwhile is handled now

  // ---- The kernel ----
  InKernel& kernel(ContainerIndex container) { return kernel_[container]; }
  const std::map<ContainerIndex, InKernel>& containers() const { return kernel_; }
  bool gate_open(ContainerIndex container) const;
  void set_gate(ContainerIndex container, Instant deadline, Term term);
  void set_copy(ContainerIndex container, std::optional<Copy> copy);

  // ---- The disk ----
  std::map<ContainerIndex, OnDisk>& disk() { return disk_; }
  Duration disk_latency{};
  bool disk_full = false;

 private:
  void look_at_gate(ContainerIndex container);

  World& world_;
  const NodeIndex index_;
  const NodeClock clock_;
  bool up_ = true;
  bool paused_ = false;
  std::uint64_t lives_ = 0;
  std::unique_ptr<Daemon> daemon_;
  std::map<ContainerIndex, InKernel> kernel_;
  std::map<ContainerIndex, OnDisk> disk_;
};

}  // namespace perdure::sim
