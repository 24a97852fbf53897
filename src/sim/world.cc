#include "sim/world.h"

#include "sim/daemon.h"
#include "sim/host.h"

namespace perdure::sim {

using std::chrono_literals::operator""h;

Tally& Tally::operator+=(const Tally& other) {
  swaps += other.swaps;
  lost_answers += other.lost_answers;
  commits += other.commits;
  takeovers += other.takeovers;
  recoveries += other.recoveries;
  cold_starts += other.cold_starts;
  takers_lost += other.takers_lost;
  words += other.words;
  crashes += other.crashes;
  pauses += other.pauses;
  cuts += other.cuts;
  moves += other.moves;
  failovers += other.failovers;
  events += other.events;
  return *this;
}

World::World(const SimulationOptions& run)
    : options(run),
      random(run.seed),
      plan(draw_plan(run, random)),
      trace(run.tracing),
      network(*this, plan.nodes),
      connections(*this),
      store(*this, plan.managers),
      invariants(*this, plan.containers) {
  for (NodeIndex node = 0; node < plan.nodes; ++node) {
    const NodeClock clock(random.between(1h, 1000h), plan.drift_ppm[node]);
    hosts.push_back(std::make_unique<Host>(*this, node, clock));
  }
}

World::~World() = default;

policy::OwnershipOptions World::ownership_options(ContainerIndex) const {
  policy::OwnershipOptions wanted;
  wanted.standbys = plan.standbys;
  return wanted;
}

policy::NonceSource World::nonces() {
  return [this] {
    model::Nonce nonce{};
    for (auto& byte : nonce) byte = static_cast<std::uint8_t>(random.next());
    return nonce;
  };
}

}  // namespace perdure::sim
