#include "runtime/host_facts.h"

#include <linux/capability.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <format>
#include <iterator>
#include <utility>

#include "base/fd.h"
#include "base/mountinfo.h"
#include "io/process.h"

namespace perdure::runtime {
namespace {

constexpr Duration kVersionTime = std::chrono::seconds(10);
// A daemon's PATH often lacks these.
constexpr std::string_view kMoreDirectories =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// A line of /proc/cpuinfo has 2 KB, and a processor 30 lines.
constexpr std::size_t kMaxCpuinfoBytes = std::size_t{16} << 20;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_program(const std::string& path) {
  return ::access(path.c_str(), X_OK) == 0;
}

// "NAME:\t00000…" of /proc/PID/status.
std::uint64_t hex_field(std::string_view status, std::string_view name) {
  const auto start = status.find(std::format("\n{}:\t", name));
  if (start == std::string_view::npos) return 0;
  const std::string_view value = status.substr(start + name.size() + 3);
  std::uint64_t number = 0;
  std::from_chars(value.data(), value.data() + value.size(), number, 16);
  return number;
}

// The type of the file system that PATH lies on: of the longest mount point that is PATH or above
// it.
std::string file_system_of(const std::vector<MountEntry>& mounts, const std::string& path) {
  std::string type;
  std::size_t longest = 0;
  for (const MountEntry& mount : mounts) {
    const std::string& point = mount.mount_point;
    const bool covers = point == "/" || path == point || path.starts_with(point + "/");
    if (covers && point.size() >= longest) {
      longest = point.size();
      type = mount.type;
    }
  }
  return type;
}

// Not installed is a fact, not an error; a program that is there and does not answer has no
// version.
Program look_at(const std::string& name) {
  Program program;
  auto path = find_program(name);
  if (!path) return program;
  program.path = std::move(*path);
  io::CommandOptions options;
  options.deadline = BootClock::now() + kVersionTime;
  if (const auto text = io::command_output({program.path, "--version"}, options); text) {
    program.version = find_version(*text);
  }
  return program;
}

std::vector<std::string> sorted_words(std::string_view text) {
  std::vector<std::string> words;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find_first_of(" \t"));
    if (!word.empty()) words.emplace_back(word);
    text.remove_prefix(std::min(word.size() + 1, text.size()));
  }
  std::ranges::sort(words);
  words.erase(std::ranges::unique(words).begin(), words.end());
  return words;
}

}  // namespace

std::string to_string(const Version& version) {
  return std::format("{}.{}.{}", version.major, version.minor, version.patch);
}

std::optional<Version> find_version(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (!is_digit(text[i]) || (i > 0 && (is_digit(text[i - 1]) || text[i - 1] == '.'))) continue;
    Version version;
    const char* const end = text.data() + text.size();
    const auto major = std::from_chars(text.data() + i, end, version.major);
    if (major.ec != std::errc{} || major.ptr == end || *major.ptr != '.') continue;
    const auto minor = std::from_chars(major.ptr + 1, end, version.minor);
    if (minor.ec != std::errc{}) continue;
    if (minor.ptr != end && *minor.ptr == '.') {
      std::from_chars(minor.ptr + 1, end, version.patch);
    }
    return version;
  }
  return std::nullopt;
}

Result<std::string> find_program(const std::string& name) {
  if (name.contains('/')) {
    if (is_program(name)) return name;
    return fail(ErrorCode::kNotFound, std::format("program '{}' does not exist", name));
  }
  const char* path = std::getenv("PATH");
  const std::string directories =
      std::format("{}:{}", path == nullptr ? "" : path, kMoreDirectories);
  std::string_view rest = directories;
  while (!rest.empty()) {
    const auto colon = rest.find(':');
    const std::string_view directory = rest.substr(0, colon);
    rest = colon == std::string_view::npos ? std::string_view{} : rest.substr(colon + 1);
    if (!directory.starts_with('/')) continue;
    std::string candidate = std::format("{}/{}", directory, name);
    if (is_program(candidate)) return candidate;
  }
  return fail(ErrorCode::kNotFound, std::format("program '{}' is not installed", name));
}

std::vector<std::string> find_cpu_features(std::string_view cpuinfo) {
  std::optional<std::vector<std::string>> common;
  std::string_view last;
  while (!cpuinfo.empty()) {
    const std::string_view line = cpuinfo.substr(0, cpuinfo.find('\n'));
    cpuinfo.remove_prefix(std::min(line.size() + 1, cpuinfo.size()));
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    const std::string_view key = line.substr(0, line.find_first_of(" \t:"));
    const std::string_view value = line.substr(colon + 1);
    if ((key != "flags" && key != "Features") || (common && value == last)) continue;
    last = value;
    std::vector<std::string> features = sorted_words(value);
    if (common) {
      std::vector<std::string> both;
      std::ranges::set_intersection(*common, features, std::back_inserter(both));
      features = std::move(both);
    }
    common = std::move(features);
  }
  return common.value_or(std::vector<std::string>{});
}

model::HostFacts cluster_facts(const HostFacts& facts) {
  return {.kernel_release = facts.kernel_release,
          .machine = facts.machine,
          .criu_version = facts.criu.version ? to_string(*facts.criu.version) : "",
          .cpu_features = facts.cpu_features,
          .memory_bytes = facts.memory_bytes,
          .processors = facts.processors,
          .can_restore_other_users = facts.has_capability(CAP_SYS_RESOURCE)};
}

Result<HostFacts> read_host_facts(const ProgramPaths& paths) {
  HostFacts facts;
  utsname names{};
  if (::uname(&names) != 0) return fail_errno("uname");
  facts.kernel_release = names.release;
  facts.kernel = find_version(facts.kernel_release).value_or(Version{});
  facts.machine = names.machine;
  PERDURE_ASSIGN(const std::string status, read_file("/proc/self/status"));
  facts.capability_bounding = hex_field(status, "CapBnd");
  facts.capability_effective = hex_field(status, "CapEff");
  PERDURE_ASSIGN(const std::vector<MountEntry> mounts, read_mountinfo());
  facts.run_filesystem = file_system_of(mounts, "/run");
  PERDURE_ASSIGN(const std::string file_systems, read_file("/proc/filesystems"));
  facts.has_overlay = file_systems.contains("\toverlay\n");
  if (auto cgroups = CgroupLayout::find(); cgroups) {
    facts.cgroups = std::move(*cgroups);
  } else if (cgroups.error().code() != ErrorCode::kUnsupported) {
    return fail(cgroups.error());
  }
  PERDURE_ASSIGN(const std::string cpuinfo, read_file("/proc/cpuinfo", kMaxCpuinfoBytes));
  facts.cpu_features = find_cpu_features(cpuinfo);
  struct sysinfo info{};
  if (::sysinfo(&info) != 0) return fail_errno("sysinfo");
  facts.memory_bytes = static_cast<std::uint64_t>(info.totalram) * info.mem_unit;
  facts.processors = static_cast<std::uint32_t>(std::max(::get_nprocs(), 1));
  facts.runc = look_at(paths.runc);
  facts.criu = look_at(paths.criu);
  return facts;
}

}  // namespace perdure::runtime
