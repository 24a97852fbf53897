// Which files of a tree are mapped shared and writable, found by the ways in which the kernel names
// them.
#pragma once

#include <string>
#include <unordered_map>
#include <unordered_set>

#include "base/result.h"
#include "capsule/files/inode.h"
#include "capsule/files/shared_mappings.h"

namespace perdure::capsule::files {

// At which path of the tree a file lies that the overlay names so; kept from capture to capture,
// because finding it takes a stat(2) of every file through the overlay.
using OverlayPaths = std::unordered_map<InodeId, std::string, InodeIdHash>;

class MappedFiles {
 public:
  // `merged` is the overlay mount above the tree, or -1. `paths` is checked, completed and cleared
  // of what is not mapped any more. Runs inside the freeze.
  static Result<MappedFiles> find(const FrozenHints& hints, int root, int merged,
                                  OverlayPaths& paths);

  // Whether the file may be mapped; true for one that is not costs a read.
  bool contains(const InodeStat& stat) const;

 private:
  std::unordered_set<InodeId, InodeIdHash> inodes_;
  std::unordered_set<std::uint64_t> numbers_;  // without device: that of maps is not always stat's
  bool all_ =
      false;  // a file of this overlay is mapped that has no name that we find: it could be any
};

}  // namespace perdure::capsule::files
