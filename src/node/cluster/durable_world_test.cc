// Proves what a durable directory that all nodes see is good for, and that nobody but those who cannot do without waits for one
// that hangs.
//
// How: nodes with everything above the seams in one process (testing/cluster_world.h), the directory a real one.
#include <algorithm>
#include <filesystem>
#include <format>
#include <fstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "node/testing/cluster_world.h"
#include "replica/succeeding_store.h"

namespace perdure::node::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class DurableWorldTest : public ClusterWorld {
 protected:
  DurableWorldTest() {
    shared_ = &storage_;
    standbys_wanted_ = 0;
  }
  ~DurableWorldTest() override {
    storage_.hang(false);
    end_all();
  }

  // web runs on a, and a generation of it is in the directory.
  void protect() {
    begin("a");
    if (standbys_wanted_ > 0) begin("b");
    node("a").run("web");
    ASSERT_TRUE(until([&] { return runs_on("a", "web") && stored() > 0; }));
  }
  std::size_t stored() const {
    std::error_code error;
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(storage_.directory_of("web"), error)) {
      if (entry.path().extension() == ".capsule") ++count;
    }
    return count;
  }
  bool stored_more() {
    const Generation before = service().generations().back().id;
    return until([&] {
      return std::ranges::any_of(service().generations(), [&](const auto& it) { return it.durable && it.id > before; });
    });
  }
  // perdured is started again; the container was found so.
  void restart(Found::State found, capsule::CapsuleRef elsewhere = nullptr) {
    if (found == Found::State::kAlive) lives_on_ = backends_["a"].share("web");
    backends_["a"].on_new = [found](FakeBackend& backend) { backend.set_found(found); };
    end("a");
    begin("a");
    node("a").elsewhere = std::move(elsewhere);
    node("a").lost_elsewhere = lost_elsewhere_;
    looked_at_ = false;
    node("a").node().recover([this] { looked_at_ = true; });
  }
  ContainerService& service() { return *node("a").service("web"); }
  bool was_told(const std::string& kind) {
    return std::ranges::any_of(node("a").events().recent(), [&](const auto& event) { return event.kind() == kind; });
  }
  std::string newest_file() const {
    std::string newest;
    for (const auto& entry : std::filesystem::directory_iterator(storage_.directory_of("web"))) {
      if (entry.path().extension() == ".capsule") newest = std::max(newest, entry.path().string());
    }
    return newest;
  }
  bool loop_turns() {
    bool turned = false;
    loop_->post([&] { turned = true; });
    return until([&] { return turned; });
  }

  SharedStorage storage_{files_, directory_ / "shared"};
  std::shared_ptr<FakeBackend> lives_on_;
  bool looked_at_ = false;
  bool lost_elsewhere_ = false;
};

TEST_F(DurableWorldTest, GenerationsGoToTheDirectoryOfAll) {
  protect();
  ASSERT_TRUE(stored_more());
  EXPECT_FALSE(std::filesystem::exists(directory_ / "a/state/capsules/web")) << "not to the node's own";
  EXPECT_GT(service().generations().back().id.term, Term{1}) << "under the record's term, which it got after it was opened";
}

TEST_F(DurableWorldTest, ADeadContainerGoesOnFromIt) {
  protect();
  restart(Found::State::kNothing);
  ASSERT_TRUE(until([&] { return was_told("restored") && runs_on("a", "web"); }));
  EXPECT_EQ(backend("a", "web").count("restore"), 1U);
  EXPECT_EQ(backend("a", "web").count("start"), 0U);
  ASSERT_TRUE(stored_more());
}

TEST_F(DurableWorldTest, ALivingContainerWritesToItAfterARestart) {
  protect();
  restart(Found::State::kAlive);
  ASSERT_TRUE(until([&] { return looked_at_; }));
  ASSERT_TRUE(stored_more());
  EXPECT_EQ(service().generations().back().id.incarnation, Incarnation{2});
  EXPECT_FALSE(was_told("durable_late"));
}

