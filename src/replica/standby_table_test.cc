// Proves what a standby promises: what it acknowledges it holds, complete and verified; who has a
// lower term is refused; what a commit, a discard or a later owner supersedes goes and nothing else
// does; memory stays within its budget, and what does not fit goes to disk and comes back. Disks
// are simulated (memory_file_system.h), so that each of their calls can fail.
#include "replica/standby_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "capsule/format/sharing.h"
#include "replica/standby_world.h"

namespace perdure::replica {
namespace {

using capsule::testing::generation;
using capsule::testing::same_state;
using ::testing::HasSubstr;
using testing::TestDisk;
using testing::TestOwner;

constexpr std::uint64_t kPage = capsule::kPageSize;

Holding hold(StandbyTable& table, const ReceivedCapsule& received) {
  const auto receipt = table.receive(received);
  EXPECT_TRUE(receipt) << receipt.error().message();
  if (!receipt) return {};
  EXPECT_EQ(receipt->holding.generation, received.generation);
  return receipt->holding;
}

ErrorCode refusal(StandbyTable& table, const ReceivedCapsule& received) {
  const auto receipt = table.receive(received);
  EXPECT_FALSE(receipt);
  return receipt ? ErrorCode::kExists : receipt.error().code();
}

// Of the container, oldest first.
std::vector<std::uint64_t> held_numbers(StandbyTable& table, const TestOwner& owner,
                                        std::uint64_t up_to = 40) {
  std::vector<std::uint64_t> numbers;
  for (const Term term : {Term{3}, Term{4}}) {
    for (std::uint64_t number = 0; number <= up_to; ++number) {
      if (table.fetch(owner.container, generation(number, 0x1f, term.value)))
        numbers.push_back(number);
    }
  }
  return numbers;
}

void expect_newest(StandbyTable& table, TestOwner& owner, const Generation& id) {
  const auto fetched = table.fetch(owner.container, std::nullopt);
  ASSERT_TRUE(fetched) << fetched.error().message();
  EXPECT_TRUE(same_state(**fetched, owner.capsule(id)));
}

class StandbyTableTest : public ::testing::Test {
 protected:
  void restart(Bytes budget, std::size_t max_chain = 16) {
    table_.reset();
    table_ = std::make_unique<StandbyTable>(disk_.options(budget, max_chain));
  }
  StandbyTable& table() {
    if (table_ == nullptr) restart(Bytes{std::uint64_t{64} << 20});
    return *table_;
  }
  // A full one, and deltas on it up to `last`.
  Holding fill(std::uint64_t last, std::uint64_t first = 1) {
    Holding newest = hold(table(), owner_.full(generation(first)));
    for (std::uint64_t number = first + 1; number <= last; ++number) {
      newest = hold(table(), owner_.delta(generation(number), newest));
    }
    return newest;
  }

