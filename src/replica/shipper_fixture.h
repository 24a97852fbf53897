// A shipper with a real loop, pool and codec, and destinations that the test answers for.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "replica/shipper.h"
#include "replica/shipper_world.h"

namespace perdure::replica::testing {

class ShipperTest : public ::testing::Test {
 protected:
  ShipperTest() {
    handlers_.on_held = [this](const std::string& name, const HoldReceipt& receipt) {
      held_[name].push_back(receipt.holding.generation.number);
      if (on_held_) on_held_(name);
    };
    handlers_.on_failed = [this](const std::string& name, const Error& error) {
      failed_[name].push_back(error);
      if (on_failed_) on_failed_(name);
    };
    handlers_.find_capsule = [this](const Generation& id) {
      const auto found = table_.find(id);
      return found == table_.end() ? nullptr : found->second;
    };
    shipper_ = std::make_unique<Shipper>(
        *loop_, *pool_, owner_.container, handlers_,
        ShipPauses{std::chrono::milliseconds(1), std::chrono::milliseconds(4)});
  }
  std::shared_ptr<TestPeer> add(const std::string& name, Pace pace = Pace::kEveryGeneration,
                                std::optional<Holding> held = std::nullopt) {
    auto peer = std::make_shared<TestPeer>();
    shipper_->add(name, std::make_unique<TestDestination>(peer), pace, held);
    return peer;
  }
  capsule::CapsuleRef capsule(std::uint64_t number) {
    return std::make_shared<const capsule::Capsule>(owner_.capsule(capsule::testing::generation(number)));
  }
  void offer(std::uint64_t number) { shipper_->offer(capsule(number), BootClock::now()); }
  void wait_for(const std::function<bool()>& condition) {
    ASSERT_TRUE(loop_->run_until(condition, kTestTime));
  }
  void wait_for_shipment(TestPeer& peer) {
    wait_for([&] { return !peer.pending.empty(); });
  }
  std::uint64_t next(TestPeer& peer) { return peer.pending.front().shipment.generation.number; }
  std::optional<std::uint64_t> base(TestPeer& peer) {
    const auto& holding = peer.pending.front().shipment.base;
    return holding ? std::optional(holding->generation.number) : std::nullopt;
  }

  std::unique_ptr<io::Loop> loop_ = io::Loop::create().value();
  std::unique_ptr<io::Pool> pool_ = testing::make_pool();
  TestOwner owner_{"web"};
  std::map<Generation, capsule::CapsuleRef> table_;  // the owner's memory
  std::map<std::string, std::vector<std::uint64_t>> held_;
  std::map<std::string, std::vector<Error>> failed_;
  std::function<void(const std::string&)> on_held_;
  std::function<void(const std::string&)> on_failed_;
  ShipperHandlers handlers_;
  std::unique_ptr<Shipper> shipper_;
};

}  // namespace perdure::replica::testing
