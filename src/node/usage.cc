#include "node/usage.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <format>
#include <ranges>
#include <thread>
#include <utility>

#include "io/endpoint.h"

namespace perdure::node {
namespace {

using Kind = UsageOption::Kind;

constexpr std::array<std::string_view, 3> kDescription{
    "`perdured` takes the complete state of each of its containers (memory, files, network identity) again and "
    "again, and when a container dies it restores the newest state in place: same memory, same files, same address. "
    "It is operated with `perdure`(1).",
    "Containers do not depend on `perdured`: when it ends or is killed they run on, unprotected, and it takes them "
    "over when it starts again. SIGTERM and SIGINT end it in this way; in a cluster it asks the standbys first to wait for "
    "it (`--restart-grant`), for a second at most. A second signal ends it at once.",
    "It must run as root, with `criu`(8) and `runc`(8) installed; `perdure doctor` says what a host lacks.",
};

constexpr std::array<UsageExit, 4> kExits{{
    {DaemonExit::kDone, "It was ended by SIGTERM or SIGINT, or printed its help or version."},
    {DaemonExit::kFailure, "It could not begin; its log, on standard error, says why."},
    {DaemonExit::kUsage, "The command line is wrong."},
    {DaemonExit::kNotRoot, "It is not run by root."},
}};

// One thread per container that is captured or restored at the same time, and some for what an operator does
// meanwhile. Most of a thread's time is waiting for CRIU.
constexpr std::size_t kThreadsPerCore = 4;
constexpr std::size_t kLeastDefaultThreads = 8;
constexpr std::size_t kMostDefaultThreads = 64;
// Against slips of the pen: more than anybody's disks can use.
constexpr std::size_t kMaxThreads = 1024;
constexpr std::size_t kLeastParallelRestores = 2;  // one waits for its disk while the other computes

struct LevelWord {
  std::string_view word;
  log::Level level;
};
constexpr std::array<LevelWord, 4> kLevels{{{"debug", log::Level::kDebug},
                                            {"info", log::Level::kInfo},
                                            {"warning", log::Level::kWarning},
                                            {"error", log::Level::kError}}};

std::string word_of(log::Level level) {
  const auto found = std::ranges::find(kLevels, level, &LevelWord::level);
  return std::string(found == kLevels.end() ? "" : found->word);
}

Status take_level(DaemonOptions& options, const std::string& value) {
  const auto found = std::ranges::find(kLevels, value, &LevelWord::word);
  if (found == kLevels.end()) {
    return fail(ErrorCode::kInvalid, std::format("'{}' is none of debug, info, warning and error", value));
  }
  options.log_level = found->level;
  return {};
}

Result<std::size_t> number_of_threads(const std::string& value) {
  std::size_t threads = 0;
  const char* const end = value.data() + value.size();
  const auto [rest, error] = std::from_chars(value.data(), end, threads);
  if (error != std::errc() || rest != end || threads < 1 || threads > kMaxThreads) {
    return fail(ErrorCode::kInvalid, std::format("'{}' is no number from 1 to {}", value, kMaxThreads));
  }
  return threads;
}

Status take_threads(DaemonOptions& options, const std::string& value) {
  PERDURE_ASSIGN(options.pool_threads, number_of_threads(value));
  return {};
}

Status take_parallel_restores(DaemonOptions& options, const std::string& value) {
  PERDURE_ASSIGN(options.parallel_restores, number_of_threads(value));
  return {};
}

// An option whose value is taken as it is.
UsageOption text_option(std::string_view name, std::string_view value, std::string help,
                        std::string& (*text)(DaemonOptions&)) {
  DaemonOptions defaults = default_options();
  return {.kind = Kind::kValue,
          .name = name,
          .value = value,
          .help = std::move(help),
          .fallback = text(defaults),
          .take = [text](DaemonOptions& options, const std::string& given) {
            text(options) = given;
            return Status();
          }};
}

UsageOption group_option() {
  UsageOption option = text_option(
      "--group", "NAME",
      "The group whose members may use the control socket; they are as powerful as root. A group that is named here "
      "must exist.",
      [](DaemonOptions& options) -> std::string& { return options.group; });
  option.fallback = std::format(
      "{} if there is such a group (the installed sysusers.d(5) file makes it), else only root may", kDefaultGroup);
  return option;
}

UsageOption level_option() {
  return {.kind = Kind::kValue,
          .name = "--log-level",
          .value = "LEVEL",
          .help = "The least urgent of what is logged: debug, info, warning or error.",
          .fallback = word_of(default_options().log_level),
          .take = take_level};
}

UsageOption tracking_option() {
  static_assert(DaemonOptions().tracking == capsule::MemoryTracking::kOn);
  return {.kind = Kind::kFlag,
          .name = "--no-memory-tracking",
          .help = "Read the whole memory at every checkpoint instead of what changed.",
          .fallback = "off, only what changed is read",
          .take = [](DaemonOptions& options, const std::string&) {
            options.tracking = capsule::MemoryTracking::kOff;
            return Status();
          }};
}

UsageOption threads_option() {
  return {.kind = Kind::kValue,
          .name = "--pool-threads",
          .value = "N",
          .help = std::format("Threads for what blocks (captures, restores, files), 1 to {}.", kMaxThreads),
          .fallback = std::format("{} per core, but at least {} and at most {}", kThreadsPerCore,
                                  kLeastDefaultThreads, kMostDefaultThreads),
          .take = take_threads};
}

UsageOption standby_memory_option() {
  return {.kind = Kind::kValue,
          .name = "--standby-memory",
          .value = "SIZE",
          .help = "Memory for the capsules of containers that other nodes own. What does not fit goes to the state directory, "
                  "which makes a takeover slower.",
          .fallback = "a quarter of this host's",
          .take = [](DaemonOptions& options, const std::string& given) -> Status {
            PERDURE_ASSIGN(options.standby_memory, parse_bytes(given));
            return {};
          }};
}

UsageOption parallel_restores_option() {
  return {.kind = Kind::kValue,
          .name = "--parallel-restores",
          .value = "N",
          .help = std::format("How many containers of a node that has died are restored here at once, 1 to {}; the others wait, those "
                              "with the shortest availability.outage-tolerance before the rest. A restore is busy with a core for most "
                              "of its time: more at once make each of them last longer. At most one less than --pool-threads.",
                              kMaxThreads),
          .fallback = std::format("one per core, but at least {}", kLeastParallelRestores),
          .take = take_parallel_restores};
}

UsageOption image_life_option() {
  static_assert(DaemonOptions().image_life == std::chrono::days(1));
  return {.kind = Kind::kValue,
          .name = "--image-life",
          .value = "DURATION",
          .help = "How long the root file system of an image is kept that no container on this host needs, and none that it stands by for.",
          .fallback = "1d",
          .take = [](DaemonOptions& options, const std::string& given) -> Status {
            PERDURE_ASSIGN(const Duration life, parse_duration(given));
            if (life <= Duration::zero()) return fail(ErrorCode::kInvalid, "a duration is needed, as 1d");
            options.image_life = life;
            return {};
          }};
}

// Beside the ports of a cluster (7400 to 7402).
constexpr std::uint16_t kMetricsPort = 7480;
constexpr std::string_view kNoMetrics = "off";

UsageOption metrics_option() {
  return {.kind = Kind::kValue,
          .name = "--metrics",
          .value = "ADDRESS:PORT",
          .help = "Where metrics for Prometheus are served, without encryption: http://ADDRESS:PORT/metrics. off serves none; without a "
                  "port it is 7480. Another address than a loopback one lets everybody who reaches it read the names of containers and nodes.",
          .fallback = default_options().metrics,
          .take = [](DaemonOptions& options, const std::string& given) -> Status {
            if (given == kNoMetrics) {
              options.metrics.clear();
              return {};
            }
            PERDURE_ASSIGN(const io::Endpoint endpoint, io::Endpoint::parse(given, kMetricsPort));
            options.metrics = to_string(endpoint);
            return {};
          }};
}

UsageOption restart_grant_option() {
  namespace lease = policy::lease;
  static_assert(DaemonOptions().restart_grant == std::chrono::seconds(30));
  const auto take = [](DaemonOptions& options, const std::string& given) -> Status {
    PERDURE_ASSIGN(const Duration grant, given == "0" ? Result<Duration>(Duration::zero()) : parse_duration(given));
    if (grant != Duration::zero() && (grant < lease::kShortestLongGrant || grant > lease::kLongestGrant)) {
      return fail(ErrorCode::kInvalid,
                  std::format("'{}' is neither 0 nor {} to {}: a shorter one would end before perdured is back, and during a longer "
                              "one nobody replaces a host that dies",
                              given, format_duration(lease::kShortestLongGrant), format_duration(lease::kLongestGrant)));
    }
    options.restart_grant = grant;
    return {};
  };
  return {.kind = Kind::kValue,
          .name = "--restart-grant",
          .value = "DURATION",
          .help = std::format("In a cluster, when perdured is ended by SIGTERM or SIGINT: how long the standbys of the containers here "
                              "are asked to wait for it to come back, {} to {}. So long they speak on, and nobody takes them over. "
                              "0: they are taken over as after a failure. Nobody is asked while the host itself is shut down.",
                              format_duration(lease::kShortestLongGrant), format_duration(lease::kLongestGrant)),
          .fallback = "30s",
          .take = take};
}

// As an indented block of lines.
std::string wrapped(std::string_view text, std::string_view indent) {
  constexpr std::size_t kWidth = 80;
  std::string result;
  std::string line;
  for (const auto word : std::views::split(text, ' ')) {
    const std::string_view letters(word);
    if (!line.empty() && line.size() + 1 + letters.size() > kWidth) {
      result += line + "\n";
      line.clear();
    }
    line += line.empty() ? indent : " ";
    line += letters;
  }
  return result + line + "\n";
}

}  // namespace

std::span<const std::string_view> description() { return kDescription; }

DaemonOptions default_options() {
  DaemonOptions options;
  options.paths.libexec_dir = PERDURE_LIBEXEC_DIR;
  const auto pages = static_cast<std::uint64_t>(std::max(0L, ::sysconf(_SC_PHYS_PAGES)));
  options.standby_memory = Bytes{pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) / 4};
  options.pool_threads = std::clamp<std::size_t>(std::thread::hardware_concurrency() * kThreadsPerCore,
                                                 kLeastDefaultThreads, kMostDefaultThreads);
  options.parallel_restores = std::max<std::size_t>(std::thread::hardware_concurrency(), kLeastParallelRestores);
  return options;
}

