// Daemon: heartbeats, grants and the deadlines of gates.
#include <algorithm>
#include <format>
#include <utility>

#include "sim/daemon.h"
#include "sim/host.h"
#include "sim/world.h"

namespace perdure::sim {

namespace lease = policy::lease;
namespace own = policy::ownership;

namespace {
// What the socket of a paused process keeps.
constexpr std::size_t kSocketBuffer = 500;
}  // namespace

void Daemon::lease_task(Task task) {
  if (!host_.paused()) return task();
  if (lease_tasks_.size() < kSocketBuffer) lease_tasks_.push_back(std::move(task));
}

void Daemon::arm_lease() {
  if (host_.paused()) return;
  Instant next = granter_.next_tick();
  if (holder_.containers() > 0) next = std::min(next, holder_.next_tick());
  if (next == Instant::max()) return;
  Duration late{};
  if (world_.random.permille(world_.weather.late_thread_permille)) {
    late = world_.random.between({}, world_.weather.thread_latest);
  }
  const TrueTime due = (next <= now() ? world_.queue.now() : host_.clock().when(next)) + late;
  // What is armed for earlier arms again.
  if (lease_armed_ && *lease_armed_ <= due) return;
  lease_armed_ = due;
  world_.queue.at(due, [this, alive = alive_, timer = ++lease_timer_] {
    if (!*alive || timer != lease_timer_) return;
    lease_armed_.reset();
    if (!host_.paused()) lease_tick();
  });
}

void Daemon::lease_tick() {
  perform(holder_.tick(now()));
  perform(granter_.tick(now()));
  arm_lease();
}

// ---- As an owner ----

// Gates first: under the lock of the lease holder, before any other thread hears of anything.
void Daemon::perform(std::vector<lease::HolderEffect> effects) {
  for (const lease::HolderEffect& effect : effects) {
    if (const auto* gate = std::get_if<lease::SetGate>(&effect)) set_gate(*gate);
  }
  for (lease::HolderEffect& effect : effects) {
    if (auto* beat = std::get_if<lease::SendHeartbeat>(&effect)) {
      const NodeIndex to = index_of(beat->to);
      world_.network.datagram(host_.index(), to,
                              [&world = world_, to, heartbeat = std::move(beat->heartbeat)] {
                                Daemon* daemon = world.hosts[to]->daemon();
                                if (daemon != nullptr) daemon->receive(heartbeat);
                              });
    } else if (const auto* flow = std::get_if<lease::GrantsFlow>(&effect)) {
      post([this, container = index_of(flow->container), from = flow->from] {
        tell(place(container), own::Event(own::GrantsFlow{from}));
      });
    } else if (const auto* stop = std::get_if<lease::GrantsStopped>(&effect)) {
      post([this, container = index_of(stop->container), from = stop->from] {
        tell(place(container), own::Event(own::GrantsStopped{from}));
      });
    }
  }
}

void Daemon::set_gate(const lease::SetGate& effect) {
  const ContainerIndex container = index_of(effect.container);
  host_.set_gate(container, effect.deadline, place(container).lease_term);
}

void Daemon::receive(const lease::Grant& received) {
  lease_task([this, grant = received]() mutable {
    if (world_.options.sabotage == Sabotage::kIncarnation) {
      grant.to = life_.incarnation;
      for (const auto& [container, here] : places_) {
        if (!here.owner) continue;
        const own::OwnershipStatus status = here.owner->status();
        const Life* listed = status.record ? status.record->standby(grant.from.node) : nullptr;
        if (listed != nullptr) grant.from = Life(*listed);
      }
    }
    auto effects = holder_.on(grant, now());
    if (world_.options.sabotage == Sabotage::kAbsoluteDeadline) {
      for (lease::HolderEffect& effect : effects) {
        auto* gate = std::get_if<lease::SetGate>(&effect);
        if (gate != nullptr && gate->deadline != lease::kOpen) {
          gate->deadline = now() + grant.grant;
        }
      }
    }
    perform(std::move(effects));
  });
}

// ---- As a standby ----

void Daemon::perform(std::vector<lease::GranterEffect> effects) {
  for (lease::GranterEffect& effect : effects) {
    if (auto* send_grant = std::get_if<lease::SendGrant>(&effect)) {
      const NodeIndex to = index_of(send_grant->to);
      world_.network.datagram(host_.index(), to,
                              [&world = world_, to, grant = std::move(send_grant->grant)] {
                                Daemon* daemon = world.hosts[to]->daemon();
                                if (daemon != nullptr) daemon->receive(grant);
                              });
    } else if (const auto* silent = std::get_if<lease::OwnerSilent>(&effect)) {
      post([this, it = *silent] { owner_silent(it); });
      if (world_.options.sabotage == Sabotage::kResume) granter_.resume(silent->container, now());
    } else if (const auto* heard = std::get_if<lease::OwnerHeard>(&effect)) {
      post([this, container = index_of(heard->container)] {
        Place& here = place(container);
        if (here.taking) return tell(here, policy::taking::Event(policy::taking::OwnerHeard{}));
        granter_.resume(container_name(container), now());
        arm_lease();
      });
    }
  }
}

void Daemon::receive(const lease::Heartbeat& received) {
  lease_task([this, heartbeat = received]() mutable {
    const Duration asked = heartbeat.grant;
    if (world_.options.sabotage == Sabotage::kWait) heartbeat.grant = Duration{1};
    if (world_.options.sabotage == Sabotage::kTermCheck ||
        world_.options.sabotage == Sabotage::kIncarnation) {
      for (lease::Row& row : heartbeat.rows) {
        const Place* here = find(index_of(row.container));
        if (here == nullptr || !here->charge) continue;
        if (here->charge->owner.node != heartbeat.from.node) continue;
        if (world_.options.sabotage == Sabotage::kTermCheck) row.term = here->charge->term;
        if (world_.options.sabotage == Sabotage::kIncarnation) {
          heartbeat.from = here->charge->owner;
        }
      }
    }
    auto effects = granter_.on(heartbeat, now());
    for (lease::GranterEffect& effect : effects) {
      if (auto* send_grant = std::get_if<lease::SendGrant>(&effect)) {
        send_grant->grant.grant = asked;
      }
    }
    perform(std::move(effects));
    arm_lease();
  });
}

// Told by the other thread: the charge may be another one by now.
void Daemon::owner_silent(const lease::OwnerSilent& silent) {
  Place& here = place(index_of(silent.container));
  if (!granter_.withholds(silent.container)) return;
  if (here.owner) {
    const auto held = here.holds.empty() ? std::nullopt : std::optional(*here.holds.rbegin());
    tell(here, own::Event(own::TargetSilent{held}));
    granter_.resume(silent.container, now());
    return arm_lease();
  }
  if (here.taking) {
    here.silence_passed_over = true;
    return;
  }
  if (here.charge != silent.charge) {
    granter_.resume(silent.container, now());
    return arm_lease();
  }
  StoredRecord seen = view_.at(here.container);
  if (world_.options.sabotage == Sabotage::kIncarnation) {
    for (Life& standby : seen.record.standbys) {
      if (standby.node == life_.node) standby = life_;
    }
  }
  policy::taking::OwnerSilent first{.record = seen.record, .revision = seen.revision, .holds = {}};
  for (const Generation& generation : here.holds) {
    if (generation >= here.committed) first.holds.push_back(generation);
  }
  begin_taking(here, first);
}

}  // namespace perdure::sim
