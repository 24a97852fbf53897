// Proves: the JSON form of every answer, as golden files (a field that changes its name changes one
// of them); odd bytes do not break it; the documentation has every shape that a command or a field
// names.
#include "cli/json_output.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "cli/cluster_test_support.h"
#include "cli/command_table.h"
#include "cli/log_lines.h"
#include "cli/test_support.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;

TEST(JsonTest, Container) {
  v1::InspectReply reply;
  *reply.mutable_status() = protected_web();
  reply.set_spec_yaml("name: web\n");
  *reply.add_recent_events() = restored_event();
  expect_golden("inspect.json", to_json(reply));
}

TEST(JsonTest, WhatIsNotKnownIsNull) {
  v1::ListReply reply;
  reply.add_containers()->set_name("bare");
  expect_golden("list-bare.json", to_json(reply));
}

TEST(JsonTest, Generations) {
  expect_golden("generations.json", to_json(web_generations()));
}

TEST(JsonTest, ContainerInACluster) {
  v1::ListReply reply;
  *reply.add_containers() = replicated_web();
  expect_golden("list-cluster.json", to_json(reply));
}

TEST(JsonTest, Cluster) {
  expect_golden("cluster.json", to_json(three_node_cluster()));
  expect_golden("cluster-bare.json", to_json(v1::ClusterReply()));
}

TEST(JsonTest, ChangesOfACluster) {
  v1::ClusterTokenReply token;
  token.set_token("0123456789ab.cc.dd");
  token.set_uses(1);
  token.set_expires_unix_ms(1'790'003'600'000);
  v1::NodeListReply nodes;
  *nodes.add_nodes() = three_node_cluster().nodes(2);
  v1::NodeDrainReply drain;
  drain.set_node("beta");
  drain.add_moved("web");
  drain.add_failures("mail: no node may hold it");
  v1::MoveReply move;
  move.mutable_status()->set_name("bare");
  move.set_from("beta");
  move.set_to("alpha");
  move.set_frozen_ns(84'000'000);
  move.set_bytes(1'240'000);
  move.set_generation("8.2f.43");
  expect_golden("cluster-changes.json", to_json(token) + to_json(nodes) + to_json(drain) +
                                            to_json(recovery_report()) + to_json(move) +
                                            to_json(taken_back()));
}

TEST(JsonTest, OddBytesAreReplaced) {
  v1::Event event;
  event.set_text("\xFF\x1b[2J\"");
  const std::string line = to_json_line(event);
  EXPECT_TRUE(line.contains("\xEF\xBF\xBD\\u001b[2J\\\"")) << line;
  EXPECT_EQ(std::ranges::count(line, '\n'), 1);
}

TEST(JsonTest, FailuresNameTheirCode) {
  EXPECT_EQ(failure_to_json_line(
                {.code = ExitCode::kTimeout, .message = "m", .remedy = "", .detail = {"d"}}),
            "{\"error\":{\"code\":\"timeout\",\"exit_code\":7,\"message\":\"m\",\"remedy\":null,"
            "\"detail\":[\"d\"]}}\n");
}

TEST(JsonTest, EveryShapeIsDocumented) {
  std::set<std::string> names;
  for (const JsonShape& shape : json_shapes())
    EXPECT_TRUE(names.insert(shape.name).second) << shape.name;
  for (const Command& command : command_table()) {
    EXPECT_TRUE(command.json.empty() || names.contains(std::string(command.json))) << command.name;
  }
  const std::set<std::string> simple{
      "text", "integer", "boolean", "time", "object of integers", "object of texts"};
  for (const JsonShape& shape : json_shapes()) {
    for (const JsonFieldText& field : shape.fields) {
      std::string type = field.type;
      if (type.ends_with(" or null")) type.resize(type.size() - 8);
      if (type.starts_with("list of ")) type.erase(0, 8);
      EXPECT_TRUE(simple.contains(type) || names.contains(type))
          << shape.name << "." << field.name << ": " << type;
    }
  }
}

v1::LogChunk chunk(v1::LogStream stream, std::string data, std::int64_t time) {
  v1::LogChunk result;
  result.set_stream(stream);
  result.set_data(std::move(data));
  result.set_time_unix_ms(time);
  return result;
}

TEST(LogLinesTest, ChunksBecomeLinesPerStream) {
  LogLines lines;
  EXPECT_TRUE(lines.add(chunk(v1::LOG_STREAM_STDOUT, "on", 1)).empty());
  EXPECT_TRUE(lines.add(chunk(v1::LOG_STREAM_STDERR, "oops", 2)).empty());
  const auto complete = lines.add(chunk(v1::LOG_STREAM_STDOUT, "e\n\ntw", 3));
  ASSERT_EQ(complete.size(), 2U);
  EXPECT_EQ(complete[0].text, "one");
  EXPECT_EQ(complete[0].time_unix_ms, 1) << "the time of its beginning";
  EXPECT_TRUE(complete[0].complete);
  EXPECT_EQ(complete[1].text, "");
  EXPECT_EQ(complete[1].time_unix_ms, 3);
  const auto rest = lines.finish();
  ASSERT_EQ(rest.size(), 2U);
  EXPECT_EQ(rest[0].text + "," + rest[1].text, "tw,oops");
  EXPECT_FALSE(rest[0].complete);
  EXPECT_TRUE(lines.finish().empty());
}

TEST(LogLinesTest, AnEndlessLineComesInPieces) {
  LogLines lines;
  const auto pieces =
      lines.add(chunk(v1::LOG_STREAM_STDOUT, std::string(kMaxLogLineBytes + 5, 'x') + "\n", 1));
  ASSERT_EQ(pieces.size(), 2U);
  EXPECT_EQ(pieces[0].text.size(), kMaxLogLineBytes);
  EXPECT_FALSE(pieces[0].complete);
  EXPECT_EQ(pieces[1].text, "xxxxx");
  EXPECT_TRUE(pieces[1].complete);
}

}  // namespace
}  // namespace perdure::cli
