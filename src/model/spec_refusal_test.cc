// Proves that every bad spec is refused with its place and a remedy: the table
// testdata/refusals.txt, readable by itself, and beyond it what is too large to be written down
// (limits, floods, encodings).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "model/spec_yaml.h"
#include "model/testdata/refusal_cases.h"
#include "model/yaml_adapter.h"

namespace perdure::model {
namespace {

constexpr std::string_view kGoodStart =
    "name: web\nroot-filesystem: {tar: /srv/web.tar}\ncommand: [web]\n";

std::string refusal(std::string_view yaml) { return testing::refusal_of(read_spec(yaml, "spec"), "spec"); }

std::string repeated(std::string_view text, std::size_t times) {
  std::string result;
  for (std::size_t i = 0; i < times; ++i) result += text;
  return result;
}

std::string with(std::string_view lines) {
  return std::string(kGoodStart) + std::string(lines);
}

TEST(SpecRefusal, TableOfBadSpecs) {
  const auto cases = testing::read_refusal_cases(PERDURE_MODEL_DIR "/testdata/refusals.txt", kGoodStart);
  ASSERT_GT(cases.size(), 70U);
  for (const testing::RefusalCase& bad : cases) {
    EXPECT_EQ(refusal(bad.document), bad.expected) << bad.title << "\n" << bad.document;
  }
}

TEST(SpecRefusal, GoodStartIsAccepted) {
  EXPECT_EQ(refusal(kGoodStart), "accepted");
}

TEST(SpecRefusal, OnlyTheFirstTwentyErrorsAreShown) {
  std::string flood;
  for (int i = 0; i < 30; ++i) flood += "wrong-" + std::to_string(i) + ": 1\n";
  const auto spec = read_spec(with(flood), "spec");
  ASSERT_FALSE(spec);
  const std::string& message = spec.error().message();
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 20);
  EXPECT_THAT(message, ::testing::HasSubstr("spec:23:1: unknown key 'wrong-19'"));
  EXPECT_THAT(message, ::testing::EndsWith("\nspec: 10 more errors"));
}

TEST(SpecRefusal, FileTooLarge) {
  const std::string comment = "#" + repeated("x", kMaxSpecBytes);
  EXPECT_EQ(refusal(comment), "1:1: the spec has 262145 bytes; shorten it to 262144");
}

TEST(SpecRefusal, BytesThatAreNoText) {
  EXPECT_EQ(refusal("\xef\xbb\xbfname: web\n"),
            "1:1: begins with a byte order mark; save it as UTF-8 without one");
  EXPECT_EQ(refusal("name: web\nuser: \"\xff\"\n"),
            "2:8: byte 0xff is not UTF-8; save the file as UTF-8");
  EXPECT_EQ(refusal("# \xc0\xaf overlong\n"),
            "1:3: byte 0xc0 is not UTF-8; save the file as UTF-8");
  EXPECT_EQ(refusal("# \xed\xa0\x80 surrogate\n"),
            "1:3: byte 0xed is not UTF-8; save the file as UTF-8");
  EXPECT_EQ(refusal("# cut off \xe2\x82"), "1:11: byte 0xe2 is not UTF-8; save the file as UTF-8");
  // The parser would take this one for the end of the file, and the rest would silently be missing.
  EXPECT_EQ(refusal("name: web\n\x04user: root\n"), "2:1: control character 0x04; remove it");
  EXPECT_EQ(refusal("name: web\rhostname: web\n"), "1:10: control character 0x0d; remove it");
}

// Worded differently by each yaml-cpp.
TEST(SpecRefusal, UndefinedAlias) {
  EXPECT_THAT(refusal("name: *web\n"),
              ::testing::StartsWith("1:7: not valid YAML: the referenced anchor is not defined"));
}

// yaml-cpp 0.7 and 0.8 decode two escapes wrongly; a later one may be right.
TEST(SpecRefusal, EscapeThatIsNoUtf8) {
  const auto spec = read_spec(with("environment: {A: \"\\N\"}\n"), "spec");
  if (spec) {
    EXPECT_EQ(spec->environment.at("A"), "\u0085");
  } else {
    EXPECT_EQ(spec.error().message(),
              "spec:4:18: an escape gives no UTF-8; write \\u0085 for \\N and \\u00a0 for \\_");
  }
}

TEST(SpecRefusal, NestingIsBounded) {
  const std::string expected = "nested deeper than 16 levels; no spec needs that";
  EXPECT_EQ(refusal("a: " + repeated("[", 17) + repeated("]", 17)), "1:19: " + expected);
  EXPECT_THAT(refusal(repeated("[", 100'000)), ::testing::EndsWith(expected));
  EXPECT_THAT(refusal(repeated("{a: ", 60'000)), ::testing::EndsWith(expected));
  EXPECT_EQ(refusal(repeated("- ", 100'000)), "1:33: " + expected);
  EXPECT_THAT(refusal(repeated("? ", 100'000)), ::testing::EndsWith(expected));
  // Sixteen levels made of shallow anchors.
  std::string chain = "a0: &a0 [x]\n";
  for (int i = 1; i < 20; ++i) {
    const std::string n = std::to_string(i);
    chain += "a" + n + ": &a" + n + " [*a" + std::to_string(i - 1) + "]\n";
  }
  EXPECT_EQ(refusal(chain), "16:12: " + expected);
}

TEST(SpecRefusal, AliasBombIsBounded) {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 10; ++i) {
    const std::string n = std::to_string(i);
    bomb += "a" + n + ": &a" + n + " [" + repeated("*a" + std::to_string(i - 1) + ", ", 10) + "]\n";
  }
  EXPECT_EQ(refusal(bomb),
            "4:5: more than 20000 values with the aliases expanded; make it smaller");
}

TEST(SpecRefusal, AliasedTextIsBounded) {
  const std::string big =
      "a: &big " + repeated("x", 200'000) + "\nb: [*big, *big, *big, *big, *big]\n";
  EXPECT_EQ(refusal(big),
            "2:23: more than 1024 KiB of text with the aliases expanded; make it smaller");
}

TEST(SpecRefusal, ManyValuesAreBounded) {
  EXPECT_THAT(refusal("command: [" + repeated("a,", 30'000) + "]"),
              ::testing::HasSubstr("more than 20000 values"));
}

TEST(SpecRefusal, ListsMapsAndTextsAreBounded) {
  const std::string start = "name: web\nroot-filesystem: {oci: /srv/web}\n";
  EXPECT_EQ(refusal(start + "command: [" + repeated("a, ", 1025) + "]"),
            "3:10: command: has 1025 items; give at most 1024");
  EXPECT_EQ(refusal(start + "command: [a, " + repeated("x", 32 * 1024 + 1) + "]"),
            "3:14: command[1]: is longer than 32768 bytes; shorten it");
  EXPECT_EQ(refusal(start + "user: " + repeated("x", 5000)),
            "3:7: user: is longer than 4096 bytes; shorten it");
  EXPECT_EQ(refusal(start + "working-directory: " + repeated("/x", 2048)),
            "3:20: working-directory: '" + repeated("/x", 30) +
                "…' is longer than 4095 bytes; shorten it");
  EXPECT_EQ(refusal(start + "working-directory: /" + repeated("x", 256)),
            "3:20: working-directory: '/" + repeated("x", 59) +
                "…' has a part longer than 255 bytes; shorten it");
  EXPECT_EQ(refusal(start + "hostname: " + repeated("abc.", 16) + "x"),
            "3:11: hostname: '" + repeated("abc.", 15) +
                "…' is no host name; use letters, digits, '-' and '.', at most 64 bytes");
  const std::string component = "components: [{name: a, command: [a], probe: ";
  EXPECT_EQ(refusal(start + component + "{unix: /" + repeated("x", 107) + "}}]"),
            "3:52: components[0].probe.unix: '/" + repeated("x", 59) +
                "…' is longer than the 107 bytes that a socket's address holds; shorten it");
  EXPECT_EQ(refusal(start + component + "{unix: /" + repeated("x", 106) + "}}]"), "accepted");
  EXPECT_EQ(refusal(start + component + "{http: 80, path: /" + repeated("x", 1023) + "}}]"), "accepted");
  EXPECT_THAT(refusal(start + component + "{http: 80, path: /" + repeated("x", 1024) + "}}]"),
              ::testing::HasSubstr("is no path of HTTP"));
  std::string components = "components:\n";
  std::string dependencies = "components:\n- name: a\n  command: [a]\n  depends-on:\n";
  std::string variables = "environment:\n";
  std::string volumes = "volumes:\n";
  std::string ports = "network:\n  bridge: br0\n  ipv4: 192.0.2.10/28\n  tcp-ports:\n";
  std::string sysctls = "security:\n  sysctls:\n";
  for (int i = 0; i < 600; ++i) {
    const std::string n = std::to_string(i);
    variables += "  V" + n + ": x\n";
    if (i < 33) components += "- {name: c" + n + ", command: [c]}\n";
    if (i < 32) dependencies += "  - {component: c" + n + "}\n";
    if (i < 33) volumes += "- {name: v" + n + ", mount: /v" + n + "}\n";
    if (i < 65) ports += "  - {port: " + std::to_string(i + 1) + ", policy: splice}\n";
    if (i < 65) sysctls += "    net.x" + n + ": 1\n";
  }
  EXPECT_EQ(refusal(start + variables), "4:3: environment: has 600 items; give at most 512");
  EXPECT_EQ(refusal(start + components), "4:1: components: has 33 items; give at most 32");
  EXPECT_EQ(refusal(start + dependencies),
            "7:3: components[0].depends-on: has 32 items; give at most 31");
  EXPECT_EQ(refusal(start + volumes), "4:1: volumes: has 33 items; give at most 32");
  EXPECT_EQ(refusal(start + ports), "7:3: network.tcp-ports: has 65 items; give at most 64");
  EXPECT_EQ(refusal(start + sysctls), "5:5: security.sysctls: has 65 items; give at most 64");
}

TEST(SpecRefusal, MessagesStayOnOneLine) {
  EXPECT_EQ(refusal(with("\"a\\nb\": 1\n")).find('\n'), std::string::npos);
  EXPECT_EQ(refusal(with("environment: {\"a\\nb\": 1}\n")),
            "4:15: environment: 'a\\x0ab' is no variable's name; use 1 to 255 bytes without '='");
}

TEST(SpecRefusal, UnreadableFile) {
  const auto spec = read_spec_file("/nonexistent/spec.yaml");
  ASSERT_FALSE(spec);
  EXPECT_EQ(spec.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(spec.error().message(), ::testing::HasSubstr("/nonexistent/spec.yaml"));
}

}  // namespace
}  // namespace perdure::model
