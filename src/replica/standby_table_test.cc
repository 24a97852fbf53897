// Proves what a standby promises: what it acknowledges it holds, complete and verified; who has a
// lower term is refused; what a commit, a discard or a later owner supersedes goes and nothing else
// does; memory stays within its budget, and what does not fit goes to disk and comes back. Disks
// are simulated (memory_file_system.h), so that each of their calls can fail.
#include "replica/standby_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

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

// As a bit that has flipped where the table keeps it.
void damage_page(StandbyTable& table, const TestOwner& owner, const Generation& id, std::uint64_t page) {
  const auto held = table.fetch(owner.container, id);
  ASSERT_TRUE(held);
  *const_cast<std::byte*>((*held)->memory.at("mm-1").page(page).data()) ^= std::byte{1};
}

TEST_F(StandbyTableTest, WhatIsDamagedInMemoryIsFoundAndHeldNoMore) {
  fill(3);
  for (const std::uint64_t number : {2, 3}) ASSERT_TRUE(table().commit(owner_.container, owner_.term, generation(number)));
  EXPECT_TRUE(table().check(owner_.container, generation(3)));
  damage_page(table(), owner_, generation(3), 3);  // the page that it has changed
  const Status checked = table().check(owner_.container, generation(3));
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(checked.error().message(), HasSubstr("memory 'mm-1': page 3"));
  EXPECT_EQ(table().fetch(owner_.container, generation(3)).error().code(), ErrorCode::kNotFound);
  EXPECT_TRUE(table().restorable(owner_.container).empty()) << "the one before is older than what is committed";
  const auto any = table().fetch_any(owner_.container);
  ASSERT_TRUE(any);
  ASSERT_FALSE(any->empty());
  EXPECT_EQ(any->front()->manifest.generation, generation(2));
  EXPECT_TRUE(same_state(*any->front(), owner_.capsule(generation(2))));
}

TEST_F(StandbyTableTest, DamageThatGenerationsShareIsFoundInAllOfThem) {
  Holding newest = fill(2);
  damage_page(table(), owner_, generation(2), 7);
  newest = hold(table(), owner_.delta(generation(3), newest));
  ASSERT_TRUE(table().compact(owner_.container));
  EXPECT_FALSE(table().check(owner_.container, generation(3)));
  const auto any = table().fetch_any(owner_.container);
  ASSERT_FALSE(any);
  EXPECT_EQ(table().find(owner_.container), std::nullopt);
  // Its owner is told that the base is gone, and sends it in full.
  EXPECT_EQ(refusal(table(), owner_.delta(generation(4), newest)), ErrorCode::kNotFound);
  hold(table(), owner_.full(generation(4)));
  EXPECT_TRUE(table().fetch_checked(owner_.container, std::nullopt));
}

TEST_F(StandbyTableTest, WhatIsDamagedInMemoryDoesNotGoToDiskAsIfItWereInOrder) {
  restart(Bytes{20 * kPage});
  Holding newest = fill(1);
  damage_page(table(), owner_, generation(1), 7);
  for (std::uint64_t number = 2; table().find(owner_.container)->disk.count == 0; ++number) {
    ASSERT_LT(number, 40u) << "the budget is not reached";
    newest = hold(table(), owner_.delta(generation(number), newest));
  }
  EXPECT_FALSE(table().fetch_checked(owner_.container, generation(1)));
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

// While it was on its way: others have acknowledged it, and the next one may be an hour away.
TEST_F(StandbyTableTest, ACommitMayComeBeforeWhatItCommits) {
  fill(1);
  EXPECT_EQ(table().commit(owner_.container, owner_.term, generation(2)).error().code(), ErrorCode::kNotFound);
  EXPECT_FALSE(table().find(owner_.container)->newest_committed);
  hold(table(), owner_.delta(generation(2), table().find(owner_.container)->newest.value()));
  EXPECT_EQ(table().find(owner_.container)->newest_committed, generation(2));
  expect_newest(table(), owner_, generation(2));
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
  // What still says that it is committed was under way.
  EXPECT_EQ(table().commit(owner_.container, owner_.term, generation(4)).error().code(), ErrorCode::kNotFound);
  EXPECT_TRUE(table().fetch(owner_.container, std::nullopt));
  hold(table(), owner_.delta(generation(5), base));
  expect_newest(table(), owner_, generation(5));
}

TEST_F(StandbyTableTest, WhatWasDiscardedWhileItWasUnderWayIsNotHeld) {
  const Holding held = fill(1);
  ASSERT_TRUE(table().discard(owner_.container, owner_.term, {generation(2)}));
  EXPECT_EQ(refusal(table(), owner_.delta(generation(2), held)), ErrorCode::kInvalid);
  hold(table(), owner_.delta(generation(3), held));
  expect_newest(table(), owner_, generation(3));
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
    ASSERT_TRUE(table().compact(owner.container));
    most = std::max(most, table().memory().count);
  }
  RecordProperty("most_over_one",
                 std::to_string(static_cast<double>(most) / static_cast<double>(one)));
  EXPECT_EQ(table().find(owner.container)->generations, 2u);
  EXPECT_LE(most, 3 * one);
  expect_newest(table(), owner, generation(640));
}

// Nobody has copied them together before the budget is reached.
TEST(StandbyTableBudget, OldSlabsAreCopiedTogetherBeforeAnythingIsRefused) {
  TestOwner owner("big", 64);
  StandbyTableOptions options;
  options.spill = Spill::kRefuse;
  options.memory_budget = Bytes{4 * 64 * capsule::kPageSize};
  StandbyTable table(options);
  Holding held = hold(table, owner.full(generation(1)));
  for (std::uint64_t number = 2; number <= 640; ++number) {
    held = hold(table, owner.delta(generation(number), held));
    ASSERT_TRUE(table.commit(owner.container, owner.term, generation(number)));
  }
  expect_newest(table, owner, generation(640));
}

TEST(StandbyTableBudget, CompactingNothingIsNoError) {
  StandbyTable table(StandbyTableOptions{});
  EXPECT_TRUE(table.compact(testing::name_of("none")));
  EXPECT_EQ(table.memory().count, 0u);
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
        EXPECT_TRUE(table.compact(owner.container));
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
