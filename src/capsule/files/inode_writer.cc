#include "capsule/files/inode_writer.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/assert.h"
#include "base/fd.h"

namespace perdure::capsule::files {
namespace {

timespec to_timespec(std::int64_t nanoseconds) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  std::int64_t seconds = nanoseconds / kSecond;
  std::int64_t rest = nanoseconds % kSecond;
  if (rest < 0) {
    rest += kSecond;
    --seconds;
  }
  return timespec{seconds, rest};
}

std::uint64_t pages_of(std::uint64_t bytes) {
  return (bytes + kPageSize - 1) / kPageSize;
}

// Until it is complete nobody but us may open it.
constexpr mode_t kUnfinishedMode = 0600;
constexpr mode_t kUnfinishedDirectoryMode = 0700;

}  // namespace

InodeWriter::InodeWriter(const RestoreOptions& options, RestoreReport& report)
    : options_(options), report_(report), buffer_(kReadBytes) {}

Status InodeWriter::begin_change() {
  if (!marked_ && options_.marker_directory >= 0) {
    const UniqueFd marker(::openat(options_.marker_directory, options_.marker_name.c_str(),
                                   O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!marker) return fail_errno("create marker '" + options_.marker_name + "'");
    marked_ = true;
  }
  return options_.before_change ? options_.before_change() : Status();
}

Status InodeWriter::finish() {
  if (options_.marker_directory < 0) return {};
  if (::unlinkat(options_.marker_directory, options_.marker_name.c_str(), 0) == 0 ||
      errno == ENOENT)
    return {};
  return fail_errno("remove marker '" + options_.marker_name + "'");
}

Status InodeWriter::clear_protection(Place place) {
  auto fd = open_for_reading(place);
  if (!fd) return fail(std::move(fd).error());
  int flags = 0;
  if (::ioctl(fd->get(), FS_IOC_GETFLAGS, &flags) != 0) return fail_errno("read inode flags");
  const int cleared = flags & ~(FS_IMMUTABLE_FL | FS_APPEND_FL);
  if (cleared == flags) return {};
  PERDURE_TRY(begin_change());
  if (::ioctl(fd->get(), FS_IOC_SETFLAGS, &cleared) != 0) {
    return fail_errno("clear immutable and append-only flags");
  }
  return {};
}

Status InodeWriter::unlink(Place place, int flags) {
  PERDURE_TRY(begin_change());
  if (::unlinkat(place.directory, place.name, flags) == 0) return {};
  if (errno == EPERM) {
    // Protected itself, or the directory that it lies in.
    const auto stat = stat_at(place);
    if (stat && is_protected(*stat)) PERDURE_TRY(clear_protection(place));
    PERDURE_TRY(clear_protection(Place{place.directory, "."}));
    if (::unlinkat(place.directory, place.name, flags) == 0) return {};
  }
  return fail_errno("remove");
}

Status InodeWriter::remove(Place place, FileType type) {
  ++report_.removed;
  if (type != FileType::kDirectory) return unlink(place, 0);
  PERDURE_ASSIGN(UniqueFd directory,
                 open_beneath(place.directory, place.name, O_RDONLY | O_DIRECTORY));
  PERDURE_TRY(empty_directory(std::move(directory)));
  return unlink(place, AT_REMOVEDIR);
}

// With one descriptor at a time: a tree that a container has made since may be deeper than any
// limit of ours.
Status InodeWriter::empty_directory(UniqueFd directory) {
  struct Level {
    InodeId id;
    std::vector<std::string> pending;  // directories that are still to be emptied
  };
  std::vector<Level> levels;
  DirectoryNames names;
  const auto enter = [&](int fd) -> Status {
    PERDURE_ASSIGN(const InodeStat stat, stat_of(fd));
    levels.push_back(Level{id_of(stat), {}});
    PERDURE_TRY(names.read(fd, UINT32_MAX));
    return names.for_each([&](const char* name) -> Status {
      PERDURE_ASSIGN(const InodeStat entry, stat_at(Place{fd, name}));
      if (!S_ISDIR(entry.stx_mode)) return unlink(Place{fd, name}, 0);
      levels.back().pending.emplace_back(name);
      return {};
    });
  };
  PERDURE_TRY(enter(directory.get()));
  for (;;) {
    std::vector<std::string>& pending = levels.back().pending;
    if (!pending.empty()) {
      PERDURE_ASSIGN(directory,
                     open_beneath(directory.get(), pending.back(), O_RDONLY | O_DIRECTORY));
      PERDURE_TRY(enter(directory.get()));
      continue;
    }
    levels.pop_back();
    if (levels.empty()) return {};
    directory = UniqueFd(::openat(directory.get(), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory) return fail_errno("open '..'");
    PERDURE_ASSIGN(const InodeStat above, stat_of(directory.get()));
    if (id_of(above) != levels.back().id)
      return fail(ErrorCode::kConflict, "was moved while it was removed");
    PERDURE_TRY(unlink(Place{directory.get(), levels.back().pending.back().c_str()}, AT_REMOVEDIR));
    levels.back().pending.pop_back();
  }
}

Status InodeWriter::create(Place place, const FileEntry& entry) {
  PERDURE_TRY(begin_change());
  ++report_.created;
  switch (entry.type) {
    case FileType::kDirectory:
      if (::mkdirat(place.directory, place.name, kUnfinishedDirectoryMode) != 0)
        return fail_errno("make directory");
      return {};
    case FileType::kSymlink:
      if (::symlinkat(entry.target.c_str(), place.directory, place.name) != 0)
        return fail_errno("make symlink");
      return {};
    case FileType::kRegular: {
      const UniqueFd fd(::openat(place.directory, place.name,
                                 O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                                 kUnfinishedMode));
      if (!fd) return fail_errno("create");
      return {};
    }
    default:
      break;
  }
  if (::mknodat(place.directory, place.name, type_bits(entry.type) | kUnfinishedMode,
                entry.device) != 0) {
    return fail_errno("make special file");
  }
  return {};
}

Status InodeWriter::link(Place target, Place place) {
  PERDURE_TRY(begin_change());
  ++report_.created;
  if (::linkat(target.directory, target.name, place.directory, place.name, 0) != 0)
    return fail_errno("link");
  return {};
}

Status InodeWriter::set_content(Place place, const FileEntry& entry, const InodeStat& now,
                                const PagedObject* on_disk) {
  const UniqueFd fd(::openat(place.directory, place.name,
                             O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | O_NOATIME));
  if (!fd) return fail_errno("open");
  const std::uint64_t written = report_.written.count;
  const bool was_empty = now.stx_size == 0;
  if (on_disk == nullptr && !was_empty) ++report_.compared;
  if (on_disk != nullptr && now.stx_size != entry.size_bytes)
    on_disk = nullptr;  // cutting changes the last page
  bool changed = now.stx_size != entry.size_bytes;
  if (changed) PERDURE_TRY(resize(fd.get(), entry.size_bytes));

  static const PagedObject nothing;
  PageCursor known(was_empty ? nothing : on_disk == nullptr ? nothing : *on_disk);
  PageCursor* const cursor = was_empty || on_disk != nullptr ? &known : nullptr;
  for (const PageRun& run : entry.content.runs())
    PERDURE_TRY(write_run(fd.get(), entry, run, cursor));
  if (!was_empty) PERDURE_TRY(make_holes(fd.get(), entry, now));
  changed = changed || written != report_.written.count;
  if (changed && !was_empty) ++report_.rewritten;
  return {};
}

Status InodeWriter::resize(int fd, std::uint64_t size_bytes) {
  PERDURE_TRY(begin_change());
  if (::ftruncate(fd, static_cast<off_t>(size_bytes)) != 0) return fail_errno("set size");
  return {};
}

// Writes the pages of a run that differ from what is known (`on_disk`) or read there (null).
Status InodeWriter::write_run(int fd, const FileEntry& entry, const PageRun& run,
                              PageCursor* on_disk) {
  const auto bytes = run.bytes();
  for (std::uint64_t done = 0; done < run.page_count;) {
    const std::uint64_t count =
        std::min<std::uint64_t>(run.page_count - done, kReadBytes / kPageSize);
    const std::uint64_t first = run.first_page + done;
    if (on_disk == nullptr) {
      PERDURE_ASSIGN(const std::size_t got,
                     read_at(fd, std::span(buffer_).first(count * kPageSize), first * kPageSize, "content"));
      report_.read.count += got;
      std::memset(buffer_.data() + got, 0, count * kPageSize - got);
    }
    const auto equal = [&](std::uint64_t index) {
      const std::byte* there =
          on_disk == nullptr ? buffer_.data() + index * kPageSize : on_disk->at(first + index);
      const std::byte* wanted = bytes.data() + (done + index) * kPageSize;
      return there == wanted || (there != nullptr && std::memcmp(there, wanted, kPageSize) == 0);
    };
    for (std::uint64_t begin = 0; begin < count;) {
      std::uint64_t end = begin;
      while (end < count && !equal(end)) ++end;
      if (end > begin) {
        PERDURE_TRY(
            write_pages(fd, entry, first + begin,
                        bytes.subspan((done + begin) * kPageSize, (end - begin) * kPageSize)));
      }
      begin = end + 1;
    }
    done += count;
  }
  return {};
}

Status InodeWriter::write_pages(int fd, const FileEntry& entry, std::uint64_t first_page,
                                std::span<const std::byte> pages) {
  const std::uint64_t offset = first_page * kPageSize;
  pages = pages.first(std::min<std::uint64_t>(pages.size(), entry.size_bytes - offset));
  PERDURE_TRY(begin_change());
  return write_at(fd, pages, offset);
}

Status InodeWriter::write_at(int fd, std::span<const std::byte> bytes, std::uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail_errno("write");
    report_.written.count += static_cast<std::uint64_t>(written);
    offset += static_cast<std::uint64_t>(written);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return {};
}

// Data where the entry has none becomes a hole.
Status InodeWriter::make_holes(int fd, const FileEntry& entry, const InodeStat& now) {
  const ContentSource source{fd, 0, entry.size_bytes, 0};
  if (now.stx_blocks == 0) return {};
  const auto& runs = entry.content.runs();
  std::uint64_t hole = 0;  // page
  for (std::size_t i = 0; i <= runs.size(); ++i) {
    const std::uint64_t end = i < runs.size() ? runs[i].first_page : pages_of(entry.size_bytes);
    while (hole < end) {
      PERDURE_ASSIGN(const DataRange data, next_data(source, hole * kPageSize));
      const std::uint64_t begin = std::max(hole, data.begin / kPageSize);
      if (data.begin >= data.end || begin >= end) break;
      const std::uint64_t stop = std::min(end, pages_of(data.end));
      PERDURE_TRY(make_hole(fd, begin * kPageSize, stop * kPageSize, entry.size_bytes));
      hole = stop;
    }
    if (i < runs.size()) hole = runs[i].end_page();
  }
  return {};
}

// Whole pages, also beyond the end of the file: part of a page would be zeroed and stay data.
Status InodeWriter::make_hole(int fd, std::uint64_t begin, std::uint64_t end,
                              std::uint64_t size_bytes) {
  PERDURE_TRY(begin_change());
  if (::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(begin),
                  static_cast<off_t>(end - begin)) == 0) {
    report_.written.count += end - begin;
    return {};
  }
  if (errno != EOPNOTSUPP) return fail_errno("make a hole");
  end = std::min(end, size_bytes);
  const std::vector<std::byte> zeros(std::min<std::uint64_t>(end - begin, kReadBytes));
  while (begin < end) {
    const std::size_t count = std::min<std::uint64_t>(end - begin, zeros.size());
    PERDURE_TRY(write_at(fd, std::span(zeros).first(count), begin));
    begin += count;
  }
  return {};
}

Status InodeWriter::set_metadata(Place place, const FileEntry& entry) {
  PERDURE_ASSIGN(const InodeStat now, stat_at(place));
  bool changed = false;
  if (now.stx_uid != entry.uid || now.stx_gid != entry.gid) {
    PERDURE_TRY(begin_change());
    if (::fchownat(place.directory, place.name, entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) != 0) {
      return fail_errno("change owner");
    }
    changed = true;  // may have cleared suid, sgid and security.capability
  }
  PERDURE_TRY(set_xattrs(place, entry, changed));  // an ACL changes the group's mode bits
  const bool symlink = entry.type == FileType::kSymlink;
  if (!symlink && (changed || (now.stx_mode & 07777u) != entry.mode)) {
    PERDURE_TRY(begin_change());
    if (::fchmodat(place.directory, place.name, entry.mode, AT_SYMLINK_NOFOLLOW) != 0) {
      return fail_errno("change mode");
    }
  }
  if (modified_ns(now) == entry.modified_ns) return {};
  PERDURE_TRY(begin_change());
  const timespec times[2] = {{0, UTIME_OMIT}, to_timespec(entry.modified_ns)};
  if (::utimensat(place.directory, place.name, times, AT_SYMLINK_NOFOLLOW) != 0)
    return fail_errno("set mtime");
  return {};
}

Status InodeWriter::set_xattrs(Place place, const FileEntry& entry, bool& changed) {
  PERDURE_ASSIGN(const Xattrs now, read_xattrs_at(place));
  if (now == entry.xattrs) return {};
  changed = true;
  for (const auto& [name, value] : now) {
    if (entry.xattrs.contains(name)) continue;
    PERDURE_TRY(begin_change());
    PERDURE_TRY(remove_xattr_at(place, name));
  }
  for (const auto& [name, value] : entry.xattrs) {
    const auto found = now.find(name);
    if (found != now.end() && found->second == value) continue;
    PERDURE_TRY(begin_change());
    PERDURE_TRY(set_xattr_at(place, name, value));
  }
  return {};
}

}  // namespace perdure::capsule::files
