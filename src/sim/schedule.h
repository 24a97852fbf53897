// Misfortunes, one after the other, as the seed draws them; and their end.
#pragma once

#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "sim/names.h"

namespace perdure::sim {

class World;

class Schedule {
 public:
  explicit Schedule(World& world) : world_(world) {}

  // From now on, until calm(): bad weather, and misfortunes of a few kinds.
  void trouble();
  // Nothing happens any more; what is broken stays so.
  void calm();
  // Everything is up, reachable and fast again.
  void heal();

 private:
  enum class Kind {
    kCrashHost,
    kCrashDaemon,
    kPause,
    kCutOneWay,
    kCutPair,
    kIsolate,
    kCutStore,
    kQuietStore,
    kMend,
    kSlowDisk,
    kFullDisk,
    kRestart,
    kMove,
  };
  void draw_weather();
  void next(std::uint64_t spell);
  void misfortune(Kind kind);
  void isolate(NodeIndex node);

  World& world_;
  std::uint64_t spell_ = 0;  // of trouble; the last one's events are over with the next
  std::vector<Kind> kinds_;
};

}  // namespace perdure::sim
