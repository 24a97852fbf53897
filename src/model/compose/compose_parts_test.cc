// Proves that values, variables and merge keys of Compose files mean what the Compose specification says.
#include <gtest/gtest.h>

#include <chrono>

#include "model/compose/compose_tree.h"
#include "model/compose/compose_values.h"
#include "model/compose/interpolation.h"

namespace perdure::model::compose {
namespace {

using namespace std::chrono_literals;
const Variables kVariables = {{"A", "a"}, {"EMPTY", ""}};

std::string expanded(std::string_view text) {
  const auto done = interpolate(text, kVariables);
  return done ? done->text : "refused";
}

TEST(ComposeInterpolation, FormsOfVariables) {
  EXPECT_EQ(expanded("$A-${A}-$$A"), "a-a-$A");
  EXPECT_EQ(expanded("${EMPTY:-x}${EMPTY-x}${NONE-y}"), "xy");
  EXPECT_EQ(expanded("${A:+x}${EMPTY:+y}${EMPTY+z}"), "xz");
  EXPECT_EQ(expanded("${NONE:-${EMPTY:-${A}}}"), "a");
  for (const char* bad : {"${NONE:?why}", "${NONE?}", "${", "$", "${A!}", "${1}"}) EXPECT_EQ(expanded(bad), "refused") << bad;
  EXPECT_EQ(interpolate("$NONE", kVariables)->unset, std::vector<std::string>{"NONE"});
}

TEST(ComposeInterpolation, EnvironmentFile) {
  const auto file = parse_environment_file("# c\nexport X=1 # c\nY='$A'\nZ=\"$X\\n\"\nA\nN\n", kVariables);
  ASSERT_TRUE(file.has_value()) << file.error().message();
  const EnvironmentFile expected = {{"X", "1"}, {"Y", "$A"}, {"Z", "1\n"}, {"A", "a"}, {"N", std::nullopt}};
  EXPECT_EQ(*file, expected);
  EXPECT_FALSE(parse_environment_file("X='", kVariables).has_value());
}

TEST(ComposeValues, WordsDurationsSizes) {
  EXPECT_EQ(*split_words(R"(a 'b c' "d\"e" f\ g '')"), (std::vector<std::string>{"a", "b c", "d\"e", "f g", ""}));
  EXPECT_FALSE(split_words("'a").has_value());
  EXPECT_EQ(*compose::parse_duration("1m30s"), 90s);
  EXPECT_EQ(*compose::parse_duration("1.5ms"), 1500us);
  EXPECT_FALSE(compose::parse_duration("5").has_value());
  EXPECT_EQ(compose::parse_bytes("512M")->count, 512u << 20);
  EXPECT_FALSE(compose::parse_bytes("1x").has_value());
}

TEST(ComposeValues, Ports) {
  const auto ports = parse_ports("127.0.0.1:8000-8001:80-81/udp");
  ASSERT_TRUE(ports.has_value());
  ASSERT_EQ(ports->size(), 2u);
  EXPECT_EQ((*ports)[1].target, 81);
  EXPECT_TRUE((*ports)[1].udp);
  EXPECT_EQ((*ports)[0].host_ip, "127.0.0.1");
  for (const char* bad : {"", "0", "1-99", "80/sctp", "x:80"}) EXPECT_FALSE(parse_ports(bad).has_value()) << bad;
}

TEST(ComposeTree, MergeKeysGiveWay) {
  YamlDocument document = parse_yaml("a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], x: 0}\n");
  ASSERT_TRUE(document.complete);
  Reading reading("");
  merge_keys(reading, document.root);
  EXPECT_TRUE(reading.good());
  const auto value = [&](std::string_view path) { return find_path(document.root, path)->text; };
  EXPECT_EQ(value("c.x") + value("c.y") + value("c.z"), "012");
}

}  // namespace
}  // namespace perdure::model::compose
