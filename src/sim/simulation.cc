#include "sim/simulation.h"

#include <algorithm>
#include <format>
#include <set>

#include "sim/daemon.h"
#include "sim/host.h"

namespace perdure::sim {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

namespace {

constexpr Duration kSettleTime = 2500ms;  // until the first standbys hold something
// After everything is well again: connections, the rereading of records, requests that come late.
constexpr Duration kRunBound = 25s;
// Beside that, nodes that were dropped wait before they are made standbys again, longer each time.
constexpr Duration kProtectBound = 240s;
constexpr Duration kLook = 100ms;
// Of a takeover with nothing else in its way: frames, the store, threads.
constexpr Duration kTakeoverSlack = 100ms;
// A thousand for each of a thousand containers: who does more has set a timer that is due, again and again.
constexpr std::uint64_t kMostAtOnce = 1'000'000;

}  // namespace

Simulation::Simulation(const SimulationOptions& options) : world_(options), schedule_(world_) {}

std::optional<Violation> Simulation::run() {
  found();
  play(kSettleTime);
  for (int phase = 0; phase < world_.plan.phases && !broken(); ++phase) {
    schedule_.trouble();
    play(world_.random.between(500ms, 4s));
    if (world_.random.percent(30)) {
      schedule_.calm();
      play(world_.random.between(200ms, 2s));
    }
  }
  schedule_.heal();
  healed_ = world_.queue.now();
  require_within(kRunBound, [this](ContainerIndex c) { return runs(c); },
                 "every container runs again when all is well");
  require_within(kProtectBound, [this](ContainerIndex c) { return is_protected(c); },
                 "every container is protected again when all is well");
  if (!broken()) lose_an_owner();
  world_.tally.events = world_.queue.executed();
  return world_.invariants.violation();
}

void Simulation::found() {
  world_.store.start();
  for (const auto& host : world_.hosts) host->start_daemon();
  world_.connections.start();
  for (ContainerIndex container = 0; container < world_.plan.containers; ++container) {
    Host& host = *world_.hosts[container % world_.hosts.size()];
    model::OwnershipRecord record{.container = container_name(container),
                                  .owner = host.daemon()->life(),
                                  .standbys = {},
                                  .term = Term{1},
                                  .spec_digest = {},
                                  .image_digest = {},
                                  .writer = host.daemon()->life()};
    world_.invariants.founded(container, record);
    world_.store.found(std::move(record));
    host.daemon()->found(container, world_.store.truth(container));
  }
}

void Simulation::play(Duration duration) {
  const TrueTime end = world_.queue.now() + duration;
  while (!broken() && world_.queue.now() < end) {
    world_.queue.step(end);
    if (world_.queue.executed_at_once() < kMostAtOnce) continue;
    world_.invariants.broken({}, "time goes on", std::format("{} events at one instant", kMostAtOnce));
  }
}

void Simulation::require_within(Duration bound, const Well& well, const std::string& rule) {
  const TrueTime end = world_.queue.now() + bound;
  ContainerIndex next = 0;
  for (;;) {
    std::string why;
    while (next < world_.plan.containers && (why = well(next)).empty()) ++next;
    if (broken() || next == world_.plan.containers) return;
    if (world_.queue.now() >= end) {
      return world_.invariants.broken(next, rule,
                                      std::format("not within {}: {}", format_duration(bound), why));
    }
    play(kLook);
  }
}

std::string Simulation::runs(ContainerIndex container) const {
  const model::OwnershipRecord& record = world_.store.truth(container).record;
  const Host& host = *world_.hosts[index_of(record.owner.node)];
  if (host.gate_open(container)) return {};
  return std::format("the gate of n{} is shut; {}", host.index(),
                     policy::ownership::to_string(record));
}

std::string Simulation::is_protected(ContainerIndex container) const {
  const model::OwnershipRecord& record = world_.store.truth(container).record;
  const Host& host = *world_.hosts[index_of(record.owner.node)];
  const bool all = host.daemon() != nullptr && host.daemon()->life() == record.owner &&
                   host.gate_open(container) && host.daemon()->protects(container) &&
                   record.phase == model::RecordPhase::kRunning;
  const bool live = std::ranges::all_of(record.standbys, [&](const model::NodeLife& standby) {
    const Daemon* daemon = world_.hosts[index_of(standby.node)]->daemon();
    return daemon != nullptr && daemon->life() == standby;
  });
  for (const auto& other : world_.hosts) {
    if (other->index() == host.index() || other->daemon() == nullptr) continue;
    if (other->daemon()->owner(container) != nullptr || other->daemon()->is_taking(container)) {
      return std::format("n{} has not let go", other->index());
    }
  }
  return all && live ? "" : "the record says: " + policy::ownership::to_string(record);
}

// Nothing else is wrong: from the loss of a host, of its daemon, or of its patience, to the gate that
// opens elsewhere.
void Simulation::lose_an_owner() {
  // Until the last datagram of the trouble before has come.
  const TrueTime calm = healed_ + kLongestDelay;
  play(std::max(calm - world_.queue.now(), Duration{}) + world_.random.between({}, 300ms));
  const ContainerIndex chosen = world_.random.below(world_.plan.containers);
  const NodeIndex lost = index_of(world_.store.truth(chosen).record.owner.node);
  std::set<ContainerIndex> owned;
  for (ContainerIndex container = 0; container < world_.plan.containers; ++container) {
    const model::OwnershipRecord& record = world_.store.truth(container).record;
    if (index_of(record.owner.node) == lost && !record.standbys.empty()) owned.insert(container);
  }
  Host& host = *world_.hosts[lost];
  const std::size_t way = world_.random.below(3);
  if (way == 0) host.crash();
  if (way == 1) host.crash_daemon();
  if (way == 2) host.pause();
  const policy::lease::Timing& timing = world_.plan.timing;
  const Duration bound = timing.heartbeat + policy::lease::wait_after(timing.grant, timing.margin) +
                         world_.plan.restore_time + kTakeoverSlack;
  require_within(
      bound,
      [&](ContainerIndex container) {
        if (!owned.contains(container)) return std::string();
        const NodeIndex owner = index_of(world_.store.truth(container).record.owner.node);
        return owner == lost ? std::string("no standby has taken it over") : runs(container);
      },
      "a container whose owner is lost runs again within the bound");
  if (broken() || world_.random.percent(70)) return;
  schedule_.heal();
  require_within(kProtectBound, [this](ContainerIndex c) { return is_protected(c); },
                 "every container is protected again after a takeover");
}

}  // namespace perdure::sim
