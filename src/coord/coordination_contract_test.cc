// Proves that a Coordination keeps the contract of coordination.h. Built twice: with the twin in memory (coord_test), and with a real
// etcd in a network namespace, over TLS with certificates on both sides (coord_etcd_test). Faults are real there: the member is
// ended and started again, its packets are dropped, it is stopped (SIGSTOP) with a request on its way.
#include "coord/coordination_contract.h"

#include <algorithm>
#include <format>
#include <optional>
#include <string>
#include <vector>

#include "coord/etcd_test_support.h"
#include "gmock/gmock.h"

namespace perdure::coord {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using testing::AnyOf;
using testing::ElementsAre;

Write put(std::string key, std::string value, LeaseId lease = 0) { return Write{std::move(key), std::move(value), lease}; }
Write erase(std::string key) { return Write{std::move(key), std::nullopt}; }

// What a watch was told, as text: "snapshot 4: a=1 b=2", "5: a=3 b-", "lost", "found".
struct Recorder {
  std::vector<std::string> lines;
  Revision seen = 0;

  WatchHandlers handlers() {
    WatchHandlers handlers;
    handlers.on_snapshot = [this](const Snapshot& snapshot) {
      std::string line = "snapshot:";
      for (const KeyValue& value : snapshot.values) line += std::format(" {}={}", value.key, value.value);
      lines.push_back(line);
      seen = snapshot.revision;
    };
    handlers.on_changes = [this](Revision revision, const std::vector<Change>& changes) {
      EXPECT_GT(revision, seen);
      seen = revision;
      std::string line;
      for (const Change& change : changes) {
        EXPECT_EQ(change.revision, revision);
        line += change.value ? std::format("{}={} ", change.key, change.value->value) : change.key + "- ";
      }
      lines.push_back(line);
    };
    handlers.on_lost = [this](const Error&) { lines.push_back("lost"); };
    handlers.on_found = [this] { lines.push_back("found"); };
    return handlers;
  }
};

class CoordinationContract : public testing::Test {
 protected:
  void SetUp() override {
    store_ = make_contract_store(*loop_);
    if (!store_) GTEST_SKIP() << "needs root: makes a network namespace";
  }

  Coordination& first() { return store_->first(); }
  Coordination& second() { return store_->second(); }

  Result<TransactionResult> commit(Coordination& to, Transaction transaction, Duration time = kPatience) {
    Waiting<TransactionResult> done(*loop_);
    to.commit(std::move(transaction), in(time), done.answer());
    return done.get();
  }
  TransactionResult commit(std::vector<Condition> conditions, std::vector<Write> writes) {
    return value_of(commit(second(), Transaction{std::move(conditions), std::move(writes)}));
  }
  Result<std::optional<KeyValue>> try_read(Coordination& from, const std::string& key, Duration time = kPatience) {
    Waiting<std::optional<KeyValue>> done(*loop_);
    from.read(key, in(time), done.answer());
    return done.get();
  }
  std::optional<KeyValue> read(const std::string& key) { return value_of(try_read(first(), key)); }
  Snapshot list(const std::string& prefix) {
    Waiting<Snapshot> done(*loop_);
    first().list(prefix, in(kPatience), done.answer());
    return value_of(done.get());
  }
  template <typename Condition>
  bool eventually(Condition condition) {
    return loop_->run_until(condition, kPatience);
  }

