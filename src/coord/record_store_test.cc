// Proves the rules of docs/cluster.md ("The record") on the twin of etcd: terms that only rise, swaps that compare revisions, and
// what is done when an answer is lost, a request is lost, or a request comes long after everybody has given it up.
#include "coord/record_store.h"

#include <format>
#include <string>

#include "coord/cluster_keys.h"
#include "coord/etcd_test_support.h"
#include "coord/memory_coordination.h"
#include "gmock/gmock.h"

namespace perdure::coord {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using testing::HasSubstr;
using Kind = SwapOutcome::Kind;

NodeName node(std::string_view name) { return NodeName::parse(name).value(); }
ContainerName container(std::string_view name) { return ContainerName::parse(name).value(); }
model::NodeLife life(std::string_view name, std::uint64_t incarnation = 1) { return {node(name), Incarnation{incarnation}}; }
model::IpAddress address(std::string_view text) { return model::IpAddress::parse(text).value(); }

model::OwnershipRecord record(std::string_view name, std::string_view owner = "a") {
  return {container(name), life(owner), {life("b"), life("c")}, Term{7}, "sha256:spec", "sha256:image",
          model::DesiredState::kRunning, model::RecordPhase::kStarting, life("z", 9), {}, WallTime(1700000000s)};
}

CreateRequest request(std::string_view name, std::vector<model::IpAddress> addresses = {}) {
  return {record(name), "name: " + std::string(name) + "\n", std::move(addresses)};
}

class RecordStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"a", "b"}) {
      model::NodeDescription description{.life = life(name)};
      put(node_key(node(name)), encode_node(description));
    }
  }

  void put(const std::string& key, const std::string& value) {
    Waiting<TransactionResult> done(*loop_);
    other_.commit({{}, {Write{key, value}}}, in(kPatience), done.answer());
    ASSERT_TRUE(done.get());
  }

  Result<StoredRecord> create(CreateRequest asked, Duration time = kPatience) {
    Waiting<StoredRecord> done(*loop_);
    records_.create(std::move(asked), in(time), done.answer());
    return done.get();
  }
  SwapOutcome outcome(const std::function<void(std::function<void(SwapOutcome)>)>& start) {
    std::optional<SwapOutcome> result;
    start([&](SwapOutcome value) { result = std::move(value); });
    EXPECT_TRUE(loop_->run_until([&] { return result.has_value(); }, kPatience));
    return std::move(*result);
  }
  SwapOutcome swap(model::OwnershipRecord next, Revision expected, Duration time = kPatience) {
    return outcome([&](auto answer) { records_.swap({next, expected}, in(time), answer); });
  }
  SwapOutcome resolve(const SentSwap& sent, Duration time = kPatience) {
    return outcome([&](auto answer) { records_.resolve(sent, in(time), answer); });
  }
  Result<bool> remove(std::string_view name, Revision expected, Duration time = kPatience) {
    Waiting<bool> done(*loop_);
    records_.remove(container(name), expected, in(time), done.answer());
    return done.get();
  }
  std::optional<StoredRecord> stored(std::string_view name) {
    const auto value = store_.get(record_key(container(name)));
    return value ? std::optional(value_of(read_record(*value))) : std::nullopt;
  }

  std::unique_ptr<io::Loop> loop_ = io::make_loop();
  MemoryStore store_;
  MemoryCoordination way_{*loop_, store_};
  MemoryCoordination other_{*loop_, store_};
  RecordStore records_{*loop_, way_, life("a", 5)};
  RecordStore rival_{*loop_, other_, life("b", 6)};
};

TEST_F(RecordStoreTest, ARecordIsMadeWithItsSpecificationAndAddresses) {
  const auto made = create(request("web", {address("10.0.0.1"), address("2001:db8::1")}));
  ASSERT_TRUE(made) << made.error().message();
  EXPECT_EQ(made->record.writer, life("a", 5));
  EXPECT_EQ(stored("web")->record, made->record);
  EXPECT_EQ(stored("web")->revision, made->revision);
  EXPECT_EQ(value_of(decode_spec(store_.get(spec_key(container("web")))->value)), "name: web\n");
  const auto claim = value_of(decode_claim(store_.get(address_key(address("2001:db8::1")))->value));
  EXPECT_EQ(claim, (AddressClaim{container("web"), made->record.term}));
  for (const std::string& key : {spec_key(container("web")), address_key(address("10.0.0.1"))}) {
    EXPECT_EQ(store_.get(key)->modified, made->revision);
  }
}

