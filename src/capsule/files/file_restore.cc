#include "capsule/files/file_restore.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <format>
#include <ranges>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "capsule/files/inode.h"
#include "capsule/files/inode_writer.h"

namespace perdure::capsule {
namespace {

using files::InodeId;
using files::InodeStat;
using files::Place;

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

const char* name_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return path.c_str() + (slash == std::string::npos ? 0 : slash + 1);
}

bool same_entry(const FileEntry& a, const FileEntry& b) {
  return a.type == b.type && a.mode == b.mode && a.uid == b.uid && a.gid == b.gid &&
         a.device == b.device && a.modified_ns == b.modified_ns && a.size_bytes == b.size_bytes &&
         a.target == b.target && a.xattrs == b.xattrs && a.content.same_as(b.content);
}

class TreeRestorer {
 public:
  TreeRestorer(int root, const FileTree& wanted, const FileTracker* known,
               const RestoreOptions& options)
      : root_(root), wanted_(wanted), known_(known), writer_(options, report_) {
    names_.resize(kMaxDepth + 1);
  }

  // The order: first what is too much goes, which makes room; then what has content; then links,
  // whose targets may come later in any other order; last the directories, since all of it changes
  // their mtime.
  Result<RestoreReport> run() {
    const Instant start = BootClock::now();
    report_.entries = wanted_.entries.size();
    for (const FileEntry& entry : wanted_.entries) {
      if (!entry.path.empty()) children_[directory_of(entry.path)].push_back(&entry);
    }
    PERDURE_ASSIGN(const UniqueFd root, files::open_beneath(root_, "", O_RDONLY | O_DIRECTORY));
    PERDURE_TRY(restore_directory(root.get(), "", 0));
    for (const FileEntry& entry : wanted_.entries) {
      if (!entry.hard_link_to.empty()) PERDURE_TRY(named(entry.path, restore_link(entry)));
    }
    for (const FileEntry& entry : wanted_.entries | std::views::reverse) {
      if (entry.type == FileType::kDirectory)
        PERDURE_TRY(named(entry.path, restore_directory_metadata(entry)));
    }
    PERDURE_TRY(writer_.finish());
    report_.elapsed = BootClock::now() - start;
    return report_;
  }

 private:
  using Present = std::unordered_map<std::string_view, InodeStat>;

  Status named(const std::string& path, Status status) const {
    if (status) return status;
    return fail(std::move(status).error().context(
        std::format("roll back '{}' in {}", path,
                    wanted_.volume.empty() ? "the writable layer"
                                           : std::format("volume '{}'", wanted_.volume))));
  }

  Status restore_directory(int fd, const std::string& path, unsigned depth) {
    const auto found = children_.find(path);
    static const std::vector<const FileEntry*> nothing;
    const auto& children = found == children_.end() ? nothing : found->second;
    Present present;  // names point into the entries
    PERDURE_TRY(named(path, clear_away(fd, path, children, depth, present)));
    for (const FileEntry* entry : children) {
      if (!entry->hard_link_to.empty()) continue;
      const char* name = name_of(entry->path);
      const auto now = present.find(name);
      const InodeStat* stat = now == present.end() ? nullptr : &now->second;
      if (entry->type != FileType::kDirectory) {
        PERDURE_TRY(named(entry->path, restore_entry(Place{fd, name}, *entry, stat)));
        continue;
      }
      if (stat == nullptr) PERDURE_TRY(named(entry->path, writer_.create(Place{fd, name}, *entry)));
      auto below = files::open_beneath(fd, name, O_RDONLY | O_DIRECTORY);
      if (!below) return named(entry->path, fail(std::move(below).error()));
      PERDURE_TRY(restore_directory(below->get(), entry->path, depth + 1));
    }
    return {};
  }

  // Removes what is not wanted, or wanted as something else; notes what stays.
  Status clear_away(int fd, const std::string& path, const std::vector<const FileEntry*>& children,
                    unsigned depth, Present& present) {
    PERDURE_ASSIGN(const InodeStat own, files::stat_of(fd));
    if (files::is_protected(own)) PERDURE_TRY(writer_.clear_protection(Place{fd, "."}));
    std::unordered_map<std::string_view, const FileEntry*> wanted;
    for (const FileEntry* entry : children) wanted.emplace(name_of(entry->path), entry);
    PERDURE_TRY(names_[depth].read(fd, UINT32_MAX));
    return names_[depth].for_each([&](const char* name) -> Status {
      const Place place{fd, name};
      PERDURE_ASSIGN(const InodeStat stat, files::stat_at(place));
      const auto type = files::type_of(stat);
      const auto found = wanted.find(name);
      if (found != wanted.end() && type == found->second->type) {
        present.emplace(found->first, stat);
        return {};
      }
      auto removed = writer_.remove(place, type.value_or(FileType::kRegular));
      if (removed) return {};
      return fail(std::move(removed).error().context(
          std::format("'{}{}{}'", path, path.empty() ? "" : "/", name)));
    });
  }

