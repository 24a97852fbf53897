// Proves what happens on a standby when memory is short: what does not fit goes to disk, is served
// from there, builds on what is there and comes back; a disk that fails at any call costs nothing
// that was held; a restarted standby finds it again.
#include "replica/standby_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "replica/standby_fixture.h"

namespace perdure::replica {
namespace {

using capsule::testing::generation;
using capsule::testing::same_state;
using testing::expect_newest;
using ::testing::HasSubstr;
using testing::held_numbers;
using testing::hold;
using testing::kPage;
using testing::refusal;
using testing::StandbyTableTest;
using testing::TestDisk;
using testing::TestOwner;

TEST_F(StandbyTableTest, WithoutSpillWhatDoesNotFitIsRefusedWithNumbers) {
  StandbyTableOptions options;
  options.memory_budget = Bytes{20 * kPage};
  options.spill = Spill::kRefuse;
  StandbyTable small(options);
  const Holding held = hold(small, owner_.full(generation(1)));
  TestOwner other("db");
  hold(small, other.full(generation(1)));
  const auto refused = small.receive(TestOwner("mail").full(generation(1)));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kNoSpace);
  EXPECT_THAT(refused.error().message(), HasSubstr("'mail' would need"));
  EXPECT_THAT(refused.error().message(), HasSubstr("of 81.9 kB are held; most hold"));
  EXPECT_THAT(refused.error().message(), HasSubstr("'web'"));
  EXPECT_LE(small.memory().count, options.memory_budget.count);
  ASSERT_TRUE(small.drop(other.container, other.term));
  EXPECT_EQ(small.find(other.container), std::nullopt);
  hold(small, owner_.delta(generation(2), held));
}

class SpillTest : public StandbyTableTest {
 protected:
  // Room for one container of eight pages and a bit.
  SpillTest() { restart(Bytes{20 * kPage}); }
  void crowd() { hold(table(), other_.full(generation(1))); }
  TestOwner other_{"db", 14};
};

TEST_F(SpillTest, WhatDoesNotFitGoesToDiskAndIsServedFromThere) {
  const Holding held = fill(1);
  Holding db = hold(table(), other_.full(generation(1)));
  EXPECT_LE(table().memory().count, 20 * kPage);
  EXPECT_EQ(disk_.file_count(other_.container), 1u);
  EXPECT_EQ(disk_.file_count(owner_.container), 0u);
  EXPECT_GT(table().find(other_.container)->disk.count, 14 * kPage);
  for (std::uint64_t number = 2; number <= 5; ++number) {
    const auto receipt = table().receive(other_.delta(generation(number), db));
    ASSERT_TRUE(receipt) << receipt.error().message();
    EXPECT_TRUE(receipt->on_disk);
    db = receipt->holding;
  }
  expect_newest(table(), other_, generation(5));
  ASSERT_TRUE(table().commit(other_.container, other_.term, generation(4)));
  ASSERT_TRUE(table().commit(other_.container, other_.term, generation(5)));
  ASSERT_TRUE(table().tidy(other_.container));
  EXPECT_EQ(table().find(other_.container)->generations, 2u);
  expect_newest(table(), other_, generation(5));
  EXPECT_LE(table().memory().count, 20 * kPage);
  hold(table(), owner_.delta(generation(2), held));
}

TEST_F(SpillTest, AContainerInMemoryGoesToDiskWholeAndItsDeltasGoOn) {
  Holding db = hold(table(), other_.full(generation(1)));
  EXPECT_EQ(disk_.file_count(other_.container), 0u);
  std::uint64_t number = 2;
  // Each delta adds a page to what is held.
  while (disk_.file_count(other_.container) == 0) {
    ASSERT_LT(number, 20u);
    db = hold(table(), other_.delta(generation(number++), db));
  }
  EXPECT_EQ(table().memory().count, 0u);
  EXPECT_EQ(disk_.file_count(other_.container), number - 1);
  db = hold(table(), other_.delta(generation(number), db));
  EXPECT_EQ(held_numbers(table(), other_).size(), number);
  expect_newest(table(), other_, generation(number));
}

TEST_F(SpillTest, AChainOnDiskIsBegunAnewWithoutTheOwner) {
  restart(Bytes{4 * kPage}, 3);
  Holding db = hold(table(), other_.full(generation(1)));
  for (std::uint64_t number = 2; number <= 12; ++number) {
    db = hold(table(), other_.delta(generation(number), db));
    ASSERT_TRUE(table().commit(other_.container, other_.term, generation(number - 1)));
    expect_newest(table(), other_, generation(number));
  }
  ASSERT_TRUE(table().tidy(other_.container));
  EXPECT_LE(disk_.file_count(other_.container), 3u + 3u);
}

TEST_F(SpillTest, ItComesBackToMemoryWhenThereIsRoom) {
  restart(Bytes{22 * kPage});
  fill(1);
  Holding db = hold(table(), other_.full(generation(1)));
  const Bytes before = table().memory();
  db = hold(table(), other_.delta(generation(2), db));
  EXPECT_EQ(table().memory(), before);
  ASSERT_TRUE(table().drop(owner_.container, owner_.term));
  const auto receipt = table().receive(other_.delta(generation(3), db));
  ASSERT_TRUE(receipt) << receipt.error().message();
  EXPECT_FALSE(receipt->on_disk);
  EXPECT_GT(table().memory().count, 14 * kPage);
  expect_newest(table(), other_, generation(3));
  // Two commits later nothing of it is on the disk.
  db = hold(table(), other_.delta(generation(4), receipt->holding));
  ASSERT_TRUE(table().commit(other_.container, other_.term, generation(3)));
  ASSERT_TRUE(table().commit(other_.container, other_.term, generation(4)));
  ASSERT_TRUE(table().tidy(other_.container));
  EXPECT_EQ(disk_.file_count(other_.container), 0u);
  EXPECT_EQ(table().find(other_.container)->disk.count, 0u);
}

TEST_F(SpillTest, WhatIsDroppedLeavesNothingOnDisk) {
  crowd();
  fill(3);
  ASSERT_GT(disk_.file_count(owner_.container), 0u);
  ASSERT_TRUE(table().drop(owner_.container, owner_.term));
  EXPECT_EQ(disk_.file_count(owner_.container), 0u);
  EXPECT_EQ(table().fetch(owner_.container, std::nullopt).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(table().term_of(owner_.container), owner_.term);
  hold(table(), owner_.full(generation(9)));
}

TEST_F(SpillTest, AnEarlierOneIsTakenIfTheNewestIsDamagedButNoneBelowTheCommitted) {
  crowd();
  fill(3);
  ASSERT_TRUE(table().commit(owner_.container, owner_.term, generation(2)));
  const auto damage = [&](std::uint64_t number) {
    disk_.files.flip_byte(
        TestDisk::directory(owner_.container) + "/" + file_name_of(generation(number)), 5000);
  };
  damage(3);
  expect_newest(table(), owner_, generation(2));
  damage(2);
  EXPECT_EQ(table().fetch(owner_.container, std::nullopt).error().code(), ErrorCode::kCorrupt);
  // A delta on it asks for a full one.
  EXPECT_EQ(
      refusal(table(), owner_.delta(generation(4), table().find(owner_.container)->newest.value())),
      ErrorCode::kNotFound);
  hold(table(), owner_.full(generation(4)));
  expect_newest(table(), owner_, generation(4));
}

TEST_F(SpillTest, ARestartedStandbyAdoptsWhatItSpilled) {
  crowd();
  Holding held = fill(2);
  ReceivedCapsule provisional = owner_.delta(generation(3), held);
  provisional.provisional = true;
  const Holding third = hold(table(), provisional);
  restart(Bytes{20 * kPage});
  EXPECT_EQ(table().find(owner_.container), std::nullopt);
  ASSERT_TRUE(table().adopt(owner_.container));
  EXPECT_EQ(table().find(owner_.container)->newest, third);
  EXPECT_FALSE(table().find(owner_.container)->newest_committed);
  expect_newest(table(), owner_, generation(2));
  hold(table(), owner_.delta(generation(4), third));
  expect_newest(table(), owner_, generation(4));

  // Without adoption the files of the former life go.
  restart(Bytes{20 * kPage});
  crowd();
  hold(table(), owner_.full(generation(9)));
  EXPECT_EQ(disk_.file_count(owner_.container), 1u);
}

TEST_F(SpillTest, AFailureOfAnyCallOfTheDiskLeavesWhatWasHeld) {
  for (const ErrorCode code : {ErrorCode::kNoSpace, ErrorCode::kIo, ErrorCode::kTransient}) {
    bool over = false;
    for (std::size_t step = 0; !over; ++step) {
      SCOPED_TRACE(std::format("call {} fails", step));
      TestDisk disk;
      StandbyTable table(disk.options(Bytes{20 * kPage}));
      TestOwner owner("web", 14);
      Holding held = hold(table, owner.full(generation(1)));
      std::uint64_t number = 2;
      while (table.memory().count <= 18 * kPage) {
        held = hold(table, owner.delta(generation(number++), held));
      }
      disk.files.restart_counting();
      disk.files.fail_at(step, code);
      std::optional<ErrorCode> failed;
      for (int i = 0; i < 4 && !failed; ++i) {
        const auto receipt = table.receive(owner.delta(generation(number), held));
        if (!receipt) {
          failed = receipt.error().code();
        } else {
          held = receipt->holding;
          ++number;
        }
      }
      over = disk.files.calls() <= step;
      EXPECT_NE(failed, ErrorCode::kTransient);
      ASSERT_EQ(held_numbers(table, owner).size(), number - 1);
      disk.files.clear_failure();
      held = hold(table, owner.delta(generation(number), held));
      expect_newest(table, owner, generation(number));
      ASSERT_EQ(held_numbers(table, owner).size(), number);
      ASSERT_TRUE(table.commit(owner.container, owner.term, generation(number)));
      ASSERT_TRUE(table.tidy(owner.container));
      if (HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace perdure::replica
