// Which of the containers that a node takes over at once are restored now, and which wait for their turn.
//
// A node that dies may have owned many. Their swaps are independent and are all sent at once; their restores share this node's cores
// and its pool, and all of them together would take everybody as long as the last. So at most a budget of them run at once, the
// shortest outage tolerance first, and of equal ones the one that has been silent for longer. A swap that is on its way keeps a place
// free for a container that can wait less, but not for long: an etcd that is slow must not keep the others waiting.
//
// Pure: no clock, no I/O.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"

namespace perdure::policy {

struct PendingRestore {
  enum class State {
    kComing,   // its record is being swapped
    kReady,    // it can begin
    kRunning,
  };
  ContainerName container;
  Duration outage_tolerance{};
  Instant silent_since{};
  State state = State::kComing;
  Instant comes_until{};  // kComing: until then its place is kept free
};

// Of a swap: an etcd that is well has answered by then, also if 20 come at once.
inline constexpr Duration kPlaceKept = std::chrono::milliseconds(100);

// Whether `a` is restored before `b`.
bool comes_before(const PendingRestore& a, const PendingRestore& b);

struct RestoreTurns {
  std::vector<ContainerName> begin;     // now, the most critical first
  std::optional<Instant> look_again{};  // when a place need not be kept any more
};
// `pending`: no container twice. `budget`: at least 1.
RestoreTurns next_restores(std::span<const PendingRestore> pending, std::size_t budget, Instant now);

// How many of those that wait, or whose place is kept, come before this one. It is one of `pending`.
std::size_t waiting_before(std::span<const PendingRestore> pending, const ContainerName& container, Instant now);

}  // namespace perdure::policy
