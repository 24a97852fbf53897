#include "image/image_store.h"

#include <fcntl.h>
#include <fts.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <format>
#include <memory>
#include <optional>
#include <utility>

#include "base/mountinfo.h"
#include "image/image_directory.h"
#include "image/sha256.h"
#include "image/tree_entries.h"
#include "io/atomic_file.h"

namespace perdure::image {
namespace {

constexpr std::string_view kRemovalLock = ".lock-removal";
constexpr std::uint64_t kBlockBytes = 512;  // of st_blocks

std::string digest_of(std::string_view hex) {
  return std::format("sha256:{}", hex);
}

Result<std::vector<std::string>> names_in(const std::string& images_dir) {
  PERDURE_ASSIGN(const UniqueFd fd, open_file(images_dir, O_RDONLY | O_DIRECTORY));
  return list_names(fd.get(), images_dir);
}

// On disk; an inode with several names once.
Result<std::uint64_t> allocated_bytes(const std::string& directory) {
  struct Closer {
    void operator()(FTS* walk) const { ::fts_close(walk); }
  };
  std::string path = directory;
  char* const roots[] = {path.data(), nullptr};
  const std::unique_ptr<FTS, Closer> walk(::fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, nullptr));
  if (walk == nullptr) return fail_errno(std::format("walk '{}'", directory));
  std::set<std::pair<dev_t, ino_t>> linked;
  std::uint64_t bytes = 0;
  errno = 0;
  while (const FTSENT* entry = ::fts_read(walk.get())) {
    if (entry->fts_info == FTS_ERR || entry->fts_info == FTS_DNR || entry->fts_info == FTS_NS) {
      return fail(Error::from_errno(std::format("walk '{}'", entry->fts_path), entry->fts_errno));
    }
    if (entry->fts_info == FTS_DP) continue;  // a directory the second time
    const struct stat& info = *entry->fts_statp;
    if (info.st_nlink > 1 && !S_ISDIR(info.st_mode) && !linked.emplace(info.st_dev, info.st_ino).second) continue;
    bytes += static_cast<std::uint64_t>(info.st_blocks) * kBlockBytes;
    errno = 0;
  }
  if (errno != 0) return fail_errno(std::format("walk '{}'", directory));
  return bytes;
}

class Removal {
 public:
  explicit Removal(std::string images_dir) : images_dir_(std::move(images_dir)) {}

  Result<RemovedImages> run(const std::set<std::string>& in_use) {
    PERDURE_ASSIGN(const io::FileLock alone, io::FileLock::acquire(std::format("{}/{}", images_dir_, kRemovalLock)));
    PERDURE_TRY(remove_abandoned(images_dir_));
    PERDURE_ASSIGN(mounts_, read_mountinfo());
    PERDURE_ASSIGN(const auto names, names_in(images_dir_));
    for (const std::string& name : names) {
      if (name.starts_with(kStagingPrefix)) {
        PERDURE_TRY(remove_staging(digest_of(name.substr(kStagingPrefix.size()))));
      } else if (const std::string digest = digest_of(name); !digest_hex(digest).empty() && !in_use.contains(digest)) {
        PERDURE_TRY(remove_image(digest));
      }
    }
    return std::move(removed_);
  }

 private:
  // Of prepare_root(): nullopt if it is at it.
  Result<std::optional<io::FileLock>> lock(const std::string& digest) const {
    auto held = io::FileLock::acquire(lock_in(images_dir_, digest));
    if (held) return *std::move(held);
    if (held.error().code() == ErrorCode::kConflict) return std::nullopt;
    return fail(std::move(held).error());
  }

  Status remove_staging(const std::string& digest) {
    if (digest_hex(digest).empty()) return {};
    PERDURE_ASSIGN(const auto held, lock(digest));
    if (!held) return {};
    const std::string staging = staging_in(images_dir_, digest);
    PERDURE_ASSIGN(const std::uint64_t bytes, allocated_bytes(staging));
    PERDURE_TRY(io::remove_tree(staging));
    removed_.freed.count += bytes;
    return {};
  }

  Status remove_image(const std::string& digest) {
    PERDURE_ASSIGN(const auto held, lock(digest));
    const std::string directory = directory_in(images_dir_, digest);
    if (!held || is_mounted(rootfs_in(directory))) return {};
    PERDURE_ASSIGN(const std::uint64_t bytes, allocated_bytes(directory));
    PERDURE_ASSIGN(LockedDirectory removing, LockedDirectory::make(images_dir_, kRemovingPrefix, digest));
    PERDURE_ASSIGN([[maybe_unused]] const bool moved, move_into_place(directory, removing.path() + "/image"));
    PERDURE_TRY(io::sync_directory(images_dir_));
    PERDURE_TRY(removing.remove());
    removed_.digests.push_back(digest);
    removed_.freed.count += bytes;
    return {};
  }

  // As the lower layer of an overlay, or as anything else.
  bool is_mounted(const std::string& lower) const {
    return std::ranges::any_of(mounts_, [&](const MountEntry& mount) {
      return mount.super_options.contains(lower) || mount.mount_point.starts_with(lower);
    });
  }

  const std::string images_dir_;
  std::vector<MountEntry> mounts_;
  RemovedImages removed_;
};

}  // namespace

Result<std::vector<PreparedImage>> list_prepared(const std::string& images_dir) {
  std::vector<PreparedImage> images;
  const auto names = names_in(images_dir);
  if (!names && names.error().code() == ErrorCode::kNotFound) return images;
  PERDURE_TRY(names);
  for (const std::string& name : *names) {
    const std::string digest = digest_of(name);
    if (digest_hex(digest).empty()) continue;
    auto image = find_prepared(images_dir, digest);
    if (image) {
      images.push_back(*std::move(image));
    } else if (image.error().code() != ErrorCode::kNotFound) {  // removed a moment ago
      return fail(std::move(image).error());
    }
  }
  return images;
}

Result<RemovedImages> remove_unused(const std::string& images_dir, const std::set<std::string>& in_use) {
  auto resolved = canonical_path(images_dir);
  if (!resolved && resolved.error().code() == ErrorCode::kNotFound) return RemovedImages{};
  PERDURE_TRY(resolved);
  return Removal(*std::move(resolved)).run(in_use);
}

}  // namespace perdure::image