std::vector<UsageOption> option_table() {
  return {
      text_option("--run-dir", "DIR", "Control socket, pinned namespaces and gates: what vanishes with a reboot.",
                  [](DaemonOptions& options) -> std::string& { return options.paths.run_dir; }),
      text_option("--state-dir", "DIR", "Containers, images and durable generations.",
                  [](DaemonOptions& options) -> std::string& { return options.paths.state_dir; }),
      text_option("--libexec-dir", "DIR", "Where perdure-logger, perdure-pagemap-filter.so and perdure-standby.so lie.",
                  [](DaemonOptions& options) -> std::string& { return options.paths.libexec_dir; }),
      text_option("--cgroup", "NAME", "Below the mount of the version 2 hierarchy; each container is a cgroup in it.",
                  [](DaemonOptions& options) -> std::string& { return options.paths.cgroup; }),
      group_option(),
      level_option(),
      text_option("--criu", "PATH", "The CRIU to use; without a slash it is looked up in PATH, then in the usual bin and sbin directories.",
                  [](DaemonOptions& options) -> std::string& { return options.programs.criu; }),
      text_option("--runc", "PATH", "The runc to use; without a slash it is looked up in PATH, then in the usual bin and sbin directories.",
                  [](DaemonOptions& options) -> std::string& { return options.programs.runc; }),
      tracking_option(),
      threads_option(),
      standby_memory_option(),
      parallel_restores_option(),
      image_life_option(),
      metrics_option(),
      restart_grant_option(),
      {.kind = Kind::kHelp, .name = "--help", .letter = "-h", .help = "Print help and exit."},
      {.kind = Kind::kVersion, .name = "--version", .help = "Print the version and exit."},
  };
}

