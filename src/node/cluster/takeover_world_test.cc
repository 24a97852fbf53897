// Proves that a standby becomes the owner when the owner is silent, and at no other time; that the former owner lets go; and what is
// restored.
//
// How: nodes with everything above the seams in one process (testing/cluster_world.h). A node whose heartbeats are paused hangs:
// it neither sends nor answers any, and what it runs goes on.
#include <algorithm>
#include <atomic>
#include <format>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "node/testing/cluster_world.h"

namespace perdure::node::testing {
namespace {

namespace p1 = peer::v1;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

class TakeoverWorldTest : public ClusterWorld {
 protected:
  TakeoverWorldTest() {
    timing_ = {.heartbeat = std::chrono::milliseconds(20),
               .grant = std::chrono::milliseconds(400),
               .margin = std::chrono::milliseconds(50)};
  }
  void protect() {
    begin("a");
    begin("b");
    node("a").run("web");
    ASSERT_TRUE(until([&] { return runs_on("a", "web") && caught_up("a", "b", "web"); }));
  }
  // Two generations are held, and no more come; the newest.
  Generation protect_with_two() {
    begin("a");
    begin("b");
    node("a").run("web", "checkpoint:\n  interval: 1h\n");
    EXPECT_TRUE(until([&] { return runs_on("a", "web") && caught_up("a", "b", "web"); }));
    const Generation first = *node("b").held("web")->newest_committed;
    EXPECT_TRUE(node("a").service("web")->ask(policy::OperatorCheckpoint{}));
    EXPECT_TRUE(until([&] {
      const auto held = node("b").held("web");
      return *held->newest_committed > first && held->newest->generation == *held->newest_committed && caught_up("a", "b", "web");
    }));
    return *node("b").held("web")->newest_committed;
  }
  // As a bit that has flipped in the standby's memory.
  void damage(const std::string& name, const Generation& generation) {
    const auto held = node(name).standbys().table().fetch(container_name("web"), generation);
    ASSERT_TRUE(held) << held.error().message();
    const_cast<std::string&>((*held)->images.front().bytes).front() ^= 1;
  }
  std::vector<std::string> restores(const std::string& name) {
    std::vector<std::string> all = backend(name, "web").calls();
    std::erase_if(all, [](const std::string& call) { return !call.starts_with("restore "); });
    return all;
  }
  std::vector<std::string> kinds(const std::string& name) {
    std::vector<std::string> all;
    for (const control::v1::Event& event : node(name).events().recent()) all.push_back(event.kind());
    return all;
  }
  const control::v1::Event* event(const std::string& name, const std::string& kind) {
    const control::v1::Event* found = nullptr;
    for (const control::v1::Event& one : node(name).events().recent()) {
      if (one.kind() == kind) found = &one;
    }
    return found;
  }
  bool gate_is_open(const std::string& name) {
    FakeBackend& there = backend(name, "web");
    return there.gate_is_open() && there.deadline() > clock_.now();
  }
};

TEST_F(TakeoverWorldTest, AnOwnerThatHangsIsTakenOverAndLetsGoWhenItIsBack) {
  protect();
  const Term before = node("a").record("web")->term;
  node("a").leases().pause(true);
  ASSERT_TRUE(until([&] { return runs_on("b", "web"); }));
  EXPECT_FALSE(gate_is_open("a")) << "it has fallen silent by itself";
  EXPECT_TRUE(gate_is_open("b"));
  EXPECT_EQ(node("b").record("web")->term.value, before.value + 1);
  const control::v1::Event* taken = event("b", "taken_over");
  ASSERT_NE(taken, nullptr);
  EXPECT_THAT(taken->text(), HasSubstr("from 'a', which has fallen silent"));
  for (const char* step : {"noticed", "swapped", "restored", "lost"}) EXPECT_TRUE(taken->durations_ns().contains(step)) << step;
  node("a").leases().pause(false);
  ASSERT_TRUE(until([&] { return node("a").service("web") == nullptr && caught_up("b", "a", "web"); }))
      << "the former owner stands by";
  EXPECT_THAT(kinds("a"), Contains("ownership_lost"));
  ASSERT_TRUE(until([&] { return !gate_is_open("a"); }));
}

// As where etcd has lost its leader between the swap and its watches: both views show the former owner under the former term.
TEST_F(TakeoverWorldTest, AFormerOwnerIsGrantedNothingWhereTheViewsOfBothAreBehind) {
  protect();
  node("a").leases().pause(true);
  for (const char* name : {"a", "b"}) node(name).way().hold_watches();
  ASSERT_TRUE(until([&] { return runs_on("b", "web") && gate_is_open("b"); }));
  ASSERT_EQ(node("b").record("web")->owner.node, node_name("a")) << "its view is behind";
  node("a").leases().pause(false);
  const std::size_t heard = node("b").leases().heard();
  ASSERT_TRUE(until([&] {
    EXPECT_FALSE(gate_is_open("a"));
    return node("b").leases().heard() >= heard + 5 || HasFailure();
  }));
  ASSERT_NE(node("a").service("web"), nullptr) << "it does not know yet";
  for (const char* name : {"a", "b"}) node(name).way().release_watches();
  ASSERT_TRUE(until([&] { return node("a").service("web") == nullptr && caught_up("b", "a", "web"); }));
  ASSERT_TRUE(until([&] { return gate_is_open("b") && !gate_is_open("a"); }));
}

TEST_F(TakeoverWorldTest, ConnectionsThatAreYoungerThanWhatIsRestoredAreKnownThere) {
  protect_with_two();
  backend("a", "web").begin_connection(connection_from(1));
  ASSERT_TRUE(until([&] { return network_.delivered(p1::Message::kConnections) == 1; }));
  backend("a", "web").begin_connection(connection_from(2));
  backend("a", "web").begin_connection(connection_from(1));
  ASSERT_TRUE(until([&] { return network_.delivered(p1::Message::kConnections) == 2; }));
  node("a").leases().pause(true);
  ASSERT_TRUE(until([&] { return runs_on("b", "web"); }));
  EXPECT_THAT(backend("b", "web").begun_elsewhere(), ElementsAre(connection_from(2), connection_from(1)));
}

TEST_F(TakeoverWorldTest, ConnectionsThatMoreGenerationsFollowedThanAreGoneBackBehindAreForgotten) {
  protect_with_two();
  const auto begin_and_commit = [&](std::uint16_t port) {
    const std::size_t told = network_.delivered(p1::Message::kConnections);
    backend("a", "web").begin_connection(connection_from(port));
    ASSERT_TRUE(until([&] { return network_.delivered(p1::Message::kConnections) > told; }));
    const Generation before = *node("b").held("web")->newest_committed;
    ASSERT_TRUE(node("a").service("web")->ask(policy::OperatorCheckpoint{}));
    ASSERT_TRUE(until([&] { return *node("b").held("web")->newest_committed > before && caught_up("a", "b", "web"); }));
  };
  constexpr std::uint16_t kConnections = YoungConnections::kGenerationsBack + 1;
  for (std::uint16_t port = 1; port <= kConnections; ++port) ASSERT_NO_FATAL_FAILURE(begin_and_commit(port));
  node("a").leases().pause(true);
  ASSERT_TRUE(until([&] { return runs_on("b", "web"); }));
  const auto asked = backend("b", "web").begun_elsewhere();
  EXPECT_EQ(asked.size(), YoungConnections::kGenerationsBack);
  EXPECT_EQ(asked.front(), connection_from(2));
}

// What was told while it was cut off, and what had begun before it was asked to stand by.
TEST_F(TakeoverWorldTest, AStandbyThatIsBackIsToldOfTheConnectionsItMayNeed) {
  protect_with_two();
  network_.lose = [](const NodeName&, const NodeName&, const p1::Message& message) { return message.has_connections(); };
  backend("a", "web").begin_connection(connection_from(1));
  ASSERT_TRUE(until([&] { return backend("a", "web").begun_taken(); }));
  network_.lose = {};
  network_.cut(node_name("a"), node_name("b"));
  network_.connect(node_name("a"), node_name("b"));
  ASSERT_TRUE(until([&] { return network_.delivered(p1::Message::kConnections) > 0 && caught_up("a", "b", "web"); }));
  begin("c");
  node("a").owned("web")->handle(own::StandbysWanted{2});
  node("a").offer_candidates(*node("a").owned("web"));
  const std::size_t told = network_.delivered(p1::Message::kConnections);
  ASSERT_TRUE(until([&] { return stands_by("c", "web") && network_.delivered(p1::Message::kConnections) > told; }));
  node("a").leases().pause(true);
  ASSERT_TRUE(until([&] { return (node("b").service("web") && runs_on("b", "web")) || (node("c").service("web") && runs_on("c", "web")); }));
  FakeBackend& restored = backend(node("b").service("web") ? "b" : "c", "web");
  EXPECT_THAT(restored.begun_elsewhere(), ElementsAre(connection_from(1)));
}

TEST_F(TakeoverWorldTest, WhatIsRestoredIsTheNewestThatIsHeld) {
  protect();
  node("a").leases().pause(true);
  std::optional<Generation> held;
  ASSERT_TRUE(until([&] {
    if (!node("b").service("web") && node("b").held("web")) held = node("b").held("web")->newest->generation;
    return runs_on("b", "web");
  }));
  const auto calls = backend("b", "web").calls();
  ASSERT_TRUE(held);
  EXPECT_THAT(calls, Contains("restore " + to_string(*held)));
}

TEST_F(TakeoverWorldTest, AStandbyThatHangsDoesNotSilenceTheOwner) {
  protect();
  node("b").leases().pause(true);
  ASSERT_TRUE(until([&] { return node("a").record("web")->standbys.empty(); }));
  ASSERT_TRUE(until([&] { return backend("a", "web").deadline() == Instant::max(); }));
  EXPECT_TRUE(gate_is_open("a"));
  EXPECT_THAT(kinds("a"), Contains("standby_dropped"));
  EXPECT_THAT(kinds("b"), Not(Contains("taken_over")));
  node("b").leases().pause(false);
  ASSERT_TRUE(until([&] { return caught_up("a", "b", "web"); })) << "it is back";
}

TEST_F(TakeoverWorldTest, AGateWithStandbysHasADeadlineThatIsRenewed) {
  protect();
  const Instant deadline = backend("a", "web").deadline();
  ASSERT_LT(deadline, Instant::max());
  ASSERT_TRUE(until([&] { return backend("a", "web").deadline() > deadline; }));
}

TEST_F(TakeoverWorldTest, WhatCannotBeRestoredGivesItsPlaceToTheOneBefore) {
  protect();
  int failures = 1;
  backend("b", "web").on_restore([&]() -> Status {
    if (failures-- > 0) return fail(ErrorCode::kCorrupt, "the newest does not verify");
    return {};
  });
  ASSERT_TRUE(until([&] { return node("b").standbys().table().restorable(container_name("web")).size() > 1; }));
  node("a").leases().pause(true);
  ASSERT_TRUE(until([&] { return runs_on("b", "web"); }));
  EXPECT_THAT(kinds("b"), Contains("passed_over"));
}

TEST_F(TakeoverWorldTest, WhatIsDamagedInMemoryNeverSpeaksAndTheOneBeforeIsRestored) {
  const Generation newest = protect_with_two();
  damage("b", newest);
  std::atomic<int> open_gates = 0;
  backend("b", "web").on_restore([&]() -> Status {
    if (restores("b").back() != "restore " + to_string(newest)) return {};
    // It is restored without complaint; until it has been looked at and beyond that its gate is shut.
    while (node("b").standbys().table().fetch(container_name("web"), newest)) open_gates += gate_is_open("b") ? 1 : 0;
    return {};
  });
  node("a").leases().pause(true);
  ASSERT_TRUE(until([&] { return runs_on("b", "web"); }));
  EXPECT_EQ(open_gates, 0);
  ASSERT_GE(restores("b").size(), 2u);
  EXPECT_EQ(restores("b").front(), "restore " + to_string(newest));
  EXPECT_NE(restores("b").back(), "restore " + to_string(newest));
  const control::v1::Event* told = event("b", "passed_over");
  ASSERT_NE(told, nullptr);
  EXPECT_THAT(told->text(), HasSubstr("image 'core-1.img' is not what it was when it was received"));
  ASSERT_TRUE(until([&] { return gate_is_open("b"); }));
}

TEST_F(TakeoverWorldTest, WhatIsDamagedHereIsHadFromAnotherNodeBeforeAnythingOlder) {
  const Generation newest = protect_with_two();
  damage("b", newest);
  node("b").elsewhere = node("a").service("web")->newest_in_memory();
  ASSERT_EQ(node("b").elsewhere->manifest.generation, newest);
  node("a").leases().pause(true);
  ASSERT_TRUE(until([&] { return runs_on("b", "web"); }));
  EXPECT_THAT(restores("b"), ElementsAre("restore " + to_string(newest), "restore " + to_string(newest)));
}

TEST_F(TakeoverWorldTest, WhatCriuCannotRestoreGivesItsPlaceToTheOneBehindIt) {
  const Generation newest = protect_with_two();
  backend("b", "web").on_restore([&]() -> Status {
    if (restores("b").back() != "restore " + to_string(newest)) return {};
    return fail(ErrorCode::kIo, "criu cannot restore it");
  });
  node("a").leases().pause(true);
  ASSERT_TRUE(until([&] { return runs_on("b", "web"); }));
  EXPECT_NE(restores("b").back(), "restore " + to_string(newest)) << "only what is committed was known to be held elsewhere";
  ASSERT_TRUE(until([&] { return gate_is_open("b"); }));
}

TEST_F(TakeoverWorldTest, ManyAreRestoredInTheOrderOfTheirToleranceAndNoMoreAtOnceThanThereMayBe) {
  begin("a");
  begin("b");
  const std::vector<std::string> by_tolerance{"e", "b", "d", "a", "c"};
  for (std::size_t i = 0; i < by_tolerance.size(); ++i) {
    node("a").run(by_tolerance[i], std::format("checkpoint:\n  interval: 1h\navailability:\n  outage-tolerance: {}s\n", i + 1));
  }
  std::mutex mutex;
  std::vector<std::string> begun;
  std::size_t running = 0;
  std::size_t most = 0;
  std::atomic<bool> may_end = false;
  for (const std::string& name : by_tolerance) {
    ASSERT_TRUE(until([&] { return runs_on("a", name) && caught_up("a", "b", name); }));
    backend("b", name).on_restore([&, name]() -> Status {
      {
        const std::scoped_lock lock(mutex);
        begun.push_back(name);
        most = std::max(most, ++running);
      }
      may_end.wait(false);
      const std::scoped_lock lock(mutex);
      --running;
      return {};
    });
  }
  node("a").leases().pause(true);
  const auto waits = [&](const std::string& name) { return node("b").standbys().waits_for_turn(container_name(name)); };
  ASSERT_TRUE(until([&] {
    const std::scoped_lock lock(mutex);
    return begun.size() == 2 && !waits("c").empty();
  }));
  EXPECT_THAT(begun, UnorderedElementsAre("e", "b"));
  EXPECT_EQ(waits("d"), "waits for its turn: 0 before it, 2 at once on this node");
  EXPECT_EQ(waits("c"), "waits for its turn: 2 before it, 2 at once on this node");
  EXPECT_EQ(waits("e"), "");
  may_end = true;
  may_end.notify_all();
  ASSERT_TRUE(until([&] { return std::ranges::all_of(by_tolerance, [&](const auto& name) { return runs_on("b", name); }); }));
  EXPECT_EQ(most, 2u);
  EXPECT_EQ(waits("c"), "");
  std::vector<std::string> turns;
  for (const control::v1::Event& event : node("b").events().recent()) {
    if (event.kind() == "takeover_turn") turns.push_back(event.container());
  }
  EXPECT_THAT(turns, ElementsAre("d", "a", "c"));
}

TEST_F(TakeoverWorldTest, WhereNothingHeldCanBeRestoredOthersAreAsked) {
  protect();
  node("b").elsewhere = node("a").service("web")->newest_in_memory();
  ASSERT_TRUE(node("b").elsewhere);
  std::atomic<int> refused = 0;
  const std::size_t held = node("b").standbys().table().restorable(container_name("web")).size();
  backend("b", "web").on_restore([&, held]() -> Status {
    if (refused++ < static_cast<int>(held) + 1) return fail(ErrorCode::kCorrupt, "it does not verify");
    return {};
  });
  node("a").leases().pause(true);
  ASSERT_TRUE(until([&] { return node("b").service("web") != nullptr; })) << "it is the owner, whatever it can restore";
  ASSERT_TRUE(until([&] { return runs_on("b", "web"); }));
  EXPECT_EQ(node("b").record("web")->owner, node("b").self());
}

TEST_F(TakeoverWorldTest, WhatIsStartedAfreshWaitsForItsSponsors) {
  begin("a");
  begin("b");
  std::atomic<bool> may_start = false;
  backends_["a"].on_new = [&](FakeBackend& backend) {
    backend.on_start([&]() -> Status {
      may_start.wait(false);
      return {};
    });
  };
  node("a").run("web");
  ASSERT_TRUE(until([&] { return node("b").record("web") && node("b").record("web")->phase == model::RecordPhase::kStarting; }));
  // On another node, and on the same one behind that.
  node("b").run("front", "application: {name: shop, sponsors: [web]}\n");
  node("b").run("edge", "application: {name: shop, sponsors: [front]}\n");
  ASSERT_TRUE(until([&] { return kinds("b").size() >= 2 && std::ranges::count(kinds("b"), "waits_for_sponsor") == 2; }));
  EXPECT_EQ(backend("b", "front").count("start") + backend("b", "edge").count("start"), 0u);
  may_start = true;
  may_start.notify_all();
  ASSERT_TRUE(until([&] { return runs_on("a", "web") && runs_on("b", "front") && runs_on("b", "edge"); }));
  EXPECT_EQ(backend("b", "front").count("start"), 1u);
  EXPECT_EQ(std::ranges::count(kinds("b"), "waits_for_sponsor"), 2) << "once for each start";
}

TEST_F(TakeoverWorldTest, ASponsorThatWillNotRunIsNotWaitedFor) {
  begin("a");
  node("a").run("front", "application: {name: shop, sponsors: [nobody]}\n");
  ASSERT_TRUE(until([&] { return runs_on("a", "front"); }));
  EXPECT_THAT(kinds("a"), Not(Contains("waits_for_sponsor")));
}

TEST_F(TakeoverWorldTest, AStoppedContainerIsNotTakenOver) {
  protect();
  node("a").owned("web")->handle(own::DesiredAsked{model::DesiredState::kStopped});
  ASSERT_TRUE(until([&] { return node("b").record("web")->desired == model::DesiredState::kStopped; }));
  node("a").leases().pause(true);
  ASSERT_TRUE(until([&] {
    const auto all = kinds("b");
    return std::ranges::contains(all, "not_taken_over");
  }));
  EXPECT_EQ(node("b").record("web")->owner.node, node_name("a"));
  EXPECT_THAT(kinds("b"), Not(Contains("taken_over")));
}

TEST_F(TakeoverWorldTest, OfTwoStandbysOneTakesOverAndTheOtherStandsBy) {
  standbys_wanted_ = 2;
  begin("a");
  begin("b");
  begin("c");
  node("a").run("web");
  ASSERT_TRUE(until([&] { return caught_up("a", "b", "web") && caught_up("a", "c", "web"); }));
  node("a").leases().pause(true);
  ASSERT_TRUE(until([&] { return runs_on("b", "web") || runs_on("c", "web"); }));
  const std::string owner = runs_on("b", "web") ? "b" : "c";
  const std::string other = owner == "b" ? "c" : "b";
  ASSERT_TRUE(until([&] { return caught_up(owner, other, "web"); }));
  ASSERT_TRUE(until([&] { return gate_is_open(owner); }));
  EXPECT_EQ(node(other).service("web"), nullptr);
}

TEST_F(TakeoverWorldTest, ATakerThatDiesWhileItRestoresIsTakenOverByTheOtherStandby) {
  standbys_wanted_ = 2;
  for (const char* name : {"a", "b", "c"}) begin(name);
  node("a").run("web");
  ASSERT_TRUE(until([&] { return caught_up("a", "b", "web") && caught_up("a", "c", "web"); }));
  std::atomic<int> begun = 0;
  std::atomic<bool> may_end = false;
  for (const char* name : {"b", "c"}) {
    backend(name, "web").on_restore([&]() -> Status {
      if (begun++ == 0) may_end.wait(false);
      return {};
    });
  }
  node("a").leases().pause(true);
  ASSERT_TRUE(until([&] { return begun == 1; }));
  const std::string taker = node("b").record("web")->owner.node == node_name("b") ? "b" : "c";
  const std::string other = taker == "b" ? "c" : "b";
  ASSERT_TRUE(until([&] { return node(other).record("web")->owner.node == node_name(taker); }));
  end(taker);
  may_end = true;
  may_end.notify_all();
  begin(taker);
  ASSERT_TRUE(until([&] { return runs_on(other, "web"); }));
  EXPECT_EQ(node(other).record("web")->owner, node(other).self());
  ASSERT_TRUE(until([&] { return caught_up(other, taker, "web"); })) << "its next life stands by";
}

TEST_F(TakeoverWorldTest, ASourceTakesOverWhenItsTargetIsSilentBeforeItHasCommittedAnything) {
  const Generation before = protect_with_two();
  network_.lose = [](const NodeName& from, const NodeName&, const peer::v1::Message& message) {
    return from == node_name("b") && message.has_ship();
  };
  node("a").owned("web")->handle(own::MoveAsked{node_name("b")});
  const auto handed_over = [&] {
    OwnedContainer* owned = node("a").owned("web");
    return owned != nullptr && owned->status().move == policy::MoveStep::kHandedOver;
  };
  ASSERT_TRUE(until([&] { return handed_over() && gate_is_open("b"); }));
  const pid_t frozen = backend("a", "web").pid();
  const Generation handed = node("a").held("web")->newest->generation;
  EXPECT_GT(handed, before);
  node("b").leases().pause(true);
  ASSERT_TRUE(until([&] { return runs_on("a", "web"); }));
  EXPECT_THAT(restores("a"), ElementsAre("restore " + to_string(handed)));
  EXPECT_NE(backend("a", "web").pid(), frozen) << "what was frozen never speaks again";
  EXPECT_EQ(node("a").record("web")->owner, node("a").self());
  EXPECT_THAT(kinds("a"), Contains("target_silent"));
  network_.lose = nullptr;
  node("b").leases().pause(false);
  ASSERT_TRUE(until([&] { return node("b").service("web") == nullptr && caught_up("a", "b", "web"); }));
  ASSERT_TRUE(until([&] { return gate_is_open("a") && !gate_is_open("b"); }));
}

}  // namespace
}  // namespace perdure::node::testing
