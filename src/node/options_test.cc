// perdured's command line: defaults, what is taken and what is refused.
#include "node/options.h"

#include <initializer_list>
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
