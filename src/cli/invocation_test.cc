// Proves: the command line is what the command table says; every malformed value is told apart
// before anything is sent; names that look like commands or options do not confuse it.
#include "cli/invocation.h"

#include <gtest/gtest.h>

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
  EXPECT_EQ(std::get<HelpWanted>(line).command->id, CommandId::kRestore);
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