  std::unique_ptr<io::Loop> loop_ = io::make_loop();
  std::unique_ptr<ContractStore> store_;
};

TEST_F(CoordinationContract, WhatIsWrittenIsReadWithItsRevisions) {
  EXPECT_EQ(read("/a"), std::nullopt);
  const auto created = commit({}, {put("/a", "1")});
  ASSERT_TRUE(created.applied);
  const auto changed = commit({}, {put("/a", "2")});
  EXPECT_GT(changed.revision, created.revision);
  const auto value = read("/a");
  ASSERT_TRUE(value);
  EXPECT_EQ(value->value, "2");
  EXPECT_EQ(value->created, created.revision);
  EXPECT_EQ(value->modified, changed.revision);
  EXPECT_EQ(value->lease, 0);
  EXPECT_TRUE(commit({}, {erase("/a")}).applied);
  EXPECT_EQ(read("/a"), std::nullopt);
}

TEST_F(CoordinationContract, OfTwoWhoCreateOneWins) {
  Waiting<TransactionResult> one(*loop_);
  Waiting<TransactionResult> other(*loop_);
  first().commit({{{"/a", 0}}, {put("/a", "first")}}, in(kPatience), one.answer());
  second().commit({{{"/a", 0}}, {put("/a", "second")}}, in(kPatience), other.answer());
  const auto a = value_of(one.get());
  const auto b = value_of(other.get());
  ASSERT_NE(a.applied, b.applied);
  EXPECT_EQ(read("/a")->value, a.applied ? "first" : "second");
  const auto& loser = a.applied ? b : a;
  ASSERT_EQ(loser.found.size(), 1U);
  EXPECT_EQ(loser.found[0]->modified, read("/a")->modified);
}

TEST_F(CoordinationContract, ARevisionIsGoodForOneSwap) {
  const Revision at = commit({}, {put("/a", "1")}).revision;
  EXPECT_TRUE(commit({{"/a", at}}, {put("/a", "2")}).applied);
  EXPECT_FALSE(commit({{"/a", at}}, {put("/a", "3")}).applied);
  EXPECT_EQ(read("/a")->value, "2");
}

TEST_F(CoordinationContract, AConflictShowsWhatIsThereInTheOrderOfTheConditions) {
  commit({}, {put("/b", "bee"), put("/a", "ay")});
  const auto refused = commit({{"/b", 0}, {"/c", 0}, {"/a", 0}}, {put("/d", "x")});
  ASSERT_FALSE(refused.applied);
  ASSERT_EQ(refused.found.size(), 3U);
  EXPECT_EQ(refused.found[0]->value, "bee");
  EXPECT_EQ(refused.found[1], std::nullopt);
  EXPECT_EQ(refused.found[2]->value, "ay");
  EXPECT_EQ(read("/d"), std::nullopt);
}

TEST_F(CoordinationContract, ADeletedKeyIsAbsentAgain) {
  const Revision at = commit({}, {put("/a", "1")}).revision;
  EXPECT_TRUE(commit({{"/a", at}}, {erase("/a")}).applied);
  EXPECT_FALSE(commit({{"/a", at}}, {put("/a", "2")}).applied);
  EXPECT_TRUE(commit({{"/a", 0}}, {put("/a", "3")}).applied);
}

TEST_F(CoordinationContract, WithoutWritesItIsACheckThatTellsTheRevision) {
  const Revision at = commit({}, {put("/a", "1")}).revision;
  const auto holds = value_of(commit(first(), {{{"/a", at}, {"/b", 0}}, {}}));
  EXPECT_TRUE(holds.applied);
  EXPECT_EQ(holds.revision, at);
  const auto fails = value_of(commit(first(), {{{"/a", 0}}, {}}));
  EXPECT_FALSE(fails.applied);
  EXPECT_EQ(fails.found.at(0)->value, "1");
}

TEST_F(CoordinationContract, AListIsOnePrefixAtOneRevisionByKey) {
  commit({}, {put("/list", "before"), put("/list0", "after")});
  Revision last = 0;
  for (int i = 0; i < 150; i += 30) {
    std::vector<Write> writes;
    for (int j = i; j < i + 30; ++j) writes.push_back(put(std::format("/list/{:03}", j), std::to_string(j)));
    last = commit({}, std::move(writes)).revision;
  }
  const Snapshot snapshot = list("/list/");
  EXPECT_EQ(snapshot.revision, last);
  ASSERT_EQ(snapshot.values.size(), 150U);
  for (int i = 0; i < 150; ++i) {
    EXPECT_EQ(snapshot.values[static_cast<std::size_t>(i)].key, std::format("/list/{:03}", i));
    EXPECT_EQ(snapshot.values[static_cast<std::size_t>(i)].value, std::to_string(i));
  }
  EXPECT_TRUE(list("/nothing/").values.empty());
}

TEST_F(CoordinationContract, WhatIsTooLargeIsRefused) {
  const auto code = [&](Transaction transaction) {
    const auto result = commit(first(), std::move(transaction));
    return result ? ErrorCode::kExists : result.error().code();
  };
  EXPECT_EQ(code({{}, {put("/a", std::string(kMaxValueBytes + 1, 'x'))}}), ErrorCode::kInvalid);
  EXPECT_EQ(code({{}, {put("/a", std::string(kMaxValueBytes, 'x')), put("/b", std::string(kMaxValueBytes, 'x'))}}),
            ErrorCode::kInvalid);
  Transaction many;
  for (std::size_t i = 0; i <= kMaxTransactionKeys; ++i) many.writes.push_back(put(std::format("/{}", i), ""));
  EXPECT_EQ(code(many), ErrorCode::kInvalid);
  EXPECT_EQ(code({{}, {put("/a", "1"), put("/a", "2")}}), ErrorCode::kInvalid);
  EXPECT_EQ(code({{}, {put("", "1")}}), ErrorCode::kInvalid);
  EXPECT_EQ(code({{}, {}}), ErrorCode::kInvalid);
  // The largest that is allowed goes through, and the most keys.
  EXPECT_TRUE(commit({}, {put("/a", std::string(kMaxValueBytes, 'x'))}).applied);
  EXPECT_EQ(read("/a")->value.size(), kMaxValueBytes);
  many.writes.pop_back();
  EXPECT_TRUE(value_of(commit(first(), many)).applied);
}

TEST_F(CoordinationContract, AWatchBeginsWithEverythingAndGoesOnInOrder) {
  commit({}, {put("/w/a", "1"), put("/w/b", "1"), put("/other", "1")});
  Recorder seen;
  const auto watch = first().watch("/w/", seen.handlers());
  ASSERT_TRUE(eventually([&] { return seen.lines.size() == 1; }));
  commit({}, {put("/w/a", "2")});
  commit({}, {put("/w/c", "3"), erase("/w/b")});
  commit({}, {put("/other", "4")});
  commit({}, {put("/w/a", "5")});
  ASSERT_TRUE(eventually([&] { return seen.lines.size() == 4; }));
  EXPECT_EQ(seen.lines[0], "snapshot: /w/a=1 /w/b=1");
  EXPECT_EQ(seen.lines[1], "/w/a=2 ");
  EXPECT_THAT(seen.lines[2], AnyOf("/w/c=3 /w/b- ", "/w/b- /w/c=3 "));
  EXPECT_EQ(seen.lines[3], "/w/a=5 ");
}

TEST_F(CoordinationContract, NoRevisionIsMissedOrSeenTwice) {
  Recorder seen;
  const auto watch = first().watch("/w/", seen.handlers());
  ASSERT_TRUE(eventually([&] { return seen.lines.size() == 1; }));
  const Revision begun = seen.seen;
  // At the same time: the store decides about their order.
  for (int i = 0; i < 300; ++i) {
    second().commit({{}, {put("/w/a", std::format("{:03}", i))}}, in(kPatience), [](auto result) { EXPECT_TRUE(result); });
  }
  ASSERT_TRUE(eventually([&] { return seen.lines.size() == 301; }));
  EXPECT_EQ(seen.seen, begun + 300);
  std::ranges::sort(seen.lines);
  for (int i = 0; i < 300; ++i) EXPECT_EQ(seen.lines[static_cast<std::size_t>(i)], std::format("/w/a={:03} ", i));
}

TEST_F(CoordinationContract, AWatchMayEndItselfAndIsSilentThen) {
  Recorder seen;
  std::unique_ptr<Subscription> watch;
  WatchHandlers handlers = seen.handlers();
  handlers.on_changes = [&](Revision, const std::vector<Change>&) {
    seen.lines.push_back("change");
    watch.reset();
  };
  watch = first().watch("/w/", handlers);
  Recorder other;
  const auto witness = first().watch("/w/", other.handlers());
  ASSERT_TRUE(eventually([&] { return !seen.lines.empty() && !other.lines.empty(); }));
  commit({}, {put("/w/a", "1")});
  commit({}, {put("/w/a", "2")});
  // Two watches: none waits for the other.
  ASSERT_TRUE(eventually([&] { return other.lines.size() == 3 && seen.lines.size() >= 2; }));
  EXPECT_THAT(seen.lines, ElementsAre("snapshot:", "change"));
}

TEST_F(CoordinationContract, AWatchGoesOnAfterTheStoreWasAway) {
  commit({}, {put("/w/a", "1")});
  Recorder seen;
  const auto watch = first().watch("/w/", seen.handlers());
  ASSERT_TRUE(eventually([&] { return seen.lines.size() == 1; }));
  store_->stop();
  ASSERT_TRUE(eventually([&] { return seen.lines.size() == 2; }));
  store_->start();
  ASSERT_TRUE(eventually([&] { return seen.lines.size() == 3; }));
  commit({}, {put("/w/a", "2")});
  ASSERT_TRUE(eventually([&] { return seen.lines.size() == 4; }));
  EXPECT_THAT(seen.lines, ElementsAre("snapshot: /w/a=1", "lost", "found", "/w/a=2 "));
}

TEST_F(CoordinationContract, AWatchThatWasCutOffIsToldWhatItMissed) {
  Recorder seen;
  const auto watch = first().watch("/w/", seen.handlers());
  ASSERT_TRUE(eventually([&] { return seen.lines.size() == 1; }));
  store_->cut_first();
  ASSERT_TRUE(eventually([&] { return seen.lines.size() == 2; }));
  commit({}, {put("/w/a", "1")});
  commit({}, {put("/w/a", "2"), put("/w/b", "2")});
  store_->heal_first();
  ASSERT_TRUE(eventually([&] { return seen.lines.size() == 5; }));
  EXPECT_THAT(seen.lines, ElementsAre("snapshot:", "lost", "found", "/w/a=1 ", "/w/a=2 /w/b=2 "));
}

TEST_F(CoordinationContract, WhatWasForgottenMeanwhileComesAsASnapshot) {
  commit({}, {put("/w/a", "1"), put("/w/b", "1")});
  Recorder seen;
  const auto watch = first().watch("/w/", seen.handlers());
  ASSERT_TRUE(eventually([&] { return seen.lines.size() == 1; }));
  store_->cut_first();
  ASSERT_TRUE(eventually([&] { return seen.lines.size() == 2; }));
  commit({}, {erase("/w/b")});
  Revision last = 0;
  for (int i = 2; i < 6; ++i) last = commit({}, {put("/w/a", std::to_string(i))}).revision;
  store_->compact(last);
  store_->heal_first();
  ASSERT_TRUE(eventually([&] { return seen.lines.size() == 4; }));
  commit({}, {put("/w/a", "6")});
  ASSERT_TRUE(eventually([&] { return seen.lines.size() == 5; }));
  EXPECT_THAT(seen.lines,
              ElementsAre("snapshot: /w/a=1 /w/b=1", "lost", "found", "snapshot: /w/a=5", "/w/a=6 "));
}

TEST_F(CoordinationContract, AWatchCanBeginWhileTheStoreIsAway) {
  commit({}, {put("/w/a", "1")});
  store_->stop();
  Recorder seen;
  const auto watch = first().watch("/w/", seen.handlers());
  ASSERT_TRUE(eventually([&] { return seen.lines.size() == 1; }));
  store_->start();
  ASSERT_TRUE(eventually([&] { return seen.lines.size() == 3; }));
  EXPECT_THAT(seen.lines, ElementsAre("lost", "found", "snapshot: /w/a=1"));
}

TEST_F(CoordinationContract, CallsEndByTheirDeadlinesWhileTheStoreIsAway) {
  store_->stop();
  const Instant begun = BootClock::now();
  const auto value = try_read(first(), "/a", 300ms);
  ASSERT_FALSE(value);
  EXPECT_THAT(value.error().code(), AnyOf(ErrorCode::kTransient, ErrorCode::kTimeout));
  const auto committed = commit(first(), {{}, {put("/a", "1")}}, 300ms);
  ASSERT_FALSE(committed);
  EXPECT_THAT(committed.error().code(), AnyOf(ErrorCode::kTransient, ErrorCode::kTimeout));
  EXPECT_LT(BootClock::now() - begun, 20s);
  store_->start();
  EXPECT_TRUE(try_read(first(), "/a"));
}

TEST_F(CoordinationContract, ACutOffCallTimesOut) {
  ASSERT_TRUE(try_read(first(), "/a"));
  store_->cut_first();
  const auto value = try_read(first(), "/a", 300ms);
  ASSERT_FALSE(value);
  EXPECT_THAT(value.error().code(), AnyOf(ErrorCode::kTransient, ErrorCode::kTimeout));
  store_->heal_first();
  EXPECT_TRUE(try_read(first(), "/a"));
}

TEST_F(CoordinationContract, TheOutcomeOfACommitWithoutAnAnswerIsWhatTheStoreSays) {
  const Revision at = commit({}, {put("/a", "old")}).revision;
  ASSERT_TRUE(try_read(first(), "/a"));  // connected
  store_->freeze();
  const auto unknown = commit(first(), {{{"/a", at}}, {put("/a", "lost")}}, 300ms);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code(), ErrorCode::kTimeout);
  store_->thaw();
  // Whatever has become of it: after a swap on the same revision it can come no more.
  const auto mine = value_of(commit(first(), {{{"/a", at}}, {put("/a", "mine")}}));
  if (mine.applied) {
    EXPECT_EQ(read("/a")->modified, mine.revision);
  } else {
    ASSERT_TRUE(mine.found.at(0));
    EXPECT_EQ(mine.found[0]->value, "lost");
  }
  EXPECT_EQ(read("/a")->value, mine.applied ? "mine" : "lost");
}

