#include "capsule/files/mapped_files.h"

#include <fcntl.h>

namespace perdure::capsule::files {
namespace {

// Goes through the tree, looking at each file through the overlay, until all that are wanted are
// found.
class OverlaySearch {
 public:
  using Wanted = std::unordered_set<InodeId, InodeIdHash>;
  OverlaySearch(int merged, Wanted& wanted, OverlayPaths& paths)
      : merged_(merged), wanted_(wanted), paths_(paths) {}

  void walk(int directory, unsigned depth) {
    DirectoryNames names;
    if (depth > kMaxDepth || !names.read(directory, kMaxFileEntriesInDirectory)) return;
    const std::size_t length = path_.size();
    (void)names.for_each([&](const char* name) -> Status {
      if (wanted_.empty()) return fail(ErrorCode::kCancelled, "all found");
      if (length > 0) path_ += '/';
      path_ += name;
      visit(directory, name, depth);
      path_.resize(length);
      return {};
    });
  }

 private:
  static constexpr std::uint64_t kMaxFileEntriesInDirectory = std::uint64_t{1} << 20;

  // What cannot be looked at here is an error of the capture itself, or not found: then nothing is
  // trusted.
  void visit(int directory, const char* name, unsigned depth) {
    const auto stat = stat_at(Place{directory, name});
    if (!stat) return;
    if (S_ISREG(stat->stx_mode)) {
      const auto merged = stat_at(Place{merged_, path_.c_str()});
      if (merged && wanted_.erase(id_of(*merged)) > 0) paths_[id_of(*merged)] = path_;
    } else if (S_ISDIR(stat->stx_mode)) {
      if (const auto fd = open_beneath(directory, name, O_RDONLY | O_DIRECTORY | O_NOATIME)) {
        walk(fd->get(), depth + 1);
      }
    }
  }

  int merged_;
  Wanted& wanted_;
  OverlayPaths& paths_;
  std::string path_;
};

}  // namespace

Result<MappedFiles> MappedFiles::find(const FrozenHints& hints, int root, int merged,
                                      OverlayPaths& paths) {
  MappedFiles found;
  OverlaySearch::Wanted wanted;
  std::uint64_t overlay_device = 0;
  if (merged >= 0) {
    PERDURE_ASSIGN(const InodeStat stat, stat_of(merged));
    overlay_device = device_of(stat);
  }
  for (const SharedMapping& mapping : hints.shared_writable) {
    const InodeId id{mapping.device, mapping.inode};
    found.inodes_.insert(id);
    found.numbers_.insert(mapping.maps_inode);
    if (merged >= 0 && mapping.maps_device == overlay_device) wanted.insert(id);
  }

  OverlayPaths kept;
  for (const auto& [id, path] : paths) {
    if (!wanted.contains(id)) continue;
    const auto now = stat_at(Place{merged, path.c_str()});
    if (!now || id_of(*now) != id) continue;
    wanted.erase(id);
    kept.emplace(id, path);
  }
  if (!wanted.empty()) {
    const UniqueFd directory(::openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory) return fail_errno("open the tree");
    OverlaySearch(merged, wanted, kept).walk(directory.get(), 0);
  }
  found.all_ = !wanted.empty();
  for (const auto& [id, path] : kept) {
    const auto upper = stat_at(Place{root, path.c_str()});
    if (upper)
      found.inodes_.insert(id_of(*upper));  // one inode may have several paths
    else
      found.all_ = true;
  }
  paths = std::move(kept);
  return found;
}

bool MappedFiles::contains(const InodeStat& stat) const {
  if (all_) return true;
  if (inodes_.empty()) return false;
  return inodes_.contains(id_of(stat)) || numbers_.contains(stat.stx_ino);
}

}  // namespace perdure::capsule::files