TEST_F(DurableWorldTest, NobodyWaitsForItsOpeningButTheCommit) {
  storage_.hang(true);
  begin("a");
  node("a").run("web");
  ASSERT_TRUE(until([&] { return node("a").service("web") != nullptr && backend("a", "web").count("capture") > 0; }));
  ASSERT_TRUE(loop_turns());
  EXPECT_FALSE(runs_on("a", "web"));
  storage_.hang(false);
  ASSERT_TRUE(until([&] { return runs_on("a", "web"); }));
}

TEST_F(DurableWorldTest, ALivingContainerIsTakenOverWithoutIt) {
  standbys_wanted_ = 1;
  protect();
  ASSERT_TRUE(until([&] { return caught_up("a", "b", "web"); }));
  storage_.hang(true);
  restart(Found::State::kAlive);
  ASSERT_TRUE(until([&] { return looked_at_ && was_told("durable_late"); }));
  ASSERT_TRUE(until([&] { return runs_on("a", "web") && caught_up("a", "b", "web"); })) << "its standby commits";
  storage_.hang(false);
  ASSERT_TRUE(stored_more());
}

TEST_F(DurableWorldTest, ADeadContainerThatOnlyItHoldsWaitsForIt) {
  protect();
  storage_.hang(true);
  restart(Found::State::kNothing);
  ASSERT_TRUE(until([&] { return looked_at_ && was_told("not_taken_over"); }));
  EXPECT_THAT(service().takeover_error(), HasSubstr("durable directory"));
  EXPECT_EQ(backend("a", "web").calls(), std::vector<std::string>{"recover"}) << "not begun anew";
  storage_.hang(false);
  ASSERT_TRUE(until([&] { return was_told("restored") && runs_on("a", "web"); }));
  EXPECT_EQ(backend("a", "web").count("start"), 0U);
}

TEST_F(DurableWorldTest, ADeadContainerThatAStandbyHoldsGoesOnWithoutIt) {
  standbys_wanted_ = 1;
  protect();
  const Generation newest = service().generations().back().id;
  const capsule::CapsuleRef held = service().table().in_memory(newest);
  ASSERT_NE(held, nullptr);
  storage_.hang(true);
  restart(Found::State::kNothing, held);
  ASSERT_TRUE(until([&] { return was_told("restored"); }));
  EXPECT_THAT(backend("a", "web").calls(), Contains("restore " + to_string(newest)));
  storage_.hang(false);
  ASSERT_TRUE(stored_more());
}

TEST_F(DurableWorldTest, ADeadContainerIsNotBegunAnewWhileItFails) {
  protect();
  storage_.fail_with(Error(ErrorCode::kNotFound, "is it mounted?"));
  restart(Found::State::kNothing);
  ASSERT_TRUE(until([&] { return looked_at_ && was_told("not_taken_over"); }));
  EXPECT_THAT(service().takeover_error(), HasSubstr("is it mounted?"));
  EXPECT_EQ(backend("a", "web").calls(), std::vector<std::string>{"recover"});
  storage_.fail_with({});
  ASSERT_TRUE(until([&] { return was_told("restored") && runs_on("a", "web"); }));
  EXPECT_EQ(backend("a", "web").count("start"), 0U);
}

TEST_F(DurableWorldTest, ADeadContainerThatWaitsForItCanBeRemoved) {
  protect();
  storage_.fail_with(Error(ErrorCode::kIo, "gone for good"));
  restart(Found::State::kNothing);
  ASSERT_TRUE(until([&] { return was_told("not_taken_over"); }));
  ASSERT_TRUE(service().ask(policy::OperatorRemove{}));
  ASSERT_TRUE(until([&] { return node("a").service("web") == nullptr; }));
  EXPECT_THAT(backend("a", "web").calls(), Contains("release delete"));
  EXPECT_TRUE(was_told("remove_failed")) << "its capsules are there still";
}

TEST_F(DurableWorldTest, AContainerThatDiesBeforeItIsKnownWhatIsStoredWaitsForThat) {
  protect();
  const Generation newest = service().generations().back().id;
  storage_.hang(true);
  restart(Found::State::kAlive);
  ASSERT_TRUE(until([&] { return looked_at_ && was_told("durable_late"); }));
  lives_on_->die();
  ASSERT_TRUE(until([&] { return was_told("waiting"); }));
  EXPECT_EQ(backend("a", "web").count("start"), 0U);
  storage_.hang(false);
  ASSERT_TRUE(until([&] { return was_told("restored") && runs_on("a", "web"); }));
  EXPECT_THAT(backend("a", "web").calls(), Contains("restore " + to_string(newest)));
  EXPECT_EQ(backend("a", "web").count("start"), 0U);
}

