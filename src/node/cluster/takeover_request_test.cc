// Proves what is said of a container whose owner cannot be reached: nothing while it can, whose turn it is, and when an operator's word
// is needed.
#include "node/cluster/takeover_request.h"

#include <gtest/gtest.h>

#include <map>

namespace perdure::node {
namespace {

NodeName node(const std::string& name) { return *NodeName::parse(name); }
model::NodeLife life(const std::string& name, std::uint64_t incarnation = 1) { return {node(name), Incarnation{incarnation}}; }

// Who is connected, in which life; nobody is asked for anything.
class ConnectedPeers final : public Peers {
 public:
  explicit ConnectedPeers(const std::vector<model::NodeLife>& lives) {
    for (const model::NodeLife& one : lives) peers_.emplace(one.node, PeerState{.life = one, .round_trip = {}, .last_heard = {}});
  }
  void request(const NodeName&, Channel, peer::v1::Message, io::OutgoingBody, Duration, Answer) override { ADD_FAILURE(); }
  void notice(const NodeName&, peer::v1::Message) override { ADD_FAILURE(); }
  const PeerState* find(const NodeName& name) const override {
    const auto found = peers_.find(name);
    return found == peers_.end() ? nullptr : &found->second;
  }
  std::vector<PeerState> connected() const override { return {}; }

 private:
  std::map<NodeName, PeerState> peers_;
};

model::OwnershipRecord record(std::vector<model::NodeLife> standbys) {
  return {.container = *ContainerName::parse("web"),
          .owner = life("a"),
          .standbys = std::move(standbys),
          .term = Term{7},
          .spec_digest = {},
          .image_digest = {},
          .desired = model::DesiredState::kRunning,
          .phase = model::RecordPhase::kRunning,
          .writer = life("a"),
          .nonce = {},
          .created = {}};
}

std::optional<OwnerAway> seen_by(const std::string& self, const model::OwnershipRecord& record,
                                 const std::vector<model::NodeLife>& connected, StoreKnown store = StoreKnown::kYes) {
  return owner_away(record, life(self), ConnectedPeers(connected), store);
}

TEST(OwnerAway, WhatComesByItselfIsWhatStartsOrIsTakenOver) {
  const auto comes = [](const model::OwnershipRecord& record, const std::vector<model::NodeLife>& connected) {
    return is_coming(record, life("c"), ConnectedPeers(connected));
  };
  auto starting = record({});
  starting.phase = model::RecordPhase::kStarting;
  EXPECT_TRUE(comes(starting, {life("a")}));
  EXPECT_FALSE(comes(record({}), {life("a")})) << "it runs";
  EXPECT_TRUE(comes(record({life("b")}), {life("b")})) << "its owner is silent, and b takes it over";
  EXPECT_TRUE(comes(record({life("c")}), {})) << "this node does";
  EXPECT_FALSE(comes(record({life("b")}), {})) << "nobody can";
  auto stopped = record({life("b")});
  stopped.desired = model::DesiredState::kStopped;
  EXPECT_FALSE(comes(stopped, {life("b")}));
}

TEST(OwnerAway, NothingIsSaidWhileItsOwnerIsConnectedOrNothingIsWanted) {
  EXPECT_FALSE(seen_by("c", record({}), {life("a")}));
  EXPECT_FALSE(seen_by("c", record({}), {life("a", 2)})) << "its perdured was restarted: it looks after it";
  EXPECT_FALSE(seen_by("a", record({}), {})) << "this life owns it, and is about to have it";
  auto stopped = record({});
  stopped.desired = model::DesiredState::kStopped;
  EXPECT_FALSE(seen_by("c", stopped, {}));
}

TEST(OwnerAway, AStandbyInTheLifeOfTheRecordTakesItOver) {
  for (const auto& away : {seen_by("c", record({life("b")}), {life("b")}), seen_by("b", record({life("b")}), {})}) {
    ASSERT_TRUE(away);
    EXPECT_FALSE(away->needs_word);
    EXPECT_TRUE(away->waits_for.contains("'b' stands by")) << away->waits_for;
    EXPECT_EQ(away->remedy, "");
  }
}

TEST(OwnerAway, WithoutSuchAStandbyAnOperatorsWordIsNeeded) {
  for (const auto& away : {seen_by("c", record({}), {life("b")}), seen_by("c", record({life("b")}), {}),
                           seen_by("c", record({life("b", 1)}), {life("b", 2)})}) {
    ASSERT_TRUE(away);
    EXPECT_TRUE(away->needs_word);
    EXPECT_TRUE(away->waits_for.contains("'a' cannot be reached from 'c'")) << away->waits_for;
    EXPECT_TRUE(away->remedy.contains("perdure takeover web")) << away->remedy;
  }
}

TEST(OwnerAway, WhatAnEarlierLifeOfThisNodeHasLostWaitsForAStandbyOrForAWord) {
  const auto seen_by_a = [](const model::OwnershipRecord& record, const std::vector<model::NodeLife>& connected) {
    return owner_away(record, life("a", 2), ConnectedPeers(connected), StoreKnown::kYes);
  };
  const auto stood_by = seen_by_a(record({life("b")}), {life("b")});
  ASSERT_TRUE(stood_by);
  EXPECT_FALSE(stood_by->needs_word);
  EXPECT_TRUE(stood_by->waits_for.contains("'b' stands by")) << stood_by->waits_for;
  for (const auto& away : {seen_by_a(record({}), {life("b")}), seen_by_a(record({life("b")}), {life("b", 2)})}) {
    ASSERT_TRUE(away);
    EXPECT_TRUE(away->needs_word);
    EXPECT_TRUE(away->waits_for.contains("perdured of its owner 'a' ended while it took it over")) << away->waits_for;
    EXPECT_TRUE(away->waits_for.contains("it waits for an operator's word")) << away->waits_for;
    EXPECT_TRUE(away->remedy.contains("perdure takeover web")) << away->remedy;
  }
}

TEST(OwnerAway, WithoutAQuorumNobodyCanBecomeItsOwner) {
  const auto away = seen_by("c", record({}), {}, StoreKnown::kNo);
  ASSERT_TRUE(away);
  EXPECT_FALSE(away->needs_word);
  EXPECT_TRUE(away->waits_for.contains("no quorum")) << away->waits_for;
}

}  // namespace
}  // namespace perdure::node
