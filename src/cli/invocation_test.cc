// Proves: the command line is what the command table says; every malformed value is told apart
// before anything is sent; names that look like commands or options do not confuse it.
#include "cli/invocation.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace perdure::cli {
namespace {

using namespace std::chrono_literals;

Invocation parsed(const std::vector<std::string>& arguments) {
  const CommandLine line = parse_command_line(arguments);
  if (const auto* error = std::get_if<UsageError>(&line)) ADD_FAILURE() << error->message;
  return std::holds_alternative<Invocation>(line) ? std::get<Invocation>(line)
                                                  : Invocation(command_of(CommandId::kHelp), {});
}

std::string usage_error(const std::vector<std::string>& arguments) {
  const CommandLine line = parse_command_line(arguments);
  const auto* error = std::get_if<UsageError>(&line);
  return error == nullptr ? "no error" : error->message;
}

TEST(CommandLineTest, OptionsMayStandBeforeAndAfterTheCommandAndTheName) {
  const auto logs =
      parsed({"--socket", "/tmp/s", "logs", "-f", "web", "--tail", "20", "--timeout=3s"});
  EXPECT_EQ(logs.command().id, CommandId::kLogs);
  EXPECT_EQ(logs.text(kSocketOption), "/tmp/s");
  EXPECT_EQ(logs.text(kNameArgument), "web");
  EXPECT_TRUE(logs.has(kFollowOption));
  EXPECT_EQ(logs.count(kTailOption), 20U);
  EXPECT_EQ(logs.duration(kTimeoutOption), Duration(3s));
  EXPECT_FALSE(logs.has(kJsonOption));
}

TEST(CommandLineTest, AllThatFollowsLabIsPassedOnAsItIs) {
  using Words = std::vector<std::string>;
  const Words words{"up", "--nodes", "3", "--json", "--help", "--", "-x", "list", "--yes=no"};
  Words line{"lab"};
  line.insert(line.end(), words.begin(), words.end());
  EXPECT_EQ(parsed(line).command().id, CommandId::kLab);
  EXPECT_EQ(parsed(line).rest(), words);
  EXPECT_EQ(parsed({"lab"}).rest(), Words{});
  EXPECT_EQ(parsed({"lab", "--help"}).rest(), Words{"--help"});
  EXPECT_EQ(parsed({"lab", "--name", "b", "status"}).rest(), (Words{"--name", "b", "status"}));
  EXPECT_EQ(parsed({"inspect", "lab"}).text(kNameArgument), "lab");
}

TEST(CommandLineTest, AContainerMayBeNamedLikeACommand) {
  EXPECT_EQ(parsed({"inspect", "list"}).text(kNameArgument), "list");
  EXPECT_EQ(parsed({"rm", "rm", "--yes"}).text(kNameArgument), "rm");
}

TEST(CommandLineTest, ADashIsAFile) {
  EXPECT_EQ(parsed({"run", "-"}).text(kSpecArgument), "-");
  EXPECT_EQ(parsed({"export", "web", "-", "-g", "1.2f.41"}).text(kFileArgument), "-");
}

TEST(CommandLineTest, WhatFollowsTwoDashesIsNoOption) {
  EXPECT_EQ(parsed({"run", "--", "--spec.yaml"}).text(kSpecArgument), "--spec.yaml");
}

TEST(CommandLineTest, EveryMistakeIsNamed) {
  EXPECT_EQ(usage_error({}), "which command?");
  EXPECT_EQ(usage_error({"lst"}), "'lst' is no command; did you mean 'list'?");
  EXPECT_EQ(usage_error({"frobnicate"}), "'frobnicate' is no command");
  EXPECT_EQ(usage_error({"--frobnicate"}), "there is no option --frobnicate");
  EXPECT_EQ(usage_error({"list", "--yes"}), "list has no option --yes");
  EXPECT_EQ(usage_error({"inspect"}), "inspect needs NAME");
  EXPECT_EQ(usage_error({"inspect", "a", "b"}), "'b' is one argument too many");
  EXPECT_TRUE(usage_error({"inspect", "Web!"}).starts_with("NAME: "))
      << usage_error({"inspect", "Web!"});
  EXPECT_TRUE(usage_error({"restore", "web", "-g", "41"}).starts_with("--generation: "));
  EXPECT_TRUE(usage_error({"stop", "web", "--deadline", "10"}).starts_with("--deadline: "));
  EXPECT_EQ(usage_error({"stop", "web", "--deadline", "0"}), "--deadline: '0' is no time at all");
  EXPECT_EQ(usage_error({"logs", "web", "--tail", "-1"}),
            "--tail: '-1' is no number from 0 to 1000000");
  EXPECT_EQ(usage_error({"logs", "web", "--tail", "1000001"}),
            "--tail: '1000001' is no number from 0 to 1000000");
  EXPECT_TRUE(usage_error({"events", "--since", "yesterday"})
                  .starts_with("--since: 'yesterday' is neither"));
  EXPECT_EQ(usage_error({"completion", "tcsh"}), "SHELL: 'tcsh' is not bash, zsh or fish");
  EXPECT_EQ(usage_error({"help", "me"}), "COMMAND: 'me' is no command");
  EXPECT_EQ(usage_error({"logs", "web", "--tail"}), "--tail needs a value");
  EXPECT_EQ(usage_error({"logs", "web", "-n"}), "--tail needs a value");
  EXPECT_EQ(usage_error({"logs", "web", "--tail", "1", "--tail", "2"}),
            "--tail is given more than once");
  EXPECT_EQ(usage_error({"rm", "web", "--yes=false"}), "--yes takes no value");
}

TEST(CommandLineTest, HelpNeedsNoArguments) {
  const CommandLine line = parse_command_line({"restore", "--help"});
  ASSERT_TRUE(std::holds_alternative<HelpWanted>(line));
  EXPECT_EQ(std::get<HelpWanted>(line).topic.command->id, CommandId::kRestore);
  EXPECT_TRUE(std::holds_alternative<HelpWanted>(parse_command_line({"-h"})));
  EXPECT_TRUE(std::holds_alternative<VersionWanted>(parse_command_line({"--version"})));
}

TEST(CommandLineTest, AMomentIsATimeOrADurationBeforeNow) {
  const WallTime now{std::chrono::seconds(1'000'000)};
  EXPECT_EQ(parsed({"events", "--since", "10min"}).moment_unix_ms(kSinceOption, now), 999'400'000);
  EXPECT_EQ(parsed({"events", "--since", "1970-01-02T00:00:01Z"}).moment_unix_ms(kSinceOption, now),
            86'401'000);
  EXPECT_EQ(parsed({"events"}).moment_unix_ms(kSinceOption, now), std::nullopt);
  EXPECT_NE(usage_error({"events", "--since", "2026-02-30T00:00:00Z"}), "no error");
  EXPECT_NE(usage_error({"events", "--since", "2026-02-03T25:00:00Z"}), "no error");
  EXPECT_NE(usage_error({"events", "--since", "2026-02-03T-1:00:00Z"}), "no error");
}

TEST(CommandLineTest, ACommandMayBeTwoWords) {
  const auto init = parsed({"--socket", "/tmp/s", "cluster", "--timeout", "3s", "init", "--yes"});
  EXPECT_EQ(init.command().id, CommandId::kClusterInit);
  EXPECT_EQ(init.text(kSocketOption), "/tmp/s");
  EXPECT_EQ(init.duration(kTimeoutOption), Duration(3s));
  EXPECT_TRUE(init.has(kYesOption));
  EXPECT_EQ(parsed({"node", "list"}).command().id, CommandId::kNodeList);
  EXPECT_EQ(parsed({"list"}).command().id, CommandId::kList);
  EXPECT_EQ(parsed({"inspect", "node"}).text(kNameArgument), "node");
  EXPECT_EQ(parsed({"node", "drain", "drain"}).text(kNodeArgument), "drain");
  EXPECT_EQ(parsed({"node", "drain", "list"}).text(kNodeArgument), "list");
  EXPECT_EQ(parsed({"node", "drain", "node", "-y"}).text(kNodeArgument), "node");
  EXPECT_EQ(parsed({"move", "cluster", "node"}).text(kNodeArgument), "node");
}

TEST(CommandLineTest, AGroupAloneIsAQuestionForItsHelp) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"cluster"}, {"cluster", "--help"}, {"--help", "cluster"}}) {
    const CommandLine line = parse_command_line(arguments);
    ASSERT_TRUE(std::holds_alternative<HelpWanted>(line));
    EXPECT_EQ(std::get<HelpWanted>(line).topic.group, find_group("cluster"));
    EXPECT_EQ(std::get<HelpWanted>(line).topic.command, nullptr);
  }
  const CommandLine line = parse_command_line({"cluster", "join", "--help"});
  ASSERT_TRUE(std::holds_alternative<HelpWanted>(line));
  EXPECT_EQ(std::get<HelpWanted>(line).topic.command->id, CommandId::kClusterJoin);
}

