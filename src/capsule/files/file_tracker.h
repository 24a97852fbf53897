// Captures the changed files of one tree - the upper directory of a container's overlay or a
// captured volume - at the instant at which its processes are frozen.
//
// Reading everything at every capture would keep the container frozen for seconds. The tracker
// remembers what it saw at the capture before: an entry whose inode, size, mtime and ctime are what
// they were then has not changed and is not opened. What has changed is taken inside the freeze in
// the cheapest way that the file system offers: a reflink where there are any, else the pages that
// differ from the capture before. Comparing reflinks, packing pages and building the tree wait
// until the container runs again.
//
//   tracker->warm_up(hints);                        // optional, running: shortens the freeze
//   freeze
//   hints = collect_shared_writable_mappings(pids)
//   snapshot = tracker->snapshot(hints)             // beside CRIU's dump, on a pool thread
//   thaw
//   tree = tracker->finish(std::move(snapshot))     // or drop the snapshot: nothing has happened
//
// Why an unchanged ctime is proof: the kernel sets it from the realtime clock at every change of an
// inode and no system call can set it back. Three things would break the proof and are taken care
// of:
//   - a second change within the clock's tick leaves the same ctime: an entry whose ctime lies
//   closer to the
//     instant of the capture than `racy_margin` (or after it) is read again at the next one;
//   - stores through shared mappings (shared_mappings.h) are invisible as long as the page is not
//   written back:
//     a file that is so mapped and has unwritten pages (cachestat(2), Linux 6.5; before, any) is
//     read again at the next capture, even if the mapping is gone by then;
//   - file systems whose ctime says less than that (tmpfs does not touch it on mapped stores,
//   network file
//     systems take it from another clock): outside ext2/3/4, xfs, btrfs and f2fs every file is
//     read.
//
// What a capture does not hold: atime, birth time, deleted but open files (CRIU has them), quota
// projects. Files with the immutable or append-only flag, entries on another file system or
// subvolume and files deeper than kMaxDepth are refused: a tree that cannot be brought back exactly
// is not taken.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "base/units.h"
#include "capsule/files/shared_mappings.h"
#include "capsule/format/capsule.h"

namespace perdure::capsule {

inline constexpr unsigned kMaxDepth =
    256;  // directories below each other; one descriptor each while walking

struct FileTrackerOptions {
  std::string volume;  // FileTree::volume: empty is the writable layer
  std::string name;    // of the tree in messages: "writable layer of 'web'"

  // An entry costs some microseconds of freeze and half a kilobyte of memory at every capture.
  std::uint64_t max_files = 200'000;
  // All content together: what a standby must hold and a restore must write.
  Bytes max_bytes{std::uint64_t{8} << 30};
  // Content kept in anonymous memory; beyond it pages go to unlinked files in the staging
  // directory.
  Bytes max_memory{std::uint64_t{256} << 20};
  // Pre-faulted room for the pages that one capture finds changed. What exceeds it is faulted in
  // during the freeze, what exceeds eight times as much is written to the staging directory.
  Bytes arena{std::uint64_t{8} << 20};
  // Files from this size on are cloned where the file system can; below, reading is faster than a
  // clone.
  Bytes clone_from{std::uint64_t{4} << 20};
  // Two changes closer together than this may carry the same ctime: two ticks of a kernel with
  // HZ=100.
  Duration racy_margin = std::chrono::milliseconds(20);
};

// What a capture cost and found. Bytes of regular files' content.
struct FileStats {
  std::uint64_t entries = 0;      // in the tree
  std::uint64_t entries_new = 0;  // not in the capture before
  std::uint64_t entries_changed = 0;
  std::uint64_t entries_gone = 0;
  std::uint64_t files_read = 0;  // opened for their content inside the freeze, clones included
  std::uint64_t files_cloned = 0;
  Bytes read;            // inside the freeze
  Bytes content;         // of the whole tree, holes not counted
  Bytes changed;         // pages that the capture (or warm-up) before did not have
  Bytes held_in_memory;  // by the tracker, after finish()
  Bytes held_in_files;
  Duration snapshot{};  // wall time of snapshot()
  Duration finish{};
};

// How an inode looked when it was captured; equal keys of trusted entries mean equal content.
struct FileKey {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t size_bytes = 0;
  std::int64_t modified_ns = 0;
  std::int64_t changed_ns = 0;  // ctime
  bool operator==(const FileKey&) const = default;
};

struct KnownFile {
  FileEntry entry;
  FileKey key;
  std::uint64_t links = 1;  // names of the inode
  bool trusted =
      false;  // an equal key is proof: neither racy nor mapped, on a file system that can tell
};

// The state of a tree between freeze and finish(). Moves, holds descriptors and memory until
// dropped; must not outlive its tracker.
class FileSnapshot {
 public:
  FileSnapshot(FileSnapshot&&) noexcept;
  FileSnapshot& operator=(FileSnapshot&&) noexcept;
  ~FileSnapshot();
  const FileStats& stats() const;

 private:
  friend class FileTracker;
  struct Data;
  explicit FileSnapshot(std::unique_ptr<Data> data);
  std::unique_ptr<Data> data_;
};

// Not thread-safe; its calls may come from different threads one after the other.
class FileTracker {
 public:
  // `root` is the tree; `staging` a directory of ours on the same file system, outside the tree,
  // which stays empty (all files in it are unlinked). `merged` is the root of the overlay mount
  // whose upper directory `root` is; invalid for volumes. Nothing is read yet: the first snapshot
  // takes everything. kInvalid: staging on another file system or inside the tree. kUnsupported: no
  // O_TMPFILE there.
  static Result<std::unique_ptr<FileTracker>> create(UniqueFd root, UniqueFd staging,
                                                     UniqueFd merged, FileTrackerOptions options);
  ~FileTracker();
  FileTracker(const FileTracker&) = delete;
  FileTracker& operator=(const FileTracker&) = delete;

  // Inside the freeze. Changes nothing that the next snapshot relies on; dropping the result
  // abandons the capture. One snapshot at a time: kInvalid while another is held. kNoSpace: over
  // max_files or max_bytes, or the staging directory is full. kUnsupported: see above.
  Result<FileSnapshot> snapshot(const FrozenHints& hints);

  // After the thaw. On success the snapshot is what the next one is compared with; on failure the
  // tracker stays as it was. Unchanged pages lie in the same slabs as in the tree before. kNoSpace,
  // kIo.
  Result<FileTree> finish(FileSnapshot snapshot);

  // Before the freeze, container running: reads what has changed so far, so that the freeze finds
  // little left. What changes meanwhile is found again by its ctime. Gives no tree, since no
  // instant fits it.
  Status warm_up(const FrozenHints& hints);

  // The overlay mount as it is from now on; an invalid one lets go of it, so that it can be
  // unmounted for a roll-back. While processes run on the overlay it must be there: mapped files
  // are found through it.
  void set_merged(UniqueFd merged);

  // Takes a tree that was just rolled back for the capture before, so that equal pages are shared
  // with it. Every file is still read at the next snapshot (call warm_up() first).
  void adopt(const FileTree& tree);

  // As of the last finish(), warm_up() or adopt(). Null when the path is not there.
  const KnownFile* known(std::string_view path) const;
  const FileStats& last_stats() const;
  bool can_clone() const;  // FICLONE works from the tree into the staging directory

 private:
  struct Impl;
  explicit FileTracker(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace perdure::capsule