  Status restore_entry(Place place, const FileEntry& entry, const InodeStat* now) {
    const KnownFile* known = known_ == nullptr ? nullptr : known_->known(entry.path);
    const bool proof =
        known != nullptr && now != nullptr && known->trusted && files::key_of(*now) == known->key;
    if (now != nullptr) {
      PERDURE_ASSIGN(const bool usable, is_usable(place, entry, *now));
      if (!usable) {
        if (files::is_protected(*now)) PERDURE_TRY(writer_.clear_protection(place));
        PERDURE_TRY(writer_.remove(place, entry.type));
        now = nullptr;
      } else if (proof && same_entry(known->entry, entry)) {
        ++report_.trusted;
        return {};
      } else if (files::is_whiteout(entry)) {
        return {};  // one inode for all of them, which says nothing but "not here"
      } else if (files::is_protected(*now)) {
        PERDURE_TRY(writer_.clear_protection(place));
      }
    }
    InodeStat stat{};
    if (now == nullptr) {
      PERDURE_TRY(writer_.create(place, entry));
      PERDURE_ASSIGN(stat, files::stat_at(place));
    } else {
      stat = *now;
    }
    if (entry.type == FileType::kRegular) {
      const PagedObject* on_disk = now != nullptr && proof ? &known->entry.content : nullptr;
      PERDURE_TRY(writer_.set_content(place, entry, stat, on_disk));
    }
    return writer_.set_metadata(place, entry);
  }

  // Whether the inode, which is of the right type, can be made what the entry wants. One inode must
  // not serve two entries: then the second gets its own.
  Result<bool> is_usable(Place place, const FileEntry& entry, const InodeStat& now) {
    if (entry.device !=
        (entry.type == FileType::kCharacterDevice || entry.type == FileType::kBlockDevice
             ? makedev(now.stx_rdev_major, now.stx_rdev_minor)
             : 0)) {
      return false;
    }
    if (files::is_whiteout(entry)) return true;
    if (now.stx_nlink > 1 && !claimed_.insert(files::id_of(now)).second) return false;
    if (entry.type != FileType::kSymlink) return true;
    PERDURE_ASSIGN(const std::string target, files::read_target(place, now.stx_size));
    return target == entry.target;
  }

  Status restore_link(const FileEntry& entry) {
    PERDURE_ASSIGN(const UniqueFd directory,
                   files::open_beneath(root_, directory_of(entry.path), O_PATH | O_DIRECTORY));
    PERDURE_ASSIGN(
        const UniqueFd target_directory,
        files::open_beneath(root_, directory_of(entry.hard_link_to), O_PATH | O_DIRECTORY));
    const Place place{directory.get(), name_of(entry.path)};
    const Place target{target_directory.get(), name_of(entry.hard_link_to)};
    PERDURE_ASSIGN(const InodeStat wanted, files::stat_at(target));
    const auto now = files::stat_at(place);
    if (now && files::id_of(*now) == files::id_of(wanted)) return {};
    if (now) PERDURE_TRY(writer_.remove(place, entry.type));
    if (!now && now.error().code() != ErrorCode::kNotFound) return fail(now.error());
    return writer_.link(target, place);
  }

  Status restore_directory_metadata(const FileEntry& entry) {
    PERDURE_ASSIGN(const UniqueFd fd, files::open_beneath(root_, entry.path, O_PATH | O_DIRECTORY));
    if (const KnownFile* known = known_ == nullptr ? nullptr : known_->known(entry.path)) {
      PERDURE_ASSIGN(const InodeStat now, files::stat_of(fd.get()));
      if (known->trusted && files::key_of(now) == known->key && same_entry(known->entry, entry)) {
        ++report_.trusted;
        return {};
      }
    }
    return writer_.set_metadata(Place{fd.get(), "."}, entry);
  }

  int root_;
  const FileTree& wanted_;
  const FileTracker* known_;
  RestoreReport report_;
  files::InodeWriter writer_;
  std::unordered_map<std::string, std::vector<const FileEntry*>> children_;  // by directory
  std::unordered_set<InodeId, files::InodeIdHash>
      claimed_;                               // inodes with several names, by who came first
  std::vector<files::DirectoryNames> names_;  // one per depth
};

}  // namespace

Result<RestoreReport> roll_back(const UniqueFd& root, const FileTree& wanted,
                                const FileTracker* known, const RestoreOptions& options) {
  PERDURE_TRY(validate(wanted));
  return TreeRestorer(root.get(), wanted, known, options).run();
}

Result<bool> roll_back_pending(int marker_directory, const std::string& marker_name) {
  const auto stat = files::stat_at(Place{marker_directory, marker_name.c_str()});
  if (stat) return true;
  if (stat.error().code() == ErrorCode::kNotFound) return false;
  return fail(stat.error().context("marker '" + marker_name + "'"));
}

}  // namespace perdure::capsule
