// Names beneath directory descriptors: status, listing, opening and extended attributes, without
// ever following a symlink. Names come from containers: they are treated as hostile.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "capsule/files/file_tracker.h"
#include "capsule/format/capsule.h"

namespace perdure::capsule::files {

using InodeStat = struct ::statx;

struct InodeId {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  auto operator<=>(const InodeId&) const = default;
};
struct InodeIdHash {
  std::size_t operator()(const InodeId& id) const noexcept {
    return std::hash<std::uint64_t>{}(id.inode * 0x9e3779b97f4a7c15u ^ id.device);
  }
};

// One name in an open directory; "." is the directory itself.
struct Place {
  int directory = -1;
  const char* name = "";
};

std::uint64_t device_of(const InodeStat& stat);
InodeId id_of(const InodeStat& stat);
FileKey key_of(const InodeStat& stat);
std::int64_t modified_ns(const InodeStat& stat);
std::optional<FileType> type_of(const InodeStat& stat);
mode_t type_bits(FileType type);  // S_IF*
bool is_whiteout(const FileEntry& entry);  // of an overlay: character device 0/0
bool is_protected(const InodeStat& stat);  // immutable or append-only

Result<InodeStat> stat_at(Place place);  // kNotFound
Result<InodeStat> stat_of(int fd);

// Beneath `root` without crossing a symlink or a mount. "" is the root itself. Adds O_CLOEXEC,
// O_NOFOLLOW.
Result<UniqueFd> open_beneath(int root, const std::string& path, int flags);
inline constexpr int kOpenDirectory = 0200000;  // O_DIRECTORY, for reading

// For reading, never blocking: neither on a pipe nor on a lease that its holder, frozen, cannot
// give up.
Result<UniqueFd> open_for_reading(Place place);

// Whether no page of an open file waits to be written to disk. Then every page is write-protected
// in all page tables (mm/page-writeback.c folio_clear_dirty_for_io), and the next store through a
// mapping sets ctime. False where the kernel cannot tell (before Linux 6.5, DAX).
bool has_no_unwritten_pages(int fd, const InodeStat& stat);

// The names in a directory but "." and "..", in the file system's order. Reusable: keeps its
// buffer.
class DirectoryNames {
 public:
  // kNoSpace beyond `limit` names.
  Status read(int fd, std::uint64_t limit);
  // Calls with each name, NUL-terminated and valid until the next read(); stops at the first error.
  Status for_each(const std::function<Status(const char* name)>& visit) const;

 private:
  std::vector<char> buffer_;
  std::size_t used_ = 0;
};

using Xattrs = std::map<std::string, std::string>;
Result<Xattrs> read_xattrs(int fd);          // of an open file or directory
Result<Xattrs> read_xattrs_at(Place place);  // of anything, symlinks included
Status set_xattr_at(Place place, const std::string& name, const std::string& value);
Status remove_xattr_at(Place place, const std::string& name);

Result<std::string> read_target(Place place, std::uint64_t size_bytes);  // of a symlink

// An unlinked file in a directory, readable and writable.
Result<UniqueFd> open_unlinked_file(int directory, const std::string& purpose);

}  // namespace perdure::capsule::files
