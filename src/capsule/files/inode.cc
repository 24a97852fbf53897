#include "capsule/files/inode.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <format>
#include <iterator>

#include "capsule/format/validate.h"

namespace perdure::capsule::files {
namespace {

constexpr std::size_t kMaxXattrListBytes = 65536;  // XATTR_LIST_MAX of linux/limits.h

static_assert(kOpenDirectory == O_DIRECTORY);

struct TypeAndBits {
  FileType type;
  mode_t bits;
};
constexpr TypeAndBits kTypes[] = {
    {FileType::kRegular, S_IFREG},     {FileType::kDirectory, S_IFDIR},
    {FileType::kSymlink, S_IFLNK},     {FileType::kCharacterDevice, S_IFCHR},
    {FileType::kBlockDevice, S_IFBLK}, {FileType::kFifo, S_IFIFO},
    {FileType::kSocket, S_IFSOCK},
};

std::int64_t nanoseconds(const statx_timestamp& time) {
  return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

// The descriptor pins the directory and the last component of an l*xattr call is not followed, so
// that this path names exactly one inode whatever is renamed meanwhile.
std::string pinned_path(Place place) {
  return std::format("/proc/self/fd/{}/{}", place.directory, place.name);
}

// Returns an errno or 0. What is asked for may grow between two calls: try again with all the room
// there is.
template <typename Get>
int read_growing(std::string& value, std::size_t guess, std::size_t limit, Get get) {
  value.resize(guess);
  for (;;) {
    const ssize_t got = get(value.data(), value.size());
    if (got >= 0) {
      value.resize(static_cast<std::size_t>(got));
      return 0;
    }
    if (errno != ERANGE || value.size() >= limit) return errno;
    value.resize(limit);
  }
}

template <typename List, typename Get>
Result<Xattrs> read_all_xattrs(List list, Get get) {
  Xattrs xattrs;
  std::string all;
  int error = read_growing(all, 1024, kMaxXattrListBytes, list);
  if (error == ENOTSUP) return xattrs;
  if (error != 0) return fail(Error::from_errno("list xattrs", error));
  for (std::size_t at = 0; at < all.size();) {
    const std::string name(all.c_str() + at);
    at += name.size() + 1;
    std::string value;
    error = read_growing(value, 256, kMaxXattrValueBytes, [&](char* data, std::size_t size) {
      return get(name.c_str(), data, size);
    });
    if (error == ENODATA) continue;  // removed meanwhile
    if (error != 0) return fail(Error::from_errno(std::format("read xattr '{}'", name), error));
    xattrs.emplace(name, std::move(value));
    if (xattrs.size() > kMaxXattrs) {
      return fail(ErrorCode::kUnsupported, std::format("carries more than {} xattrs", kMaxXattrs));
    }
  }
  return xattrs;
}

}  // namespace

std::uint64_t device_of(const InodeStat& stat) {
  return makedev(stat.stx_dev_major, stat.stx_dev_minor);
}

InodeId id_of(const InodeStat& stat) {
  return InodeId{device_of(stat), stat.stx_ino};
}

FileKey key_of(const InodeStat& stat) {
  return FileKey{device_of(stat), stat.stx_ino, stat.stx_size, modified_ns(stat),
                 nanoseconds(stat.stx_ctime)};
}

std::int64_t modified_ns(const InodeStat& stat) {
  return nanoseconds(stat.stx_mtime);
}

std::optional<FileType> type_of(const InodeStat& stat) {
  const auto* found =
      std::ranges::find(kTypes, static_cast<mode_t>(stat.stx_mode & S_IFMT), &TypeAndBits::bits);
  return found == std::end(kTypes) ? std::nullopt : std::optional(found->type);
}

mode_t type_bits(FileType type) {
  return std::ranges::find(kTypes, type, &TypeAndBits::type)->bits;
}

bool is_whiteout(const FileEntry& entry) {
  return entry.type == FileType::kCharacterDevice && entry.device == 0;
}

bool is_protected(const InodeStat& stat) {
  return (stat.stx_attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND)) != 0;
}

Result<InodeStat> stat_at(Place place) {
  Result<InodeStat> result(std::in_place);
  if (::statx(place.directory, place.name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS,
              &*result) != 0) {
    return fail_errno("stat");
  }
  return result;
}

Result<InodeStat> stat_of(int fd) {
  Result<InodeStat> result(std::in_place);
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &*result) != 0) return fail_errno("stat");
  return result;
}

Result<UniqueFd> open_beneath(int root, const std::string& path, int flags) {
  struct open_how how {};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC | O_NOFOLLOW);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
  const long fd = ::syscall(SYS_openat2, root, path.empty() ? "." : path.c_str(), &how, sizeof how);
  if (fd < 0 && errno == EXDEV) {
    return fail(ErrorCode::kUnsupported, "lies on another file system: unmount it");
  }
  if (fd < 0) return fail_errno("open");
  return UniqueFd(static_cast<int>(fd));
}

