#include "sim/host.h"

#include <utility>

#include "sim/daemon.h"
#include "sim/world.h"

namespace perdure::sim {

Host::Host(World& world, NodeIndex index, NodeClock clock)
    : world_(world), index_(index), clock_(clock) {}

Host::~Host() = default;

Instant Host::local_now() const { return clock_.at(world_.queue.now()); }

// ---- Lives ----

void Host::start_daemon() {
  if (!up_ || daemon_) return;
  paused_ = false;
  daemon_ = std::make_unique<Daemon>(
      world_, *this, model::NodeLife{node_name(index_), Incarnation{++lives_}});
  world_.note({}, [&] { return std::format("n{} begins its life {}", index_, lives_); });
  daemon_->start();
}

void Host::crash_daemon() {
  if (!daemon_) return;
  world_.note({}, [&] { return std::format("n{} loses its daemon", index_); });
  ++world_.tally.crashes;
  daemon_.reset();
  paused_ = false;
}

void Host::crash() {
  if (!up_) return;
  world_.note({}, [&] { return std::format("n{} crashes", index_); });
  ++world_.tally.crashes;
  up_ = paused_ = false;
  daemon_.reset();
  kernel_.clear();
}

void Host::boot() {
  if (up_) return;
  up_ = true;
  start_daemon();
}

void Host::pause() {
  if (!daemon_ || paused_) return;
  world_.note({}, [&] { return std::format("n{} hangs", index_); });
  ++world_.tally.pauses;
  paused_ = true;
}

void Host::resume() {
  if (!std::exchange(paused_, false) || !daemon_) return;
  world_.note({}, [&] { return std::format("n{} goes on", index_); });
  daemon_->resumed();
}

// ---- The kernel ----

bool Host::gate_open(ContainerIndex container) const {
  const auto found = kernel_.find(container);
  if (found == kernel_.end() || !found->second.copy) return false;
  const Copy& copy = *found->second.copy;
  return !copy.frozen && !copy.locked && local_now() < found->second.deadline;
}

// Whatever opens a gate is looked at here; it closes by itself.
void Host::look_at_gate(ContainerIndex container) {
  InKernel& in = kernel_[container];
  const bool open = gate_open(container);
  if (open != std::exchange(in.open, open)) {
    world_.note(container, [&] {
      return std::format("n{} gate {}", index_, open ? "is open" : "is shut");
    });
  }
  if (open) world_.invariants.gate_is_open(index_, container, in.term);
}

void Host::set_gate(ContainerIndex container, Instant deadline, Term term) {
  InKernel& in = kernel_[container];
  in.open = gate_open(container);
  if (in.deadline != deadline) {
    world_.note(container, [&] {
      const std::string until = deadline == policy::lease::kOpen   ? "for ever"
                                : deadline == policy::lease::kShut ? "no more"
                                                                   : format_duration(deadline - local_now());
      return std::format("n{} gate may be open {}, under term {}", index_, until, term.value);
    });
  }
  in.deadline = deadline;
  in.term = term;
  look_at_gate(container);
}

void Host::set_copy(ContainerIndex container, std::optional<Copy> copy) {
  kernel_[container].copy = copy;
  look_at_gate(container);
}

}  // namespace perdure::sim