TEST(CommandLineTest, WhatMayBeRepeatedKeepsItsOrderAndTakesOneValueEach) {
  const auto init = parsed({"cluster", "init", "--listen", "[2001:db8::1]", "--label=a=1",
                            "--listen", "192.0.2.1:7400", "--label", "b=2"});
  EXPECT_EQ(init.texts(kListenOption),
            (std::vector<std::string>{"[2001:db8::1]", "192.0.2.1:7400"}));
  EXPECT_EQ(init.texts(kLabelOption), (std::vector<std::string>{"a=1", "b=2"}));
  EXPECT_TRUE(init.texts(kEtcdOption).empty());
  const auto join = parsed({"cluster", "join", "--listen", "192.0.2.2", "192.0.2.1"});
  EXPECT_EQ(join.text(kAddressArgument), "192.0.2.1");
  const auto label = parsed({"node", "label", "b", "rack=1", "--json", "server-", "x=-y"});
  EXPECT_EQ(label.text(kNodeArgument), "b");
  EXPECT_EQ(label.texts(kLabelArgument), (std::vector<std::string>{"rack=1", "server-", "x=-y"}));
  EXPECT_EQ(parsed({"cluster", "recover", "web", "db"}).texts(kNameArgument),
            (std::vector<std::string>{"web", "db"}));
  EXPECT_TRUE(parsed({"cluster", "recover"}).texts(kNameArgument).empty());
  EXPECT_EQ(parsed({"help", "node", "list"}).text(kCommandArgument), "node list");
}

