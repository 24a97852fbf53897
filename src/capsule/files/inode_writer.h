// Changes single inodes until they are as an entry of a tree wants them: creates, corrects,
// removes. All changes of a roll-back go through here, so that each can be counted, refused and
// interrupted.
#pragma once

#include <cstdint>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "capsule/files/content.h"
#include "capsule/files/file_restore.h"
#include "capsule/files/inode.h"

namespace perdure::capsule::files {

class InodeWriter {
 public:
  InodeWriter(const RestoreOptions& options, RestoreReport& report);

  // Removes a name and all that lies beneath it, however deep. `type`: of the name.
  Status remove(Place place, FileType type);
  // Makes the name, which must not exist; metadata and content are still to be set.
  Status create(Place place, const FileEntry& entry);
  // Another name for the inode at `target`; `place` must not exist.
  Status link(Place target, Place place);

  // Makes size and content of a regular file those of `entry`. `on_disk`: what the file is known to
  // hold at the size that it has; null: it is read.
  Status set_content(Place place, const FileEntry& entry, const InodeStat& now,
                     const PagedObject* on_disk);
  // Owner, xattrs, mode and mtime, in the order in which they do not undo each other.
  Status set_metadata(Place place, const FileEntry& entry);

  // Clears the immutable and append-only flags, which a captured tree has nowhere.
  Status clear_protection(Place place);
  // Removes the marker after a complete roll-back.
  Status finish();

 private:
  Status begin_change();
  Status unlink(Place place, int flags);
  Status empty_directory(UniqueFd directory);
  Status write_pages(int fd, const FileEntry& entry, std::uint64_t first_page,
                     std::span<const std::byte> pages);
  Status write_at(int fd, std::span<const std::byte> bytes, std::uint64_t offset);
  Status write_run(int fd, const FileEntry& entry, const PageRun& run, PageCursor* on_disk);
  Status make_holes(int fd, const FileEntry& entry, const InodeStat& now);
  Status make_hole(int fd, std::uint64_t begin, std::uint64_t end, std::uint64_t size_bytes);
  Status resize(int fd, std::uint64_t size_bytes);
  Status set_xattrs(Place place, const FileEntry& entry, bool& changed);

  const RestoreOptions& options_;
  RestoreReport& report_;
  std::vector<std::byte> buffer_;
  bool marked_ = false;
};

}  // namespace perdure::capsule::files
