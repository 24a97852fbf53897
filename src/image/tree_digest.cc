#include "image/tree_digest.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <format>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "image/image.h"
#include "image/sha256.h"
#include "image/tree_entries.h"
#include "io/atomic_file.h"

namespace perdure::image {
namespace {

// A path deeper than this cannot be opened by name in one piece (PATH_MAX), nor be meant.
constexpr int kMaxDepth = static_cast<int>(kMaxTreeDepth);
// Of what is hashed and how: answers remembered under another are not asked for.
constexpr std::string_view kTreeDigestVersion = "tree 2";

enum class Depth {
  kMetadata,  // for the cache: inodes and change times, no file is opened
  kContent,   // for the digest: what a container can see, the same on every host
};

void add_text(Sha256& hash, std::string_view text) {
  hash.update_number(text.size());
  hash.update(text);
}

// Nothing for a file without attributes; else a number that no size, length or device can be stands before them, so
// that they cannot be taken for what follows.
void add_attributes(Sha256& hash, const Attributes& attributes) {
  if (attributes.empty()) return;
  hash.update_number(~std::uint64_t{0});
  hash.update_number(attributes.size());
  for (const auto& [name, value] : attributes) {
    add_text(hash, name);
    add_text(hash, value);
  }
}

void add_identity(Sha256& hash, const struct stat& info) {
  hash.update_number(info.st_dev);
  hash.update_number(info.st_ino);
  hash.update_number(static_cast<std::uint64_t>(info.st_size));
  hash.update_number(static_cast<std::uint64_t>(info.st_ctim.tv_sec));
  hash.update_number(static_cast<std::uint64_t>(info.st_ctim.tv_nsec));
}

class TreeWalk {
 public:
  TreeWalk(Sha256& hash, Depth depth, dev_t device) : hash_(hash), depth_(depth), device_(device) {}

  std::int64_t newest_change_s() const { return newest_change_s_; }

  // DIRECTORY_FD is open on PATH; RELATIVE is its name in the digest.
  Status add_directory(int directory_fd, const std::string& path, const std::string& relative,
                       int level) {
    if (level > kMaxDepth) {
      return fail(ErrorCode::kInvalid,
                  std::format("'{}': deeper than {} directories", path, kMaxDepth));
    }
    PERDURE_ASSIGN(const std::vector<std::string> names, list_names(directory_fd, path));
    for (const std::string& name : names) {
      PERDURE_TRY(add_entry(directory_fd, name, path + "/" + name, relative + "/" + name, level));
    }
    return {};
  }

  // NAME in DIRECTORY_FD; empty: the directory itself.
  Status add_metadata(int directory_fd, const std::string& name, const struct stat& info, const std::string& path,
                      const std::string& relative) {
    newest_change_s_ = std::max<std::int64_t>(newest_change_s_, info.st_ctim.tv_sec);
    add_text(hash_, relative);
    hash_.update_number(info.st_mode);
    if (depth_ == Depth::kMetadata) {
      add_identity(hash_, info);
      return {};
    }
    hash_.update_number(info.st_uid);
    hash_.update_number(info.st_gid);
    PERDURE_ASSIGN(const Attributes attributes, read_attributes(directory_fd, name, path));
    add_attributes(hash_, attributes);
    return {};
  }

