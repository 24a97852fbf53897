// The gate of a container that is being restored from what has not been found in order yet: grants may open it, and it stays shut
// until release(). Any thread: heartbeats set the deadline, whoever has read the capsule releases it.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "node/container_backend.h"
#include "policy/lease_holder.h"

namespace perdure::node {

class WithheldGate final : public GateDeadline {
 public:
  explicit WithheldGate(std::shared_ptr<GateDeadline> gate) : gate_(std::move(gate)) {}

  void set(Instant deadline) override {
    const std::lock_guard lock(mutex_);
    wanted_ = deadline;
    if (!withheld_) gate_->set(deadline);
  }
  Instant get() const override { return gate_->get(); }
  void begin_with(Instant deadline) override {
    const std::lock_guard lock(mutex_);
    wanted_ = deadline;
    if (!withheld_) gate_->begin_with(deadline);
  }

  void withhold() {
    const std::lock_guard lock(mutex_);
    withheld_ = true;
    gate_->set(policy::lease::kShut);
  }
  // What was set last is in force.
  void release() {
    const std::lock_guard lock(mutex_);
    if (!std::exchange(withheld_, false)) return;
    if (wanted_) gate_->set(*wanted_);
  }

 private:
  const std::shared_ptr<GateDeadline> gate_;
  std::mutex mutex_;
  bool withheld_ = true;
  std::optional<Instant> wanted_;
};

}  // namespace perdure::node