TEST_F(CoordinationContract, ALeaseIsKeptAndEndsWhenNobodyKeepsIt) {
  LeaseId lease = 0;
  std::size_t lost = 0;
  auto kept = first().keep_lease(1s, {[&](LeaseId id) { lease = id; }, [&](const Error&) { ++lost; }});
  ASSERT_TRUE(eventually([&] { return lease != 0; }));
  const Revision at = commit({}, {put("/w/alive", "1", lease)}).revision;
  EXPECT_EQ(read("/w/alive")->lease, lease);
  Recorder seen;
  const auto watch = second().watch("/w/", seen.handlers());
  bool passed = false;
  const io::Timer life = loop_->after(3s, [&] { passed = true; });
  ASSERT_TRUE(eventually([&] { return passed; }));
  EXPECT_EQ(read("/w/alive")->modified, at);
  EXPECT_EQ(lost, 0U);
  kept.reset();
  ASSERT_TRUE(eventually([&] { return seen.lines.size() == 2; }));
  EXPECT_THAT(seen.lines, ElementsAre("snapshot: /w/alive=1", "/w/alive- "));
  EXPECT_EQ(lost, 0U);
}

TEST_F(CoordinationContract, ALeaseThatCannotBeKeptIsLostOnce) {
  LeaseId lease = 0;
  std::size_t lost = 0;
  const auto kept = first().keep_lease(1s, {[&](LeaseId id) { lease = id; }, [&](const Error& error) {
                                              EXPECT_EQ(error.code(), ErrorCode::kTimeout);
                                              ++lost;
                                            }});
  ASSERT_TRUE(eventually([&] { return lease != 0; }));
  commit({}, {put("/w/alive", "1", lease)});
  Recorder seen;
  const auto watch = second().watch("/w/", seen.handlers());
  ASSERT_TRUE(eventually([&] { return seen.lines.size() == 1; }));
  store_->cut_first();
  ASSERT_TRUE(eventually([&] { return lost == 1 && seen.lines.size() == 2; }));
  EXPECT_EQ(seen.lines[1], "/w/alive- ");
  store_->heal_first();
  ASSERT_TRUE(try_read(first(), "/a"));
  EXPECT_EQ(lost, 1U);
}

