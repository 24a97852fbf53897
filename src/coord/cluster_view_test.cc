// Proves that the view shows what the twin of etcd holds, says what has changed, and notices a store that was put back.
#include "coord/cluster_view.h"

#include <format>

#include "coord/etcd_test_support.h"
#include "coord/memory_coordination.h"
#include "gmock/gmock.h"

namespace perdure::coord {
namespace {

using std::chrono_literals::operator""s;
using testing::ElementsAre;

NodeName node(std::string_view name) { return NodeName::parse(name).value(); }
ContainerName container(std::string_view name) { return ContainerName::parse(name).value(); }

std::string record_bytes(std::string_view name, std::uint64_t term) {
  const model::NodeLife owner{node("a"), Incarnation{1}};
  return encode_record({container(name), owner, {}, Term{term}, "s", "i", model::DesiredState::kRunning,
                        model::RecordPhase::kRunning, owner, {}, WallTime(1s)});
}
std::string node_bytes(std::string_view name) { return encode_node({.life = {node(name), Incarnation{1}}}); }

class ClusterViewTest : public testing::Test {
 protected:
  ViewHandlers handlers() {
    ViewHandlers to;
    to.on_node = [this](const NodeName& name) { lines_.push_back("node " + name.str()); };
    to.on_record = [this](const ContainerName& name) { lines_.push_back("record " + name.str()); };
    to.on_revocation = [this](const NodeName& name) { lines_.push_back("revoked " + name.str()); };
    to.on_cluster = [this] { lines_.push_back("cluster"); };
    to.on_token = [this] { lines_.push_back("token"); };
    to.on_current = [this] { lines_.push_back("current"); };
    to.on_old = [this](const Error&) { lines_.push_back("old"); };
    to.on_history_lost = [this](const StoreHistory& before, const StoreHistory& now) {
      lines_.push_back(std::format("history {}:{} -> {}:{}", before.cluster_id, before.revision, now.cluster_id, now.revision));
    };
    return to;
  }
  void start() {
    subscription_ = view_.subscribe(handlers());
    view_.start();
    settle();
  }
  void settle() {
    for (int i = 0; i < 4; ++i) io::settle(*loop_);
  }
  void write(std::vector<Write> writes) {
    Waiting<TransactionResult> done(*loop_);
    other_.commit({{}, std::move(writes)}, in(kPatience), done.answer());
    ASSERT_TRUE(done.get());
    settle();
  }
  std::vector<std::string> told() { return std::exchange(lines_, {}); }

