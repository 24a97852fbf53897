#include "node/daemon_directories.h"

#include <sys/mount.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <format>
#include <vector>

#include "base/fd.h"
#include "base/log.h"
#include "base/mountinfo.h"

namespace perdure::node {
namespace {

constexpr mode_t kPrivate = 0700;
constexpr mode_t kPublic = 0755;

Result<bool> is_tmpfs_mount(const std::string& path) {
  std::error_code error;
  const std::filesystem::path real = std::filesystem::canonical(path, error);
  if (error) return fail(Error::from_errno(std::format("find '{}'", path), error.value()));
  PERDURE_ASSIGN(const auto mounts, read_mountinfo());
  const auto found = std::ranges::find(mounts.rbegin(), mounts.rend(), real.string(), &MountEntry::mount_point);
  return found != mounts.rend() && found->type == "tmpfs";
}

}  // namespace

Result<io::FileLock> claim_directories(const Paths& paths) {
  PERDURE_TRY(io::make_directories(paths.run_dir, kPublic));
  PERDURE_TRY(io::make_directories(paths.scratch(), kPrivate));
  PERDURE_TRY(io::make_directories(paths.runc_root(), kPrivate));
  PERDURE_TRY(io::make_directories(paths.state_dir, kPrivate));
  PERDURE_TRY(io::make_directories(paths.images(), kPrivate));
  PERDURE_TRY(io::make_directories(paths.containers(), kPrivate));
  // A perdured that was killed while it started a program leaves a copy of its descriptors until that is executed.
  constexpr Duration kStarted = std::chrono::seconds(2);
  auto lock = io::FileLock::acquire(paths.state_dir + "/lock", BootClock::now() + kStarted);
  if (!lock) {
    return fail(std::move(lock).error().context(
        std::format("another perdured works with '{}'; stop it first, or use another --state-dir", paths.state_dir)));
  }
  return lock;
}

Result<Incarnation> next_incarnation(const Paths& paths) {
  std::uint64_t last = 0;
  const auto text = read_file(paths.incarnation());
  if (!text && text.error().code() != ErrorCode::kNotFound) return fail(text.error());
  if (text) {
    const char* const end = text->data() + text->size();
    const auto [rest, error] = std::from_chars(text->data(), end, last);
    if (error != std::errc() || std::string_view(rest, end) != "\n") {
      return fail(ErrorCode::kCorrupt,
                  std::format("'{}' holds no number; write one into it that is larger than the middle part of every "
                              "generation below '{}/capsules' (in decimal)",
                              paths.incarnation(), paths.state_dir));
    }
  }
  PERDURE_TRY(io::write_file_atomically(paths.incarnation(), std::format("{}\n", last + 1), 0600));
  return Incarnation{last + 1};
}

void remove_left_over(const Paths& paths) {
  std::vector<std::string> directories = {paths.state_dir, paths.images(), paths.images() + "/digests"};
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(paths.containers(), error)) {
    directories.push_back(entry.path());
    directories.push_back(entry.path() / "bundle");
  }
  for (const std::string& directory : directories) {
    if (Status removed = io::remove_temporary_files(directory); !removed) {
      log::warning("left over by a perdured that died: {}", removed.error().message());
    }
  }
}

Status prepare_scratch(const Paths& paths) {
  const std::string path = paths.scratch();
  PERDURE_ASSIGN(const bool mounted, is_tmpfs_mount(path));
  if (!mounted) {
    const std::string options = std::format("size={},mode=0700", kScratchSize);
    if (::mount("perdure", path.c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options.c_str()) != 0) {
      return fail_errno(std::format("mount a tmpfs at '{}'", path));
    }
    return {};
  }
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    PERDURE_TRY(io::remove_tree(entry.path().string()));
  }
  return {};
}

}  // namespace perdure::node