TEST_F(CoordinationContract, ACallWhoseTimeIsOverIsAnsweredLater) {
  Waiting<std::optional<KeyValue>> read(*loop_);
  Waiting<TransactionResult> written(*loop_);
  bool begun = false;
  const Instant past = BootClock::now() - 1s;
  first().read("/a", past, [&, answer = read.answer()](auto value) {
    EXPECT_TRUE(begun);
    answer(std::move(value));
  });
  first().commit({{{"/a", 0}}, {put("/a", "1")}, true}, past, [&, answer = written.answer()](auto result) {
    EXPECT_TRUE(begun);
    answer(std::move(result));
  });
  begun = true;
  (void)read.get();
  (void)written.get();
  EXPECT_TRUE(read.answered() && written.answered());
}

TEST_F(CoordinationContract, ARepeatedCommitIsCarriedOutOnce) {
  const Revision at = commit({}, {put("/a", "old")}).revision;
  ASSERT_TRUE(try_read(first(), "/a"));  // connected
  store_->freeze();
  Waiting<TransactionResult> done(*loop_);
  first().commit({{{"/a", at}}, {put("/a", "mine")}, true}, in(kPatience), done.answer());
  // Long enough for several copies.
  ASSERT_FALSE(loop_->run_until([] { return false; }, 300ms));
  store_->thaw();
  const auto result = value_of(done.get());
  // The answer to another copy than the one that was carried out finds what that one has written.
  EXPECT_TRUE(result.applied || result.found.at(0)->value == "mine");
  EXPECT_EQ(read("/a")->value, "mine");
  const Revision carried_out = read("/a")->modified;
  EXPECT_EQ(commit({}, {put("/b", "1")}).revision, carried_out + 1);
  EXPECT_EQ(read("/a")->modified, carried_out);
}

TEST_F(CoordinationContract, ARepeatedCommitComparesWhatItWrites) {
  const auto refused = commit(first(), {{{"/a", 0}}, {put("/b", "1")}, true});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kInvalid);
}

TEST_F(CoordinationContract, AWriteUnderALeaseThatIsNotThereIsRefused) {
  const auto result = commit(first(), {{}, {put("/a", "1", 4711)}});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::kIo);
}

TEST_F(CoordinationContract, TheStatusNamesVersionClusterAndRevision) {
  const Revision at = commit({}, {put("/a", "1")}).revision;
  Waiting<StoreStatus> done(*loop_);
  first().status(in(kPatience), done.answer());
  const StoreStatus status = value_of(done.get());
  EXPECT_FALSE(status.version.empty());
  EXPECT_NE(status.cluster_id, 0U);
  EXPECT_EQ(status.leader, status.member);
  EXPECT_EQ(status.revision, at);
}

}  // namespace
}  // namespace perdure::coord
