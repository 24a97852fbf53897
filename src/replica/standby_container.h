// What a StandbyTable knows of one container, and what one receive() carries along. For
// standby_*.cc only.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "base/result.h"
#include "capsule/format/capsule.h"
#include "replica/held_generations.h"
#include "replica/standby_spill.h"
#include "replica/standby_table.h"

namespace perdure::replica {

// One worker at a time, in the order in which they asked.
class StandbyTable::Turn {
 public:
  Turn() = default;
  class Pass {
   public:
    explicit Pass(Turn& turn) : turn_(&turn) {}
    Pass(Pass&& other) noexcept : turn_(std::exchange(other.turn_, nullptr)) {}
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;
    Pass& operator=(Pass&&) = delete;
    ~Pass() {
      if (turn_ != nullptr) turn_->leave();
    }

   private:
    Turn* turn_;
  };

  // kTimeout: `limit` wait already, or those before did not come to an end.
  Result<Pass> take(std::size_t limit);

 private:
  void leave();
  std::mutex mutex_;
  std::condition_variable moved_;
  std::deque<std::uint64_t> line_;  // the first one works
  std::uint64_t next_ = 0;
};

// Guarded by the table's mutex but for `spill`, which belongs to whose turn it is.
struct StandbyTable::Container {
  Turn turn;
  Term term;
  HeldGenerations held;
  Bytes memory;             // of `held`, as it is in the table's sum
  bool disk_dirty = false;  // something on disk is not held any more
  std::optional<StandbySpill> spill;
};

// Between the steps of receive().
struct StandbyTable::Newcomer {
  std::optional<HeldGeneration> base;  // its capsule is there once it was loaded
  bool base_from_disk = false;
  HeldGeneration held;
};

}  // namespace perdure::replica
