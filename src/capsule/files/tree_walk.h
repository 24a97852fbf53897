// The part of a capture that runs while the container is frozen: goes through a tree, tells what
// has changed since the capture before and takes its content, without building anything that can be
// built later.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "capsule/files/content.h"
#include "capsule/files/file_tracker.h"
#include "capsule/files/inode.h"
#include "capsule/files/mapped_files.h"
#include "capsule/files/page_sink.h"
#include "capsule/files/slab_store.h"

namespace perdure::capsule::files {

// What the capture before knew. Paths point into the files.
struct KnownTree {
  FileList files;  // sorted by path
  std::unordered_map<std::string_view, std::size_t> by_path;
  std::unordered_map<InodeId, std::size_t, InodeIdHash>
      by_inode;                                      // regular files: finds renamed ones
  std::vector<std::vector<std::uint32_t>> children;  // of each directory, by its index

  std::optional<std::size_t> index_of(std::string_view path) const;
  std::shared_ptr<const KnownFile> at(const InodeId& inode) const;
};
KnownTree make_known_tree(FileList sorted_files);

// A new or changed entry; its content is not yet put together.
struct ChangedFile {
  FileEntry entry;
  FileKey key;
  std::uint64_t links = 0;
  bool may_change_unseen = false;  // mapped, with unwritten pages
  bool is_new = false;
  std::shared_ptr<const KnownFile> before;    // what its content is compared with; may be null
  ContentPlan plan;                           // of what was read …
  std::optional<std::uint64_t> clone_offset;  // … or where the clone lies that is still to be read
  std::optional<std::size_t> content_of;  // index of another link to the same inode, taken already
};

const PagedObject& content_before(const ChangedFile& file);
// Whether the inode has several names that are worth keeping together. Whiteouts are not: overlayfs
// links them all to one inode of its own, and two inodes do as well.
bool is_linked(const FileEntry& entry, std::uint64_t links);

struct WalkResult {
  std::int64_t instant_ns = 0;  // of the clock that ctime comes from, before anything was looked at
  FileList unchanged;
  FileList distrusted;  // unchanged too, but may change unseen from now on
  std::vector<ChangedFile> changed;
  UniqueFd clones;  // one unlinked file for all clones
  std::uint64_t clones_end = 0;
  FileStats stats;
};

struct WalkInput {
  int root = -1;
  int staging = -1;
  const FileTrackerOptions* options = nullptr;
  const KnownTree* known = nullptr;
  bool may_clone = false;
};

class TreeWalk {
 public:
  TreeWalk(const WalkInput& input, PageSink& sink, const MappedFiles& mapped);
  Result<WalkResult> run();
  bool cloning_failed() const { return cloning_failed_; }

 private:
  struct Seen {
    Place place;
    InodeStat stat{};
    int fd = -1;                         // of directories
    std::optional<std::size_t> known{};  // index of what was at this path
  };

  Status walk_root();
  Status walk(int directory, unsigned depth, std::optional<std::size_t> known);
  Status walk_as_known(int directory, unsigned depth, std::size_t known);
  Status visit(Place place, unsigned depth, std::optional<std::size_t> known);
  Status descend(const Seen& seen, unsigned depth);
  Status note(const Seen& seen);
  bool is_unchanged(const Seen& seen) const;
  Status keep(const Seen& seen, bool mapped);
  Status take(const Seen& seen, bool mapped);
  Status take_metadata(const Seen& seen, ChangedFile& file);
  Status take_regular(const Seen& seen, ChangedFile& file, bool mapped);
  Status take_content(int fd, const Seen& seen, ChangedFile& file);
  Result<bool> clone(int fd, std::uint64_t size_bytes, ChangedFile& file);
  Status add_content_bytes(std::uint64_t bytes);
  Error name_error(Error error) const;

  const WalkInput& input_;
  const FileTrackerOptions& options_;
  PageSink& sink_;
  ContentReader reader_;
  const MappedFiles& mapped_;

  WalkResult result_;
  std::string path_;
  std::uint64_t device_ = 0;
  std::uint64_t content_bytes_ = 0;
  bool cloning_failed_ = false;
  std::vector<DirectoryNames> names_;  // one per depth
  std::unordered_map<InodeId, std::size_t, InodeIdHash>
      linked_;  // changed inodes with several names
};

}  // namespace perdure::capsule::files
