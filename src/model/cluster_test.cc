// Proves the few rules of cluster values: words, labels, who is a standby.
#include "model/cluster.h"

#include <gtest/gtest.h>

namespace perdure::model {
namespace {

NodeLife life(std::string_view node, std::uint64_t incarnation) {
  return NodeLife{NodeName::parse(node).value(), Incarnation{incarnation}};
}

TEST(Cluster, WordsAreWhatPeopleRead) {
  EXPECT_EQ(to_string(DesiredState::kRunning), "running");
  EXPECT_EQ(to_string(DesiredState::kStopped), "stopped");
  EXPECT_EQ(to_string(DesiredState::kRemoved), "removed");
  EXPECT_EQ(to_string(RecordPhase::kStarting), "starting");
  EXPECT_EQ(to_string(RecordPhase::kRunning), "running");
  EXPECT_EQ(to_string(RecordPhase::kMoving), "moving");
}

TEST(Cluster, AStandbyIsFoundByItsNode) {
  OwnershipRecord record{ContainerName::parse("web").value(), life("a", 1), {life("b", 2), life("c", 3)}, {}, {}, {}, {}, {}, life("a", 1)};
  ASSERT_NE(record.standby(NodeName::parse("c").value()), nullptr);
  EXPECT_EQ(record.standby(NodeName::parse("c").value())->incarnation.value, 3U);
  EXPECT_EQ(record.standby(NodeName::parse("a").value()), nullptr);
}

TEST(Cluster, LabelsAreShortPlainWords) {
  EXPECT_TRUE(check_label("rack", "r1.row-2_x"));
  EXPECT_TRUE(check_label("a", std::string(63, 'b')));
  for (const std::string& bad : {std::string(), std::string(64, 'b'), std::string("Rack"), std::string("a b"), std::string("a=b"),
                                 std::string("a\0", 2)}) {
    EXPECT_EQ(check_label("rack", bad).error().code(), ErrorCode::kInvalid);
    EXPECT_EQ(check_label(bad, "r1").error().code(), ErrorCode::kInvalid);
  }
}

}  // namespace
}  // namespace perdure::model