std::string title_of(const UsageOption& option) {
  return std::format("{}{}{}{}{}", option.letter, option.letter.empty() ? "" : ", ", option.name,
                     option.value.empty() ? "" : " ", option.value);
}

std::string text_of(const UsageOption& option) {
  return option.fallback.empty() ? option.help : std::format("{} Default: {}.", option.help, option.fallback);
}

std::span<const UsageExit> exit_table() { return kExits; }

std::vector<UsageFile> file_table() {
  const Paths paths;
  return {
      {paths.socket(), "The control socket."},
      {paths.containers() + "/NAME", "Specification, files and logs of a container."},
      {paths.capsules() + "/NAME", "Its durable generations."},
      {paths.images(), "Root file systems, unpacked; containers share them and do not write to them."},
      {paths.events(), "What happened; perdure events shows it."},
  };
}

std::string help_text() {
  std::string text = std::format("perdured - {}\n\nUsage: perdured [OPTION...]\n\nOptions:\n", kPurpose);
  for (const UsageOption& option : option_table()) {
    text += std::format("  {}\n{}", title_of(option), wrapped(text_of(option), "      "));
  }
  text += "\nExit statuses:\n";
  for (const UsageExit& row : exit_table()) {
    text += std::format("  {}\n{}", std::to_underlying(row.status), wrapped(row.meaning, "      "));
  }
  return text + "\nperdured(8) says more.\n";
}

}  // namespace perdure::node
