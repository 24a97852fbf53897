// What `perdure cluster recover` would do, as a table: records and inventories in, one row per container out.
#include "node/cluster/recovery_plan.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "node/cluster/peer_codec.h"

namespace perdure::node {
namespace {

using std::chrono::seconds;

const WallTime kNow = WallTime(std::chrono::hours(1000));

NodeName node(const std::string& name) { return *NodeName::parse(name); }
ContainerName web() { return *ContainerName::parse("web"); }
model::NodeLife life(const std::string& name, std::uint64_t incarnation = 1) { return {node(name), Incarnation{incarnation}}; }
Generation generation(std::uint64_t term, std::uint64_t number) { return {Term{term}, Incarnation{1}, number}; }

model::OwnershipRecord record(const std::string& owner, std::vector<model::NodeLife> standbys, std::uint64_t term = 7) {
  return {.container = web(),
          .owner = life(owner),
          .standbys = std::move(standbys),
          .term = Term{term},
          .spec_digest = {},
          .image_digest = {},
          .desired = model::DesiredState::kRunning,
          .phase = model::RecordPhase::kRunning,
          .writer = life(owner),
          .nonce = {},
          .created = kNow};
}

InventoryCopy copy(std::uint64_t number, seconds age, std::uint64_t term = 7) {
  return {.generation = generation(term, number), .committed = true, .durable = false, .created = kNow - age};
}

// What a node has of "web"; without a row: nothing.
NodeInventory has(const model::NodeLife& who, InventoryRow row) {
  NodeInventory inventory{.life = who, .rows = {}};
  inventory.rows.emplace(web(), std::move(row));
  return inventory;
}
NodeInventory has_nothing(const model::NodeLife& who) { return {.life = who, .rows = {}}; }

InventoryRow runs(std::uint64_t term) { return {.term = Term{term}, .runs = true, .owner = true}; }
InventoryRow waits(std::vector<InventoryCopy> copies, std::uint64_t term = 7) {
  return {.term = Term{term}, .owner = true, .waits = true, .copies = std::move(copies)};
}
InventoryRow holds(std::vector<InventoryCopy> copies, std::uint64_t term = 7) {
  return {.term = Term{term}, .copies = std::move(copies)};
}

RecoveryRow planned(std::optional<model::OwnershipRecord> record, std::vector<NodeInventory> nodes) {
  RecoveryQuestion question{.records = {}, .nodes = std::move(nodes), .now = kNow};
  if (record) question.records.emplace(web(), *record);
  const auto rows = plan_recovery(question);
  EXPECT_EQ(rows.size(), 1u);
  return rows.empty() ? RecoveryRow{.name = web()} : rows.front();
}

TEST(RecoveryPlan, WhatRunsWhereItsRecordSaysIsLeftAlone) {
  const auto row = planned(record("a", {life("b")}), {has(life("a"), runs(7)), has(life("b"), holds({copy(3, seconds(1))}))});
  EXPECT_EQ(row.action, RecoveryAction::kNothing);
  EXPECT_EQ(row.node, node("a"));
  EXPECT_FALSE(row.write);
  EXPECT_EQ(row.risk, "");
}

TEST(RecoveryPlan, AStandbyTakesWhatALostOwnerRan) {
  const auto row = planned(record("a", {life("b")}), {has(life("b"), holds({copy(3, seconds(20))}))});
  EXPECT_EQ(row.action, RecoveryAction::kRestore);
  EXPECT_EQ(row.node, node("b"));
  EXPECT_EQ(row.generation, generation(7, 3));
  EXPECT_EQ(row.age, Duration(seconds(20)));
  EXPECT_EQ(row.risk, "node 'a' may still run it beyond a cut");
  EXPECT_FALSE(row.has_service);
  ASSERT_TRUE(row.write);
  EXPECT_EQ(row.write->owner, life("b"));
  EXPECT_EQ(row.write->term, Term{8});
  EXPECT_EQ(row.write->phase, model::RecordPhase::kMoving);
  EXPECT_TRUE(row.write->standbys.empty());
}

TEST(RecoveryPlan, TheNewTermIsAboveEveryTermThatAnybodyKnows) {
  const auto row = planned(record("a", {}, 7), {has(life("b"), holds({copy(3, seconds(1), 12)}, 11)), has(life("c"), holds({}, 9))});
  ASSERT_TRUE(row.write);
  EXPECT_EQ(row.write->term, Term{13});
}

TEST(RecoveryPlan, AnUnreachableStandbyMayHoldMore) {
  const auto row = planned(record("a", {life("b"), life("c")}), {has(life("b"), holds({copy(3, seconds(1))}))});
  EXPECT_EQ(row.node, node("b"));
  EXPECT_NE(row.risk.find("node 'c', which stood by, cannot be reached and may hold a newer generation"), std::string::npos) << row.risk;
}

TEST(RecoveryPlan, AfterAPowerCutTheOwnersDiskIsLeftAndWhatIsLostIsSaid) {
  const auto row = planned(record("a", {life("b", 1)}), {has(life("a", 2), waits({copy(2, seconds(90))})), has_nothing(life("b", 2))});
  EXPECT_EQ(row.action, RecoveryAction::kRestore);
  EXPECT_EQ(row.node, node("a"));
  EXPECT_TRUE(row.has_service);
  EXPECT_FALSE(row.write) << "the record names it already";
  EXPECT_EQ(row.risk, "with node 'b' the memory of its standbys is gone: what was committed after this generation is lost");
}

TEST(RecoveryPlan, ALossIsSaidAlsoWhenTheStandbyHasLeftTheRecord) {
  const auto row = planned(record("a", {}), {has(life("a", 2), waits({copy(2, seconds(90))}))});
  EXPECT_EQ(row.action, RecoveryAction::kRestore);
  EXPECT_NE(row.risk.find("is lost"), std::string::npos);
}

TEST(RecoveryPlan, ALossIsSaidAlsoWhenANewStandbyHasWhatIsOnTheDisk) {
  const auto row = planned(record("a", {life("b", 2)}),
                           {has(life("a", 2), waits({copy(2, seconds(90))})), has(life("b", 2), holds({copy(2, seconds(90))}))});
  EXPECT_EQ(row.node, node("a"));
  EXPECT_NE(row.risk.find("is lost"), std::string::npos) << row.risk;
}

TEST(RecoveryPlan, AStandbysNewerCopyIsPreferredToTheOwnersDisk) {
  const auto row = planned(record("a", {life("b")}), {has(life("a", 2), waits({copy(2, seconds(90))})), has(life("b"), holds({copy(3, seconds(5))}))});
  EXPECT_EQ(row.node, node("b"));
  EXPECT_EQ(row.generation, generation(7, 3));
  ASSERT_TRUE(row.write);
  EXPECT_EQ(row.write->owner, life("b"));
}

TEST(RecoveryPlan, AmongEqualCopiesTheOwnersIsTaken) {
  for (const bool owner_first : {false, true}) {
    std::vector<NodeInventory> nodes{has(life("a", 2), waits({copy(3, seconds(5))})), has(life("b"), holds({copy(3, seconds(5))}))};
    if (!owner_first) std::swap(nodes[0], nodes[1]);
    EXPECT_EQ(planned(record("a", {life("b")}), nodes).node, node("a"));
  }
}

// ---- The directory that all nodes see, and an operator's words ----

RecoveryQuestion asked(std::vector<NodeInventory> nodes, std::vector<InventoryCopy> durable) {
  RecoveryQuestion question{.records = {}, .nodes = std::move(nodes), .now = kNow};
  question.records.emplace(web(), record("a", {}));
  if (!durable.empty()) question.durable.emplace(web(), std::move(durable));
  for (const NodeInventory& inventory : question.nodes) question.takers.push_back(inventory.life.node);
  return question;
}
RecoveryRow only_row(const RecoveryQuestion& question) {
  const auto rows = plan_recovery(question);
  EXPECT_EQ(rows.size(), 1u);
  return rows.empty() ? RecoveryRow{.name = web()} : rows.front();
}

TEST(RecoveryPlan, WhatOnlyTheDurableDirectoryHasIsRestoredFromThere) {
  const auto row = only_row(asked({has_nothing(life("b")), has_nothing(life("c"))}, {copy(4, seconds(30))}));
  EXPECT_EQ(row.action, RecoveryAction::kRestore);
  EXPECT_TRUE(row.durable);
  EXPECT_EQ(row.node, node("b")) << "the first that may take it";
  EXPECT_EQ(row.generation, generation(7, 4));
  EXPECT_EQ(row.age, Duration(seconds(30)));
  ASSERT_TRUE(row.write);
  EXPECT_EQ(row.write->owner, life("b"));
  EXPECT_EQ(row.write->term, Term{8});
}

TEST(RecoveryPlan, WhoHasHadToDoWithItTakesItFromTheDurableDirectory) {
  const auto row = only_row(asked({has_nothing(life("b")), has(life("c"), holds({copy(3, seconds(60))}))}, {copy(4, seconds(30))}));
  EXPECT_TRUE(row.durable);
  EXPECT_EQ(row.node, node("c"));
}

TEST(RecoveryPlan, MemoryIsPreferredToADurableDirectoryThatHasNothingNewer) {
  for (const std::uint64_t stored : {2, 3}) {
    const auto row = only_row(asked({has_nothing(life("b")), has(life("c"), holds({copy(3, seconds(60))}))}, {copy(stored, seconds(90))}));
    EXPECT_FALSE(row.durable);
    EXPECT_EQ(row.node, node("c"));
    EXPECT_EQ(row.generation, generation(7, 3));
  }
}

TEST(RecoveryPlan, TheNewTermIsAboveThoseOfTheDurableDirectoryToo) {
  const auto row = only_row(asked({has_nothing(life("b"))}, {copy(4, seconds(30), 12)}));
  ASSERT_TRUE(row.write);
  EXPECT_EQ(row.write->term, Term{13});
}

TEST(RecoveryPlan, WhatDoesNotVerifyIsPassedOver) {
  RecoveryQuestion question = asked({has_nothing(life("b"))}, {copy(4, seconds(30)), copy(3, seconds(60))});
  question.unusable[web()] = {generation(7, 4)};
  EXPECT_EQ(only_row(question).generation, generation(7, 3));
  question.unusable[web()].insert(generation(7, 3));
  EXPECT_EQ(only_row(question).action, RecoveryAction::kLost);
}

TEST(RecoveryPlan, NobodyWhoMayTakeItLeavesItLostAndSaysWhereItIs) {
  RecoveryQuestion question = asked({has_nothing(life("b"))}, {copy(4, seconds(30))});
  question.takers.clear();
  const auto row = only_row(question);
  EXPECT_EQ(row.action, RecoveryAction::kLost);
  EXPECT_NE(row.risk.find("is in the durable directory"), std::string::npos) << row.risk;
}

TEST(RecoveryPlan, WhereAnOperatorWantsItItIsBroughtFromWhoHoldsIt) {
  RecoveryQuestion question = asked({has_nothing(life("b")), has(life("c"), holds({copy(3, seconds(60))}))}, {});
  question.to = node("b");
  const auto row = only_row(question);
  EXPECT_EQ(row.node, node("b"));
  EXPECT_EQ(row.from, node("c"));
  ASSERT_TRUE(row.write);
  EXPECT_EQ(row.write->owner, life("b"));
  question.to = node("c");
  EXPECT_FALSE(only_row(question).from) << "it holds it itself";
}

TEST(RecoveryPlan, WhoIsSaidToBeDeadIsNotHeard) {
  RecoveryQuestion question = asked({has(life("a"), runs(7)), has(life("b"), holds({copy(3, seconds(60))}))}, {});
  question.dead = {node("a")};
  const auto row = only_row(question);
  EXPECT_EQ(row.action, RecoveryAction::kRestore);
  EXPECT_EQ(row.node, node("b"));
  EXPECT_EQ(row.risk, "");
}

TEST(RecoveryPlan, AnOwnerThatBringsItBackByItselfIsLeftAlone) {
  InventoryRow row = waits({copy(2, seconds(1))});
  row.waits = false;
  EXPECT_EQ(planned(record("a", {}), {has(life("a", 2), row)}).action, RecoveryAction::kNothing);
}

TEST(RecoveryPlan, WhatRunsElsewhereIsAdoptedUnderTheHighestTerm) {
  const auto row = planned(record("a", {}, 7), {has(life("b"), runs(9)), has(life("c"), runs(8))});
  EXPECT_EQ(row.action, RecoveryAction::kAdoptRunning);
  EXPECT_EQ(row.node, node("b"));
  ASSERT_TRUE(row.write);
  EXPECT_EQ(row.write->term, Term{10});
  EXPECT_EQ(row.write->phase, model::RecordPhase::kRunning);
  EXPECT_EQ(row.risk, "node 'c' runs it as well, under term 8: that copy is killed; node 'a' may still run it beyond a cut");
}

TEST(RecoveryPlan, ARecordThatHasGoneBackIsMadeToSayWhatIsTrue) {
  const auto row = planned(record("a", {}, 5), {has(life("a"), runs(7))});
  EXPECT_EQ(row.action, RecoveryAction::kAdoptRunning);
  ASSERT_TRUE(row.write);
  EXPECT_EQ(row.write->term, Term{8});
}

TEST(RecoveryPlan, WhatAnOperatorHasStoppedStaysStopped) {
  auto stopped = record("a", {life("b")});
  stopped.desired = model::DesiredState::kStopped;
  EXPECT_EQ(planned(stopped, {has(life("b"), holds({copy(3, seconds(1))}))}).action, RecoveryAction::kNothing);
}

TEST(RecoveryPlan, WithoutAnyCopyItIsLostOrBeginsAfresh) {
  EXPECT_EQ(planned(record("a", {life("b")}), {has_nothing(life("b", 2))}).action, RecoveryAction::kLost);
  const auto cold = planned(record("a", {life("b")}), {has(life("a", 2), waits({})), has_nothing(life("b", 2))});
  EXPECT_EQ(cold.action, RecoveryAction::kColdStart);
  EXPECT_NE(cold.risk.find("what was committed after its start is lost"), std::string::npos) << cold.risk;
}

TEST(RecoveryPlan, OnlyWhatIsAskedForIsPlannedAndLeftoversOfStandbysAreNoContainers) {
  RecoveryQuestion question{.records = {{web(), record("a", {})}}, .nodes = {}, .now = kNow};
  question.only.insert(*ContainerName::parse("db"));
  EXPECT_TRUE(plan_recovery(question).empty());
  EXPECT_TRUE(plan_recovery({.records = {}, .nodes = {has(life("b"), holds({copy(1, seconds(1))}))}, .now = kNow}).empty());
}

TEST(RecoveryPlan, AnInventoryIsReadAsItWasWritten) {
  peer::v1::Inventory message;
  message.set_node("a");
  message.set_incarnation(3);
  auto& row = *message.add_rows();
  row.set_container("web");
  row.set_term(7);
  row.set_owner(true);
  row.set_waits(true);
  row.set_image_digest("digest");
  auto& told = *row.add_copies();
  *told.mutable_generation() = to_peer(generation(7, 4));
  told.set_committed(true);
  told.set_created_unix_ms(1500);
  const auto inventory = from_peer(message);
  ASSERT_TRUE(inventory);
  EXPECT_EQ(inventory->life, life("a", 3));
  const InventoryRow& read = inventory->rows.at(web());
  EXPECT_EQ(read.term, Term{7});
  EXPECT_TRUE(read.owner && read.waits && !read.runs);
  ASSERT_EQ(read.copies.size(), 1u);
  EXPECT_EQ(read.copies[0].generation, generation(7, 4));
  EXPECT_EQ(read.copies[0].created, WallTime(std::chrono::milliseconds(1500)));
  message.mutable_rows(0)->set_container("no name");
  EXPECT_EQ(from_peer(message).error().code(), ErrorCode::kInvalid);
}

}  // namespace
}  // namespace perdure::node
