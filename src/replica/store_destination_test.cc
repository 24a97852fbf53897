// Proves how generations travel to a durable directory: in chains that begin anew, and what is there already, damaged or
// whole.
#include "replica/store_destination.h"

#include <gtest/gtest.h>

#include "replica/directory_store.h"
#include "replica/memory_file_system.h"
#include "replica/shipper_fixture.h"

namespace perdure::replica {
namespace {

using capsule::testing::generation;
using capsule::testing::same_state;
using testing::ShipperTest;
using testing::TestOwner;

class StoreDestinationTest : public ShipperTest {
 protected:
  StoreDestinationTest() {
    DirectoryStoreOptions options;
    options.directory = "/durable";
    options.max_chain = 3;
    store_ = std::shared_ptr<CapsuleStore>(DirectoryStore::open(options, files_).value());
  }
  ~StoreDestinationTest() override {
    shipper_.reset();
    pool_->stop();
  }
  void add_store() {
    shipper_->add("disk", std::make_unique<StoreDestination>(*loop_, *pool_, store_),
                  Pace::kEveryGeneration, std::nullopt);
  }
  MemoryFileSystem files_;
  std::shared_ptr<CapsuleStore> store_;
};

TEST_F(StoreDestinationTest, WritesChainsThatItBeginsAnew) {
  add_store();
  for (std::uint64_t number = 1; number <= 7; ++number) {
    offer(number);
    wait_for([&] { return held_["disk"].size() == number; });
  }
  EXPECT_EQ(shipper_->status("disk")->full_shipments, 3u);  // 1, 4, 7
  EXPECT_EQ(shipper_->status("disk")->delta_shipments, 4u);
  for (std::uint64_t number = 1; number <= 7; ++number) {
    const auto loaded = store_->load(generation(number));
    ASSERT_TRUE(loaded) << loaded.error().message();
    EXPECT_TRUE(same_state(**loaded, owner_.capsule(generation(number))));
  }
}

TEST_F(StoreDestinationTest, WhatIsThereAlreadyIsHeld) {
  const auto encoded = capsule::testing::encoded_full(*capsule(1), capsule::Compression::kZstd);
  ASSERT_TRUE(store_->put(encoded));
  add_store();
  offer(1);
  wait_for([&] { return held_["disk"].size() == 1; });
  EXPECT_EQ(shipper_->status("disk")->held->digest, encoded.digest);
  offer(2);
  wait_for([&] { return held_["disk"].size() == 2; });
  EXPECT_EQ(shipper_->status("disk")->delta_shipments, 1u);
  EXPECT_TRUE(store_->load(generation(2)));
}

TEST_F(StoreDestinationTest, ADeltaWhoseBaseIsGoneIsWrittenAnew) {
  add_store();
  offer(1);
  offer(2);
  wait_for([&] { return held_["disk"].size() == 2; });
  ASSERT_TRUE(files_.remove("/durable/" + file_name_of(generation(1))));
  ASSERT_FALSE(store_->load(generation(2)));
  add_store();  // it does not know what is there
  wait_for([&] { return held_["disk"].size() == 3; });
  EXPECT_TRUE(store_->load(generation(2)));
}

TEST_F(StoreDestinationTest, AFullDiskIsTriedAgain) {
  add_store();
  files_.restart_counting();
  files_.fail_at(1, ErrorCode::kNoSpace);
  offer(1);
  wait_for([&] { return held_["disk"].size() == 1; });
  ASSERT_EQ(failed_["disk"].size(), 1u);
  EXPECT_EQ(failed_["disk"][0].code(), ErrorCode::kNoSpace);
}

TEST_F(StoreDestinationTest, AQueueThatIsFullIsNoLostDestination) {
  add_store();
  pool_->stop();
  auto pool = testing::make_pool();
  std::optional<Result<HoldReceipt>> answer;
  StoreDestination destination(*loop_, *pool_, store_);
  Shipment shipment{
      generation(1), std::nullopt,
      std::make_shared<const capsule::EncodedCapsule>(capsule::testing::encoded_full(*capsule(1)))};
  destination.ship(shipment, [&](Result<HoldReceipt> result) { answer = std::move(result); });
  wait_for([&] { return answer.has_value(); });
  EXPECT_EQ(answer->error().code(), ErrorCode::kIo);
}

TEST_F(StoreDestinationTest, MeasuresItsBandwidth) {
  TestOwner large("web", 200);
  StoreDestination destination(*loop_, *pool_, store_);
  EXPECT_EQ(destination.bytes_per_second(), 0);
  bool held = false;
  Shipment shipment{generation(1), std::nullopt,
                    std::make_shared<const capsule::EncodedCapsule>(
                        capsule::testing::encoded_full(large.capsule(generation(1))))};
  destination.ship(shipment, [&](Result<HoldReceipt> result) { held = result.has_value(); });
  wait_for([&] { return held; });
  EXPECT_GT(destination.bytes_per_second(), 0);
}

}  // namespace
}  // namespace perdure::replica