TEST_F(RecordStoreTest, ANewRecordBeginsAboveEveryTermOfAnEarlierOne) {
  auto last = value_of(create(request("web")));
  for (int i = 0; i < 5; ++i) {
    auto next = last.record;
    ++next.term.value;
    last = *swap(next, last.revision).now;
  }
  const Term highest = last.record.term;
  ASSERT_TRUE(value_of(remove("web", last.revision)));
  const auto again = value_of(create(request("web")));
  EXPECT_GT(again.record.term, highest);
  EXPECT_LE(again.record.term.value, static_cast<std::uint64_t>(again.revision));
}

TEST_F(RecordStoreTest, AConflictNamesTheHolder) {
  ASSERT_TRUE(create(request("web", {address("10.0.0.1")})));
  const auto twice = create(request("web"));
  ASSERT_FALSE(twice);
  EXPECT_EQ(twice.error().code(), ErrorCode::kExists);
  EXPECT_THAT(twice.error().message(), HasSubstr("'web' exists already, on node 'a'"));
  const auto taken = create(request("db", {address("10.0.0.2"), address("10.0.0.1")}));
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code(), ErrorCode::kConflict);
  EXPECT_THAT(taken.error().message(), HasSubstr("address 10.0.0.1 of container 'db' is held by container 'web'"));
  EXPECT_EQ(store_.get(address_key(address("10.0.0.2"))), std::nullopt);
  EXPECT_EQ(stored("db"), std::nullopt);
}

TEST_F(RecordStoreTest, OfTwoWhoTakeAnAddressOneHasIt) {
  Waiting<StoredRecord> one(*loop_);
  Waiting<StoredRecord> two(*loop_);
  records_.create(request("one", {address("10.0.0.1")}), in(kPatience), one.answer());
  rival_.create(request("two", {address("10.0.0.1")}), in(kPatience), two.answer());
  const auto first = one.get();
  const auto second = two.get();
  ASSERT_NE(first.has_value(), second.has_value());
  const Error& error = first ? second.error() : first.error();
  EXPECT_EQ(error.code(), ErrorCode::kConflict);
  EXPECT_THAT(error.message(), HasSubstr(first ? "container 'one'" : "container 'two'"));
}

TEST_F(RecordStoreTest, ANodeThatWasRemovedMakesNoRecords) {
  Waiting<TransactionResult> done(*loop_);
  other_.commit({{}, {Write{node_key(node("a")), std::nullopt}}}, in(kPatience), done.answer());
  ASSERT_TRUE(done.get());
  EXPECT_EQ(create(request("web")).error().code(), ErrorCode::kPermission);
}

