#include "capsule/files/shared_mappings.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <format>
#include <string>
#include <string_view>

#include "base/fd.h"

namespace perdure::capsule {
namespace {

// 65530 mappings (vm.max_map_count) of a line of some hundred bytes.
constexpr std::size_t kMaxMapsBytes = std::size_t{64} << 20;

struct MapsLine {
  unsigned long begin = 0;
  unsigned long end = 0;
  char rights[5] = "";
  unsigned major = 0;
  unsigned minor = 0;
  unsigned long inode = 0;
};

bool parse(const char* line, MapsLine& parsed) {
  return std::sscanf(line, "%lx-%lx %4s %*x %x:%x %lu", &parsed.begin, &parsed.end, parsed.rights,
                     &parsed.major, &parsed.minor, &parsed.inode) == 6;
}

bool process_is_gone(int error) {
  return error == ENOENT || error == ESRCH;
}

Status add_mapping(pid_t pid, int map_files, const MapsLine& line,
                   std::vector<SharedMapping>& found) {
  const std::string name = std::format("{:x}-{:x}", line.begin, line.end);
  if (line.rights[1] != 'w') {
    struct stat link{};
    if (::fstatat(map_files, name.c_str(), &link, AT_SYMLINK_NOFOLLOW) != 0) {
      if (process_is_gone(errno)) return {};  // or unmapped since, if somebody thawed it
      return fail_errno(std::format("read mapping {} of process {}", name, pid));
    }
    // Whether the file was opened for writing (fs/proc/base.c proc_map_files_instantiate). The
    // kernel keeps the bits of the first mapping that was looked at in this range: good enough only
    // where it is not writable now.
    if ((link.st_mode & S_IWUSR) == 0) return {};
  }
  struct stat file{};
  if (::fstatat(map_files, name.c_str(), &file, 0) != 0) {
    if (process_is_gone(errno)) return {};
    return fail_errno(std::format("stat mapping {} of process {}", name, pid));
  }
  if (!S_ISREG(file.st_mode) || file.st_nlink == 0) return {};
  found.push_back(
      SharedMapping{file.st_dev, file.st_ino, makedev(line.major, line.minor), line.inode});
  return {};
}

Status collect(pid_t pid, std::vector<SharedMapping>& found) {
  const std::string process = std::format("/proc/{}", pid);
  auto maps = read_file(process + "/maps", kMaxMapsBytes);
  if (!maps) {
    if (::kill(pid, 0) != 0 && errno == ESRCH) return {};
    return fail(std::move(maps).error());
  }
  UniqueFd map_files;
  for (std::size_t at = 0; at < maps->size();) {
    const std::size_t end = std::min(maps->find('\n', at), maps->size());
    // "begin-end rwxs": most lines are private and not worth parsing.
    const std::size_t rights = maps->find(' ', at);
    const bool shared = rights + 4 < end && (*maps)[rights + 4] == 's';
    MapsLine line;
    if (shared && parse(maps->c_str() + at, line) && line.inode != 0) {
      if (!map_files) {
        auto opened = open_file(process + "/map_files", O_RDONLY | O_DIRECTORY);
        if (!opened && opened.error().code() == ErrorCode::kNotFound) return {};
        if (!opened) return fail(std::move(opened).error());
        map_files = std::move(*opened);
      }
      PERDURE_TRY(add_mapping(pid, map_files.get(), line, found));
    }
    at = end + 1;
  }
  return {};
}

}  // namespace

Result<FrozenHints> collect_shared_writable_mappings(std::span<const pid_t> pids) {
  FrozenHints hints;
  for (const pid_t pid : pids) PERDURE_TRY(collect(pid, hints.shared_writable));
  std::ranges::sort(hints.shared_writable);
  const auto repeated = std::ranges::unique(hints.shared_writable);
  hints.shared_writable.erase(repeated.begin(), repeated.end());
  return hints;
}

}  // namespace perdure::capsule
