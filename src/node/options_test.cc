// perdured's command line: defaults, what is taken and what is refused; --help says what usage.h says
// of them.
#include "node/options.h"

#include <algorithm>
#include <format>
#include <initializer_list>
#include <iostream>
#include <regex>
#include <sstream>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "node/usage.h"

namespace perdure::node {
namespace {

ParsedOptions parse(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "perdured");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  return parse_options(static_cast<int>(argv.size()), argv.data());
}

TEST(OptionsTest, DefaultsAreThoseOfThePaths) {
  const ParsedOptions parsed = parse({});
  EXPECT_FALSE(parsed.exit_status);
  EXPECT_EQ(parsed.options.paths.run_dir, Paths().run_dir);
  EXPECT_EQ(parsed.options.paths.state_dir, Paths().state_dir);
  EXPECT_EQ(parsed.options.log_level, log::Level::kInfo);
  EXPECT_EQ(parsed.options.tracking, capsule::MemoryTracking::kOn);
  EXPECT_EQ(parsed.options.pool_threads, default_options().pool_threads);
  EXPECT_EQ(parsed.options.programs.criu, "criu");
  EXPECT_TRUE(parsed.options.paths.libexec_dir.starts_with('/')) << parsed.options.paths.libexec_dir;
  EXPECT_TRUE(parsed.options.paths.libexec_dir.ends_with("/lib/perdure")) << parsed.options.paths.libexec_dir;
  EXPECT_FALSE(parsed.options.trial_process);
  EXPECT_EQ(parsed.options.metrics, "127.0.0.1:7480");
}

TEST(OptionsTest, EveryFlagIsTaken) {
  const ParsedOptions parsed =
      parse({"--run-dir", "/r", "--state-dir", "/s", "--libexec-dir", "/l", "--cgroup", "c", "--group", "g",
             "--log-level", "debug", "--criu", "/c", "--runc", "/u", "--no-memory-tracking", "--pool-threads", "3"});
  ASSERT_FALSE(parsed.exit_status);
  const DaemonOptions& options = parsed.options;
  EXPECT_EQ(options.paths.socket(), "/r/perdured.sock");
  EXPECT_EQ(options.paths.containers(), "/s/containers");
  EXPECT_EQ(options.paths.logger(), "/l/perdure-logger");
  EXPECT_EQ(options.paths.cgroup, "c");
  EXPECT_EQ(options.group, "g");
  EXPECT_EQ(options.log_level, log::Level::kDebug);
  EXPECT_EQ(options.programs.criu, "/c");
  EXPECT_EQ(options.programs.runc, "/u");
  EXPECT_EQ(options.tracking, capsule::MemoryTracking::kOff);
  EXPECT_EQ(options.pool_threads, 3u);
}

TEST(OptionsTest, HelpAndVersionEndWell) {
  EXPECT_EQ(parse({"--help"}).exit_status, 0);
  EXPECT_EQ(parse({"--version"}).exit_status, 0);
}

std::string printed_help() {
  std::ostringstream help;
  std::streambuf* const standard_output = std::cout.rdbuf(help.rdbuf());
  const ParsedOptions parsed = parse({"--help"});
  std::cout.rdbuf(standard_output);
  EXPECT_EQ(parsed.exit_status, 0);
  return help.str();
}

// On one line, one space between words.
std::string unwrapped(const std::string& text) {
  return std::regex_replace(text, std::regex(R"(\s+)"), " ");
}

TEST(OptionsTest, TheHelpHasWhatTheTablesSay) {
  const std::string help = unwrapped(printed_help());
  for (const UsageOption& option : option_table()) {
    const std::string said = title_of(option) + " " + text_of(option);
    EXPECT_TRUE(help.contains(" " + said + " ")) << said << "\nis not in\n" << help;
  }
  for (const UsageExit& row : exit_table()) {
    const std::string said = std::format(" {} {} ", std::to_underlying(row.status), row.meaning);
    EXPECT_TRUE(help.contains(said)) << said << "\nis not in\n" << help;
  }
  EXPECT_FALSE(help.contains("--trial-process")) << "which is for perdured's own use";
  EXPECT_FALSE(help.contains("--wall-clock-offset")) << "which is for tests";
  EXPECT_FALSE(help.contains("--key-life")) << "which is for tests";
}

TEST(OptionsTest, TheHelpFitsATerminal) {
  std::istringstream lines(printed_help());
  for (std::string line; std::getline(lines, line);) {
    const bool one_word = line.find(' ', line.find_first_not_of(' ')) == std::string::npos;
    EXPECT_TRUE(line.size() <= 80 || one_word) << line;
  }
}

TEST(OptionsTest, OnlyHelpAndVersionHaveNoDefault) {
  using Kind = UsageOption::Kind;
  for (const UsageOption& option : option_table()) {
    const bool acts = option.kind == Kind::kHelp || option.kind == Kind::kVersion;
    EXPECT_EQ(option.fallback.empty(), acts) << option.name;
    EXPECT_EQ(option.value.empty(), option.kind != Kind::kValue) << option.name;
  }
}

// As far as a default is a value that could be given.
TEST(OptionsTest, GivingADefaultChangesNothing) {
  const std::vector<std::string> spoken_of{"--group", "--parallel-restores", "--pool-threads", "--standby-memory"};
  std::vector<std::string> arguments;
  for (const UsageOption& option : option_table()) {
    if (option.value.empty() || std::ranges::contains(spoken_of, option.name)) continue;
    arguments.insert(arguments.end(), {std::string(option.name), option.fallback});
  }
  EXPECT_EQ(arguments.size(), 20U);
  const ParsedOptions parsed = parse(arguments);
  ASSERT_FALSE(parsed.exit_status);
  const DaemonOptions& given = parsed.options;
  const DaemonOptions defaults = default_options();
  EXPECT_EQ(given.paths.run_dir, defaults.paths.run_dir);
  EXPECT_EQ(given.paths.state_dir, defaults.paths.state_dir);
  EXPECT_EQ(given.paths.libexec_dir, defaults.paths.libexec_dir);
  EXPECT_EQ(given.paths.cgroup, defaults.paths.cgroup);
  EXPECT_EQ(given.log_level, defaults.log_level);
  EXPECT_EQ(given.programs.criu, defaults.programs.criu);
  EXPECT_EQ(given.programs.runc, defaults.programs.runc);
  EXPECT_EQ(given.image_life, defaults.image_life);
  EXPECT_EQ(given.metrics, defaults.metrics);
  EXPECT_EQ(given.restart_grant, defaults.restart_grant);
}

TEST(OptionsTest, EveryLogLevelHasItsWord) {
  using log::Level;
  for (const auto& [word, level] : std::initializer_list<std::pair<const char*, Level>>{
           {"debug", Level::kDebug}, {"info", Level::kInfo}, {"warning", Level::kWarning}, {"error", Level::kError}}) {
    EXPECT_EQ(parse({"--log-level", word}).options.log_level, level) << word;
  }
}

TEST(OptionsTest, ARestartGrantIsNoneOrWithinBounds) {
  EXPECT_EQ(parse({}).options.restart_grant, policy::lease::kLongGrant);
  EXPECT_EQ(parse({"--restart-grant", "0"}).options.restart_grant, Duration::zero());
  EXPECT_EQ(parse({"--restart-grant", "3s"}).options.restart_grant, std::chrono::seconds(3));
  for (const char* wrong : {"999ms", "6m", "never", "30", "-1s"}) {
    const ParsedOptions refused = parse({"--restart-grant", wrong});
    EXPECT_EQ(refused.exit_status, std::to_underlying(DaemonExit::kUsage)) << wrong;
    EXPECT_EQ(refused.options.restart_grant, policy::lease::kLongGrant) << wrong;
  }
}

TEST(OptionsTest, ParallelRestoresAreBoundedAndOnePerCoreUnlessSaid) {
  EXPECT_EQ(parse({}).options.parallel_restores, std::max(2U, std::thread::hardware_concurrency()));
  EXPECT_EQ(parse({"--parallel-restores", "1"}).options.parallel_restores, 1U);
  for (const char* wrong : {"0", "1025", "two", ""}) EXPECT_TRUE(parse({"--parallel-restores", wrong}).exit_status) << wrong;
}

TEST(OptionsTest, PoolThreadsAreBounded) {
  EXPECT_EQ(parse({"--pool-threads", "1"}).options.pool_threads, 1U);
  EXPECT_EQ(parse({"--pool-threads", "1024"}).options.pool_threads, 1024U);
  EXPECT_TRUE(parse({"--pool-threads", "1025"}).exit_status);
}

TEST(OptionsTest, MetricsAreServedWhereTheyAreAskedForOrNowhere) {
  EXPECT_EQ(parse({"--metrics", "0.0.0.0:9000"}).options.metrics, "0.0.0.0:9000");
  EXPECT_EQ(parse({"--metrics", "192.0.2.1"}).options.metrics, "192.0.2.1:7480");
  EXPECT_EQ(parse({"--metrics", "[::1]"}).options.metrics, "[::1]:7480");
  EXPECT_EQ(parse({"--metrics", "off"}).options.metrics, "");
  for (const char* wrong : {"", "on", "localhost:7480", "127.0.0.1:", "127.0.0.1:70000", ":7480"}) {
    EXPECT_TRUE(parse({"--metrics", wrong}).exit_status) << wrong;
  }
}

TEST(OptionsTest, TheWallClockIsAheadOrBehind) {
  using std::chrono::hours;
  EXPECT_EQ(parse({}).options.wall_clock_offset, Duration::zero());
  EXPECT_EQ(parse({}).options.key_life, hours(30 * 24));
  EXPECT_EQ(parse({"--key-life", "3s"}).options.key_life, std::chrono::seconds(3));
  EXPECT_TRUE(parse({"--key-life", "0s"}).exit_status);
  EXPECT_EQ(parse({"--wall-clock-offset", "1h"}).options.wall_clock_offset, hours(1));
  EXPECT_EQ(parse({"--wall-clock-offset", "-26h"}).options.wall_clock_offset, -hours(26));
  EXPECT_EQ(parse({"--wall-clock-offset=-1h"}).options.wall_clock_offset, -hours(1));
  for (const char* wrong : {"", "-", "--1h", "soon"}) {
    EXPECT_TRUE(parse({std::string("--wall-clock-offset=") + wrong}).exit_status) << wrong;
  }
}

TEST(OptionsTest, NonsenseEndsWithTheStatusOfAWrongCommandLine) {
  constexpr int kUsage = 64;
  for (const auto& arguments : std::initializer_list<std::vector<std::string>>{
           {"--nonsense"}, {"word"}, {"--log-level", "loud"}, {"--pool-threads", "0"}, {"--pool-threads", "many"},
           {"--pool-threads", "3x"}, {"--no-memory-tracking=false"}, {"--run-dir"}}) {
    EXPECT_EQ(parse(arguments).exit_status, kUsage) << arguments.back();
  }
}

}  // namespace
}  // namespace perdure::node
