// Limits: the same values in the same directories as runc writes them.
#include <algorithm>
#include <charconv>
#include <format>
#include <string_view>

#include "io/atomic_file.h"
#include "runtime/cgroup.h"

namespace perdure::runtime {
namespace {

constexpr std::uint64_t kCpuPeriodUs = 100'000;  // the kernel's default
constexpr std::uint64_t kMinCpuQuotaUs = 1'000;  // the kernel refuses less

// What runc allows every container: making any node, and using null, zero, full, random, urandom,
// tty, console, ptmx and ptys (libcontainer/specconv, AllowedDevices).
constexpr std::string_view kAllowedDevices[] = {"c *:* m",   "b *:* m",   "c 1:3 rwm",  "c 1:5 rwm",
                                                "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm",  "c 5:0 rwm",
                                                "c 5:1 rwm", "c 5:2 rwm", "c 136:* rwm"};

std::uint64_t quota_us(model::MilliCores cpu) {
  return std::max(cpu.count * kCpuPeriodUs / 1000, kMinCpuQuotaUs);
}

Status write_in(const std::string& directory, std::string_view file, std::string_view text) {
  return write_control_file(std::format("{}/{}", directory, file), text);
}

bool has(const std::vector<std::string>& controllers, std::string_view controller) {
  return std::ranges::contains(controllers, controller);
}

Status check_supported(const CgroupLayout& layout, const model::ResourcesSpec& limits) {
  const auto check = [&](bool wanted, std::string_view controller) -> Status {
    if (!wanted || layout.has_controller(controller)) return {};
    return fail(
        ErrorCode::kUnsupported,
        std::format("this host has no cgroup controller '{}': remove that limit, or boot with "
                    "the controller",
                    controller));
  };
  PERDURE_TRY(check(limits.memory.has_value(), "memory"));
  PERDURE_TRY(check(limits.cpu.has_value(), "cpu"));
  return check(limits.pids.has_value(), "pids");
}

Status write_v1_limits(const std::string& directory, const std::vector<std::string>& controllers,
                       const model::ResourcesSpec& limits) {
  if (limits.memory && has(controllers, "memory")) {
    PERDURE_TRY(write_in(directory, "memory.limit_in_bytes", std::to_string(limits.memory->count)));
  }
  if (limits.cpu && has(controllers, "cpu")) {
    PERDURE_TRY(write_in(directory, "cpu.cfs_period_us", std::to_string(kCpuPeriodUs)));
    PERDURE_TRY(write_in(directory, "cpu.cfs_quota_us", std::to_string(quota_us(*limits.cpu))));
  }
  if (limits.pids && has(controllers, "pids")) {
    PERDURE_TRY(write_in(directory, "pids.max", std::to_string(*limits.pids)));
  }
  if (has(controllers, "devices")) {
    PERDURE_TRY(write_in(directory, "devices.deny", "a"));
    for (const std::string_view device : kAllowedDevices) {
      PERDURE_TRY(write_in(directory, "devices.allow", device));
    }
  }
  return {};
}

// A controller works in a cgroup only if every ancestor passes it on.
Status delegate(const CgroupLayout& layout, const std::string& path, std::string_view controller) {
  if (!has(layout.v2_controllers, controller)) return {};
  std::string directory = layout.v2_mount;
  std::string_view rest = path;
  for (;;) {
    PERDURE_TRY(write_in(directory, "cgroup.subtree_control", std::format("+{}", controller)));
    const auto slash = rest.find('/');
    if (slash == std::string_view::npos) return {};
    directory += "/" + std::string(rest.substr(0, slash));
    rest.remove_prefix(slash + 1);
  }
}

Status write_v2_limits(const CgroupLayout& layout, const std::string& path,
                       const model::ResourcesSpec& limits) {
  const std::string directory = layout.v2_mount + "/" + path;
  if (limits.memory && has(layout.v2_controllers, "memory")) {
    PERDURE_TRY(delegate(layout, path, "memory"));
    PERDURE_TRY(write_in(directory, "memory.max", std::to_string(limits.memory->count)));
  }
  if (limits.cpu && has(layout.v2_controllers, "cpu")) {
    PERDURE_TRY(delegate(layout, path, "cpu"));
    PERDURE_TRY(
        write_in(directory, "cpu.max", std::format("{} {}", quota_us(*limits.cpu), kCpuPeriodUs)));
  }
  if (limits.pids && has(layout.v2_controllers, "pids")) {
    PERDURE_TRY(delegate(layout, path, "pids"));
    PERDURE_TRY(write_in(directory, "pids.max", std::to_string(*limits.pids)));
  }
  return {};
}

// 0: it counts none.
std::uint64_t oom_kill_in(const std::string& file) {
  const auto text = read_file(file);
  const auto value = text ? cgroup_value(*text, "oom_kill") : std::nullopt;
  std::uint64_t count = 0;
  if (value) std::from_chars(value->data(), value->data() + value->size(), count);
  return count;
}

bool is_wanted(const std::vector<std::string>& controllers) {
  return has(controllers, "memory") || has(controllers, "cpu") || has(controllers, "pids") ||
         has(controllers, "devices");
}

}  // namespace

std::uint64_t out_of_memory_kills(const CgroupLayout& layout, const std::string& path) {
  std::uint64_t count = oom_kill_in(layout.v2_mount + "/" + path + "/memory.events");
  for (const CgroupLayout::V1Mount& mount : layout.v1) {
    if (has(mount.controllers, "memory")) count += oom_kill_in(mount.mount_point + "/" + path + "/memory.oom_control");
  }
  return count;
}

Result<std::vector<std::string>> create_limited(const CgroupLayout& layout, const std::string& path,
                                                const model::ResourcesSpec& limits) {
  PERDURE_TRY(check_supported(layout, limits));
  PERDURE_TRY(io::make_directories(layout.v2_mount + "/" + path, 0755));
  PERDURE_TRY(write_v2_limits(layout, path, limits));
  for (const CgroupLayout::V1Mount& mount : layout.v1) {
    if (!is_wanted(mount.controllers)) continue;
    const std::string directory = mount.mount_point + "/" + path;
    PERDURE_TRY(io::make_directories(directory, 0755));
    PERDURE_TRY(write_v1_limits(directory, mount.controllers, limits));
  }
  return cgroup_dirs_at(layout, path);
}

}  // namespace perdure::runtime
