// Proves how owner and standbys work together: a standby is enlisted, gets what is captured, learns what is committed and discarded,
// is dismissed and lets go of everything; and what carries an older term is refused.
//
// How: nodes with everything above the seams in one process (testing/cluster_world.h).
#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "node/testing/cluster_world.h"

namespace perdure::node::testing {
namespace {

namespace p1 = peer::v1;
using ::testing::Contains;
using ::testing::IsEmpty;

class StandbyWorldTest : public ClusterWorld {
 protected:
  void protect() {
    begin("a");
    begin("b");
    node("a").run("web");
    ASSERT_TRUE(until([&] { return runs_on("a", "web") && caught_up("a", "b", "web"); }));
  }
  Generation committed(const std::string& owner) { return *node(owner).owned("web")->status().committed; }
  bool commits_more(const std::string& owner) {
    const Generation before = committed(owner);
    return until([&] { return committed(owner) > before; });
  }
  // What a request of a is refused with by b.
  PeerRefusal refusal(p1::Message message) {
    std::optional<std::expected<PeerMessage, PeerRefusal>> answer;
    io::OutgoingBody body;
    if (message.has_ship()) body.pieces = {std::as_bytes(std::span("capsule"))};
    node("a").peers().request(node_name("b"), Channel::kBulk, std::move(message), std::move(body), io::kTestTime,
                              [&](auto it) { answer = std::move(it); });
    EXPECT_TRUE(until([&] { return answer.has_value(); }));
    if (!answer || *answer) {
      ADD_FAILURE() << "not refused";
      return {Error(ErrorCode::kIo, "not refused"), {}};
    }
    return answer->error();
  }
};

// ---- Standing by ----

TEST_F(StandbyWorldTest, AContainerGetsAStandbyThatHoldsWhatIsCommitted) {
  protect();
  const auto record = node("a").record("web");
  ASSERT_TRUE(record);
  EXPECT_EQ(record->owner, node("a").self());
  EXPECT_EQ(backend("b", "web").count("prepare_standby"), 1U);
  EXPECT_GE(network_.delivered(p1::Message::kEnlist), 1U);
  EXPECT_GE(network_.delivered(p1::Message::kCommit), 1U);
  ASSERT_TRUE(commits_more("a"));
  const Generation now = committed("a");
  ASSERT_TRUE(until([&] { return node("b").held("web")->newest_committed >= now; }));
  EXPECT_EQ(node("b").standbys().standing_by(), 1U);
  EXPECT_EQ(node("b").standbys().table().fenced(), 0U);
}

TEST_F(StandbyWorldTest, AsManyStandbysAsAreWanted) {
  standbys_wanted_ = 2;
  begin("a");
  begin("b");
  begin("c");
  node("a").run("web");
  ASSERT_TRUE(until([&] { return caught_up("a", "b", "web") && caught_up("a", "c", "web"); }));
  // A commit needs both: without an answer of c there is none until c is dropped.
  EXPECT_EQ(node("a").record("web")->standbys.size(), 2U);
  node("a").owned("web")->handle(own::StandbysWanted{1});
  ASSERT_TRUE(until([&] { return node("a").record("web")->standbys.size() == 1 && !node("c").held("web"); }));
  EXPECT_TRUE(stands_by("b", "web"));
  ASSERT_TRUE(commits_more("a"));
}

TEST_F(StandbyWorldTest, ADismissedStandbyLetsGoOfEverything) {
  protect();
  node("a").owned("web")->handle(own::StandbysWanted{0});
  ASSERT_TRUE(until([&] { return !node("b").held("web") && node("b").standbys().prepared() == 0; }));
  EXPECT_THAT(node("a").record("web")->standbys, IsEmpty());
  EXPECT_THAT(backend("b", "web").calls(), Contains("release delete"));
  ASSERT_TRUE(commits_more("a")) << "the durable directory alone commits again";
}

TEST_F(StandbyWorldTest, ARefusedStandbyIsNoneAndAnotherOneIs) {
  begin("a");
  backends_["b"].on_new = [](FakeBackend& backend) {
    backend.on_prepare([] { return Status(fail(ErrorCode::kUnsupported, "this kernel cannot")); });
  };
  begin("b");
  begin("c");
  node("a").run("web");
  ASSERT_TRUE(until([&] { return caught_up("a", "c", "web"); }));
  EXPECT_FALSE(stands_by("b", "web"));
  bool told = false;
  for (const policy::ownership::PeerStatus& peer : node("a").owned("web")->status().peers) {
    told = told || (peer.node == node_name("b") && peer.refusal.contains("this kernel cannot"));
  }
  EXPECT_TRUE(told);
}

// By what both hosts are at that moment: the owner may know of this one what was true before its kernel or its CRIU was changed.
TEST_F(StandbyWorldTest, AHostThatIsBehindTheOwnersRefusesAndSaysWhy) {
  begin("a");
  begin("b");
  p1::Message message;
  p1::EnlistRequest& request = *message.mutable_enlist();
  request.set_container("web");
  request.set_term(1);
  request.set_spec_yaml("name: web\nroot-filesystem:\n  directory: /nowhere\ncommand: [/bin/true]\n");
  request.mutable_host()->set_criu_version("99.0.0");
  std::vector<std::string> reasons;
  bool answered = false;
  node("a").peers().request(node_name("b"), Channel::kControl, std::move(message), {}, io::kTestTime, [&](const auto& it) {
    answered = true;
    if (it) reasons.assign(it->message.enlisted().reasons().begin(), it->message.enlisted().reasons().end());
  });
  ASSERT_TRUE(until([&] { return answered; }));
  EXPECT_THAT(reasons, ::testing::ElementsAre(::testing::HasSubstr("is older than 99.0.0 of the owner: install")));
  EXPECT_EQ(node("b").standbys().prepared(), 0U) << "nothing is fetched or made for it";
}

TEST_F(StandbyWorldTest, ARestartedStandbyHasLostItsMemoryAndIsEnlistedAnew) {
  protect();
  end("b");
  begin("b");
  EXPECT_FALSE(node("b").held("web"));
  ASSERT_TRUE(until([&] { return caught_up("a", "b", "web"); }));
  EXPECT_EQ(node("a").record("web")->standby(node_name("b"))->incarnation, Incarnation{2});
  ASSERT_TRUE(commits_more("a"));
}

TEST_F(StandbyWorldTest, AfterACutTheStandbyGoesOnFromWhatItHolds) {
  protect();
  const auto full = [&] { return node("a").service("web")->shipping(node_name("b"))->full_shipments; };
  const std::uint64_t before = full();
  network_.cut(node_name("a"), node_name("b"));
  network_.connect(node_name("a"), node_name("b"));
  ASSERT_TRUE(commits_more("a"));
  ASSERT_TRUE(until([&] { return caught_up("a", "b", "web"); }));
  EXPECT_EQ(full(), before) << "no full generation was needed";
}

TEST_F(StandbyWorldTest, LostCommitNoticesAreMadeGoodByTheNext) {
  protect();
  std::size_t lost = 0;
  network_.lose = [&](const NodeName&, const NodeName&, const p1::Message& message) {
    return message.has_commit() && lost++ < 3;
  };
  ASSERT_TRUE(until([&] { return lost > 3; }));
  const Generation now = committed("a");
  ASSERT_TRUE(until([&] { return node("b").held("web")->newest_committed >= now; }));
}

TEST_F(StandbyWorldTest, WhatTheOwnerDiscardsIsDiscardedByItsStandby) {
  protect();
  const Generation back = committed("a");
  ASSERT_TRUE(commits_more("a"));
  ASSERT_TRUE(until([&] { return caught_up("a", "b", "web") && node("b").held("web")->newest->generation > back; }));
  ASSERT_TRUE(node("a").service("web")->ask(policy::OperatorRestore{back}));
  ASSERT_TRUE(until([&] { return network_.delivered(p1::Message::kDiscard) > 0; }));
  ASSERT_TRUE(until([&] { return runs_on("a", "web") && caught_up("a", "b", "web"); }));
}

// No later capture brings it to the standby.
TEST_F(StandbyWorldTest, WhatTheOwnerHasGoneBackToIsWhatItsStandbyHas) {
  begin("a");
  begin("b");
  node("a").run("web", "checkpoint:\n  interval: 1h\n");
  ASSERT_TRUE(until([&] { return runs_on("a", "web") && caught_up("a", "b", "web"); })) << as_seen_by("a", "b", "web");
  ContainerService& web = *node("a").service("web");
  const Generation back = committed("a");
  for (int i = 0; i < 2; ++i) {
    const Generation before = committed("a");
    ASSERT_TRUE(web.ask(policy::OperatorCheckpoint{}));
    ASSERT_TRUE(until([&] { return committed("a") > before && caught_up("a", "b", "web"); }));
  }
  ASSERT_TRUE(web.ask(policy::OperatorRestore{back}));
  ASSERT_TRUE(until([&] { return node("a").owned("web")->status().committed == back; }));
  ASSERT_TRUE(until([&] { return node("b").held("web")->newest_committed == back; }));
  EXPECT_EQ(node("b").held("web")->newest->generation, back);
  const auto held = node("b").standbys().table().fetch(container_name("web"), std::nullopt);
  ASSERT_TRUE(held) << held.error().message();
  EXPECT_EQ((*held)->manifest.generation, back);
  ASSERT_TRUE(web.ask(policy::OperatorCheckpoint{}));
  ASSERT_TRUE(until([&] { return committed("a") > back && caught_up("a", "b", "web"); }));
}

TEST_F(StandbyWorldTest, WhileTheStoreIsAwayCommitsGoOn) {
  protect();
  for (const char* name : {"a", "b"}) node(name).way().set_away(true);
  ASSERT_TRUE(commits_more("a"));
  ASSERT_TRUE(commits_more("a"));
  for (const char* name : {"a", "b"}) node(name).way().set_away(false);
  ASSERT_TRUE(until([&] { return node("a").current() && caught_up("a", "b", "web"); }));
}

// ---- Terms ----

TEST_F(StandbyWorldTest, WhateverCarriesAnOlderTermIsRefusedAndCounted) {
  protect();
  const Term term = node("b").standbys().table().term_of(container_name("web"));
  ASSERT_GT(term.value, 0U);
  const std::uint64_t old = term.value - 1;
  std::vector<p1::Message> messages(6);
  messages[0].mutable_enlist()->set_term(old);
  messages[0].mutable_enlist()->set_container("web");
  messages[1].mutable_ship()->set_term(old);
  messages[1].mutable_ship()->set_container("web");
  *messages[1].mutable_ship()->mutable_generation() = to_peer(committed("a"));
  messages[2].mutable_dismiss()->set_term(old);
  messages[2].mutable_dismiss()->set_container("web");
  messages[3].mutable_fetch_generation()->set_term(old);
  messages[3].mutable_fetch_generation()->set_container("web");
  messages[4].mutable_move_prepare()->set_term(old);
  messages[4].mutable_move_prepare()->set_container("web");
  messages[5].mutable_move_take()->set_term(old);
  messages[5].mutable_move_take()->set_container("web");
  std::uint64_t fenced = node("b").standbys().table().fenced();
  for (const p1::Message& message : messages) {
    const PeerRefusal refused = refusal(message);
    EXPECT_EQ(refused.error.code(), ErrorCode::kFenced) << message.body_case();
    EXPECT_EQ(refused.term, term) << message.body_case();
    EXPECT_EQ(node("b").standbys().table().fenced(), ++fenced) << message.body_case();
  }
  p1::Message notice;
  notice.mutable_commit()->set_container("web");
  notice.mutable_commit()->set_term(old);
  *notice.mutable_commit()->mutable_generation() = to_peer(committed("a"));
  node("a").peers().notice(node_name("b"), notice);
  ASSERT_TRUE(until([&] { return node("b").standbys().table().fenced() == fenced + 1; }));
  p1::Message begun;
  begun.mutable_connections()->set_container("web");
  begun.mutable_connections()->set_term(old);
  to_peer(std::vector{connection_from(1)}, *begun.mutable_connections());
  node("a").peers().notice(node_name("b"), begun);
  ASSERT_TRUE(until([&] { return node("b").standbys().table().fenced() == fenced + 2; }));
  EXPECT_TRUE(node("b").held("web")) << "nothing is lost by it";
}

TEST_F(StandbyWorldTest, AGenerationIsFetchedWholeFromAStandby) {
  protect();
  p1::Message message;
  message.mutable_fetch_generation()->set_container("web");
  message.mutable_fetch_generation()->set_term(node("a").record("web")->term.value);
  std::optional<std::expected<PeerMessage, PeerRefusal>> answer;
  node("a").peers().request(node_name("b"), Channel::kBulk, message, {}, io::kTestTime, [&](auto it) { answer = std::move(it); });
  ASSERT_TRUE(until([&] { return answer.has_value(); }));
  ASSERT_TRUE(*answer) << answer->error().error.message();
  EXPECT_TRUE((*answer)->message.fetched_generation().committed());
  ASSERT_TRUE((*answer)->body);
  EXPECT_GT((*answer)->body->bytes().size(), 0U);
}

}  // namespace
}  // namespace perdure::node::testing