TEST(CommandLineTest, EveryMistakeInACommandOfTwoWordsIsNamed) {
  EXPECT_EQ(usage_error({"cluster", "frobnicate"}), "'frobnicate' is no command of cluster");
  EXPECT_EQ(usage_error({"cluster", "inspect"}), "'inspect' is no command of cluster");
  EXPECT_EQ(usage_error({"node", "lsit"}),
            "'lsit' is no command of node; did you mean 'node list'?");
  EXPECT_EQ(usage_error({"drain"}), "'drain' is no command; did you mean 'node drain'?");
  EXPECT_EQ(usage_error({"clustre"}), "'clustre' is no command; did you mean 'cluster'?");
  EXPECT_EQ(usage_error({"cluster", "--yes"}), "cluster has no option --yes");
  EXPECT_EQ(usage_error({"cluster", "status", "--yes"}), "cluster status has no option --yes");
  EXPECT_EQ(usage_error({"cluster", "join"}), "cluster join needs ADDRESS");
  EXPECT_EQ(usage_error({"node", "label", "b"}), "node label needs KEY=VALUE");
  EXPECT_EQ(usage_error({"cluster", "status", "x"}), "'x' is one argument too many");
  EXPECT_EQ(usage_error({"cluster", "init", "--label", "rack"}),
            "--label: 'rack' is not of the form KEY=VALUE");
  EXPECT_EQ(usage_error({"cluster", "init", "--label", "rack-"}),
            "--label: 'rack-' is not of the form KEY=VALUE");
  EXPECT_EQ(usage_error({"node", "label", "b", "=1"}),
            "KEY=VALUE: '=1' is neither of the form KEY=VALUE nor KEY-");
  EXPECT_NE(usage_error({"node", "label", "b", "rack="}), "no error");
  EXPECT_NE(usage_error({"node", "label", "b", "-"}), "no error");
  EXPECT_TRUE(usage_error({"node", "drain", "B!"}).starts_with("NODE: "));
  EXPECT_TRUE(usage_error({"cluster", "recover", "web", "B!"}).starts_with("NAME: "));
  EXPECT_EQ(usage_error({"cluster", "init", "--listen"}), "--listen needs a value");
  EXPECT_EQ(usage_error({"help", "cluster", "me"}), "COMMAND: 'cluster me' is no command");
  EXPECT_EQ(usage_error({"cluster", "init", "--standbys", "two"}),
            "--standbys: 'two' is no number from 0 to 1000000");
}

TEST(CommandLineTest, RepetitionHasALimit) {
  std::vector<std::string> arguments{"cluster", "recover"};
  arguments.resize(2 + kMaxRepeats, "web");
  EXPECT_EQ(parsed(arguments).texts(kNameArgument).size(), kMaxRepeats);
  arguments.push_back("web");
  EXPECT_EQ(usage_error(arguments), "NAME is given more than 1000 times");
}

TEST(CommandTableTest, SectionsAndGroupsCoverTheTable) {
  std::size_t in_sections = 0;
  for (const CommandSection& section : command_sections()) in_sections += section.commands.size();
  EXPECT_EQ(in_sections, command_table().size());
  for (const CommandGroup& group : command_groups()) {
    EXPECT_EQ(find_command(group.name), nullptr) << group.name;
    EXPECT_TRUE(std::ranges::any_of(command_table(), [&](const Command& command) {
      return group_of(command) == &group;
    })) << group.name;
  }
  for (const Command& command : command_table()) {
    for (std::size_t i = 0; i + 1 < command.arguments.size(); ++i)
      EXPECT_FALSE(command.arguments[i].repeats) << command.name << ": only the last one may";
  }
}

TEST(CommandTableTest, IsConsistent) {
  for (const Command& command : command_table()) {
    EXPECT_EQ(find_command(command.name), &command);
    EXPECT_FALSE(command.summary.ends_with('.')) << command.name;
    bool json = false;
    for (const Option& option : command.options) {
      EXPECT_TRUE(option.name.starts_with("--")) << command.name;
      EXPECT_EQ(option.kind == ValueKind::kFlag, option.value.empty()) << option.name;
      json = json || option.name == kJsonOption;
    }
    EXPECT_EQ(json, !command.json.empty()) << command.name;
  }
}

}  // namespace
}  // namespace perdure::cli
