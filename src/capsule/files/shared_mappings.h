// Which files the processes of a container can change without a trace. The first store to a page of
// a shared mapping faults and sets mtime and ctime (mm/memory.c do_page_mkwrite); until the page is
// written back, further stores through the same page table entry touch neither, nor does a change
// of protection back and forth in between (measured on Linux 6.18: mprotect read-only, read-write,
// store).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"

namespace perdure::capsule {

// A mapped file by both of its names. stat(2) through /proc/PID/map_files gives what the same
// file's path in the overlay mount or the volume gives. The numbers in /proc/PID/maps do not:
// before Linux 6.8 they are the upper file's; since then, on overlayfs, they are the overlay's own,
// where a copied-up file has the number of the lower one (with several links even where stat gives
// the upper's, measured on 6.18). On btrfs the device there is the superblock's, not the
// subvolume's.
struct SharedMapping {
  std::uint64_t device = 0;  // as stat(2) has it
  std::uint64_t inode = 0;
  std::uint64_t maps_device = 0;  // as /proc/PID/maps has it
  std::uint64_t maps_inode = 0;
  auto operator<=>(const SharedMapping&) const = default;
};

// What the tracker has to be told about the frozen processes.
struct FrozenHints {
  std::vector<SharedMapping> shared_writable;  // sorted, without repetition
};

// Reads /proc/PID/maps of each process (thread-group leaders are enough); call it while they are
// frozen. A shared mapping of a regular file counts when it is writable, or was and may be again
// because the file was opened for writing. Files without any name left do not count (CRIU has
// them), nor do processes that are gone. Needs CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE.
// kPermission, kIo: the mappings of a living process cannot be read.
Result<FrozenHints> collect_shared_writable_mappings(std::span<const pid_t> pids);

}  // namespace perdure::capsule
