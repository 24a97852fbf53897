// Which hierarchies this host has, and in which of their directories a process or a container is.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <format>
#include <thread>

#include "base/mountinfo.h"
#include "runtime/cgroup.h"

namespace perdure::runtime {
namespace {

// The kernel unlinks dead processes from a cgroup a moment after they are gone.
constexpr Duration kRemovePoll = std::chrono::milliseconds(2);

std::vector<std::string> split(std::string_view text, std::string_view separators) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const auto end = text.find_first_of(separators);
    if (end != 0) parts.emplace_back(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  }
  return parts;
}

// What the kernel shows beside the controllers of a v1 hierarchy.
bool is_controller(std::string_view option) {
  return option != "rw" && option != "ro" && option != "xattr" && option != "none" &&
         option != "noprefix" && option != "clone_children" && option != "cpuset_v2_mode" &&
         option != "favordynmods" && !option.starts_with("release_agent=") && option != "seclabel";
}

std::vector<std::string> controllers_of(const MountEntry& mount) {
  auto options = split(mount.super_options, ",");
  std::erase_if(options, [](const std::string& option) { return !is_controller(option); });
  std::ranges::sort(options);
  return options;
}

bool is_directory(const std::string& path) {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

// The directory of cgroup PATH (as /proc/PID/cgroup names it) below a mount of ROOT; empty: not
// visible.
std::string directory_of(const std::string& mount_point, const std::string& root,
                         const std::string& path) {
  if (root == "/") return path == "/" ? std::string{} : mount_point + path;
  if (!path.starts_with(root + "/")) return {};
  return mount_point + path.substr(root.size());
}

struct Membership {
  std::vector<std::string> controllers;  // empty: the v2 hierarchy
  std::string path;
};

// Lines "ID:CONTROLLERS:PATH" of /proc/PID/cgroup.
std::vector<Membership> parse_memberships(const std::string& text) {
  std::vector<Membership> memberships;
  for (const std::string& line : split(text, "\n")) {
    const auto first = line.find(':');
    const auto second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    Membership membership;
    membership.controllers =
        split(std::string_view(line).substr(first + 1, second - first - 1), ",");
    std::ranges::sort(membership.controllers);
    membership.path = line.substr(second + 1);
    memberships.push_back(std::move(membership));
  }
  return memberships;
}

void collect_depth_first(const std::string& directory, std::vector<std::string>& directories) {
  std::error_code failed;
  for (std::filesystem::directory_iterator entry(directory, failed), last; !failed && entry != last;
       entry.increment(failed)) {
    std::error_code ignored;
    if (entry->is_directory(ignored)) collect_depth_first(entry->path().string(), directories);
  }
  directories.push_back(directory);
}

Status remove_cgroup(const std::string& directory, Instant deadline) {
  for (;;) {
    if (::rmdir(directory.c_str()) == 0 || errno == ENOENT) return {};
    if (errno != EBUSY) return fail_errno(std::format("remove cgroup '{}'", directory));
    if (BootClock::now() >= deadline) break;
    std::this_thread::sleep_for(kRemovePoll);
  }
  return fail(ErrorCode::kConflict,
              std::format("remove cgroup '{}': processes are left in it", directory));
}

}  // namespace

Result<CgroupLayout> CgroupLayout::parse(std::string_view mountinfo) {
  PERDURE_ASSIGN(const std::vector<MountEntry> mounts, parse_mountinfo(mountinfo));
  CgroupLayout layout;
  for (const MountEntry& mount : mounts) {
    if (mount.type == "cgroup2" && layout.v2_mount.empty()) {
      layout.v2_mount = mount.mount_point;
      layout.v2_root = mount.root;
    } else if (mount.type == "cgroup") {
      V1Mount v1{controllers_of(mount), mount.mount_point, mount.root};
      // The same hierarchy may be mounted again elsewhere.
      const bool known = std::ranges::any_of(
          layout.v1, [&](const V1Mount& other) { return other.controllers == v1.controllers; });
      if (!known && !v1.controllers.empty()) layout.v1.push_back(std::move(v1));
    }
  }
  if (layout.v2_mount.empty()) {
    return fail(ErrorCode::kUnsupported,
                "no cgroup2 hierarchy is mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified");
  }
  return layout;
}

Result<CgroupLayout> CgroupLayout::find() {
  PERDURE_ASSIGN(const std::string text, read_file("/proc/self/mountinfo", std::size_t{64} << 20));
  PERDURE_ASSIGN(CgroupLayout layout, parse(text));
  PERDURE_ASSIGN(const std::string controllers, read_file(layout.v2_mount + "/cgroup.controllers"));
  layout.v2_controllers = split(controllers, " \n");
  return layout;
}

bool CgroupLayout::has_controller(std::string_view controller) const {
  return std::ranges::contains(v2_controllers, controller) ||
         std::ranges::any_of(v1, [&](const V1Mount& mount) {
           return std::ranges::contains(mount.controllers, controller);
         });
}

Result<std::vector<std::string>> cgroup_dirs_of(const CgroupLayout& layout, pid_t pid) {
  const auto text = read_file(std::format("/proc/{}/cgroup", pid));
  if (!text) return fail(ErrorCode::kNotFound, std::format("process {} does not exist", pid));
  std::vector<std::string> directories;
  for (const Membership& membership : parse_memberships(*text)) {
    std::string directory;
    if (membership.controllers.empty()) {
      directory = directory_of(layout.v2_mount, layout.v2_root, membership.path);
    } else {
      for (const CgroupLayout::V1Mount& mount : layout.v1) {
        if (mount.controllers != membership.controllers) continue;
        directory = directory_of(mount.mount_point, mount.root, membership.path);
      }
    }
    if (!directory.empty()) directories.push_back(std::move(directory));
  }
  return directories;
}

std::vector<std::string> cgroup_dirs_at(const CgroupLayout& layout, const std::string& path) {
  std::vector<std::string> directories;
  const auto add = [&](const std::string& mount_point) {
    std::string directory = mount_point + "/" + path;
    if (is_directory(directory)) directories.push_back(std::move(directory));
  };
  add(layout.v2_mount);
  for (const CgroupLayout::V1Mount& mount : layout.v1) add(mount.mount_point);
  return directories;
}

Status enter_all(const std::vector<std::string>& directories, pid_t pid) {
  for (const std::string& directory : directories) {
    PERDURE_TRY(write_control_file(directory + "/cgroup.procs", std::to_string(pid)));
  }
  return {};
}

Status remove_everywhere(const CgroupLayout& layout, const std::string& path, Duration deadline) {
  const Instant end = BootClock::now() + deadline;
  for (const std::string& top : cgroup_dirs_at(layout, path)) {
    std::vector<std::string> directories;
    collect_depth_first(top, directories);
    for (const std::string& directory : directories) PERDURE_TRY(remove_cgroup(directory, end));
  }
  return {};
}

}  // namespace perdure::runtime
