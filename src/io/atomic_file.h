// Files and trees that survive a crash whole or not at all. Blocking: pool threads only.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"

namespace perdure::io {

// The file at `path` is the old one or the new one with exactly `mode`, whenever the host stops:
// written under a temporary name (".NAME.RANDOM.tmp") in the same directory, fsync, rename, fsync
// of the directory. On an error the temporary file is removed and the old file is untouched (but
// for an error of the last fsync: then either may be there after a crash). A symbolic link at
// `path` is replaced, not followed.
Status write_file_atomically(const std::string& path, std::span<const std::byte> data, mode_t mode);
Status write_file_atomically(const std::string& path, std::string_view text, mode_t mode);

// Removes what write_file_atomically() left in the directory when its process was killed. For those who know that
// nobody writes there now. A directory that is missing holds nothing.
Status remove_temporary_files(const std::string& directory);

// Makes names created, renamed or removed in the directory durable.
Status sync_directory(const std::string& path);

// Removes a file or a directory with all that is in it; nothing there is a success. Safe against
// others who change the tree meanwhile: never follows a symbolic link below `path`, never crosses
// into another mount (kConflict, naming the mount point: unmount it first; the rest may be gone by
// then). Any depth. kInvalid: "/", a directory right below it, an empty or relative path, a last
// component "." or "..".
Status remove_tree(const std::string& path);

// Creates `path` and what is missing above it; new ones get exactly `mode`, existing ones stay as
// they are. kConflict: something else than a directory is in the way.
Status make_directories(const std::string& path, mode_t mode);

// The exclusive right to something that a path stands for, until destruction or the process's end.
// The lock file itself stays.
class FileLock {
 public:
  // kConflict: another process (or another FileLock here) holds it until `deadline`; without one it does not wait.
  static Result<FileLock> acquire(const std::string& path, Instant deadline = {});

 private:
  explicit FileLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace perdure::io