TEST_F(DurableWorldTest, TroubleOfTheStorageIsNoDamage) {
  protect();
  const Generation newest = service().generations().back().id;
  end("a");
  storage_.files().trouble = true;
  restart(Found::State::kNothing);
  ASSERT_TRUE(until([&] { return looked_at_ && was_told("not_taken_over"); }));
  EXPECT_THAT(service().takeover_error(), HasSubstr("no answer"));
  EXPECT_EQ(backend("a", "web").calls(), std::vector<std::string>{"recover"}) << "neither begun anew nor gone back behind it";
  storage_.files().trouble = false;
  ASSERT_TRUE(until([&] { return was_told("restored") && runs_on("a", "web"); }));
  EXPECT_THAT(backend("a", "web").calls(), Contains("restore " + to_string(newest)));
}

// In its header, which is seen when it is listed, or behind it.
class DamageTest : public DurableWorldTest, public ::testing::WithParamInterface<bool> {};

TEST_P(DamageTest, WhatIsDamagedIsTakenFromAStandby) {
  standbys_wanted_ = 1;
  protect();
  ASSERT_TRUE(stored_more());
  const capsule::CapsuleRef held = service().table().in_memory(service().generations().back().id);
  ASSERT_NE(held, nullptr);
  const Generation newest = held->manifest.generation;
  ASSERT_TRUE(until([&] { return newest_file().find(std::format("{:020}.capsule", newest.number)) != std::string::npos; }));
  end("a");
  const std::string file = newest_file();
  if (GetParam()) {
    std::filesystem::resize_file(file, 100);
  } else {
    std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekp(-1, std::ios::end);
    bytes.put('\x5a');
  }
  restart(Found::State::kNothing, held);
  ASSERT_TRUE(until([&] { return was_told("restored") && runs_on("a", "web"); }));
  EXPECT_THAT(backend("a", "web").calls(), Contains("restore " + to_string(newest)));
}
INSTANTIATE_TEST_SUITE_P(Where, DamageTest, ::testing::Bool());

TEST_F(DurableWorldTest, WhatIsOwnedByAnotherMeanwhileIsLeftAsItIs) {
  protect();
  storage_.fail_with(Error(ErrorCode::kTransient, "is it mounted?"));
  restart(Found::State::kNothing);
  ASSERT_TRUE(until([&] { return was_told("not_taken_over"); }));
  const std::size_t before = stored();
  service().owned_side().tell(policy::OwnershipLost{node_name("b"), Term{1000}});
  storage_.fail_with({});
  ASSERT_TRUE(until([&] { return node("a").service("web") == nullptr; }));
  EXPECT_EQ(backend("a", "web").count("restore") + backend("a", "web").count("start"), 0U);
  EXPECT_EQ(stored(), before);
}

TEST_F(DurableWorldTest, ThatItsStandbysHaveLostItIsNotForgotten) {
  protect();
  storage_.hang(true);
  lost_elsewhere_ = true;
  restart(Found::State::kNothing);
  ASSERT_TRUE(until([&] { return was_told("not_taken_over") && service().record().awaits_word; }));
  lost_elsewhere_ = false;  // they are dropped from the record
  end("a");
  storage_.hang(false);
  restart(Found::State::kNothing);
  ASSERT_TRUE(until([&] { return was_told("waiting"); }));
  EXPECT_EQ(backend("a", "web").count("restore") + backend("a", "web").count("start"), 0U);
}