TEST_F(RecordStoreTest, WhatBreaksABoundIsNotSent) {
  CreateRequest many = request("web");
  for (std::size_t i = 0; i <= kMaxRecordAddresses; ++i) many.addresses.push_back(address("10.0.0." + std::to_string(i + 1)));
  EXPECT_EQ(create(many).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(create(request("web", {address("10.0.0.1"), address("10.0.0.1")})).error().code(), ErrorCode::kInvalid);
  CreateRequest large = request("web");
  large.spec_yaml.assign(kMaxSpecBytes + 1, 'x');
  EXPECT_EQ(create(large).error().code(), ErrorCode::kInvalid);
  const auto made = value_of(create(request("web")));
  auto next = made.record;
  next.standbys.push_back(next.owner);
  const auto refused = swap(next, made.revision);
  EXPECT_EQ(refused.kind, Kind::kUnknown);
  EXPECT_EQ(refused.error->code(), ErrorCode::kInvalid);
  EXPECT_FALSE(refused.sent);
  EXPECT_EQ(stored("web")->revision, made.revision);
  many.addresses.pop_back();
  many.record.container = container("most");
  EXPECT_TRUE(create(many));
}

// Loses the answer, or the request, of one call: the n-th.
class LosingCoordination final : public Coordination {
 public:
  enum class What { kAnswer, kRequest };
  LosingCoordination(MemoryCoordination& way, int call, What what) : way_(way), left_(call), what_(what) {}
  void read(std::string key, Instant deadline, Answer<std::optional<KeyValue>> answer) override {
    count();
    way_.read(std::move(key), deadline, std::move(answer));
  }
  void list(std::string prefix, Instant deadline, Answer<Snapshot> answer) override {
    count();
    way_.list(std::move(prefix), deadline, std::move(answer));
  }
  void commit(Transaction transaction, Instant deadline, Answer<TransactionResult> answer) override {
    count();
    way_.commit(std::move(transaction), deadline, std::move(answer));
  }
  std::unique_ptr<Subscription> watch(std::string, WatchHandlers) override { return nullptr; }
  std::unique_ptr<Subscription> keep_lease(std::chrono::seconds, LeaseHandlers) override { return nullptr; }
  void status(Instant, Answer<StoreStatus>) override {}
  bool lost() const { return left_ < 0; }

 private:
  void count() {
    if (left_-- != 0) return;
    what_ == What::kAnswer ? way_.lose_answers(1) : way_.lose_requests(1);
  }
  MemoryCoordination& way_;
  int left_;
  const What what_;
};

TEST_F(RecordStoreTest, ACreationSurvivesEachCallThatIsLost) {
  using What = LosingCoordination::What;
  for (const What what : {What::kAnswer, What::kRequest}) {
    for (int call = 0; call < 3; ++call) {
      const std::string name = std::format("web-{}-{}", what == What::kAnswer ? "answer" : "request", call);
      LosingCoordination losing(way_, call, what);
      RecordStore records{*loop_, losing, life("a", 5)};
      Waiting<StoredRecord> done(*loop_);
      records.create(request(name, {address(std::format("10.0.{}.{}", 1 + static_cast<int>(what), 1 + call))}), in(4s), done.answer());
      const auto made = done.get();
      ASSERT_TRUE(made) << name << ": " << made.error().message();
      EXPECT_TRUE(losing.lost());
      EXPECT_EQ(stored(name)->record, made->record);
      EXPECT_LE(made->record.term.value, static_cast<std::uint64_t>(made->revision));
    }
  }
}

TEST_F(RecordStoreTest, ACreationThatComesLateFailsOnceItsNodesKeyHasMoved) {
  Waiting<StoredRecord> first(*loop_);
  way_.hold_requests();
  records_.create(request("web"), in(600ms), first.answer());
  // Let two calls through, hold the third: the write.
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(loop_->run_until([&] { return way_.held_requests() == 1; }, kPatience));
    way_.release_requests();
    way_.hold_requests();
  }
  ASSERT_TRUE(loop_->run_until([&] { return way_.held_requests() == 1; }, kPatience));
  EXPECT_FALSE(first.get());  // given up: nobody knows
  EXPECT_EQ(stored("web"), std::nullopt);
  // A creation by others, of which nothing is left: the name is absent again.
  Waiting<StoredRecord> between(*loop_);
  rival_.create(request("web"), in(kPatience), between.answer());
  const auto made = value_of(between.get());
  Waiting<bool> removed(*loop_);
  rival_.remove(container("web"), made.revision, in(kPatience), removed.answer());
  ASSERT_TRUE(value_of(removed.get()));
  // A new life of the creator writes its node's key.
  model::NodeDescription description{.life = life("a", 6)};
  put(node_key(node("a")), encode_node(description));
  way_.release_requests();
  io::settle(*loop_);
  EXPECT_EQ(stored("web"), std::nullopt);
}

TEST_F(RecordStoreTest, ACreationWithoutAnAnswerBarsItsOwnWayAndIsMadeAnew) {
  Waiting<StoredRecord> done(*loop_);
  way_.hold_requests();
  records_.create(request("web"), in(20s), done.answer());
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(loop_->run_until([&] { return way_.held_requests() == 1; }, kPatience));
    way_.release_requests();
    way_.hold_requests();
  }
  ASSERT_TRUE(loop_->run_until([&] { return way_.held_requests() == 1; }, kPatience));
  // The write is on its way; its creator gives it up, and what it does next comes before it.
  ASSERT_TRUE(loop_->run_until([&] { return way_.held_requests() == 2; }, kPatience));
  way_.release_requests();
  const auto made = done.get();
  ASSERT_TRUE(made) << made.error().message();
  EXPECT_EQ(stored("web")->record, made->record);
}

TEST_F(RecordStoreTest, ASwapIsAppliedOnceAndWritesItsWriter) {
  const auto made = value_of(create(request("web")));
  auto next = made.record;
  next.phase = model::RecordPhase::kRunning;
  next.standbys = {life("b", 2)};
  const auto done = swap(next, made.revision);
  ASSERT_EQ(done.kind, Kind::kApplied);
  EXPECT_EQ(done.now->record.writer, life("a", 5));
  EXPECT_NE(done.now->record.nonce, made.record.nonce);
  EXPECT_EQ(stored("web")->record, done.now->record);
  const auto stale = swap(next, made.revision);
  ASSERT_EQ(stale.kind, Kind::kRefused);
  EXPECT_EQ(stale.now->revision, done.now->revision);
  EXPECT_EQ(stale.now->record, done.now->record);
}

