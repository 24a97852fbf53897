// Proves a Shipper and the standbys behind it against a model, in seeded random runs: destinations
// are slow, fail, are cut off with and without having received what was under way, lose their
// memory, come back, fall behind, are full; the owner rolls back and is replaced by a later one.
// Always: what is acknowledged is held and equals the owner's capsule; acknowledgements come in
// order, and without a gap where every generation counts; memory is bounded on both sides. At the
// end, when all is well again, everybody holds the newest.
#include <gtest/gtest.h>

#include <format>
#include <random>

#include "replica/shipper_world.h"

namespace perdure::replica {
namespace {

using capsule::CapsuleRef;
using capsule::testing::same_state;
using testing::kTestTime;
using testing::name_of;
using testing::TestDestination;
using testing::TestDisk;
using testing::TestOwner;
using testing::TestPeer;

constexpr std::uint64_t kPages = 6;
constexpr std::uint64_t kBudgetPages = 24;
constexpr std::size_t kOwnerKeeps = 3;
constexpr std::size_t kPeers = 4;
constexpr int kSteps = 250;

struct ModelPeer {
  std::string name;
  Pace pace = Pace::kEveryGeneration;
  TestDisk disk;
  std::shared_ptr<TestPeer> peer;
  std::unique_ptr<StandbyTable> table;
  bool connected = true;
  std::optional<Generation> acknowledged;
  std::set<Generation> owed;  // offered since it was added, not acknowledged yet
};

class Model {
 public:
  explicit Model(unsigned seed) : random_(seed) {
    make_shipper();
    for (std::size_t i = 0; i < kPeers; ++i) {
      peers_.push_back(std::make_unique<ModelPeer>());
      ModelPeer& peer = *peers_.back();
      peer.name = std::format("peer{}", i);
      peer.pace = i < 2 ? Pace::kEveryGeneration : Pace::kNewestOnly;
      begin_life(peer);
      connect_new(peer);
    }
  }

  void run() {
    for (int step = 0; step < kSteps && !::testing::Test::HasFatalFailure(); ++step) {
      act();
      if (below(10) < 7) wait_until_quiet();
      check_bounds();
    }
    heal();
  }

 private:
  unsigned below(unsigned bound) { return static_cast<unsigned>(random_() % bound); }
  ModelPeer& any_peer() { return *peers_[below(kPeers)]; }
  ModelPeer* find(const std::string& name) {
    for (auto& peer : peers_) {
      if (peer->name == name) return peer.get();
    }
    return nullptr;
  }

  void make_shipper() {
    ShipperHandlers handlers;
    handlers.on_held = [this](const std::string& name, const HoldReceipt& receipt) {
      on_held(*find(name), receipt);
    };
    handlers.on_failed = [this](const std::string&, const Error& error) {
      ASSERT_NE(error.code(), ErrorCode::kFenced);
      ASSERT_NE(error.code(), ErrorCode::kInvalid) << error.message();
    };
    handlers.find_capsule = [this](const Generation& id) {
      const auto found = memory_.find(id);
      return found == memory_.end() ? nullptr : found->second;
    };
    shipper_ = std::make_unique<Shipper>(
        *loop_, *pool_, owner_.container, handlers,
        ShipPauses{std::chrono::microseconds(100), std::chrono::milliseconds(1)});
  }

  void begin_life(ModelPeer& peer) {
    peer.table = std::make_unique<StandbyTable>(
        peer.disk.options(Bytes{kBudgetPages * capsule::kPageSize}, 4));
    peer.acknowledged.reset();
  }
  void connect_new(ModelPeer& peer) {
    peer.peer = std::make_shared<TestPeer>();
    peer.owed.clear();
    if (newest_) peer.owed.insert(newest_->manifest.generation);
    shipper_->add(peer.name, std::make_unique<TestDestination>(peer.peer), peer.pace,
                  held_by(peer));
  }
  std::optional<Holding> held_by(const ModelPeer& peer) {
    const auto held = peer.table->find(owner_.container);
    return held ? held->newest : std::nullopt;
  }

  // What a node does with a message, and the answer.
  Result<HoldReceipt> receive(ModelPeer& peer, const Shipment& shipment) {
    ReceivedCapsule received{owner_.container, owner_.term, shipment.generation,
                             shipment.base,    committed_,  false,
                             nullptr};
    received.bytes = capsule::testing::slab_of(capsule::testing::joined(*shipment.encoded));
    return peer.table->receive(received);
  }

