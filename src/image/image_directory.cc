#include "image/image_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <format>
#include <memory>
#include <utility>

#include "image/sha256.h"
#include "image/tree_entries.h"
#include "io/atomic_file.h"

namespace perdure::image {
namespace {

// Whoever clears up takes a new directory for an abandoned one between its making and its locking.
constexpr int kMakeAttempts = 16;

std::string named(const std::string& images_dir, std::string_view prefix, const std::string& digest) {
  return std::format("{}/{}{}", images_dir, prefix, digest_hex(digest));
}

// Whether PATH still names what FD is open on.
bool is_at(int fd, const std::string& path) {
  struct stat open{};
  struct stat named{};
  return ::fstat(fd, &open) == 0 && ::lstat(path.c_str(), &named) == 0 && open.st_dev == named.st_dev &&
         open.st_ino == named.st_ino;
}

}  // namespace

std::string directory_in(const std::string& images_dir, const std::string& digest) {
  return named(images_dir, "", digest);
}
std::string staging_in(const std::string& images_dir, const std::string& digest) {
  return named(images_dir, kStagingPrefix, digest);
}
std::string lock_in(const std::string& images_dir, const std::string& digest) {
  return named(images_dir, kLockPrefix, digest);
}
std::string rootfs_in(const std::string& directory) {
  return directory + "/rootfs";
}
std::string description_in(const std::string& directory) {
  return directory + "/image.json";
}

Result<std::string> canonical_path(const std::string& path) {
  struct Free {
    void operator()(char* text) const { std::free(text); }
  };
  const std::unique_ptr<char, Free> resolved(::realpath(path.c_str(), nullptr));
  if (resolved == nullptr) return fail_errno(std::format("'{}'", path));
  return std::string(resolved.get());
}

Status sync_file_system(const std::string& directory) {
  PERDURE_ASSIGN(const UniqueFd fd, open_file(directory, O_RDONLY | O_DIRECTORY));
  if (::syncfs(fd.get()) != 0) return fail_errno(std::format("sync '{}'", directory));
  return {};
}

Result<bool> move_into_place(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) == 0) return true;
  if (errno == EEXIST || errno == ENOTEMPTY) return false;
  return fail_errno(std::format("rename '{}' to '{}'", from, to));
}

Result<LockedDirectory> LockedDirectory::make(const std::string& parent, std::string_view prefix,
                                              const std::string& digest) {
  for (int attempt = 0; attempt < kMakeAttempts; ++attempt) {
    std::string path = named(parent, prefix, digest) + "-XXXXXX";
    if (::mkdtemp(path.data()) == nullptr) return fail_errno(std::format("make directory '{}'", path));
    PERDURE_ASSIGN(auto directory, claim(path));
    if (directory) return *std::move(directory);
  }
  return fail(ErrorCode::kTransient,
              std::format("directories for image {} below '{}' are removed as soon as they are made", digest, parent));
}

Result<std::optional<LockedDirectory>> LockedDirectory::claim(const std::string& path) {
  auto fd = open_file(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!fd) {
    if (fd.error().code() == ErrorCode::kNotFound) return std::nullopt;
    return fail(std::move(fd).error());
  }
  if (::flock(fd->get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return std::nullopt;
    return fail_errno(std::format("lock '{}'", path));
  }
  if (!is_at(fd->get(), path)) return std::nullopt;
  return LockedDirectory(path, *std::move(fd));
}

Result<bool> LockedDirectory::become(const std::string& path) {
  PERDURE_ASSIGN(const bool moved, move_into_place(path_, path));
  if (moved) {
    path_.clear();
    fd_.reset();
  }
  return moved;
}

Status LockedDirectory::remove() {
  if (path_.empty()) return {};
  PERDURE_TRY(io::remove_tree(std::exchange(path_, {})));
  fd_.reset();
  return {};
}

Status remove_abandoned(const std::string& parent, std::initializer_list<std::string_view> prefixes) {
  PERDURE_ASSIGN(const UniqueFd fd, open_file(parent, O_RDONLY | O_DIRECTORY));
  PERDURE_ASSIGN(const auto names, list_names(fd.get(), parent));
  for (const std::string& name : names) {
    if (std::ranges::none_of(prefixes, [&](std::string_view prefix) { return name.starts_with(prefix); })) continue;
    PERDURE_ASSIGN(auto abandoned, LockedDirectory::claim(parent + "/" + name));
    if (abandoned) PERDURE_TRY(abandoned->remove());
  }
  return {};
}

Status remove_abandoned(const std::string& images_dir) { return remove_abandoned(images_dir, {kIncomingPrefix, kRemovingPrefix}); }

}  // namespace perdure::image
