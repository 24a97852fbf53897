// remove_tree(): by descriptors all the way down, so that no path is looked up twice.
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <format>
#include <memory>
#include <vector>

#include "io/atomic_file.h"

namespace perdure::io {

namespace {

// Directories open at once. What lies deeper (a container can nest as deep as it likes) is first
// moved up to the top of the tree and removed from there.
constexpr int kMaxOpenDepth = 64;
// Names read before they are removed; bounds memory for directories of any size.
constexpr std::size_t kNamesPerPass = 4096;
// rmdir of a directory that somebody fills meanwhile is tried this often.
constexpr int kMaxRetries = 16;

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

bool is_same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

class TreeRemover {
 public:
  // Removes NAME in the directory, whatever it is. `path` is for messages.
  Status remove(int parent, const char* name, const std::string& path, int depth);

 private:
  Status remove_directory(int parent, const char* name, const std::string& path, int depth,
                          UniqueFd directory);
  Status empty_directory(int directory, const std::string& path, int depth);
  Status move_to_top(int parent, const char* name, const std::string& path);

  int top_ = -1;  // the tree's own directory, while it is open
  std::uint64_t moved_ = 0;
};

std::unexpected<Error> mount_point(const std::string& path) {
  return fail(ErrorCode::kConflict,
              std::format("remove '{}': a file system is mounted there; unmount it first", path));
}

UniqueFd open_directory(int parent, const char* name) {
  open_how how{};
  how.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  how.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH;
  return UniqueFd(static_cast<int>(::syscall(SYS_openat2, parent, name, &how, sizeof how)));
}

Status TreeRemover::remove(int parent, const char* name, const std::string& path, int depth) {
  if (::unlinkat(parent, name, 0) == 0 || errno == ENOENT) return {};
  const int unlink_error = errno;
  if (unlink_error == EBUSY) return mount_point(path);
  if (unlink_error != EISDIR && unlink_error != EPERM) {
    return fail(Error::from_errno(std::format("remove '{}'", path), unlink_error));
  }
  UniqueFd directory = open_directory(parent, name);
  if (!directory) {
    if (errno == ENOENT) return {};
    if (errno == EXDEV) return mount_point(path);
    // No directory after all: what unlink said counts (an immutable file).
    if (errno == ENOTDIR || errno == ELOOP) errno = unlink_error;
    return fail_errno(std::format("remove '{}'", path));
  }
  if (depth >= kMaxOpenDepth) return move_to_top(parent, name, path);
  return remove_directory(parent, name, path, depth, std::move(directory));
}

Status TreeRemover::remove_directory(int parent, const char* name, const std::string& path,
                                     int depth, UniqueFd directory) {
  if (top_ < 0) top_ = directory.get();
  for (int attempt = 0; attempt < kMaxRetries; ++attempt) {
    const std::uint64_t moved_before = moved_;
    PERDURE_TRY(empty_directory(directory.get(), path, depth));
    if (::unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
    if (moved_ != moved_before) attempt = -1;  // filled by ourselves, from below
    if (errno == EBUSY) return mount_point(path);
    if (errno != ENOTEMPTY && errno != EEXIST) {
      return fail_errno(std::format("remove directory '{}'", path));
    }
  }
  return fail(ErrorCode::kTransient,
              std::format("remove directory '{}': somebody writes into it", path));
}

Status TreeRemover::empty_directory(int directory, const std::string& path, int depth) {
  PERDURE_ASSIGN(UniqueFd copy, duplicate(directory));
  const Directory stream(::fdopendir(copy.get()));
  if (!stream) return fail_errno(std::format("read directory '{}'", path));
  copy.release();  // the stream's now
  std::vector<std::string> names;
  do {
    names.clear();
    ::rewinddir(stream.get());
    while (names.size() < kNamesPerPass) {
      errno = 0;
      const dirent* entry = ::readdir(stream.get());
      if (entry == nullptr && errno != 0) {
        return fail_errno(std::format("read directory '{}'", path));
      }
      if (entry == nullptr) break;
      const std::string_view name(entry->d_name);
      if (name != "." && name != "..") names.emplace_back(name);
    }
    for (const std::string& name : names) {
      PERDURE_TRY(remove(directory, name.c_str(), path + "/" + name, depth + 1));
    }
  } while (names.size() == kNamesPerPass);
  return {};
}

Status TreeRemover::move_to_top(int parent, const char* name, const std::string& path) {
  for (;;) {
    const std::string moved = std::format(".perdure-remove-{}", moved_++);
    if (::renameat2(parent, name, top_, moved.c_str(), RENAME_NOREPLACE) == 0) return {};
    if (errno == ENOENT) return {};
    if (errno == EBUSY) return mount_point(path);
    if (errno != EEXIST) return fail_errno(std::format("remove '{}'", path));
  }
}

std::unexpected<Error> refuse(const std::string& path, std::string_view why) {
  return fail(ErrorCode::kInvalid, std::format("refusing to remove '{}': {}", path, why));
}

}  // namespace

Status remove_tree(const std::string& path) {
  std::string trimmed = path;
  while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.pop_back();
  if (trimmed.empty() || trimmed.front() != '/') return refuse(path, "not an absolute path");
  const std::size_t slash = trimmed.rfind('/');
  const std::string name = trimmed.substr(slash + 1);
  if (name.empty()) return refuse(path, "it is the whole system");
  if (name == "." || name == "..") return refuse(path, "its last part names another directory");

  const Result<UniqueFd> parent =
      open_file(slash == 0 ? "/" : trimmed.substr(0, slash), O_RDONLY | O_DIRECTORY);
  if (!parent) {
    if (parent.error().code() == ErrorCode::kNotFound) return {};
    return fail(parent.error().context(std::format("remove '{}'", path)));
  }
  struct stat parent_found{};
  struct stat root{};
  if (::fstat(parent->get(), &parent_found) != 0 || ::stat("/", &root) != 0) {
    return fail_errno(std::format("remove '{}'", path));
  }
  if (is_same_file(parent_found, root)) return refuse(path, "it lies right below '/'");
  return TreeRemover().remove(parent->get(), name.c_str(), trimmed, 0);
}

}  // namespace perdure::io