  void on_held(ModelPeer& peer, const HoldReceipt& receipt) {
    const Generation id = receipt.holding.generation;
    if (peer.acknowledged) {
      ASSERT_LE(*peer.acknowledged, id) << peer.name;
    }
    if (peer.pace == Pace::kEveryGeneration && !peer.owed.empty()) {
      // Nothing older is left behind but what the peer told of itself when it came back.
      std::erase_if(peer.owed,
                    [&](const Generation& one) { return one < id && returned_ == peer.name; });
      ASSERT_EQ(*peer.owed.begin(), id) << peer.name << ": a generation was skipped";
    }
    std::erase_if(peer.owed, [&](const Generation& one) { return !(id < one); });
    peer.acknowledged = id;
    const auto fetched = peer.table->fetch(owner_.container, id);
    ASSERT_TRUE(fetched) << peer.name << ": " << fetched.error().message();
    ASSERT_TRUE(same_state(**fetched, owner_.capsule(id))) << peer.name << " " << to_string(id);
  }

  void act() {
    const unsigned dice = below(100);
    if (dice < 30) {
      offer();
    } else if (dice < 72) {
      answer(any_peer());
    } else if (dice < 80) {
      fail_at(any_peer());
    } else if (dice < 88) {
      cut(any_peer());
    } else if (dice < 92) {
      lose_memory(any_peer());
    } else if (dice < 95) {
      commit();
    } else if (dice < 98) {
      roll_back();
    } else {
      replace_owner();
    }
    for (auto& peer : peers_) {
      if (!peer->connected && below(4) == 0) reconnect(*peer);
    }
  }

  void offer() {
    if (shipper_->backlog() >= kMaxWaitingShipments) return;  // what the policy does
    const Generation id{owner_.term, Incarnation{0x1f}, ++number_};
    newest_ = std::make_shared<const capsule::Capsule>(owner_.capsule(id));
    alive_.emplace_back(newest_);
    memory_[id] = newest_;
    while (memory_.size() > kOwnerKeeps) memory_.erase(memory_.begin());
    for (auto& peer : peers_) peer->owed.insert(id);
    shipper_->offer(newest_, BootClock::now());
  }

  void answer(ModelPeer& peer) {
    if (peer.peer->pending.empty()) return;
    TestPeer::Pending first = peer.peer->take();
    first.done(receive(peer, first.shipment));
  }

  void fail_at(ModelPeer& peer) {
    if (peer.peer->pending.empty()) return;
    constexpr ErrorCode kCodes[] = {ErrorCode::kNoSpace, ErrorCode::kIo, ErrorCode::kTimeout,
                                    ErrorCode::kNotFound, ErrorCode::kCorrupt};
    peer.peer->refuse(kCodes[below(std::size(kCodes))]);
  }

  // The connection breaks, before or after the message has arrived; the answer is lost or comes
  // late.
  void cut(ModelPeer& peer) {
    if (!peer.connected || peer.peer->pending.empty()) return;
    TestPeer::Pending first = peer.peer->take();
    if (below(2) == 0) (void)receive(peer, first.shipment);
    peer.connected = false;
    if (below(2) == 0) {
      first.done(fail(ErrorCode::kTransient, "the connection is gone"));
    } else {
      late_.push_back(std::move(first));
    }
  }

  void reconnect(ModelPeer& peer) {
    peer.connected = true;
    peer.peer->pending.clear();
    returned_ = peer.name;
    const auto held = held_by(peer);
    if (!held) peer.acknowledged.reset();
    shipper_->reconnected(peer.name, held);
    // Told through the loop, before anything else can be.
    testing::settle(*loop_);
    if (held)
      std::erase_if(peer.owed, [&](const Generation& one) { return !(held->generation < one); });
    returned_.clear();
    for (auto& one : late_) one.done(fail(ErrorCode::kIo, "late"));
    late_.clear();
  }

  // A restart: the node is another incarnation; sometimes its disk is still good.
  void lose_memory(ModelPeer& peer) {
    peer.table.reset();
    const bool adopts = below(2) == 0;
    begin_life(peer);
    if (adopts) {
      ASSERT_TRUE(peer.table->adopt(owner_.container));
    }
    peer.table->raise_term(owner_.container, owner_.term);
    shipper_->remove(peer.name);
    peer.connected = true;
    returned_ = peer.name;
    connect_new(peer);
    testing::settle(*loop_);
    returned_.clear();
  }

  void commit() {
    std::optional<Generation> oldest;
    for (const auto& peer : peers_) {
      if (peer->pace != Pace::kEveryGeneration) continue;
      if (!peer->acknowledged) return;
      if (!oldest || *peer->acknowledged < *oldest) oldest = peer->acknowledged;
    }
    if (committed_ && *oldest < *committed_) return;
    committed_ = oldest;
    for (const auto& peer : peers_)
      (void)peer->table->commit(owner_.container, owner_.term, *oldest);
  }

