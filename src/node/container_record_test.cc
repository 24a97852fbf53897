// state.json: what is written is read back, and what is damaged is refused with the file's name.
#include "node/container_record.h"

#include "gtest/gtest.h"

namespace perdure::node {
namespace {

ContainerRecord full_record() {
  ContainerRecord record;
  record.state = {.desired = policy::DesiredState::kStopped, .begun = true, .finished = true, .gave_up = "too often"};
  record.state.handing_over = policy::HandingOver{NodeName::parse("b").value(),
                                                  Generation{Term{3}, Incarnation{0x1f}, 42}};
  record.runtime = RuntimeFacts{{4711, 123456789}, "pipe:[17]", "pipe:[18]"};
  record.first_start_done = true;
  record.created = WallTime(std::chrono::milliseconds(1'700'000'000'123));
  record.failures = 3;
  record.restores = 2;
  record.exit_status = 137;
  record.image_digest = "sha256:00";
  record.term = Term{9};
  record.awaits_word = true;
  record.first_term = Term{6};
  const NodeName target = NodeName::parse("b").value();
  const Generation generation{Term{9}, Incarnation{2}, 41};
  record.state.handing_over = policy::HandingOver{target, generation};
  record.handing_over = policy::ownership::HandingOver{.target = {target, Incarnation{7}},
                                                       .generation = generation,
                                                       .term = Term{9},
                                                       .standbys = {{NodeName::parse("c").value(), Incarnation{1}}}};
  return record;
}

std::string without(std::string text, const std::string& member) {
  const std::size_t begin = text.find("  \"" + member + "\"");
  EXPECT_NE(begin, std::string::npos);
  return text.erase(begin, text.find('\n', begin) + 1 - begin);
}

TEST(ContainerRecordTest, IsReadBackAsItWasWritten) {
  const ContainerRecord empty;
  for (const ContainerRecord& record : {full_record(), empty}) {
    const auto read = record_from_json(to_json(record), "state.json");
    ASSERT_TRUE(read) << read.error().message();
    EXPECT_EQ(*read, record);
  }
}

TEST(ContainerRecordTest, EveryDesiredStateSurvives) {
  for (const auto desired : {policy::DesiredState::kRunning, policy::DesiredState::kStopped,
                             policy::DesiredState::kRemoved}) {
    ContainerRecord record;
    record.state.desired = desired;
    EXPECT_EQ(record_from_json(to_json(record), "x").value().state.desired, desired);
  }
}

TEST(ContainerRecordTest, BytesThatAreNoUtf8DoNotMakeItUnreadable) {
  ContainerRecord record;
  record.state.gave_up = "\xff\xfe";
  const auto read = record_from_json(to_json(record), "x");
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_FALSE(read->state.gave_up.empty());
}

TEST(ContainerRecordTest, GarbageIsCorruptAndNamed) {
  const std::string good = to_json(full_record());
  std::string other_version = good;
  other_version.replace(other_version.find("\"version\": 1"), 12, "\"version\": 2");
  std::string unknown_state = good;
  unknown_state.replace(unknown_state.find("\"stopped\""), 9, "\"resting\"");
  std::string no_node = good;
  no_node.replace(no_node.find("\"b\""), 3, "\"-\"");
  std::string no_generation = good;
  no_generation.replace(no_generation.find("9.2.41"), 6, "9.2.x");
  const std::vector<std::string> bad{no_node, no_generation, "",   "{}", "[]", "null", good.substr(0, good.size() / 2), other_version,
                                     unknown_state, without(good, "desired"), without(good, "failures")};
  for (const std::string& text : bad) {
    const auto read = record_from_json(text, "/state/web/state.json");
    ASSERT_FALSE(read) << text;
    EXPECT_EQ(read.error().code(), ErrorCode::kCorrupt);
    EXPECT_TRUE(read.error().message().starts_with("'/state/web/state.json': ")) << read.error().message();
  }
}

}  // namespace
}  // namespace perdure::node
