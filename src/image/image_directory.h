// Names below IMAGES_DIR, and directories there that only one writes:
//
//   HEX/rootfs, HEX/image.json   an image, whole
//   .staging-HEX                 prepare_root() unpacks, under .lock-HEX
//   .incoming-HEX-RANDOM         an Unpacker is at it
//   .removing-HEX-RANDOM         remove_unused() is at it
//   digests/                     remembered digests of sources
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"

namespace perdure::image {

inline constexpr std::string_view kStagingPrefix = ".staging-";
inline constexpr std::string_view kLockPrefix = ".lock-";
inline constexpr std::string_view kIncomingPrefix = ".incoming-";
inline constexpr std::string_view kRemovingPrefix = ".removing-";

// DIGEST is valid.
std::string directory_in(const std::string& images_dir, const std::string& digest);
std::string staging_in(const std::string& images_dir, const std::string& digest);
std::string lock_in(const std::string& images_dir, const std::string& digest);
std::string rootfs_in(const std::string& directory);
std::string description_in(const std::string& directory);

Result<std::string> canonical_path(const std::string& path);
// What the kernel still holds in memory reaches the disk before a rename makes it visible.
Status sync_file_system(const std::string& directory);
// Moves a directory to a name. False: somebody else has made it meanwhile.
Result<bool> move_into_place(const std::string& from, const std::string& to);

// A directory that nobody else removes while this lives: its own descriptor is locked, so that a crash unlocks it.
class LockedDirectory {
 public:
  // PARENT/PREFIX + DIGEST's hex + "-" + random, mode 0700.
  static Result<LockedDirectory> make(const std::string& parent, std::string_view prefix, const std::string& digest);
  // One that is there; nullopt: it is locked, or gone.
  static Result<std::optional<LockedDirectory>> claim(const std::string& path);

  const std::string& path() const { return path_; }
  // Gives it its final name: see move_into_place().
  Result<bool> become(const std::string& path);
  Status remove();  // with all that is in it; nothing after it has become something

 private:
  LockedDirectory(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  std::string path_;  // empty: no longer ours
  UniqueFd fd_;
};

// Removes the LockedDirectories below PARENT whose names begin with one of the prefixes and whose owners have died. Other names are
// passed over.
Status remove_abandoned(const std::string& parent, std::initializer_list<std::string_view> prefixes);
// The same below IMAGES_DIR: .incoming and .removing directories.
Status remove_abandoned(const std::string& images_dir);

}  // namespace perdure::image