 private:
  Status add_entry(int directory_fd, const std::string& name, const std::string& path,
                   const std::string& relative, int level) {
    struct stat info{};
    if (::fstatat(directory_fd, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
      return fail_errno(std::format("stat '{}'", path));
    }
    PERDURE_TRY(add_metadata(directory_fd, name, info, path, relative));
    if (S_ISDIR(info.st_mode)) {
      if (info.st_dev != device_) return {};  // a mount: overlayfs does not see into it either
      const UniqueFd child(
          ::openat(directory_fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!child) return fail_errno(std::format("open '{}'", path));
      return add_directory(child.get(), path, relative, level + 1);
    }
    if (depth_ == Depth::kMetadata) return {};
    if (S_ISLNK(info.st_mode)) {
      PERDURE_ASSIGN(const std::string target, read_link(directory_fd, name, path));
      add_text(hash_, target);
    } else if (S_ISREG(info.st_mode)) {
      return add_content(directory_fd, name, path, info);
    } else {
      hash_.update_number(info.st_rdev);
    }
    return {};
  }

  Status add_content(int directory_fd, const std::string& name, const std::string& path,
                     const struct stat& info) {
    hash_.update_number(static_cast<std::uint64_t>(info.st_size));
    const UniqueFd file(::openat(directory_fd, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!file) return fail_errno(std::format("open '{}'", path));
    return update_from(hash_, file.get(), path);
  }

  Sha256& hash_;
  Depth depth_;
  dev_t device_;
  std::int64_t newest_change_s_ = 0;
};

struct Walked {
  std::string digest;
  std::int64_t newest_change_s = 0;  // Unix time of the last change of anything in it
};

Result<Walked> walk(const std::string& directory, Depth depth) {
  PERDURE_ASSIGN(const UniqueFd root, open_file(directory, O_RDONLY | O_DIRECTORY));
  struct stat info{};
  if (::fstat(root.get(), &info) != 0) return fail_errno(std::format("stat '{}'", directory));
  Sha256 hash;
  if (depth == Depth::kMetadata) add_text(hash, kTreeDigestVersion);
  TreeWalk tree(hash, depth, info.st_dev);
  PERDURE_TRY(tree.add_metadata(root.get(), "", info, directory, ""));
  PERDURE_TRY(tree.add_directory(root.get(), directory, "", 0));
  return Walked{hash.finish(), tree.newest_change_s()};
}

std::string cache_path(const std::string& cache_dir, const std::string& key) {
  return cache_dir + "/" + std::string(digest_hex(key));
}

// What cannot be read or is no digest is as good as not remembered.
std::string recall(const std::string& cache_dir, const std::string& key) {
  if (cache_dir.empty()) return {};
  const auto text = read_file(cache_path(cache_dir, key), 256);
  return text && !digest_hex(*text).empty() ? *text : std::string{};
}

// Two changes within one tick of the file system's clock look like one: what was changed a moment
// ago is not remembered.
bool settled(std::int64_t change_s) {
  constexpr std::int64_t kSettleTimeS = 2;
  return std::chrono::system_clock::to_time_t(std::chrono::system_clock::now()) - change_s >=
         kSettleTimeS;
}

Status remember(const std::string& cache_dir, const std::string& key, const std::string& digest) {
  if (cache_dir.empty()) return {};
  PERDURE_TRY(io::make_directories(cache_dir, 0700));
  return io::write_file_atomically(cache_path(cache_dir, key), digest, 0600);
}

}  // namespace

Result<std::string> digest_tree(const std::string& directory, const std::string& cache_dir) {
  PERDURE_ASSIGN(const Walked before, walk(directory, Depth::kMetadata));
  if (std::string known = recall(cache_dir, before.digest); !known.empty()) return known;
  PERDURE_ASSIGN(Walked content, walk(directory, Depth::kContent));
  PERDURE_ASSIGN(const Walked after, walk(directory, Depth::kMetadata));
  if (before.digest != after.digest) {
    return fail(ErrorCode::kTransient,
                std::format("root file system '{}' changed while it was read: leave it alone and "
                            "try again",
                            directory));
  }
  if (settled(after.newest_change_s)) {
    PERDURE_TRY(remember(cache_dir, before.digest, content.digest));
  }
  return std::move(content.digest);
}

Result<std::string> digest_file(const std::string& path, const std::string& cache_dir) {
  PERDURE_ASSIGN(const UniqueFd file, open_file(path, O_RDONLY));
  std::int64_t change_s = 0;
  const auto identity = [&]() -> Result<std::string> {
    struct stat info{};
    if (::fstat(file.get(), &info) != 0) return fail_errno(std::format("stat '{}'", path));
    if (!S_ISREG(info.st_mode)) {
      return fail(ErrorCode::kInvalid, std::format("'{}' is not a regular file", path));
    }
    change_s = info.st_ctim.tv_sec;
    Sha256 hash;
    add_text(hash, path);
    add_identity(hash, info);
    return hash.finish();
  };
  PERDURE_ASSIGN(const std::string key, identity());
  if (std::string known = recall(cache_dir, key); !known.empty()) return known;
  Sha256 hash;
  PERDURE_TRY(update_from(hash, file.get(), path));
  const std::string digest = hash.finish();
  PERDURE_ASSIGN(const std::string key_after, identity());
  if (key != key_after) {
    return fail(ErrorCode::kTransient, std::format("'{}' changed while it was read", path));
  }
  if (settled(change_s)) PERDURE_TRY(remember(cache_dir, key, digest));
  return digest;
}

}  // namespace perdure::image