Result<UniqueFd> open_for_reading(Place place) {
  constexpr int kFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  int fd = ::openat(place.directory, place.name, kFlags | O_NOATIME);
  if (fd < 0 && errno == EPERM)
    fd = ::openat(place.directory, place.name, kFlags);  // not the owner
  if (fd < 0) return fail_errno("open");
  return UniqueFd(fd);
}

bool has_no_unwritten_pages(int fd, const InodeStat& stat) {
  constexpr long kCachestat = 451;  // on every architecture; newer than the headers of Debian 12
  struct {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;  // to the end
  } range;
  struct {
    std::uint64_t cached, dirty, writeback, evicted, recently_evicted;
  } pages{};
  if ((stat.stx_attributes & STATX_ATTR_DAX) != 0) return false;
  return ::syscall(kCachestat, fd, &range, &pages, 0) == 0 && pages.dirty == 0;
}

Status DirectoryNames::read(int fd, std::uint64_t limit) {
  constexpr std::size_t kStep = 32768;  // what the C library reads at once
  used_ = 0;
  const std::uint64_t limit_bytes = (limit + 2) * sizeof(dirent64);  // of the longest names
  for (;;) {
    if (buffer_.size() < used_ + kStep) buffer_.resize(std::max(buffer_.size() * 2, used_ + kStep));
    const long got = ::syscall(SYS_getdents64, fd, buffer_.data() + used_, buffer_.size() - used_);
    if (got < 0) return fail_errno("list directory");
    if (got == 0) return {};
    used_ += static_cast<std::size_t>(got);
    if (used_ > limit_bytes) return fail(ErrorCode::kNoSpace, "too many names in one directory");
  }
}

Status DirectoryNames::for_each(const std::function<Status(const char* name)>& visit) const {
  for (std::size_t at = 0; at < used_;) {
    const auto* entry = reinterpret_cast<const dirent64*>(buffer_.data() + at);
    at += entry->d_reclen;
    const char* name = entry->d_name;
    if (name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'))) continue;
    PERDURE_TRY(visit(name));
  }
  return {};
}

Result<Xattrs> read_xattrs(int fd) {
  return read_all_xattrs([&](char* data, std::size_t size) { return ::flistxattr(fd, data, size); },
                         [&](const char* name, char* data, std::size_t size) {
                           return ::fgetxattr(fd, name, data, size);
                         });
}

Result<Xattrs> read_xattrs_at(Place place) {
  const std::string path = pinned_path(place);
  return read_all_xattrs(
      [&](char* data, std::size_t size) { return ::llistxattr(path.c_str(), data, size); },
      [&](const char* name, char* data, std::size_t size) {
        return ::lgetxattr(path.c_str(), name, data, size);
      });
}

Status set_xattr_at(Place place, const std::string& name, const std::string& value) {
  if (::lsetxattr(pinned_path(place).c_str(), name.c_str(), value.data(), value.size(), 0) == 0)
    return {};
  const std::string what = std::format("set xattr '{}'", name);
  if (errno == ENOTSUP) {
    return fail(ErrorCode::kUnsupported, what + ": the file system of this tree cannot hold it");
  }
  return fail_errno(what);
}

Status remove_xattr_at(Place place, const std::string& name) {
  if (::lremovexattr(pinned_path(place).c_str(), name.c_str()) == 0 || errno == ENODATA) return {};
  return fail_errno(std::format("remove xattr '{}'", name));
}

Result<std::string> read_target(Place place, std::uint64_t size_bytes) {
  // Some file systems give no size; no target is longer than PATH_MAX.
  std::string target(std::max<std::uint64_t>(size_bytes + 1, 256), '\0');
  for (;;) {
    const ssize_t got = ::readlinkat(place.directory, place.name, target.data(), target.size());
    if (got < 0) return fail_errno("read symlink");
    if (static_cast<std::size_t>(got) < target.size()) {
      target.resize(static_cast<std::size_t>(got));
      return target;
    }
    target.resize(target.size() * 2);
  }
}

Result<UniqueFd> open_unlinked_file(int directory, const std::string& purpose) {
  const int fd = ::openat(directory, ".", O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);
  if (fd >= 0) return UniqueFd(fd);
  if (errno == EOPNOTSUPP || errno == EISDIR) {
    return fail(ErrorCode::kUnsupported,
                std::format("{}: the file system has no unlinked files (O_TMPFILE)", purpose));
  }
  return fail_errno(purpose);
}

}  // namespace perdure::capsule::files
