// Proves how generations travel: what each destination is sent, in which order, against which base,
// and what follows from each answer. Destinations are the test's, with real standby tables behind
// them; the loop, the pool and the codec are real.
#include "replica/shipper.h"

#include <atomic>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "replica/shipper_fixture.h"

namespace perdure::replica {
namespace {

using capsule::CapsuleRef;
using capsule::testing::generation;
using capsule::testing::same_state;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::kTestTime;
using testing::settle;
using testing::ShipperTest;
using testing::TestDestination;
using testing::TestOwner;
using testing::TestPeer;

TEST_F(ShipperTest, AFullOneThenDeltasInOneEncodingForAll) {
  const auto a = add("a");
  const auto b = add("b");
  for (std::uint64_t number = 1; number <= 3; ++number) {
    offer(number);
    wait_for([&] { return !a->pending.empty() && !b->pending.empty(); });
    EXPECT_EQ(a->pending.front().shipment.encoded, b->pending.front().shipment.encoded);
    EXPECT_EQ(base(*a), number == 1 ? std::nullopt : std::optional(number - 1));
    a->answer();
    b->answer();
  }
  EXPECT_THAT(held_["a"], ElementsAre(1, 2, 3));
  const DestinationStatus status = *shipper_->status("a");
  EXPECT_EQ(status.held->generation, generation(3));
  EXPECT_EQ(status.full_shipments, 1u);
  EXPECT_EQ(status.delta_shipments, 2u);
  EXPECT_GT(status.shipped_bytes, 8 * capsule::kPageSize);
  EXPECT_GE(status.last_since_thaw, status.last_round_trip);
  EXPECT_GE(status.last_round_trip, status.last_holder_time);
  EXPECT_GT(status.last_holder_time, Duration::zero());
  EXPECT_EQ(shipper_->status("c"), std::nullopt);
  EXPECT_THAT(shipper_->bases(), ElementsAre(generation(3)));
}

TEST_F(ShipperTest, EachDestinationGetsADeltaOnWhatItHolds) {
  const auto fast = add("fast");
  const auto slow = add("slow", Pace::kNewestOnly);
  fast->automatic = true;
  offer(1);
  wait_for_shipment(*slow);
  slow->answer();
  for (std::uint64_t number = 2; number <= 5; ++number) {
    offer(number);
    wait_for([&] { return held_["fast"].size() == number; });
  }
  wait_for_shipment(*slow);
  EXPECT_EQ(next(*slow), 2u);
  EXPECT_EQ(base(*slow), 1u);
  slow->answer();
  wait_for_shipment(*slow);
  EXPECT_EQ(next(*slow), 5u);  // 3 and 4 were replaced
  EXPECT_EQ(base(*slow), 2u);
  slow->answer();
  EXPECT_THAT(held_["slow"], ElementsAre(1, 2, 5));
  EXPECT_EQ(slow->most_pending, 1u);
}

TEST_F(ShipperTest, EveryGenerationArrivesInOrder) {
  const auto peer = add("a");
  for (std::uint64_t number = 1; number <= 5; ++number) offer(number);
  EXPECT_EQ(shipper_->backlog(), 5u);
  for (std::uint64_t number = 1; number <= 5; ++number) {
    wait_for_shipment(*peer);
    EXPECT_EQ(next(*peer), number);
    peer->answer();
  }
  EXPECT_EQ(shipper_->backlog(), 0u);
  EXPECT_EQ(peer->most_pending, 1u);
  shipper_->set_pace("a", Pace::kNewestOnly);
  for (std::uint64_t number = 6; number <= 9; ++number) offer(number);
  wait_for_shipment(*peer);
  peer->answer();
  wait_for_shipment(*peer);
  EXPECT_EQ(next(*peer), 9u);
}

TEST_F(ShipperTest, ALineThatGrowsIsBoundedAndSaysSo) {
  const auto peer = add("a");
  for (std::uint64_t number = 1; number <= kMaxWaitingShipments + 3; ++number) offer(number);
  EXPECT_EQ(shipper_->status("a")->waiting_count, kMaxWaitingShipments);
  ASSERT_EQ(failed_["a"].size(), 2u);
  EXPECT_THAT(failed_["a"][0].message(), HasSubstr("generation 3.1f.2 of 'web' is not sent to a"));
}

TEST_F(ShipperTest, AMissingBaseIsAnsweredWithAFullOne) {
  const auto peer = add("a");
  offer(1);
  wait_for_shipment(*peer);
  peer->answer();
  offer(2);
  wait_for_shipment(*peer);
  EXPECT_EQ(base(*peer), 1u);
  ASSERT_TRUE(peer->table.drop(owner_.container, Term{3}));  // it has lost its memory
  peer->answer();
  wait_for_shipment(*peer);
  EXPECT_EQ(next(*peer), 2u);
  EXPECT_EQ(base(*peer), std::nullopt);
  peer->answer();
  EXPECT_THAT(held_["a"], ElementsAre(1, 2));
  EXPECT_TRUE(failed_["a"].empty());
  // "Not there" as the answer to a full one is no reason to send it again at once.
  offer(3);
  wait_for_shipment(*peer);
  peer->refuse(ErrorCode::kNotFound);
  wait_for_shipment(*peer);
  EXPECT_EQ(base(*peer), std::nullopt);
  peer->refuse(ErrorCode::kNotFound);
  EXPECT_EQ(failed_["a"].size(), 1u);
  wait_for_shipment(*peer);
  peer->answer();
  EXPECT_THAT(held_["a"], ElementsAre(1, 2, 3));
}

TEST_F(ShipperTest, AnUnreachableOneWaitsUntilItIsBack) {
  const auto peer = add("a");
  offer(1);
  wait_for_shipment(*peer);
  peer->answer();
  offer(2);
  wait_for_shipment(*peer);
  peer->refuse(ErrorCode::kTransient);
  EXPECT_TRUE(shipper_->status("a")->disconnected);
  offer(3);
  settle(*loop_);
  EXPECT_EQ(peer->pending.size(), 0u);
  shipper_->reconnected("a", shipper_->status("a")->held);
  wait_for_shipment(*peer);
  EXPECT_EQ(next(*peer), 2u);
  EXPECT_EQ(base(*peer), 1u);
  peer->answer();
  wait_for_shipment(*peer);
  peer->answer();
  EXPECT_THAT(held_["a"], ElementsAre(1, 2, 3));
  EXPECT_TRUE(failed_["a"].empty());
}

TEST_F(ShipperTest, ALostAnswerIsMadeUpForByWhatThePeerSays) {
  const auto peer = add("a");
  offer(1);
  offer(2);
  wait_for_shipment(*peer);
  TestPeer::Pending lost = peer->take();
  const auto receipt = peer->receive(lost.shipment);
  ASSERT_TRUE(receipt);
  shipper_->reconnected("a", receipt->holding);
  wait_for_shipment(*peer);
  EXPECT_THAT(held_["a"], ElementsAre(1));
  EXPECT_EQ(next(*peer), 2u);
  EXPECT_EQ(base(*peer), 1u);
  lost.done(*receipt);  // late
  EXPECT_THAT(held_["a"], ElementsAre(1));
  peer->answer();
  EXPECT_THAT(held_["a"], ElementsAre(1, 2));
}

TEST_F(ShipperTest, AReturningOneCatchesUpByADeltaIfItsBaseIsStillInMemory) {
  const auto peer = add("a");
  offer(1);
  wait_for_shipment(*peer);
  peer->answer();
  const std::optional<Holding> held = shipper_->status("a")->held;
  shipper_->remove("a");
  offer(2);
  table_[generation(1)] = capsule(1);
  shipper_->add("a", std::make_unique<TestDestination>(peer), Pace::kNewestOnly, held);
  wait_for_shipment(*peer);  // the newest one, without waiting for the next
  EXPECT_EQ(next(*peer), 2u);
  EXPECT_EQ(base(*peer), 1u);
  peer->answer();
  table_.clear();
  offer(3);
  wait_for_shipment(*peer);
  shipper_->add("a", std::make_unique<TestDestination>(peer), Pace::kNewestOnly, held);
  peer->pending.clear();
  wait_for_shipment(*peer);
  EXPECT_EQ(next(*peer), 3u);
  EXPECT_EQ(base(*peer), std::nullopt);
}

TEST_F(ShipperTest, OneThatHoldsTheNewestIsToldOfAndNotSentIt) {
  offer(1);
  const auto encoded = capsule::testing::encoded_full(*capsule(1));
  const auto peer = add("a", Pace::kEveryGeneration, Holding{generation(1), encoded.digest});
  settle(*loop_);
  EXPECT_THAT(held_["a"], ElementsAre(1));
  EXPECT_EQ(peer->shipments, 0u);
}

TEST_F(ShipperTest, WhatAnEarlierLifeHasLeftIsForThoseThatComeBeforeTheFirstCapture) {
  const auto before = add("before");
  shipper_->begin_with(capsule(5));
  const auto after = add("after");
  wait_for_shipment(*after);
  EXPECT_TRUE(before->pending.empty()) << "it was told what there is when it was added";
  offer(6);
  shipper_->begin_with(capsule(5));
  const auto late = add("late");
  wait_for_shipment(*late);
  EXPECT_EQ(late->pending.front().shipment.generation, generation(6));
}

TEST_F(ShipperTest, AFencedOneIsNotSentAnythingMore) {
  const auto peer = add("a");
  const auto other = add("b");
  other->automatic = true;
  offer(1);
  wait_for_shipment(*peer);
  peer->refuse(ErrorCode::kFenced);
  ASSERT_EQ(failed_["a"].size(), 1u);
  EXPECT_EQ(failed_["a"][0].code(), ErrorCode::kFenced);
  EXPECT_TRUE(shipper_->status("a")->fenced);
  offer(2);
  shipper_->reconnected("a", std::nullopt);
  wait_for([&] { return held_["b"].size() == 2; });
  EXPECT_EQ(peer->shipments, 1u);
  EXPECT_TRUE(peer->pending.empty());
}

TEST_F(ShipperTest, AnErrorIsTriedAgainAfterAPauseUnlessItIsOfNoUse) {
  const auto peer = add("a");
  offer(1);
  for (const ErrorCode code : {ErrorCode::kNoSpace, ErrorCode::kIo, ErrorCode::kTimeout}) {
    wait_for_shipment(*peer);
    EXPECT_EQ(next(*peer), 1u);
    peer->refuse(code);
    EXPECT_TRUE(peer->pending.empty());
  }
  EXPECT_EQ(shipper_->status("a")->failures, 3u);
  wait_for_shipment(*peer);
  offer(2);
  peer->refuse(ErrorCode::kInvalid);
  wait_for_shipment(*peer);
  EXPECT_EQ(next(*peer), 2u);
  EXPECT_EQ(failed_["a"].size(), 4u);
  peer->answer();
  offer(3);
  wait_for_shipment(*peer);
  EXPECT_EQ(base(*peer), 2u);
  peer->refuse(ErrorCode::kCorrupt);
  wait_for_shipment(*peer);
  EXPECT_EQ(base(*peer), std::nullopt);
  peer->answer();
  EXPECT_THAT(held_["a"], ElementsAre(2, 3));
}

TEST_F(ShipperTest, AnswersToAnotherGenerationAreNotBelieved) {
  const auto peer = add("a");
  offer(1);
  wait_for_shipment(*peer);
  peer->take().done(HoldReceipt{{generation(7), {}}, {}, false, {}});
  EXPECT_TRUE(held_["a"].empty());
  EXPECT_EQ(failed_["a"].size(), 1u);
}

TEST_F(ShipperTest, WhatIsDiscardedIsNeitherSentNorBuiltOn) {
  const auto peer = add("a");
  for (std::uint64_t number = 1; number <= 2; ++number) {
    table_[generation(number)] = capsule(number);
    offer(number);
    wait_for_shipment(*peer);
    peer->answer();
  }
  offer(3);
  offer(4);
  wait_for_shipment(*peer);
  // A rollback to 1 while 3 is under way and 4 waits.
  for (std::uint64_t number = 2; number <= 4; ++number) shipper_->discard(generation(number));
  peer->refuse(ErrorCode::kInvalid);  // it was told of the rollback before
  settle(*loop_);
  EXPECT_TRUE(peer->pending.empty());
  EXPECT_TRUE(failed_["a"].empty());
  EXPECT_THAT(held_["a"], ElementsAre(1, 2));
  offer(5);
  wait_for_shipment(*peer);
  EXPECT_EQ(base(*peer), 1u);
  peer->answer();
  EXPECT_THAT(held_["a"], ElementsAre(1, 2, 5));
  // What is being encoded against a discarded base begins anew.
  offer(6);
  shipper_->discard(generation(5));
  wait_for_shipment(*peer);
  EXPECT_EQ(base(*peer), 1u);
}

TEST_F(ShipperTest, AfterARollbackEachGetsInFullWhatIsGoneBackTo) {
  const auto late = add("late");
  const auto holder = add("holder");
  offer(2);
  for (const auto& peer : {late, holder}) {
    wait_for_shipment(*peer);
    peer->answer();
  }
  shipper_->discard(generation(2));
  late->table.discard(late->container, late->term, {generation(2)});
  shipper_->go_back_to(capsule(1), {"holder"});
  wait_for_shipment(*late);
  EXPECT_EQ(base(*late), std::nullopt);
  EXPECT_EQ(late->pending.front().shipment.generation, generation(1));
  late->answer();
  EXPECT_THAT(held_["late"], ElementsAre(2, 1));
  EXPECT_TRUE(holder->pending.empty());
  offer(3);
  wait_for_shipment(*late);
  EXPECT_EQ(base(*late), 1u);
}

TEST_F(ShipperTest, WhatTheContainerHasGoneBackFromIsNothingToADestinationThatReturns) {
  const auto peer = add("a");
  offer(2);
  wait_for_shipment(*peer);
  peer->answer();
  const Holding two = *shipper_->status("a")->held;
  shipper_->go_back_to(capsule(1), {});
  wait_for_shipment(*peer);
  shipper_->reconnected("a", two);  // it was away when it was told to discard it
  settle(*loop_);
  EXPECT_EQ(shipper_->status("a")->held, std::nullopt);
  peer->take();
  wait_for_shipment(*peer);
  EXPECT_EQ(base(*peer), std::nullopt);
  EXPECT_EQ(peer->pending.front().shipment.generation, generation(1));
  peer->answer();
  EXPECT_THAT(held_["a"], ElementsAre(2, 1));
  // What comes after it is none of that.
  offer(3);
  wait_for_shipment(*peer);
  peer->answer();
  shipper_->reconnected("a", *shipper_->status("a")->held);
  EXPECT_EQ(shipper_->status("a")->held->generation, generation(3));
}

TEST_F(ShipperTest, APoolThatIsFullIsNoLostDestination) {
  auto pool = io::Pool::create({.name = "full", .threads = 1, .queue_limit = 1}).value();
  shipper_ = std::make_unique<Shipper>(*loop_, *pool, owner_.container, handlers_,
                                       ShipPauses{std::chrono::milliseconds(1), std::chrono::milliseconds(4)});
  std::atomic<int> begun = 0;
  std::atomic<bool> goes_on = false;
  const io::Lifetime lifetime;
  const auto occupy = [&] {
    return pool->submit(
        *loop_, lifetime,
        [&] {
          ++begun;
          goes_on.wait(false);
          return 0;
        },
        [](int) {});
  };
  ASSERT_TRUE(occupy());
  wait_for([&] {
    loop_->post([] {});
    return begun == 1;
  });
  ASSERT_TRUE(occupy());  // it waits
  const auto peer = add("a");
  offer(1);
  EXPECT_FALSE(shipper_->status("a")->disconnected);
  goes_on = true;
  goes_on.notify_all();
  wait_for_shipment(*peer);
  EXPECT_EQ(next(*peer), 1u);
  EXPECT_EQ(failed_["a"].front().code(), ErrorCode::kIo);
  shipper_.reset();
  pool->stop();
}

TEST_F(ShipperTest, HandlersMayRemoveTheDestinationThatCalls) {
  const auto peer = add("a");
  const auto other = add("b");
  on_held_ = [&](const std::string& name) { shipper_->remove(name); };
  on_failed_ = on_held_;
  peer->automatic = true;
  offer(1);
  offer(2);
  wait_for([&] { return held_["a"].size() == 1; });
  wait_for_shipment(*other);
  other->refuse(ErrorCode::kIo);
  settle(*loop_);
  EXPECT_EQ(shipper_->status("a"), std::nullopt);
  EXPECT_EQ(shipper_->status("b"), std::nullopt);
  EXPECT_EQ(peer.use_count(), 1);
}

TEST_F(ShipperTest, ItEndsWithThingsUnderWay) {
  const auto peer = add("a");
  const auto other = add("b");
  offer(1);
  wait_for_shipment(*peer);
  offer(2);
  offer(3);
  TestPeer::Pending pending = peer->take();
  shipper_.reset();
  pending.done(fail(ErrorCode::kIo, "late"));
  settle(*loop_);
  EXPECT_TRUE(held_.empty());
}

TEST_F(ShipperTest, ItKeepsNoMoreThanItNeeds) {
  const auto peer = add("a");
  peer->automatic = true;
  std::vector<std::weak_ptr<const capsule::Capsule>> offered;
  for (std::uint64_t number = 1; number <= 6; ++number) {
    const CapsuleRef one = capsule(number);
    offered.push_back(one);
    shipper_->offer(one, BootClock::now());
    wait_for([&] { return held_["a"].size() == number; });
  }
  // The pool's thread lets go of the last job in its own time.
  pool_->stop();
  settle(*loop_);
  for (std::size_t i = 0; i + 1 < offered.size(); ++i) EXPECT_TRUE(offered[i].expired()) << i;
}

TEST_F(ShipperTest, ItLetsTheFormerMemoryOfAGenerationGo) {
  const auto peer = add("a");
  peer->automatic = true;
  const CapsuleRef first = capsule(1);
  const std::weak_ptr<const capsule::Capsule> former = first;
  shipper_->offer(first, BootClock::now());
  wait_for([&] { return held_["a"].size() == 1; });
  const CapsuleRef elsewhere = capsule(1);
  shipper_->replace(elsewhere);
  peer->automatic = false;
  offer(2);
  wait_for_shipment(*peer);
  EXPECT_EQ(base(*peer), 1u);
  EXPECT_GT(elsewhere.use_count(), 1) << "it is the base now";
  wait_for([&] { return former.use_count() == 1; });  // only the test has it
}

}  // namespace
}  // namespace perdure::replica