TEST_F(RecordStoreTest, ASwapOfNothingIsRefused) {
  const auto made = value_of(create(request("web")));
  ASSERT_TRUE(value_of(remove("web", made.revision)));
  const auto done = swap(made.record, made.revision);
  EXPECT_EQ(done.kind, Kind::kRefused);
  EXPECT_FALSE(done.now);
}

TEST_F(RecordStoreTest, WhatANewerVersionWroteSurvivesASwap) {
  const auto made = value_of(create(request("web")));
  const std::string newer = made.bytes + std::string("\xf2\x3f\x03new", 6);  // field 1022, a string
  put(record_key(container("web")), newer);
  const Revision at = store_.revision();
  auto next = made.record;
  next.phase = model::RecordPhase::kRunning;
  ASSERT_EQ(swap(next, at).kind, Kind::kApplied);
  EXPECT_THAT(store_.get(record_key(container("web")))->value, HasSubstr("\x03new"));
}

TEST_F(RecordStoreTest, ALostAnswerIsFoundToBeApplied) {
  const auto made = value_of(create(request("web")));
  auto next = made.record;
  ++next.term.value;
  way_.lose_answers(1);
  const auto lost = swap(next, made.revision, 50ms);
  ASSERT_EQ(lost.kind, Kind::kUnknown);
  EXPECT_EQ(lost.error->code(), ErrorCode::kTimeout);
  const auto found = resolve(*lost.sent);
  ASSERT_EQ(found.kind, Kind::kApplied);
  EXPECT_EQ(found.now->record.term, next.term);
  EXPECT_EQ(found.now->revision, stored("web")->revision);
}

TEST_F(RecordStoreTest, ALostRequestIsRefusedAndTheRecordIsWhatItWas) {
  const auto made = value_of(create(request("web")));
  auto next = made.record;
  ++next.term.value;
  way_.lose_requests(1);
  const auto lost = swap(next, made.revision, 50ms);
  ASSERT_EQ(lost.kind, Kind::kUnknown);
  const auto found = resolve(*lost.sent);
  ASSERT_EQ(found.kind, Kind::kRefused);
  EXPECT_EQ(found.now->record.term, made.record.term);
  EXPECT_EQ(found.now->record.standbys, made.record.standbys);
  EXPECT_GT(found.now->revision, made.revision);
}

TEST_F(RecordStoreTest, ARequestThatComesAfterItWasResolvedFails) {
  const auto made = value_of(create(request("web")));
  auto next = made.record;
  next.owner = life("b");
  next.standbys = {life("a")};
  ++next.term.value;
  way_.hold_requests();
  const auto lost = swap(next, made.revision, 50ms);
  ASSERT_EQ(lost.kind, Kind::kUnknown);
  // Its answer comes by another way than the one that holds the lost request back.
  RecordStore same{*loop_, other_, life("a", 5)};
  const auto found = outcome([&](auto answer) { same.resolve(*lost.sent, in(kPatience), answer); });
  ASSERT_EQ(found.kind, Kind::kRefused);
  way_.release_requests();
  io::settle(*loop_);
  EXPECT_EQ(stored("web")->record.owner, made.record.owner);
  EXPECT_EQ(stored("web")->revision, found.now->revision);
}

TEST_F(RecordStoreTest, AChangeByAnotherDecidesALostSwap) {
  const auto made = value_of(create(request("web")));
  way_.lose_requests(1);
  auto mine = made.record;
  mine.phase = model::RecordPhase::kRunning;
  const auto lost = swap(mine, made.revision, 50ms);
  auto theirs = made.record;
  theirs.owner = life("b");
  theirs.standbys = {};
  ++theirs.term.value;
  const auto taken = outcome([&](auto answer) { rival_.swap({theirs, made.revision}, in(kPatience), answer); });
  ASSERT_EQ(taken.kind, Kind::kApplied);
  const auto found = resolve(*lost.sent);
  ASSERT_EQ(found.kind, Kind::kRefused);
  EXPECT_EQ(found.now->record.owner, life("b"));
  EXPECT_EQ(found.now->revision, taken.now->revision);
}

