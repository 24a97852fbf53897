// What tests of a Shipper need: a loop with a pool, and destinations that answer when and as the
// test wants, with a StandbyTable behind them. Test programs only.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "io/loop.h"
#include "io/pool.h"
#include "replica/shipper.h"
#include "replica/standby_world.h"

namespace perdure::replica::testing {

inline constexpr Duration kTestTime = std::chrono::seconds(60);  // reached only when a test fails

// The other node: lives on when the shipper lets go of its destination.
struct TestPeer {
  struct Pending {
    Shipment shipment;
    Destination::Done done;
  };
  std::deque<Pending> pending;
  std::size_t shipments = 0;
  std::size_t most_pending = 0;
  StandbyTable table{StandbyTableOptions{}};
  bool automatic = false;  // receives and answers at once
  Term term{3};
  ContainerName container = name_of("web");

  Result<HoldReceipt> receive(const Shipment& shipment) {
    ReceivedCapsule received{
        container,
        term,
        shipment.generation,
        shipment.base,
        std::nullopt,
        false,
        capsule::testing::slab_of(capsule::testing::joined(*shipment.encoded))};
    return table.receive(received);
  }
  Pending take() {
    Pending first = std::move(pending.front());
    pending.pop_front();
    return first;
  }
  void answer() {
    Pending first = take();
    first.done(receive(first.shipment));
  }
  void refuse(ErrorCode code) {
    Pending first = take();
    first.done(fail(code, "refused by the test"));
  }
};

class TestDestination final : public Destination {
 public:
  explicit TestDestination(std::shared_ptr<TestPeer> peer) : peer_(std::move(peer)) {}
  void ship(const Shipment& shipment, Done done) override {
    ++peer_->shipments;
    if (peer_->automatic) return done(peer_->receive(shipment));
    peer_->pending.push_back({shipment, std::move(done)});
    peer_->most_pending = std::max(peer_->most_pending, peer_->pending.size());
  }

 private:
  std::shared_ptr<TestPeer> peer_;
};

inline std::unique_ptr<io::Pool> make_pool(std::size_t threads = 2) {
  io::PoolOptions options;
  options.threads = threads;
  return io::Pool::create(options).value();
}

// Turns the loop until all that was ready before has been called.
inline void settle(io::Loop& loop) {
  for (int i = 0; i < 2; ++i) {
    bool passed = false;
    loop.post([&] { passed = true; });
    ASSERT_TRUE(loop.run_until([&] { return passed; }, kTestTime));
  }
}

}  // namespace perdure::replica::testing
