#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <format>

#include "base/units.h"
#include "io/atomic_file.h"
#include "replica/file_system.h"

namespace perdure::replica {
namespace {

// Not in every linux/magic.h.
constexpr std::uint32_t kFuseMagic = 0x65735546;
constexpr std::uint32_t kCephMagic = 0x00c36400;
constexpr std::uint32_t kCifsMagic = 0xff534d42;
constexpr std::uint32_t kSmb2Magic = 0xfe534d42;
constexpr std::uint32_t kNinePMagic = 0x01021997;
constexpr std::uint32_t kNfsMagic = 0x6969;

bool is_remote(std::uint32_t file_system) {
  switch (file_system) {
    case kFuseMagic:
    case kCephMagic:
    case kCifsMagic:
    case kSmb2Magic:
    case kNinePMagic:
    case kNfsMagic:
      return true;
    default:
      return false;
  }
}

// Consumes `bytes` from the front of the vectors.
void advance(std::span<iovec>& vectors, std::size_t bytes) {
  while (bytes > 0) {
    iovec& first = vectors.front();
    const std::size_t used = std::min(bytes, first.iov_len);
    first.iov_base = static_cast<char*>(first.iov_base) + used;
    first.iov_len -= used;
    bytes -= used;
    if (first.iov_len == 0) vectors = vectors.subspan(1);
  }
}

class PosixNewFile final : public NewFile {
 public:
  PosixNewFile(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  Status append(std::span<const std::span<const std::byte>> pieces) override {
    return write_pieces(fd_.get(), pieces, std::format("'{}'", path_));
  }

  Status sync() override {
    if (::fsync(fd_.get()) != 0) return fail_errno(std::format("sync '{}'", path_));
    return {};
  }

 private:
  UniqueFd fd_;
  std::string path_;
};

class PosixStoreLock final : public StoreLock {
 public:
  explicit PosixStoreLock(io::FileLock lock) : lock_(std::move(lock)) {}

 private:
  io::FileLock lock_;
};

bool same_file(const std::string& a, const std::string& b) {
  struct stat x{};
  struct stat y{};
  return ::lstat(a.c_str(), &x) == 0 && ::lstat(b.c_str(), &y) == 0 && x.st_dev == y.st_dev &&
         x.st_ino == y.st_ino;
}

// For file systems without RENAME_NOREPLACE (NFS, older FUSE).
Status link_new(const std::string& from, const std::string& to, const std::string& what) {
  // NFS may answer EEXIST to the repetition of a call that has succeeded: then it is our own file.
  if (::link(from.c_str(), to.c_str()) != 0 && !(errno == EEXIST && same_file(from, to))) {
    return fail_errno(what);
  }
  if (::unlink(from.c_str()) != 0) return fail_errno(what);
  return {};
}

struct DirectoryCloser {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

}  // namespace

Status write_pieces(int fd, std::span<const std::span<const std::byte>> pieces,
                    const std::string& what) {
  std::vector<iovec> batch;
  while (!pieces.empty()) {
    const std::size_t count = std::min<std::size_t>(pieces.size(), IOV_MAX);
    batch.clear();
    for (const auto piece : pieces.first(count)) {
      if (piece.empty()) continue;
      batch.push_back({const_cast<std::byte*>(piece.data()), piece.size()});
    }
    std::span<iovec> rest(batch);
    while (!rest.empty()) {
      const ssize_t written = ::writev(fd, rest.data(), static_cast<int>(rest.size()));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return fail_errno("write " + what);
      advance(rest, static_cast<std::size_t>(written));
    }
    pieces = pieces.subspan(count);
  }
  return {};
}

Status PosixFileSystem::make_directories(const std::string& path) {
  return io::make_directories(path, 0700);
}

Result<std::unique_ptr<NewFile>> PosixFileSystem::create(const std::string& path) {
  PERDURE_ASSIGN(UniqueFd fd, open_file(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  return std::make_unique<PosixNewFile>(std::move(fd), path);
}

Status PosixFileSystem::rename_new(const std::string& from, const std::string& to) {
  const std::string what = std::format("rename '{}' to '{}'", from, to);
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return {};
  if (errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP) return link_new(from, to, what);
  return fail_errno(what);
}

Status PosixFileSystem::remove(const std::string& path) {
  if (::unlink(path.c_str()) != 0) return fail_errno(std::format("remove '{}'", path));
  return {};
}

Status PosixFileSystem::sync_directory(const std::string& path) {
  return io::sync_directory(path);
}

Result<std::vector<std::string>> PosixFileSystem::list(const std::string& path) {
  const std::unique_ptr<DIR, DirectoryCloser> directory(::opendir(path.c_str()));
  if (directory == nullptr) return fail_errno(std::format("list directory '{}'", path));
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(directory.get());
    if (entry == nullptr) break;
    names.emplace_back(entry->d_name);
  }
  if (errno != 0) return fail_errno(std::format("list directory '{}'", path));
  return names;
}

Result<std::uint64_t> PosixFileSystem::size(const std::string& path) {
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0) return fail_errno(std::format("look at '{}'", path));
  if (!S_ISREG(status.st_mode)) {
    return fail(ErrorCode::kCorrupt, std::format("'{}' is no regular file", path));
  }
  return static_cast<std::uint64_t>(status.st_size);
}

Result<std::string> PosixFileSystem::read_prefix(const std::string& path, std::size_t size_bytes) {
  PERDURE_ASSIGN(const UniqueFd fd, open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  std::string text(size_bytes, '\0');
  PERDURE_ASSIGN(const std::size_t got, read_up_to(fd.get(), std::as_writable_bytes(std::span(text)),
                                                   std::format("'{}'", path)));
  text.resize(got);
  return text;
}

Result<capsule::SlabRef> PosixFileSystem::load(const std::string& path, std::uint64_t limit_bytes) {
  PERDURE_ASSIGN(const std::uint64_t size_bytes, size(path));
  if (size_bytes > limit_bytes) {
    return fail(ErrorCode::kNoSpace,
                std::format("'{}' has {}, at most {} are read", path,
                            format_bytes(Bytes{size_bytes}), format_bytes(Bytes{limit_bytes})));
  }
  PERDURE_ASSIGN(const UniqueFd fd, open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  struct statfs file_system{};
  if (::fstatfs(fd.get(), &file_system) != 0) return fail_errno(std::format("look at '{}'", path));
  if (is_remote(static_cast<std::uint32_t>(file_system.f_type))) {
    return capsule::Slab::read_file(fd, size_bytes, path);
  }
  return capsule::Slab::map_file(fd, size_bytes, path, capsule::Slab::Read::kNow);
}

Result<std::unique_ptr<StoreLock>> PosixFileSystem::lock(const std::string& path) {
  PERDURE_ASSIGN(io::FileLock lock, io::FileLock::acquire(path));
  return std::make_unique<PosixStoreLock>(std::move(lock));
}

}  // namespace perdure::replica
