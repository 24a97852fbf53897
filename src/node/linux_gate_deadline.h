// The deadline of a LinuxBackend's gate, which comes, goes and comes again with its link.
#pragma once

#include <mutex>
#include <optional>
#include <utility>

#include "network/gate.h"
#include "node/container_backend.h"

namespace perdure::node {

class LinuxGateDeadline final : public GateDeadline {
 public:
  void set(Instant deadline) override {
    const std::lock_guard lock(mutex_);
    next_ = deadline;
    if (writer_) writer_->set(deadline);
  }
  Instant get() const override {
    const std::lock_guard lock(mutex_);
    return writer_ ? writer_->get() : next_;
  }
  void begin_with(Instant deadline) override {
    const std::lock_guard lock(mutex_);
    next_ = deadline;
  }

  // kIsKept: the gate has outlived the daemon, and what it allows is right as it is.
  enum class Present { kIsWritten, kIsKept };
  void use(network::Gate::DeadlineWriter writer, Present present) {
    const std::lock_guard lock(mutex_);
    writer_.emplace(std::move(writer));
    if (present == Present::kIsWritten) writer_->set(next_);
  }
  void leave() {
    const std::lock_guard lock(mutex_);
    writer_.reset();
  }
  Instant next() const {
    const std::lock_guard lock(mutex_);
    return next_;
  }

 private:
  mutable std::mutex mutex_;  // the thread of the heartbeats, the loop's, and the pool when a gate is attached
  Instant next_ = network::kNoDeadline;
  std::optional<network::Gate::DeadlineWriter> writer_;
};

}  // namespace perdure::node
