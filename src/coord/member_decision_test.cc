// Proves which member change comes next, as a table: managers, members, the step. Nodes are letters; "a" a reachable manager, "a!" one
// that cannot be reached; members: "a" a healthy voter, "a!" an ill one, "+a" a learner that has caught up, "+a?" one that has not,
// "+_a?" one that was added and never started, "a@" one under another URL.
#include "coord/member_decision.h"

#include <gtest/gtest.h>

#include <sstream>

namespace perdure::coord {
namespace {

std::string url(char node) { return std::string("https://") + node + ":7402"; }

std::vector<ManagerNode> managers_of(const std::string& text) {
  std::vector<ManagerNode> managers;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    managers.push_back({NodeName::parse(word.substr(0, 1)).value(), url(word[0]), "", !word.ends_with('!')});
  }
  return managers;
}

std::vector<MemberView> members_of(const std::string& text) {
  std::vector<MemberView> members;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    MemberView view;
    view.member.learner = word.starts_with('+');
    if (view.member.learner) word.erase(0, 1);
    const bool unstarted = word.starts_with('_');
    if (unstarted) word.erase(0, 1);
    view.member.id = static_cast<std::uint64_t>(word[0]);
    if (!unstarted) view.member.name = word.substr(0, 1);
    view.member.peer_urls = {word.ends_with('@') ? "https://old:7402" : url(word[0])};
    view.healthy = !word.ends_with('!') && !unstarted;
    view.caught_up = view.member.learner && !word.ends_with('?');
    members.push_back(view);
  }
  return members;
}

struct Row {
  const char* managers;
  const char* members;
  const char* step;  // its beginning
};

class MemberDecision : public testing::TestWithParam<Row> {};

TEST_P(MemberDecision, IsTheOneOfTheTable) {
  const std::string step = to_string(decide_members(managers_of(GetParam().managers), members_of(GetParam().members)));
  EXPECT_TRUE(step.starts_with(GetParam().step)) << GetParam().managers << " | " << GetParam().members << " -> " << step;
}

INSTANTIATE_TEST_SUITE_P(
    Table, MemberDecision,
    testing::Values(
        // One member for one or two managers.
        Row{"a", "a", "settled: 1 members"}, Row{"a b", "a", "settled: 1 members"},
        // Three from three managers on, one after the other.
        Row{"a b c", "a", "add b"}, Row{"a b c", "a +_b?", "wait: learner"}, Row{"a b c", "a +b?", "wait: learner 'b' has not"},
        Row{"a b c", "a +b", "promote b"}, Row{"a b c", "a b", "add c"}, Row{"a b c", "a b +c", "promote c"},
        Row{"a b c", "a b c", "settled: 3 members"}, Row{"a b c d", "a b c", "settled: 3 members"},
        // Not to two members without a third in sight.
        Row{"a b c!", "a", "wait: more members are wanted"}, Row{"a b! c d", "a", "add c"},
        // Five from five on.
        Row{"a b c d e", "a b c", "add d"}, Row{"a b c d e!", "a b c", "wait: more members"}, Row{"a b c d e", "a b c d", "add e"},
        Row{"a b c d e f", "a b c d e", "settled: 5 members"},
        // Whose node is gone goes, when a quorum stays.
        Row{"a b", "a b c", "remove c: its node is no manager"}, Row{"a b d", "a b c!", "remove c"},
        Row{"a b d", "a b", "add d"}, Row{"b c", "a! b", "wait: 1 of 2 members are healthy"},
        Row{"b", "a b!", "wait: 1 of 2 members are healthy"}, Row{"a b c d", "a b c +z?", "remove z"},
        // Too many for the managers that are left: the ill one first, then the last.
        Row{"a b", "a b", "remove b: 1 members are enough"}, Row{"a b c d", "a b! c d", "remove b"},
        Row{"a b c d", "a b c d", "remove d"},
        // No quorum, no change; an ill member is no reason for another one.
        Row{"a b c", "a! b! c", "wait: 1 of 3 members are healthy"}, Row{"a b c", "a b!", "wait: 1 of 2 members are healthy"},
        Row{"a b c d e", "a b c!", "wait: a member is ill"},
        // A learner whose node has never started it, or that is not wanted any more.
        Row{"a b! c d", "a +_b?", "remove https://b:7402: its node cannot be reached"}, Row{"a b", "a +b", "remove b: there are members"},
        // A node with another address.
        Row{"a b c", "a b@ c", "update 62 to https://b:7402"}));

TEST(MemberDecisionCount, IsOddAndAtMostFive) {
  const std::vector<std::size_t> wanted{1, 1, 1, 3, 3, 5, 5, 5};
  for (std::size_t managers = 0; managers < wanted.size(); ++managers) EXPECT_EQ(wanted_members(managers), wanted[managers]);
}

// Whatever the managers: following the steps ends with as many members as are wanted, and never without a quorum.
TEST(MemberDecisionWalk, EndsSettled) {
  for (std::size_t before = 1; before <= 6; ++before) {
    for (std::size_t after = 1; after <= 6; ++after) {
      std::string all = "a b c d e f";
      const auto managers = managers_of(all.substr(0, 2 * after - 1));
      auto members = members_of(std::string("a b c d e").substr(0, 2 * wanted_members(before) - 1));
      MemberStep step = NoMemberStep{};
      for (int i = 0; i < 40; ++i) {
        step = decide_members(managers, members);
        if (const auto* add = std::get_if<AddLearner>(&step)) {
          members.push_back(members_of("+" + add->node.str()).front());
        } else if (const auto* promote = std::get_if<PromoteMember>(&step)) {
          for (MemberView& view : members) view.member.learner = view.member.learner && view.member.id != promote->id;
        } else if (const auto* removed = std::get_if<RemoveMember>(&step)) {
          std::erase_if(members, [&](const MemberView& view) { return view.member.id == removed->id; });
        } else {
          break;
        }
        ASSERT_FALSE(members.empty());
      }
      ASSERT_TRUE(std::holds_alternative<NoMemberStep>(step) && std::get<NoMemberStep>(step).settled) << to_string(step);
      EXPECT_EQ(members.size(), wanted_members(after));
    }
  }
}

}  // namespace
}  // namespace perdure::coord
