// Proves who stands by: clusters in one line each ("b dc1/r2/s1 held=5 cordoned"), and the order
// that comes out, whatever the order of the nodes.
#include "placement/choose_standbys.h"

#include <algorithm>
#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace perdure::placement {
namespace {

using testing::HasSubstr;

NodeName name(const std::string& text) {
  return NodeName::parse(text).value();
}

model::NodeDescription named(const std::string& text) {
  const model::NodeLife life{name(text), Incarnation{1}};
  return {life, {}, {}, false, false, false, {}, {}, {}, {}, {}, {}};
}

// NAME DATA-CENTRE/RACK/SERVER [held=N] [owned=N] [cordoned] [witness] [down] [old]; "-" is no
// label.
NodeView node(const std::string& line) {
  std::istringstream words(line);
  std::string word;
  words >> word;
  NodeView view{.description = named(word), .reachable = true};
  words >> word;
  std::istringstream labels(word);
  std::size_t level = 0;
  for (std::string value; std::getline(labels, value, '/'); ++level) {
    if (value != "-") view.description.labels[std::string(model::kDomainLabels.at(level))] = value;
  }
  view.description.facts.kernel_release = "6.18";
  view.description.facts.machine = "x86_64";
  view.description.facts.criu_version = "4.2";
  view.description.facts.memory_bytes = 1000;
  while (words >> word) {
    if (word.starts_with("held=")) view.held_bytes = std::stoull(word.substr(5));
    if (word.starts_with("owned="))
      view.owned = static_cast<std::uint32_t>(std::stoul(word.substr(6)));
    if (word == "cordoned") view.description.cordoned = true;
    if (word == "witness") view.description.witness = true;
    if (word == "down") view.reachable = false;
    if (word == "old") view.description.facts.kernel_release = "5.10";
  }
  return view;
}

struct Row {
  std::string what;
  std::vector<std::string> nodes;  // the first one is the owner
  std::vector<std::string> present;
  std::string candidates;
};

StandbyQuestion question(const Row& row) {
  StandbyQuestion question{
      .nodes = {}, .owner = name("a"), .present = {}, .wanted = {}, .requirements = {}, .refusals = {}};
  for (const auto& line : row.nodes) question.nodes.push_back(node(line));
  for (const auto& text : row.present) question.present.push_back(name(text));
  question.requirements.host = question.nodes.front().description.facts;
  question.requirements.memory_bytes = 100;
  return question;
}

std::string joined(const std::vector<NodeName>& names) {
  std::string text;
  for (const NodeName& one : names) text += (text.empty() ? "" : " ") + one.str();
  return text;
}

const std::vector<Row>& rows() {
  static const std::vector<Row> kRows = {
      {"alone", {"a -"}, {}, ""},
      {"no labels: by name", {"a -", "c -", "b -"}, {}, "b c"},
      {"another data-centre, another rack, another server, the same one",
       {"a d1/r1/s1", "b d1/r1/s1", "c d1/r1/s2", "d d1/r2/s1", "e d2/r1/s1"},
       {},
       "e d c b"},
      {"racks alone are enough", {"a -/r1", "b -/r1", "c -/r2"}, {}, "c b"},
      {"the least loaded of equals", {"a d1", "b d2 held=9", "c d3 held=5"}, {}, "c b"},
      {"then who owns least", {"a d1", "b d2 owned=2", "c d3 owned=1"}, {}, "c b"},
      {"far from each other too", {"a d1/r1", "b d1/r2", "c d1/r2", "d d1/r3 held=9"}, {}, "b d c"},
      {"not two on one server far away",
       {"a d1/r1/s1", "b d2/r1/s1", "c d2/r1/s1", "d d1/r2/s1"},
       {},
       "b d c"},
      {"who is there stays, though others are better",
       {"a d1/r1", "b d1/r1", "c d2/r1"},
       {"b"},
       "b c"},
      {"also when it is out of reach", {"a d1", "b d1 down", "c d2"}, {"b"}, "b c"},
      {"but not when it is cordoned", {"a d1", "b d1 cordoned", "c d2"}, {"b"}, "c"},
      {"nor when it could not restore", {"a d1", "b d1 old", "c d2"}, {"b"}, "c"},
      {"never a witness, a cordoned one, one out of reach",
       {"a -", "b - witness", "c - cordoned", "d - down", "e -"},
       {},
       "e"},
  };
  return kRows;
}

TEST(ChooseStandbysTest, TheTable) {
  for (const Row& row : rows()) {
    EXPECT_EQ(joined(choose_standbys(question(row)).candidates), row.candidates) << row.what;
  }
}

TEST(ChooseStandbysTest, TheOrderOfTheNodesDoesNotMatter) {
  for (const Row& row : rows()) {
    StandbyQuestion asked = question(row);
    const auto expected = choose_standbys(asked);
    for (std::size_t n = 0; n < asked.nodes.size(); ++n) {
      std::ranges::rotate(asked.nodes, asked.nodes.begin() + 1);
      const auto choice = choose_standbys(asked);
      EXPECT_EQ(choice.candidates, expected.candidates) << row.what;
      EXPECT_EQ(choice.refused, expected.refused) << row.what;
    }
  }
}

TEST(ChooseStandbysTest, EveryNodeButTheOwnerIsACandidateOrRefusedWithAReason) {
  for (const Row& row : rows()) {
    const auto choice = choose_standbys(question(row));
    EXPECT_EQ(choice.candidates.size() + choice.refused.size() + 1, row.nodes.size()) << row.what;
    for (const auto& [who, why] : choice.refused) EXPECT_NE(why, "") << who.str();
  }
}

TEST(ChooseStandbysTest, ANodesOwnRefusalCountsUnlessItStandsByAlready) {
  StandbyQuestion asked = question({"", {"a -", "b -", "c -"}, {"b"}, ""});
  asked.refusals = {{name("b"), "no bridge"}, {name("c"), "no space"}};
  const auto choice = choose_standbys(asked);
  EXPECT_EQ(joined(choice.candidates), "b");
  EXPECT_THAT(choice.refused.at(name("c")), HasSubstr("no space"));
}

TEST(SharedDomainsTest, AWiderLabelThatDiffersEndsIt) {
  const auto shared = [](const std::string& one, const std::string& other) {
    return shared_domains(node("a " + one).description, node("b " + other).description);
  };
  EXPECT_EQ(shared("d1/r1/s1", "d2/r1/s1"), 0);
  EXPECT_EQ(shared("d1/r1/s1", "d1/r2/s1"), 1);
  EXPECT_EQ(shared("d1/r1/s1", "d1/r1/s2"), 2);
  EXPECT_EQ(shared("d1/r1/s1", "d1/r1/s1"), 3);
  EXPECT_EQ(shared("-/r1", "d1/r1"), 2);
  EXPECT_EQ(shared("-", "-"), 0);
  EXPECT_EQ(shared_domains(node("a -").description, node("a -").description), 3);
}

TEST(ChooseStandbys, ThoseThatAreWantedComeBehindThoseThatStandBy) {
  StandbyQuestion asked = question({"", {"a dc1/r1/s1", "b dc1/r1/s1", "c dc1/r1/s1", "d dc2/r1/s1", "e dc3/r1/s1 cordoned"}, {"d"}, ""});
  EXPECT_EQ(joined(choose_standbys(asked).candidates), "d b c");
  asked.wanted = {name("c"), name("e"), name("gone"), name("a"), name("d")};
  EXPECT_EQ(joined(choose_standbys(asked).candidates), "d c b") << "a cordoned one is not taken, nor the owner";
}

}  // namespace
}  // namespace perdure::placement
