// Brings a directory to exactly a captured tree: after a roll-back in place, or from nothing on
// another host.
//
// Only what differs is touched: an entry that still looks as the tracker recorded it, with the
// content that is wanted, is left alone without being opened; other files are compared page by page
// and only the pages that differ are written. What the tree does not hold is removed. A roll-back
// that was interrupted anywhere and is run again gives the same tree: nothing depends on what an
// earlier run has done. Nothing is flushed to disk: after a power cut the tree is rolled back again
// without a tracker, which compares everything. Zeros may come back as a hole: they read the same.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "base/units.h"
#include "capsule/files/file_tracker.h"
#include "capsule/format/capsule.h"

namespace perdure::capsule {

struct RestoreOptions {
  // While a roll-back is under way, a file of this name lies in this directory (outside the tree):
  // the tree is then a mixture and must be rolled back again. -1: no marker.
  int marker_directory = -1;
  std::string marker_name;
  // Called before every change to the tree; an error stops the roll-back right there. For tests of
  // interrupted roll-backs, and for deadlines.
  std::function<Status()> before_change;
};

struct RestoreReport {
  std::uint64_t entries = 0;
  std::uint64_t trusted = 0;    // left alone without being opened
  std::uint64_t compared = 0;   // regular files whose content was read
  std::uint64_t created = 0;    // entries that were not there, or were something else
  std::uint64_t rewritten = 0;  // files whose content was corrected in place
  std::uint64_t removed = 0;
  Bytes read;
  Bytes written;
  Duration elapsed{};
};

// Refuses what a capture never produces: entries out of order or twice, paths that leave the tree,
// entries without their directory, links to what is not there, content beyond the size. kCorrupt
// with the path.
Status validate(const FileTree& tree);

// `root` is the directory; it must be empty, or hold some earlier state of the same tree. Nothing
// else may write there meanwhile: the processes are dead and the overlay above it is unmounted (it
// would not see the changes, Documentation/filesystems/overlayfs.rst). Names are opened beneath
// `root` without following any symlink. `known`: the tracker of this tree in this daemon's life, or
// null. Needs root (devices, owners, trusted.*). kCorrupt: the tree is not valid; nothing was
// changed. kNoSpace: the disk is full; run it again when there is room. kUnsupported: the file
// system cannot hold an xattr of the tree. kPermission, kIo.
Result<RestoreReport> roll_back(const UniqueFd& root, const FileTree& wanted,
                                const FileTracker* known, const RestoreOptions& options = {});

// Whether a roll-back with this marker has begun and not ended.
Result<bool> roll_back_pending(int marker_directory, const std::string& marker_name);

}  // namespace perdure::capsule
