#include "image/overlay.h"

#include <sys/mount.h>

#include <cerrno>
#include <format>
#include <optional>
#include <string_view>
#include <thread>

#include "base/mountinfo.h"
#include "io/atomic_file.h"

namespace perdure::image {
namespace {

constexpr Duration kLookAgain = std::chrono::milliseconds(5);

// mount(2) takes one page of options.
constexpr std::size_t kMaxOptionBytes = 4095;

// overlayfs separates layers by ':' and options by ',', and '\' escapes both in ways that differ
// between kernels.
Status check_path(const std::string& path, std::string_view what) {
  if (path.starts_with('/') && path.find_first_of(":,\\\"") == std::string::npos) return {};
  return fail(
      ErrorCode::kInvalid,
      std::format("overlay: {} '{}' must be an absolute path without ':', ',', '\"' and '\\': "
                  "overlayfs cannot name it",
                  what, path));
}

Result<std::string> mount_options(const OverlayPaths& paths) {
  PERDURE_TRY(check_path(paths.lower, "lower directory"));
  PERDURE_TRY(check_path(paths.rw_dir, "writable directory"));
  std::string options =
      std::format("lowerdir={},upperdir={},workdir={},index=off,metacopy=off,redirect_dir=off",
                  paths.lower, paths.upper(), paths.work());
  if (options.size() > kMaxOptionBytes) {
    return fail(ErrorCode::kInvalid,
                std::format("overlay at '{}': paths are too long for mount(2)", paths.merged));
  }
  return options;
}

bool has_option(std::string_view options, std::string_view wanted) {
  while (!options.empty()) {
    const auto comma = options.find(',');
    if (options.substr(0, comma) == wanted) return true;
    options = comma == std::string_view::npos ? std::string_view{} : options.substr(comma + 1);
  }
  return false;
}

// The topmost mount there: the last in the list.
Result<std::optional<MountEntry>> mount_at(const std::string& path) {
  PERDURE_ASSIGN(const std::vector<MountEntry> mounts, read_mountinfo());
  std::optional<MountEntry> found;
  for (const MountEntry& mount : mounts) {
    if (mount.mount_point == path) found = mount;
  }
  return found;
}

// The upper directory is one container's alone. The lower one may be another copy of the same tree: a directory
// of this host when it was mounted, and what was fetched by its digest since.
bool is_overlay(const MountEntry& mount, const OverlayPaths& paths) {
  return mount.type == "overlay" && has_option(mount.super_options, "upperdir=" + paths.upper());
}

}  // namespace

Result<bool> overlay_mounted(const OverlayPaths& paths) {
  PERDURE_ASSIGN(const auto mount, mount_at(paths.merged));
  return mount && is_overlay(*mount, paths);
}

Status mount_overlay(const OverlayPaths& paths) {
  PERDURE_ASSIGN(const std::string options, mount_options(paths));
  PERDURE_ASSIGN(const auto present, mount_at(paths.merged));
  if (present) {
    if (is_overlay(*present, paths)) return {};
    return fail(ErrorCode::kConflict, std::format("'{}' has a {} mount of '{}' on it: unmount it",
                                                  paths.merged, present->type, present->source));
  }
  for (const std::string& directory : {paths.upper(), paths.work(), paths.merged}) {
    PERDURE_TRY(io::make_directories(directory, 0755));
  }
  if (::mount("overlay", paths.merged.c_str(), "overlay", 0, options.c_str()) != 0) {
    const int error = errno;
    const std::string what = std::format("mount overlay of '{}' and '{}' at '{}'", paths.lower,
                                         paths.upper(), paths.merged);
    if (error == EINVAL || error == ENODEV) {
      return fail(
          ErrorCode::kUnsupported,
          std::format("{}: the kernel refuses; '{}' must lie on a file system that can be an "
                      "overlay's upper layer (ext4, xfs, btrfs; not overlay, nfs): see dmesg",
                      what, paths.rw_dir));
    }
    return fail(Error::from_errno(what, error));
  }
  if (::mount(nullptr, paths.merged.c_str(), nullptr, MS_PRIVATE, nullptr) != 0) {
    const Error error = Error::last_errno(std::format("make '{}' private", paths.merged));
    ::umount2(paths.merged.c_str(), UMOUNT_NOFOLLOW);
    return fail(error);
  }
  return {};
}

Status unmount_overlay(const std::string& merged, Duration patience) {
  const Instant deadline = BootClock::now() + patience;
  for (;;) {
    PERDURE_ASSIGN(const auto mount, mount_at(merged));
    if (!mount) return {};
    if (mount->type != "overlay") {
      return fail(ErrorCode::kConflict, std::format("'{}' has a {} mount on it, not an overlay: "
                                                    "unmount it",
                                                    merged, mount->type));
    }
    if (::umount2(merged.c_str(), UMOUNT_NOFOLLOW) == 0) continue;
    if (errno == EINVAL) return {};  // somebody else was faster
    if (errno == EBUSY) {
      if (BootClock::now() < deadline) {
        std::this_thread::sleep_for(kLookAgain);  // nothing tells when it is free
        continue;
      }
      return fail(ErrorCode::kConflict,
                  std::format("unmount '{}': still in use by a process or a mount below", merged));
    }
    return fail_errno(std::format("unmount '{}'", merged));
  }
}

Status clear_upper(const OverlayPaths& paths) {
  PERDURE_ASSIGN(const auto mount, mount_at(paths.merged));
  if (mount) {
    return fail(ErrorCode::kConflict, std::format("clear '{}': its overlay is mounted at '{}'",
                                                  paths.rw_dir, paths.merged));
  }
  for (const std::string& directory : {paths.upper(), paths.work()}) {
    PERDURE_TRY(io::remove_tree(directory));
    PERDURE_TRY(io::make_directories(directory, 0755));
  }
  return {};
}

}  // namespace perdure::image
