// Proves that values of a Compose file mean what the Compose specification says: words, durations, sizes, ports, variables and
// files of variables, the good ones and what is said about the bad ones; and that work on variables is bounded.
#include "model/compose/compose_values.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <string_view>

#include "model/compose/compose_tree.h"
#include "model/compose/interpolation.h"

namespace perdure::model::compose {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::Pair;

const Variables kVariables = {{"NAME", "db"}, {"EMPTY", ""}, {"PORT", "80"}, {"MONEY", "$NAME"}};

std::string expanded(std::string_view text) {
  const auto done = interpolate(text, kVariables);
  return done ? done->text : "refused: " + done.error().message();
}

TEST(ComposeValues, WordsAreSplitAsByAShell) {
  EXPECT_THAT(*split_words("redis-server --save  60 1"), ElementsAre("redis-server", "--save", "60", "1"));
  EXPECT_THAT(*split_words(R"(sh -c 'a "b" \n' "c $d \"e\" \n" f\ g "" h'i'j)"),
              ElementsAre("sh", "-c", R"(a "b" \n)", R"(c $d "e" \n)", "f g", "", "hij"));
  EXPECT_TRUE(split_words(" \t\n")->empty());
  EXPECT_EQ(split_words("sh 'a").error().message(), "'sh 'a' has quotes that are not closed; close them, or write a list");
  EXPECT_EQ(split_words("sh \\").error().message(), "'sh \\' ends with a backslash; remove it or double it");
}

TEST(ComposeValues, DurationsAndSizes) {
  EXPECT_EQ(*parse_duration("1m30s"), 90s);
  EXPECT_EQ(*parse_duration("1.5h"), 90min);
  EXPECT_EQ(*parse_duration("2h5m1s20ms"), 2h + 5min + 1s + 20ms);
  EXPECT_EQ(*parse_duration("10us"), 10us);
  EXPECT_EQ(*parse_duration("0"), 0s);
  for (const char* bad : {"", "10", "s", "1 s", "1d", "-1s", "1..5s", "1s2"}) EXPECT_FALSE(parse_duration(bad).has_value()) << bad;
  EXPECT_EQ(parse_duration("99999h").error().message(), "'99999h' is too long; give at most 100 days");
  EXPECT_EQ(parse_bytes("512m")->count, std::uint64_t{512} << 20);
  EXPECT_EQ(parse_bytes("1.5GB")->count, std::uint64_t{1536} << 20);
  EXPECT_EQ(parse_bytes("2048")->count, 2048u);
  EXPECT_EQ(parse_bytes("64kib")->count, std::uint64_t{64} << 10);
  for (const char* bad : {"", "m", "1x", "-1m", "1mm", "9999999999t"}) EXPECT_FALSE(parse_bytes(bad).has_value()) << bad;
}

TEST(ComposeValues, Ports) {
  const auto one = parse_ports("127.0.0.1:8080:80/udp");
  ASSERT_EQ(one->size(), 1u);
  EXPECT_EQ((*one)[0].target, 80);
  EXPECT_TRUE((*one)[0].udp);
  EXPECT_EQ((*one)[0].published, "8080");
  EXPECT_EQ((*one)[0].host_ip, "127.0.0.1");
  EXPECT_EQ(parse_ports("3000-3003")->size(), 4u);
  EXPECT_EQ((*parse_ports("[::1]:1:2"))[0].target, 2);
  for (const char* bad : {"", "x", "0", "65536", "80-70", "1-1000", "80/sctp", "x:80", "80:", "1:2:3:x"}) {
    EXPECT_FALSE(parse_ports(bad).has_value()) << bad;
  }
}

TEST(ComposeVariables, EveryForm) {
  EXPECT_EQ(expanded("a$NAME-${NAME}b"), "adb-dbb");
  EXPECT_EQ(expanded("${NAME:-x}${EMPTY:-x}${EMPTY-x}${NO-x}${NO:-x}"), "dbxxx");
  EXPECT_EQ(expanded("${NAME:+x}${EMPTY:+x}${EMPTY+y}${NO+x}"), "xy");
  EXPECT_EQ(expanded("${NO:-${ALSO:-${NAME}}}/${NO:-a}b}"), "db/ab}");
  EXPECT_EQ(expanded("$${NAME} $$NAME"), "${NAME} $NAME");
  EXPECT_EQ(expanded("$MONEY"), "$NAME") << "what a variable holds is not looked at again";
  EXPECT_EQ(expanded("${NO:?is needed}"), "refused: the variable 'NO' has no value: 'is needed'; set it in the environment or in .env");
  EXPECT_EQ(expanded("${NO?}"), "refused: the variable 'NO' has no value; set it in the environment or in .env");
  EXPECT_EQ(expanded("${EMPTY?x}"), "");
  for (const char* bad : {"$", "a$ b", "$1", "${", "${}", "${NAME", "${NAME!x}", "${NAME:}", "${1A}"}) {
    EXPECT_THAT(expanded(bad), ::testing::HasSubstr("is no variable; write $NAME or ${NAME}, or $$ for a dollar")) << bad;
  }
  EXPECT_THAT(interpolate("$NO ${ALSO} ${THIRD:-}", kVariables)->unset, ElementsAre("NO", "ALSO"));
}

TEST(ComposeVariables, WorkIsBounded) {
  std::string deep = "x";
  for (int i = 0; i < 9; ++i) deep = "${NO:-" + deep + "}";
  EXPECT_EQ(expanded(deep), "refused: variables are nested deeper than 8 levels; write them out");
  const Variables large = {{"A", std::string(100'000, 'x')}};
  EXPECT_FALSE(interpolate("$A$A$A$A", large).has_value());
  EXPECT_TRUE(interpolate("$A$A", large).has_value());
}

TEST(ComposeVariables, FilesOfVariables) {
  const auto file = parse_environment_file(
      "# a comment\n"
      "A=1\n"
      "export B = two words # behind\r\n"
      "C='$A \"x\" # no'\n"
      "\n"
      "D=\"${A}\\n\\$A\n"
      "second line\" # behind\n"
      "E=a#b\n"
      "F=\n"
      "NAME\n"
      "G\n"
      "H=$NAME-$A\n",
      kVariables);
  ASSERT_TRUE(file.has_value()) << file.error().message();
  EXPECT_THAT(*file, ElementsAre(Pair("A", "1"), Pair("B", "two words"), Pair("C", "$A \"x\" # no"), Pair("D", "1\n$A\nsecond line"),
                                 Pair("E", "a#b"), Pair("F", ""), Pair("NAME", "db"), Pair("G", std::nullopt), Pair("H", "db-1")));
  const auto refusal = [](std::string_view text) { return parse_environment_file(text, {}).error().message(); };
  EXPECT_EQ(refusal("A=1\n\nB=\"x\ny"), "3: the quotes are not closed; close them");
  EXPECT_EQ(refusal("A='x' y"), "1: something stands behind the quotes; remove it");
  EXPECT_EQ(refusal("=x"), "1: '' is no name of a variable; write NAME=VALUE");
  EXPECT_EQ(refusal("A=\"1\n2\"\nA B"), "3: 'A' has no value; write A=VALUE");
  EXPECT_EQ(refusal("A=${B:?}"), "1: the variable 'B' has no value; set it in the environment or in .env");
}

TEST(ComposeTree, MergeKeysAreWhatTheyName) {
  const YamlDocument document = parse_yaml("a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {<<: [*b, *a], y: 9}\nd: {<<: *a, w: {<<: *b}}\n");
  Reading reading("");
  YamlNode root = document.root;
  merge_keys(reading, root);
  EXPECT_TRUE(reading.good());
  EXPECT_EQ(find_path(root, "c.y")->text, "9");
  EXPECT_EQ(find_path(root, "c.z")->text, "4");
  EXPECT_EQ(find_path(root, "c.x")->text, "1");
  EXPECT_EQ(find_path(root, "d.w.y")->text, "3");
  EXPECT_EQ(find_path(root, "c.<<"), nullptr);
  EXPECT_EQ(find_path(root, "c")->keys.size(), 3u);
  YamlNode bad = parse_yaml("a: {<<: [1]}").root;
  merge_keys(reading, bad);
  EXPECT_EQ(reading.error("f").message(), "f:1:10: '<<' merges a map or a list of maps; write '<<: *NAME'");
}

}  // namespace
}  // namespace perdure::model::compose
