// Which files the processes of a container can change without a trace: a store to a page that is already
// mapped shared and writable touches neither mtime nor ctime (only the first write fault after the last
// write-back does, mm/memory.c do_page_mkwrite and file_update_time). Such files are read at every capture.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"

namespace perdure::capsule {

// A file as /proc/PID/maps names it: the device of the superblock and the number of the inode.
//   overlayfs  the overlay's own device and inode number, which for a copied-up file is the lower file's,
//              not the upper's (fs/overlayfs/inode.c ovl_map_ino; since Linux 6.8; the upper's before)
//   btrfs      the superblock's device, not the subvolume's that stat(2) gives
// The tracker therefore goes by the number alone, which at worst reads a file too many.
struct SharedMapping {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  bool deleted = false;  // the name it was opened by is gone; another link may still be there

  auto operator<=>(const SharedMapping&) const = default;
};

// What the tracker has to be told about the frozen processes.
struct FrozenHints {
  std::vector<SharedMapping> shared_writable;  // sorted, without repetition
};

// Reads /proc/PID/maps of each process (thread-group leaders are enough); call it while they are frozen.
// A shared mapping counts when its file was opened for writing, whatever its protection is now: mprotect(2)
// may have taken the right to write away after the store. A process that is gone counts for nothing.
// kPermission, kIo: the maps of a living process cannot be read.
Result<FrozenHints> collect_shared_writable_mappings(std::span<const pid_t> pids);

}  // namespace perdure::capsule