TEST_F(DurableWorldTest, WhatWasStoppedIsTakenOverWithoutIt) {
  protect();
  ASSERT_TRUE(service().ask(policy::OperatorStop{}));
  ASSERT_TRUE(until([&] { return service().status().phase == policy::Phase::kStopped; }));
  storage_.hang(true);
  restart(Found::State::kNothing);
  ASSERT_TRUE(until([&] { return looked_at_ && was_told("durable_late"); }));
  ASSERT_TRUE(until([&] { return service().ask(policy::OperatorRemove{}).has_value(); })) << "nothing but the reading of its record keeps it";
  storage_.hang(false);
  ASSERT_TRUE(until([&] { return node("a").service("web") == nullptr; }));
}

TEST_F(DurableWorldTest, AnImportThatWasCutShortStartsNothing) {
  protect();
  const capsule::CapsuleRef capsule = service().table().in_memory(service().generations().back().id);
  ASSERT_NE(capsule, nullptr);
  storage_.hang(true);
  node("a").node().import(capsule, container_name("copy"), [](const Result<ContainerService*>&) {});
  ASSERT_TRUE(until([&] { return node("a").service("copy") != nullptr; }));
  lives_on_ = backends_["a"].share("web");
  end("a");
  storage_.hang(false);
  begin("a");
  node("a").node().recover([this] { looked_at_ = true; });
  ASSERT_TRUE(until([&] { return looked_at_ && node("a").service("copy")->status().phase == policy::Phase::kStopped; }));
  EXPECT_EQ(backend("a", "copy").count("start") + backend("a", "copy").count("prepare"), 0U);
}

TEST_F(DurableWorldTest, NothingOfARemovedContainerStaysInIt) {
  protect();
  ASSERT_TRUE(std::filesystem::exists(storage_.directory_of("web")));
  ASSERT_TRUE(service().ask(policy::OperatorRemove{}));
  ASSERT_TRUE(until([&] { return node("a").service("web") == nullptr; }));
  EXPECT_FALSE(std::filesystem::exists(storage_.directory_of("web")));
}

TEST_F(DurableWorldTest, WhatAFormerOwnerHasLeftInItGoesWhenItIsSuperseded) {
  standbys_wanted_ = 1;
  protect();
  ASSERT_TRUE(until([&] { return caught_up("a", "b", "web"); }));
  node("a").owned("web")->handle(own::MoveAsked{node_name("b")});
  ASSERT_TRUE(until([&] { return node("b").service("web") != nullptr && runs_on("b", "web"); }));
  const Term term = node("b").service("web")->record().term;
  const auto left = [&] {
    const auto all = storage_.store_of(container_name("web"), term, node("b").self().incarnation).open().value()->list().value();
    return std::ranges::count_if(all, [&](const auto& one) { return one.generation.term < term; });
  };
  EXPECT_TRUE(until([&] { return left() == 0; }));
  EXPECT_GE(stored(), 2U);
}

// What ran before there was a cluster, or before it had a directory.
TEST_F(DurableWorldTest, AContainerChangesItsDirectoryAndLosesNothing) {
  shared_ = nullptr;
  begin("a");
  node("a").run("web");
  ASSERT_TRUE(until([&] { return runs_on("a", "web"); }));
  const Generation last = service().generations().back().id;
  end("a");
  shared_ = &storage_;
  begin("a");
  node("a").node().recover([this] { looked_at_ = true; });
  ASSERT_TRUE(until([&] { return was_told("restored") && runs_on("a", "web"); }));
  EXPECT_THAT(backend("a", "web").calls(), Contains(StartsWith("restore " + to_string(last))));
  EXPECT_EQ(backend("a", "web").count("start"), 0U);
  ASSERT_TRUE(stored_more());
  EXPECT_GT(stored(), 0U);
}

TEST_F(DurableWorldTest, ARunningContainerChangesItsDirectory) {
  shared_ = nullptr;
  begin("a");
  node("a").run("web");
  ASSERT_TRUE(until([&] { return runs_on("a", "web"); }));
  const auto store = storage_.store_of(container_name("web"), Term{1}, node("a").self().incarnation);
  service().change_store(std::make_shared<replica::SucceedingStore>(std::make_shared<replica::LateStore>(store.open),
                                                                    service().shared_store()));
  ASSERT_TRUE(stored_more());
  ASSERT_TRUE(until([&] { return stored() > 0; }));
  EXPECT_TRUE(runs_on("a", "web"));
}

}  // namespace
}  // namespace perdure::node::testing