  std::unique_ptr<io::Loop> loop_ = io::make_loop();
  MemoryStore store_;
  MemoryCoordination way_{*loop_, store_};
  MemoryCoordination other_{*loop_, store_};
  ClusterView view_{*loop_, way_};
  std::vector<std::string> lines_;
  std::unique_ptr<Subscription> subscription_;
};

TEST_F(ClusterViewTest, ShowsEverythingAndSaysWhatChanges) {
  const StoredToken token{"0123456789ab", std::string(32, 'h'), WallTime(9s), 1};
  write({Write{node_key(node("a")), node_bytes("a")}, Write{record_key(container("web")), record_bytes("web", 3)},
         Write{spec_key(container("web")), encode_spec("name: web\n")},
         Write{std::string(kAddressesPrefix) + "10.0.0.1", encode_claim({container("web"), Term{3}})},
         Write{value_of(token_key(token.id)), encode_token(token)}});
  EXPECT_FALSE(view_.current());
  start();
  EXPECT_TRUE(view_.current());
  EXPECT_THAT(told(), ElementsAre("record web", "node a", "record web", "token", "current"));
  EXPECT_EQ(view_.revision(), store_.revision());
  EXPECT_EQ(view_.record(container("web"))->record.term, Term{3});
  EXPECT_EQ(view_.record(container("web"))->revision, store_.revision());
  EXPECT_EQ(view_.specs().at(container("web")).value, "name: web\n");
  EXPECT_EQ(view_.addresses().at("10.0.0.1").value.container, container("web"));
  EXPECT_EQ(view_.tokens().at(token.id).value.uses_left, 1U);
  EXPECT_NE(view_.node(node("a")), nullptr);

  write({Write{record_key(container("web")), std::nullopt}, Write{node_key(node("b")), node_bytes("b")},
         Write{revocation_key(node("c")), encode_revocation({node("c"), {"0A"}, WallTime(2s), "lost"})}});
  EXPECT_THAT(told(), ElementsAre("record web", "node b", "revoked c"));
  EXPECT_EQ(view_.record(container("web")), nullptr);
  EXPECT_EQ(view_.nodes().size(), 2U);
  EXPECT_THAT(view_.revocations().at(node("c")).value.serials, ElementsAre("0A"));
}

TEST_F(ClusterViewTest, IsOldWhileTheStoreIsAwayAndCatchesUp) {
  start();
  told();
  way_.set_away(true);
  settle();
  EXPECT_FALSE(view_.current());
  write({Write{node_key(node("a")), node_bytes("a")}});
  EXPECT_EQ(view_.node(node("a")), nullptr);
  way_.set_away(false);
  settle();
  EXPECT_TRUE(view_.current());
  EXPECT_THAT(told(), ElementsAre("old", "current", "node a"));
}

TEST_F(ClusterViewTest, AfterASnapshotSaysOnlyWhatIsDifferent) {
  write({Write{node_key(node("a")), node_bytes("a")}, Write{node_key(node("b")), node_bytes("b")}});
  start();
  told();
  way_.set_away(true);
  settle();
  write({Write{node_key(node("b")), std::nullopt}, Write{node_key(node("c")), node_bytes("c")}});
  store_.compact(store_.revision());
  way_.set_away(false);
  settle();
  EXPECT_THAT(told(), ElementsAre("old", "current", "node b", "node c"));
  EXPECT_EQ(view_.nodes().size(), 2U);
}

TEST_F(ClusterViewTest, NoticesAStoreThatWasPutBack) {
  write({Write{record_key(container("web")), record_bytes("web", 3)}});
  const auto backup = store_.backup();
  const Revision old = store_.revision();
  start();
  write({Write{record_key(container("web")), record_bytes("web", 4)}});
  write({Write{record_key(container("db")), record_bytes("db", 9)}});
  told();
  store_.restore(backup);
  settle();
  EXPECT_THAT(told(), ElementsAre(std::format("history 1:{} -> 2:{}", old + 2, old), "record db", "record web"));
  EXPECT_EQ(view_.record(container("web"))->record.term, Term{3});
  EXPECT_EQ(view_.history(), (StoreHistory{2, old}));
}

TEST_F(ClusterViewTest, NoticesItAfterALifeOfItsOwn) {
  for (const StoreHistory& known : {StoreHistory{1, 50}, StoreHistory{7, 1}}) {
    ClusterView view(*loop_, way_, {known});
    const auto subscription = view.subscribe(handlers());
    view.start();
    settle();
    EXPECT_THAT(told(), ElementsAre(std::format("history {}:{} -> 1:1", known.cluster_id, known.revision), "current"));
  }
  ClusterView view(*loop_, way_, {StoreHistory{1, 1}});
  const auto subscription = view.subscribe(handlers());
  view.start();
  settle();
  EXPECT_THAT(told(), ElementsAre("current"));
}

TEST_F(ClusterViewTest, WhatCannotBeReadIsAProblemAndNothingElse) {
  write({Write{record_key(container("web")), record_bytes("web", 3)}});
  start();
  write({Write{record_key(container("web")), "garbage"}, Write{std::string(kNodesPrefix) + "Not A Name", "x"},
         Write{record_key(container("db")), record_bytes("web", 1)}, Write{"/perdure/1/later/thing", "of a newer version"}});
  EXPECT_EQ(view_.records().size(), 0U);
  EXPECT_EQ(view_.problems().size(), 3U);
  EXPECT_TRUE(view_.problems().contains(record_key(container("web"))));
  EXPECT_TRUE(view_.problems().contains(record_key(container("db"))));
  write({Write{record_key(container("web")), record_bytes("web", 4)}, Write{record_key(container("db")), std::nullopt},
         Write{std::string(kNodesPrefix) + "Not A Name", std::nullopt}});
  EXPECT_TRUE(view_.problems().empty());
  EXPECT_EQ(view_.record(container("web"))->record.term, Term{4});
}

TEST_F(ClusterViewTest, ASubscriberMayLeaveInTheMiddle) {
  std::unique_ptr<Subscription> first;
  std::unique_ptr<Subscription> second;
  std::size_t calls = 0;
  ViewHandlers leave;
  leave.on_node = [&](const NodeName&) {
    ++calls;
    first.reset();
    second.reset();
  };
  first = view_.subscribe(leave);
  second = view_.subscribe(leave);
  view_.start();
  write({Write{node_key(node("a")), node_bytes("a")}, Write{node_key(node("b")), node_bytes("b")}});
  EXPECT_EQ(calls, 1U);
}

}  // namespace
}  // namespace perdure::coord
