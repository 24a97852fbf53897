// Proves the durable route of a container's generations: each is stored and told with what its file builds on, a directory that fails
// is told and tried again, what is discarded is not written, and the table knows what is durable.
#include "node/replication.h"

#include <memory>
#include <string>
#include <vector>

#include "capsule/format/test_capsules.h"
#include "gmock/gmock.h"
#include "io/test_support.h"
#include "replica/directory_store.h"
#include "replica/memory_file_system.h"

namespace perdure::node {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// A directory that can be made to fail, and to wait.
class TestStore final : public replica::CapsuleStore {
 public:
  explicit TestStore(std::unique_ptr<replica::CapsuleStore> inner) : inner_(std::move(inner)) {}
  std::atomic<bool> broken = false;
  std::atomic<bool> hangs = false;
  std::atomic<bool> hung = false;
  void go_on() {
    hangs = false;
    hangs.notify_all();
  }

  Result<replica::StoreReceipt> put(const capsule::EncodedCapsule& encoded) override {
    while (hangs) {
      hung = true;
      hangs.wait(true);
    }
    if (broken) return fail(ErrorCode::kNoSpace, "the disk is full");
    return inner_->put(encoded);
  }
  Result<std::vector<replica::StoredGeneration>> list() override { return inner_->list(); }
  Result<capsule::CapsuleRef> load(const Generation& generation) override { return inner_->load(generation); }
  Result<replica::RestorableGeneration> newest_restorable(const std::set<Generation>& skip) override {
    return inner_->newest_restorable(skip);
  }
  Status mark(const Generation& generation, std::string_view word, std::string_view why) override {
    return inner_->mark(generation, word, why);
  }
  Status unmark(const Generation& generation, std::string_view word) override { return inner_->unmark(generation, word); }
  Status remove(const Generation& generation) override { return inner_->remove(generation); }
  Result<std::vector<Generation>> retain_only(const std::set<Generation>& keep) override { return inner_->retain_only(keep); }
  bool should_be_full(const Generation& parent) override { return inner_->should_be_full(parent); }

 private:
  const std::unique_ptr<replica::CapsuleStore> inner_;
};

class ReplicationTest : public ::testing::Test {
 protected:
  ReplicationTest() {
    Replication::Handlers handlers;
    handlers.on_durable = [this](const StoredDurably& it) { stored_.push_back(it); };
    handlers.on_not_durable = [this](const Generation& generation, const Error& error) {
      failed_.push_back(to_string(generation) + ": " + error.message());
    };
    handlers.on_held = [](const NodeName&, const replica::HoldReceipt&) { ADD_FAILURE() << "there is no standby"; };
    handlers.on_failed = [](const NodeName&, const Error&) { ADD_FAILURE() << "there is no standby"; };
    replication_ = std::make_unique<Replication>(Replication::Threads{*loop_, *pool_, *store_pool_},
                                                 ContainerName::parse("web").value(), table_, handlers);
    replica::DirectoryStoreOptions options;
    options.directory = "/capsules";
    options.container = "web";
    store_ = std::make_shared<TestStore>(replica::DirectoryStore::open(options, files_).value());
  }
  static Generation id(std::uint64_t number) { return {Term{1}, Incarnation{1}, number}; }
  void offer(std::uint64_t number) {
    capsule::Capsule made = capsule::testing::small_capsule(number);
    made.manifest.container = "web";
    made.manifest.generation = id(number);
    const auto capsule = std::make_shared<const capsule::Capsule>(std::move(made));
    ASSERT_TRUE(table_->add(capsule, {}, replica::GenerationTable::Probe::kNone));
    replication_->offer(capsule, nullptr, BootClock::now());
  }
  template <typename Condition>
  bool until(Condition condition) {
    return loop_->run_until(condition, io::kTestTime);
  }