TEST_F(RecordStoreTest, AnAnswerThatIsLostWhileResolvingIsResolvedToo) {
  const auto made = value_of(create(request("web")));
  auto next = made.record;
  ++next.term.value;
  for (std::size_t lost_answers = 1; lost_answers <= 3; ++lost_answers) {
    const Revision at = stored("web")->revision;
    way_.lose_requests(1);
    const auto lost = swap(next, at, 50ms);
    ASSERT_EQ(lost.kind, Kind::kUnknown);
    way_.lose_answers(lost_answers);
    const auto found = resolve(*lost.sent, 5s);
    ASSERT_EQ(found.kind, Kind::kRefused) << lost_answers;
    EXPECT_EQ(found.now->record.term, made.record.term);
    EXPECT_EQ(found.now->revision, stored("web")->revision);
  }
}

TEST_F(RecordStoreTest, WithoutTheStoreNothingIsResolved) {
  const auto made = value_of(create(request("web")));
  way_.set_away(true);
  const auto lost = swap(made.record, made.revision, 50ms);
  ASSERT_EQ(lost.kind, Kind::kUnknown);
  const auto still = resolve(*lost.sent, 200ms);
  ASSERT_EQ(still.kind, Kind::kUnknown);
  ASSERT_TRUE(still.sent);
  way_.set_away(false);
  EXPECT_EQ(resolve(*still.sent).kind, Kind::kRefused);
}

TEST_F(RecordStoreTest, SentTwiceUnderOneNonceIsAppliedOnce) {
  const auto made = value_of(create(request("web")));
  auto next = made.record;
  ++next.term.value;
  const model::Nonce nonce{1, 2, 3};
  const auto send = [&] {
    return outcome([&](auto answer) { records_.swap({next, made.revision, std::nullopt, nonce}, in(kPatience), answer); });
  };
  const auto once = send();
  const auto twice = send();
  ASSERT_EQ(once.kind, Kind::kApplied);
  ASSERT_EQ(twice.kind, Kind::kApplied);
  EXPECT_EQ(once.now->revision, twice.now->revision);
}

TEST_F(RecordStoreTest, ARemovedRecordTakesItsSpecificationAndAddressesAlong) {
  const auto made = value_of(create(request("web", {address("10.0.0.1"), address("10.0.0.2")})));
  ASSERT_TRUE(create(request("db", {address("10.0.0.3")})));
  EXPECT_FALSE(value_of(remove("web", made.revision - 1)));
  EXPECT_TRUE(stored("web"));
  EXPECT_TRUE(value_of(remove("web", made.revision)));
  EXPECT_EQ(stored("web"), std::nullopt);
  EXPECT_EQ(store_.get(spec_key(container("web"))), std::nullopt);
  EXPECT_EQ(store_.get(address_key(address("10.0.0.1"))), std::nullopt);
  EXPECT_EQ(store_.get(address_key(address("10.0.0.2"))), std::nullopt);
  EXPECT_TRUE(store_.get(address_key(address("10.0.0.3"))));
  EXPECT_FALSE(value_of(remove("web", made.revision)));
  EXPECT_TRUE(create(request("other", {address("10.0.0.1")})));
}

TEST_F(RecordStoreTest, ARemovalWhoseAnswerIsLostCanBeAskedForAgain) {
  const auto made = value_of(create(request("web")));
  way_.lose_answers(2);
  EXPECT_FALSE(remove("web", made.revision, 200ms));
  way_.lose_answers(0);
  const auto again = remove("web", made.revision);
  ASSERT_TRUE(again);
  EXPECT_EQ(stored("web"), std::nullopt);
}

TEST_F(RecordStoreTest, NothingIsAnsweredAfterItsEnd) {
  bool answered = false;
  {
    RecordStore brief{*loop_, other_, life("b")};
    brief.create(request("web"), in(kPatience), [&](auto) { answered = true; });
    brief.remove(container("web"), 1, in(kPatience), [&](auto) { answered = true; });
    brief.swap({record("web"), 1}, in(kPatience), [&](auto) { answered = true; });
    brief.read(container("web"), in(kPatience), [&](auto) { answered = true; });
  }
  io::settle(*loop_);
  io::settle(*loop_);
  EXPECT_FALSE(answered);
}

TEST_F(RecordStoreTest, ARecordOfAnUnknownKindIsRefusedByName) {
  const auto made = value_of(create(request("web")));
  put(record_key(container("web")), made.bytes + std::string("\x38\x09", 2));  // desired = 9
  Waiting<std::optional<StoredRecord>> done(*loop_);
  records_.read(container("web"), in(kPatience), done.answer());
  const auto read = done.get();
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code(), ErrorCode::kInvalid);
  EXPECT_THAT(read.error().message(), HasSubstr("'web'"));
  EXPECT_THAT(read.error().message(), HasSubstr("desired state"));
}

}  // namespace
}  // namespace perdure::coord
