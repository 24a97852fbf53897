// perdured's command line: defaults, what is taken and what is refused; its manual page has the same options.
#include "node/options.h"

#include <fstream>
#include <initializer_list>
#include <iostream>
#include <iterator>
#include <regex>
#include <set>
#include <sstream>
#include <vector>

#include "gtest/gtest.h"

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
  EXPECT_EQ(parsed.options.pool_threads, default_pool_threads());
  EXPECT_EQ(parsed.options.programs.criu, "criu");
  EXPECT_TRUE(parsed.options.paths.libexec_dir.starts_with('/')) << parsed.options.paths.libexec_dir;
  EXPECT_TRUE(parsed.options.paths.libexec_dir.ends_with("/lib/perdure")) << parsed.options.paths.libexec_dir;
  EXPECT_FALSE(parsed.options.trial_process);
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

std::set<std::string> long_options_in(const std::string& text) {
  static const std::regex kLongOption("--[a-z][a-z-]*");
  return {std::sregex_token_iterator(text.begin(), text.end(), kLongOption), std::sregex_token_iterator()};
}

TEST(OptionsTest, TheManualPageHasTheOptionsOfTheHelp) {
  std::ostringstream help;
  std::streambuf* const standard_output = std::cout.rdbuf(help.rdbuf());
  const ParsedOptions parsed = parse({"--help"});
  std::cout.rdbuf(standard_output);
  ASSERT_EQ(parsed.exit_status, 0);

  std::ifstream file(PERDURED_MANUAL);
  std::string page{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  page = std::regex_replace(page, std::regex(R"(\\-)"), "-");  // how roff writes a hyphen that is meant
  const std::set<std::string> documented = long_options_in(page);
  EXPECT_TRUE(documented.contains("--run-dir")) << "nothing was found in " PERDURED_MANUAL;
  EXPECT_EQ(documented, long_options_in(help.str()));
}

TEST(OptionsTest, NonsenseEndsWithTheStatusOfAWrongCommandLine) {
  constexpr int kUsage = 64;
  for (const auto& arguments : std::initializer_list<std::vector<std::string>>{
           {"--nonsense"}, {"word"}, {"--log-level", "loud"}, {"--pool-threads", "0"}, {"--pool-threads", "many"},
           {"--run-dir"}}) {
    EXPECT_EQ(parse(arguments).exit_status, kUsage) << arguments.back();
  }
}

}  // namespace
}  // namespace perdure::node