  replica::MemoryFileSystem files_;
  std::unique_ptr<io::Loop> loop_ = io::make_loop();
  std::unique_ptr<io::Pool> pool_ = io::Pool::create({.name = "test", .threads = 1}).value();
  std::unique_ptr<io::Pool> store_pool_ = io::Pool::create({.name = "test-store", .threads = 1}).value();
  std::shared_ptr<replica::GenerationTable> table_ =
      std::make_shared<replica::GenerationTable>(replica::GenerationTableOptions{});
  std::shared_ptr<TestStore> store_;
  std::vector<StoredDurably> stored_;
  std::vector<std::string> failed_;
  std::unique_ptr<Replication> replication_;
};

TEST_F(ReplicationTest, ADirectoryThatHangsStopsNothingElse) {
  replication_->use_store(store_, std::nullopt);
  store_->hangs = true;
  offer(1);
  io::Timer look;
  std::function<void()> again = [&] { look = loop_->after(std::chrono::milliseconds(1), again); };
  again();  // for what another thread says
  EXPECT_TRUE(until([&] { return store_->hung.load(); }));
  const io::Lifetime owner;
  bool done = false;
  EXPECT_TRUE(pool_->submit(*loop_, owner, [] {}, [&] { done = true; }));
  EXPECT_TRUE(until([&] { return done; }));
  EXPECT_THAT(stored_, IsEmpty());
  store_->go_on();
  EXPECT_TRUE(until([&] { return stored_.size() == 1; }));
}

TEST_F(ReplicationTest, EachGenerationIsToldWithWhatItBuildsOn) {
  replication_->use_store(store_, std::nullopt);
  for (std::uint64_t number = 1; number <= 3; ++number) {
    offer(number);
    ASSERT_TRUE(until([&] { return stored_.size() == number; }));
  }
  EXPECT_EQ(stored_[0].generation, id(1));
  EXPECT_FALSE(stored_[0].parent);
  EXPECT_EQ(stored_[1].parent, id(1));
  EXPECT_EQ(stored_[2].parent, id(2));
  EXPECT_GT(stored_[2].size.count, 0U);
  const auto all = store_->list().value();
  ASSERT_EQ(all.size(), 3U);
  EXPECT_EQ(all[1].size, stored_[1].size);
  EXPECT_EQ(all[1].info->manifest.parent, id(1));
  const auto newest = table_->newest_durable();
  ASSERT_TRUE(newest);
  EXPECT_EQ(newest->generation, id(3));
  EXPECT_EQ(newest->digest, all[2].info->digest) << "what the next delta names";
  EXPECT_THAT(failed_, IsEmpty());
}

TEST_F(ReplicationTest, AStoreThatHoldsSomethingIsGoneOnWith) {
  replication_->use_store(store_, std::nullopt);
  offer(1);
  ASSERT_TRUE(until([&] { return stored_.size() == 1; }));
  replication_->leave_store();
  const auto newest = table_->newest_durable();
  replication_->use_store(store_, replica::Holding{newest->generation, newest->digest});
  offer(2);
  ASSERT_TRUE(until([&] { return !stored_.empty() && stored_.back().generation == id(2); }));
  EXPECT_EQ(stored_.back().parent, id(1));
}

TEST_F(ReplicationTest, ADirectoryThatFailsIsToldAndTriedAgain) {
  replication_->use_store(store_, std::nullopt);
  store_->broken = true;
  offer(1);
  ASSERT_TRUE(until([&] { return failed_.size() >= 2; }));
  EXPECT_THAT(failed_.front(), HasSubstr(to_string(id(1)) + ": the disk is full"));
  EXPECT_THAT(stored_, IsEmpty());
  EXPECT_FALSE(table_->newest_durable());
  store_->broken = false;
  ASSERT_TRUE(until([&] { return stored_.size() == 1; }));
  EXPECT_EQ(table_->newest_durable()->generation, id(1));
}

TEST_F(ReplicationTest, WhatIsDiscardedIsNotWritten) {
  replication_->use_store(store_, std::nullopt);
  store_->broken = true;
  offer(1);
  ASSERT_TRUE(until([&] { return !failed_.empty(); }));
  replication_->discard(id(1));
  store_->broken = false;
  offer(2);
  ASSERT_TRUE(until([&] { return !stored_.empty(); }));
  EXPECT_EQ(stored_.front().generation, id(2));
  EXPECT_FALSE(stored_.front().parent) << "nothing builds on it";
  EXPECT_EQ(store_->list().value().size(), 1U);
}

TEST_F(ReplicationTest, ALeftStoreIsWrittenNoMore) {
  replication_->use_store(store_, std::nullopt);
  offer(1);
  ASSERT_TRUE(until([&] { return stored_.size() == 1; }));
  replication_->leave_store();
  offer(2);
  for (int i = 0; i < 3; ++i) io::settle(*loop_);
  pool_->stop();
  EXPECT_EQ(store_->list().value().size(), 1U);
}

}  // namespace
}  // namespace perdure::node
