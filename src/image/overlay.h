// The container's root: read-only lower directory + writable upper directory, joined by overlayfs.
//
// The upper directory is the writable layer that capsules copy, so it must mean the same anywhere:
// no metacopy, no redirects, no index (their extended attributes tie an upper to one lower's file
// handles). A mount belongs to the host's mount namespace and lives until unmount_overlay or
// reboot; it survives the daemon. Calls for different containers may run at once, for one container
// one at a time.
#pragma once

#include <string>

#include "base/clock.h"
#include "base/result.h"

namespace perdure::image {

struct OverlayPaths {
  std::string
      lower;  // PreparedImage::lower_dir; must hold no ':' (kInvalid: overlayfs cannot name it)
  std::string rw_dir;  // holds upper/ and work/, both made when missing
  std::string merged;  // the mount point, made when missing

  std::string upper() const { return rw_dir + "/upper"; }
  std::string work() const { return rw_dir + "/work"; }
};

// Mounts, or does nothing if an overlay with this upper directory is mounted there already. Its
// propagation is private. kConflict: something else is mounted at merged. kUnsupported: rw_dir's file system
// cannot be an upper.
Status mount_overlay(const OverlayPaths& paths);

// Unmounts, or does nothing if nothing is mounted there. kConflict: somebody still uses it (a
// process with its root or a file there): kill the container first. What a process that is gone had
// open is put a moment after its end (fs/file_table.c, delayed_fput): so long is `patience`.
Status unmount_overlay(const std::string& merged, Duration patience = {});

// Looked up in /proc/self/mountinfo.
Result<bool> overlay_mounted(const OverlayPaths& paths);

// Empties upper/ and work/ (the overlay must not be mounted: kConflict), so that a restore can fill
// them.
Status clear_upper(const OverlayPaths& paths);

}  // namespace perdure::image
