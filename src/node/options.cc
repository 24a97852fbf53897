#include "node/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <thread>

namespace perdure::node {
namespace {

constexpr int kUsageStatus = 64;  // EX_USAGE of sysexits.h; see main.cc

log::Level level_of(const std::string& word) {
  if (word == "debug") return log::Level::kDebug;
  if (word == "info") return log::Level::kInfo;
  if (word == "warning") return log::Level::kWarning;
  if (word == "error") return log::Level::kError;
  throw CLI::ValidationError("--log-level", "'" + word + "' is none of debug, info, warning and error");
}

void add_options(CLI::App& app, DaemonOptions& options, bool& no_tracking) {
  app.set_version_flag("--version", "perdured " PERDURE_VERSION);
  app.add_option("--run-dir", options.paths.run_dir,
                 "control socket, pinned namespaces and gates: what vanishes with a reboot")
      ->capture_default_str()
      ->type_name("DIR");
  app.add_option("--state-dir", options.paths.state_dir, "containers, images and durable generations")
      ->capture_default_str()
      ->type_name("DIR");
  app.add_option("--libexec-dir", options.paths.libexec_dir,
                 "where perdure-logger and perdure-pagemap-filter.so lie")
      ->capture_default_str()
      ->type_name("DIR");
  app.add_option("--cgroup", options.paths.cgroup,
                 "below the mount of the version 2 hierarchy; each container is a cgroup in it")
      ->capture_default_str()
      ->type_name("NAME");
  app.add_option("--group", options.group,
                 "group whose members may use the control socket; they are as powerful as root "
                 "[perdure if there is such a group, else nobody]")
      ->type_name("NAME");
  app.add_option_function<std::string>(
         "--log-level", [&options](const std::string& word) { options.log_level = level_of(word); },
         "debug, info, warning or error [info]")
      ->type_name("LEVEL");
  app.add_option("--criu", options.programs.criu, "the CRIU to use; looked up in PATH without a slash")
      ->capture_default_str()
      ->type_name("PATH");
  app.add_option("--runc", options.programs.runc, "the runc to use; looked up in PATH without a slash")
      ->capture_default_str()
      ->type_name("PATH");
  app.add_flag("--no-memory-tracking", no_tracking,
               "read the whole memory at every checkpoint instead of what changed [off]");
  constexpr std::size_t kMaxThreads = 1024;
  app.add_option("--pool-threads", options.pool_threads,
                 "threads for what blocks: captures, restores, files, 1 to 1024")
      ->capture_default_str()
      ->check(CLI::Range(std::size_t{1}, kMaxThreads).description(""))
      ->type_name("N");
  app.add_flag("--trial-process", options.trial_process)->group("");
}

}  // namespace

std::size_t default_pool_threads() {
  constexpr std::size_t kPerCore = 4;
  constexpr std::size_t kLeast = 8;
  constexpr std::size_t kMost = 64;
  return std::clamp<std::size_t>(std::thread::hardware_concurrency() * kPerCore, kLeast, kMost);
}

ParsedOptions parse_options(int argc, char** argv) {
  ParsedOptions parsed;
  parsed.options.pool_threads = default_pool_threads();
  parsed.options.paths.libexec_dir = PERDURE_LIBEXEC_DIR;
  bool no_tracking = false;
  CLI::App app("Keeps the containers of this host running through failures. See perdured(8).", "perdured");
  try {
    add_options(app, parsed.options, no_tracking);
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error, std::cout, std::cerr);
    parsed.exit_status = status == 0 ? 0 : kUsageStatus;
  }
  if (no_tracking) parsed.options.tracking = capsule::MemoryTracking::kOff;
  return parsed;
}

}  // namespace perdure::node
