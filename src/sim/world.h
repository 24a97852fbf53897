// Everything that one run consists of, and nothing of it outside.
#pragma once

#include <cstdint>
#include <format>
#include <memory>
#include <optional>
#include <vector>

#include "policy/lease_timing.h"
#include "policy/ownership.h"
#include "sim/connections.h"
#include "sim/event_queue.h"
#include "sim/invariants.h"
#include "sim/network.h"
#include "sim/options.h"
#include "sim/plan.h"
#include "sim/random.h"
#include "sim/store.h"
#include "sim/trace.h"
#include "sim/weather.h"

namespace perdure::sim {

class Host;

// That a run was worth its name.
struct Tally {
  std::uint64_t swaps = 0;
  std::uint64_t lost_answers = 0;
  std::uint64_t commits = 0;
  std::uint64_t takeovers = 0;
  std::uint64_t recoveries = 0;
  std::uint64_t cold_starts = 0;
  std::uint64_t takers_lost = 0;  // that had just become the owner
  std::uint64_t words = 0;        // of operators
  std::uint64_t crashes = 0;
  std::uint64_t pauses = 0;
  std::uint64_t cuts = 0;
  std::uint64_t moves = 0;
  std::uint64_t failovers = 0;  // asked for
  std::uint64_t events = 0;
  Tally& operator+=(const Tally& other);
};

class World {
 public:
  explicit World(const SimulationOptions& run);
  ~World();

  template <typename Make>
  void note(std::optional<ContainerIndex> container, Make make) {
    if (trace.on()) trace.add(queue.now(), container, make());
  }
  policy::OwnershipOptions ownership_options(ContainerIndex container) const;
  policy::NonceSource nonces();

  const SimulationOptions options;
  Random random;
  const Plan plan;
  EventQueue queue;
  Trace trace;
  Weather weather;
  Tally tally;
  Network network;
  Connections connections;
  Store store;
  Invariants invariants;
  std::vector<std::unique_ptr<Host>> hosts;
};

}  // namespace perdure::sim