  // To the newest committed one; what came after it is discarded everywhere.
  void roll_back() {
    if (!committed_ || !newest_ || !(committed_->term == owner_.term)) return;
    std::vector<Generation> gone;
    for (std::uint64_t number = committed_->number + 1; number <= number_; ++number) {
      gone.push_back({owner_.term, Incarnation{0x1f}, number});
    }
    for (const Generation& id : gone) {
      shipper_->discard(id);
      memory_.erase(id);
      for (auto& peer : peers_) {
        peer->owed.erase(id);
        // What is under way now is refused when it arrives.
        if (peer->acknowledged == id) peer->acknowledged = committed_;
      }
    }
    newest_.reset();
    for (auto& peer : peers_) {
      if (peer->acknowledged && *committed_ < *peer->acknowledged) peer->acknowledged = committed_;
      ASSERT_TRUE(peer->table->discard(owner_.container, owner_.term, gone));
    }
  }

  // Another owner takes over from what one of those holds that every commit has reached.
  void replace_owner() {
    const ModelPeer& taker = *peers_[below(2)];
    if (!taker.acknowledged || (committed_ && *taker.acknowledged < *committed_)) return;
    const auto restored = taker.table->fetch(owner_.container, std::nullopt);
    if (!restored) return;
    shipper_.reset();
    ++owner_.term.value;
    number_ = std::max(number_, (*restored)->manifest.generation.number);
    memory_.clear();
    memory_[(*restored)->manifest.generation] = *restored;
    newest_.reset();
    late_.clear();
    make_shipper();
    for (auto& peer : peers_) {
      peer->connected = true;
      peer->acknowledged.reset();
      peer->table->raise_term(owner_.container, owner_.term);
      connect_new(*peer);
    }
  }

  // Nothing is being encoded and no pause is going on.
  void wait_until_quiet() {
    ASSERT_TRUE(loop_->run_until(
        [&] {
          for (const auto& peer : peers_) {
            const auto status = shipper_->status(peer->name);
            if (status->under_way && peer->peer->pending.empty() && peer->connected) return false;
            if (!status->under_way && status->waiting && !status->disconnected) return false;
          }
          return true;
        },
        kTestTime));
  }

  void check_bounds() {
    std::erase_if(alive_, [](const auto& one) { return one.expired(); });
    // Per destination: base, under way, waiting; the owner's own; and what the pool has not let go
    // of yet.
    ASSERT_LE(alive_.size(), kPeers * (2 + kMaxWaitingShipments) + kOwnerKeeps + 8);
    for (const auto& peer : peers_) {
      ASSERT_LE(peer->peer->most_pending, 1u);
      ASSERT_LE(peer->table->memory().count, kBudgetPages * capsule::kPageSize);
      const auto status = shipper_->status(peer->name);
      if (peer->pace == Pace::kNewestOnly) {
        ASSERT_LE(status->waiting_count, 1u);
      }
    }
  }

  void heal() {
    for (auto& peer : peers_) {
      if (!peer->connected) reconnect(*peer);
    }
    offer();
    const auto all_hold = [&] {
      for (auto& peer : peers_) {
        answer(*peer);
        if (peer->acknowledged != newest_->manifest.generation) return false;
      }
      return true;
    };
    ASSERT_TRUE(loop_->run_until(all_hold, kTestTime));
    for (auto& peer : peers_) {
      const auto fetched = peer->table->fetch(owner_.container, std::nullopt);
      ASSERT_TRUE(fetched) << fetched.error().message();
      ASSERT_TRUE(same_state(**fetched, *newest_));
    }
  }

  std::mt19937 random_;
  std::unique_ptr<io::Loop> loop_ = io::Loop::create().value();
  std::unique_ptr<io::Pool> pool_ = testing::make_pool();
  TestOwner owner_{"web", kPages};
  std::uint64_t number_ = 0;
  CapsuleRef newest_;
  std::map<Generation, CapsuleRef> memory_;  // the owner's table
  std::optional<Generation> committed_;
  std::vector<std::weak_ptr<const capsule::Capsule>> alive_;
  std::vector<TestPeer::Pending> late_;
  std::string returned_;  // whose return is being handled
  std::vector<std::unique_ptr<ModelPeer>> peers_;
  std::unique_ptr<Shipper> shipper_;
};

class ShippingModel : public ::testing::TestWithParam<unsigned> {};

TEST_P(ShippingModel, WhatIsAcknowledgedIsHeldInOrderWithinBounds) {
  Model model(GetParam());
  model.run();
}

INSTANTIATE_TEST_SUITE_P(Seeds, ShippingModel, ::testing::Range(1u, 41u));

}  // namespace
}  // namespace perdure::replica