  TestDisk disk_;
  std::unique_ptr<StandbyTable> table_;
  TestOwner owner_{"web"};
};

TEST_F(StandbyTableTest, WhatIsReceivedIsHeldAndComesBack) {
  fill(3);
  for (std::uint64_t number = 1; number <= 3; ++number) {
    const auto fetched = table().fetch(owner_.container, generation(number));
    ASSERT_TRUE(fetched) << fetched.error().message();
    EXPECT_TRUE(same_state(**fetched, owner_.capsule(generation(number))));
  }
  expect_newest(table(), owner_, generation(3));
  const auto held = table().find(owner_.container);
  ASSERT_TRUE(held);
  EXPECT_EQ(held->newest->generation, generation(3));
  EXPECT_FALSE(held->newest_committed);
  EXPECT_EQ(held->generations, 3u);
  EXPECT_EQ(held->memory, table().memory());
  EXPECT_EQ(held->disk.count, 0u);
  ASSERT_EQ(table().all().size(), 1u);
  EXPECT_EQ(table().find(testing::name_of("other")), std::nullopt);
  EXPECT_EQ(table().fetch(testing::name_of("other"), std::nullopt).error().code(),
            ErrorCode::kNotFound);
}

TEST_F(StandbyTableTest, PagesStayWhereTheyWereReceived) {
  const ReceivedCapsule received = owner_.full(generation(1));
  hold(table(), received);
  const auto fetched = table().fetch(owner_.container, std::nullopt);
  ASSERT_TRUE(fetched);
  for (const auto& run : (*fetched)->memory.at("mm-1").runs()) EXPECT_EQ(run.slab, received.bytes);
}

TEST_F(StandbyTableTest, StaleTermIsRefusedAndCounted) {
  const Holding held = fill(2);
  table().raise_term(owner_.container, Term{5});
  table().raise_term(owner_.container, Term{4});
  EXPECT_EQ(table().term_of(owner_.container), Term{5});
  EXPECT_EQ(refusal(table(), owner_.delta(generation(3), held)), ErrorCode::kFenced);
  EXPECT_EQ(table().commit(owner_.container, Term{4}, generation(2)).error().code(),
            ErrorCode::kFenced);
  EXPECT_EQ(table().discard(owner_.container, Term{3}, {generation(2)}).error().code(),
            ErrorCode::kFenced);
  EXPECT_EQ(table().drop(owner_.container, Term{3}).error().code(), ErrorCode::kFenced);
  EXPECT_EQ(table().fenced(), 4u);
  EXPECT_EQ(held_numbers(table(), owner_), (std::vector<std::uint64_t>{1, 2}));
  owner_.term = Term{5};
  hold(table(), owner_.delta(generation(3), held));
  EXPECT_EQ(table().fenced(), 4u);
}

TEST_F(StandbyTableTest, ABaseThatIsNotHeldAsksForAFullOne) {
  const Holding held = fill(1);
  EXPECT_EQ(refusal(table(), owner_.delta(generation(3), {generation(2), held.digest})),
            ErrorCode::kNotFound);
  EXPECT_EQ(refusal(table(), owner_.delta(generation(3), {generation(1), {1, 2}})),
            ErrorCode::kNotFound);
  hold(table(), owner_.full(generation(3)));
}

TEST_F(StandbyTableTest, DamageIsRefusedAndWhatWasHeldStays) {
  const Holding held = fill(2);
  const ReceivedCapsule good = owner_.delta(generation(3), held);
  const std::string bytes(reinterpret_cast<const char*>(good.bytes->bytes().data()),
                          good.bytes->bytes().size());
  for (std::size_t at = 0; at < bytes.size(); at += 97) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    ReceivedCapsule bad = good;
    bad.bytes = capsule::testing::slab_of(damaged);
    ASSERT_EQ(refusal(table(), bad), ErrorCode::kCorrupt) << at;
    bad.bytes = capsule::testing::slab_of(bytes.substr(0, at));
    ASSERT_EQ(refusal(table(), bad), ErrorCode::kCorrupt) << at;
  }
  expect_newest(table(), owner_, generation(2));
  hold(table(), good);
}

TEST_F(StandbyTableTest, AMessageThatContradictsItsCapsuleIsRefused) {
  const Holding held = fill(1);
  ReceivedCapsule lie = owner_.delta(generation(2), held);
  lie.base.reset();
  EXPECT_EQ(refusal(table(), lie), ErrorCode::kInvalid);
  lie = owner_.full(generation(2));
  lie.base = held;
  EXPECT_EQ(refusal(table(), lie), ErrorCode::kInvalid);
  lie = owner_.full(generation(2));
  lie.generation = generation(3);
  EXPECT_EQ(refusal(table(), lie), ErrorCode::kInvalid);
  lie = owner_.full(generation(2));
  lie.container = testing::name_of("db");
  EXPECT_EQ(refusal(table(), lie), ErrorCode::kInvalid);
  lie = owner_.full(generation(2, 0x1f, 9));  // of a term that its sender does not have
  EXPECT_EQ(refusal(table(), lie), ErrorCode::kInvalid);
  lie = owner_.full(generation(2));
  lie.bytes = nullptr;
  EXPECT_EQ(refusal(table(), lie), ErrorCode::kInvalid);
}

TEST_F(StandbyTableTest, ARepetitionIsAnsweredWithWhatIsHeld) {
  const Holding first = fill(1);
  const Holding second = hold(table(), owner_.delta(generation(2), first));
  // The answer was lost; the owner begins anew, in another form.
  EXPECT_EQ(hold(table(), owner_.full(generation(2))), second);
  EXPECT_EQ(hold(table(), owner_.delta(generation(2), first)), second);
  hold(table(), owner_.delta(generation(3), second));
}

TEST_F(StandbyTableTest, ACommitKeepsTheTwoNewestCommittedAndWhatIsNewer) {
  fill(7);
  ASSERT_TRUE(table().commit(owner_.container, owner_.term, generation(2)));
  EXPECT_EQ(held_numbers(table(), owner_), (std::vector<std::uint64_t>{2, 3, 4, 5, 6, 7}));
  ASSERT_TRUE(table().commit(owner_.container, owner_.term, generation(5)));
  EXPECT_EQ(held_numbers(table(), owner_), (std::vector<std::uint64_t>{2, 5, 6, 7}));
  ASSERT_TRUE(table().commit(owner_.container, owner_.term, generation(6)));
  EXPECT_EQ(held_numbers(table(), owner_), (std::vector<std::uint64_t>{5, 6, 7}));
  EXPECT_EQ(table().find(owner_.container)->newest_committed, generation(6));
  expect_newest(table(), owner_, generation(7));
  EXPECT_EQ(refusal(table(), owner_.full(generation(4))), ErrorCode::kInvalid);
}

TEST_F(StandbyTableTest, NothingOlderThanTheNewestCommittedIsRestored) {
  fill(2);
  ASSERT_TRUE(table().commit(owner_.container, owner_.term, generation(1)));
  // A learner that was passed over: others have committed 3.
  EXPECT_EQ(table().commit(owner_.container, owner_.term, generation(3)).error().code(),
            ErrorCode::kNotFound);
  const auto fetched = table().fetch(owner_.container, std::nullopt);
  ASSERT_FALSE(fetched);
  EXPECT_EQ(fetched.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(fetched.error().message(), HasSubstr("3.1f.3"));
  // The base of the next delta stays all the same.
  ReceivedCapsule next =
      owner_.delta(generation(4), table().find(owner_.container)->newest.value());
  next.committed = generation(3);
  hold(table(), next);
  expect_newest(table(), owner_, generation(4));
}

TEST_F(StandbyTableTest, ALearnerCatchesUpBehindTheCommits) {
  ReceivedCapsule late = owner_.full(generation(5));
  late.committed = generation(8);
  const Holding fifth = hold(table(), late);
  EXPECT_EQ(table().fetch(owner_.container, std::nullopt).error().code(), ErrorCode::kCorrupt);
  late = owner_.delta(generation(9), fifth);
  late.committed = generation(9);
  hold(table(), late);
  expect_newest(table(), owner_, generation(9));
  EXPECT_EQ(table().find(owner_.container)->generations, 1u);
  EXPECT_EQ(refusal(table(), owner_.full(generation(6))), ErrorCode::kInvalid);
}

TEST_F(StandbyTableTest, TheMessageBringsTheCommitAlong) {
  Holding held = fill(3);
  ReceivedCapsule next = owner_.delta(generation(4), held);
  next.committed = generation(3);
  hold(table(), next);
  EXPECT_EQ(table().find(owner_.container)->newest_committed, generation(3));
  EXPECT_EQ(held_numbers(table(), owner_), (std::vector<std::uint64_t>{3, 4}));
}

TEST_F(StandbyTableTest, AProvisionalOneIsNotRestoredUntilItIsCommitted) {
  const Holding held = fill(1);
  ReceivedCapsule provisional = owner_.delta(generation(2), held);
  provisional.provisional = true;
  hold(table(), provisional);
  expect_newest(table(), owner_, generation(1));
  ASSERT_TRUE(table().commit(owner_.container, owner_.term, generation(2)));
  expect_newest(table(), owner_, generation(2));
}

TEST_F(StandbyTableTest, WhatIsDiscardedIsGone) {
  fill(4);
  for (const std::uint64_t number : {2u, 4u}) {
    ASSERT_TRUE(table().commit(owner_.container, owner_.term, generation(number)));
  }
  // An operator goes back behind what was committed.
  ASSERT_TRUE(table().discard(owner_.container, owner_.term, {generation(3), generation(4)}));
  expect_newest(table(), owner_, generation(2));
  const Holding base = table().find(owner_.container)->newest.value();
  hold(table(), owner_.delta(generation(5), base));
  expect_newest(table(), owner_, generation(5));
}

TEST_F(StandbyTableTest, ALaterOwnerDiscardsWhatItBuildsPast) {
  Holding base;
  Holding newest = hold(table(), owner_.full(generation(1)));
  for (std::uint64_t number = 2; number <= 5; ++number) {
    newest = hold(table(), owner_.delta(generation(number), newest));
    if (number == 3) base = newest;
  }
  ASSERT_TRUE(table().commit(owner_.container, owner_.term, generation(4)));
  ASSERT_TRUE(table().find(owner_.container)->newest_committed);
  owner_.term = Term{4};
  // 3 went with the commit of 4: this owner has not heard of 4 and is to say it in full.
  EXPECT_EQ(refusal(table(), owner_.delta(generation(4, 0x1f, 4), base)), ErrorCode::kNotFound);
  hold(table(), owner_.full(generation(4, 0x1f, 4)));
  EXPECT_EQ(table().find(owner_.container)->generations, 1u);
  EXPECT_FALSE(table().find(owner_.container)->newest_committed);
  expect_newest(table(), owner_, generation(4, 0x1f, 4));
  // The former owner cannot come back with what was superseded, whoever says it.
  EXPECT_EQ(refusal(table(), owner_.full(generation(6))), ErrorCode::kInvalid);
}

TEST_F(StandbyTableTest, ADeltaOfALaterOwnerKeepsItsBaseAndWhatIsBelow) {
  const Holding third = fill(3);
  hold(table(), owner_.delta(generation(4), third));
  owner_.term = Term{4};
  hold(table(), owner_.delta(generation(5, 0x1f, 4), third));
  EXPECT_EQ(held_numbers(table(), owner_), (std::vector<std::uint64_t>{1, 2, 3, 5}));
}

TEST_F(StandbyTableTest, TooManyUncommittedOnesAreRefused) {
  StandbyTableOptions options = disk_.options(Bytes{std::uint64_t{64} << 20});
  options.max_generations = 3;
  table_ = std::make_unique<StandbyTable>(options);
  const Holding held = fill(3);
  EXPECT_EQ(refusal(table(), owner_.delta(generation(4), held)), ErrorCode::kNoSpace);
  ASSERT_TRUE(table().commit(owner_.container, owner_.term, generation(3)));
  hold(table(), owner_.delta(generation(4), held));
}

// Each generation changes one page of 64; ten times round.
TEST_F(StandbyTableTest, OldSlabsDoNotStayForAFewPages) {
  TestOwner owner("big", 64);
  Holding held = hold(table(), owner.full(generation(1)));
  const std::uint64_t one = table().memory().count;
  std::uint64_t most = 0;
  for (std::uint64_t number = 2; number <= 640; ++number) {
    held = hold(table(), owner.delta(generation(number), held));
    ASSERT_TRUE(table().commit(owner.container, owner.term, generation(number)));
    most = std::max(most, table().memory().count);
  }
  RecordProperty("most_over_one",
                 std::to_string(static_cast<double>(most) / static_cast<double>(one)));
  EXPECT_EQ(table().find(owner.container)->generations, 2u);
  EXPECT_LE(most, 3 * one);
  expect_newest(table(), owner, generation(640));
}

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

TEST(StandbyTableThreads, ContainersSideBySideAndTurnsWithinOne) {
  StandbyTableOptions options;
  options.memory_budget = Bytes{std::uint64_t{64} << 20};
  StandbyTable table(options);
  constexpr std::uint64_t kLast = 60;
  std::vector<std::thread> threads;
  for (const char* name : {"a", "b", "c"}) {
    threads.emplace_back([&table, name] {
      TestOwner owner(name);
      Holding held = hold(table, owner.full(generation(1)));
      for (std::uint64_t number = 2; number <= kLast; ++number) {
        held = hold(table, owner.delta(generation(number), held));
        EXPECT_TRUE(table.commit(owner.container, owner.term, generation(number)));
      }
      expect_newest(table, owner, generation(kLast));
    });
  }
  // Three that bring the same generations: the first is held, the others are told so.
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&table] {
      TestOwner owner("d");
      for (std::uint64_t number = 1; number <= kLast; ++number) {
        const auto receipt = table.receive(owner.full(generation(number)));
        EXPECT_TRUE(receipt || receipt.error().code() == ErrorCode::kNoSpace);
        (void)table.fetch(owner.container, std::nullopt);
      }
    });
  }
  std::thread looker([&table] {
    for (int i = 0; i < 300; ++i) {
      (void)table.all();
      (void)table.memory();
      table.raise_term(testing::name_of("a"), Term{3});
    }
  });
  for (std::thread& thread : threads) thread.join();
  looker.join();
  EXPECT_EQ(table.find(testing::name_of("d"))->generations, kLast);
  Bytes sum;
  for (const HeldContainer& held : table.all()) sum.count += held.memory.count;
  EXPECT_EQ(sum, table.memory());
}

}  // namespace
}  // namespace perdure::replica
