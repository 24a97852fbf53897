#include "cli/archive_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <format>

namespace perdure::cli {
namespace {

constexpr mode_t kMode = 0600;

std::string directory_of(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

Error exists(const std::string& path) {
  return Error(ErrorCode::kExists,
               std::format("'{}' exists already; name another file, or remove it first", path));
}

Status sync_directory(const std::string& directory) {
  PERDURE_ASSIGN(const UniqueFd fd, open_file(directory, O_RDONLY | O_DIRECTORY));
  if (::fsync(fd.get()) != 0) return fail_errno(std::format("sync '{}'", directory));
  return {};
}

}  // namespace

Result<ArchiveFile> ArchiveFile::create(const std::string& path) {
  struct stat there{};
  if (::lstat(path.c_str(), &there) == 0) return fail(exists(path));
  const std::string directory = directory_of(path);
  const int unnamed = ::open(directory.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, kMode);
  if (unnamed >= 0) return ArchiveFile(path, UniqueFd(unnamed), "");
  // File systems without O_TMPFILE (NFS, old FUSE): EOPNOTSUPP, or EISDIR from before it existed.
  if (errno != EOPNOTSUPP && errno != EISDIR)
    return fail_errno(std::format("create a file in '{}'", directory));
  const std::string temporary = std::format("{}.partial-{}", path, ::getpid());
  PERDURE_ASSIGN(UniqueFd fd, open_file(temporary, O_WRONLY | O_CREAT | O_EXCL, kMode));
  return ArchiveFile(path, std::move(fd), temporary);
}

ArchiveFile::ArchiveFile(ArchiveFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::move(other.fd_)),
      temporary_(std::exchange(other.temporary_, {})) {}

ArchiveFile::~ArchiveFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Status ArchiveFile::publish(std::uint64_t expected_bytes) {
  struct stat written{};
  if (::fstat(fd_.get(), &written) != 0)
    return fail_errno(std::format("stat the archive for '{}'", path_));
  if (static_cast<std::uint64_t>(written.st_size) != expected_bytes) {
    return fail(
        ErrorCode::kIo,
        std::format("the archive for '{}' has {} bytes, perdured wrote {}; nothing was kept", path_,
                    written.st_size, expected_bytes));
  }
  if (::fsync(fd_.get()) != 0) return fail_errno(std::format("sync the archive for '{}'", path_));
  // link() refuses to replace a file, as rename() would not.
  const std::string source =
      temporary_.empty() ? std::format("/proc/self/fd/{}", fd_.get()) : temporary_;
  if (::linkat(AT_FDCWD, source.c_str(), AT_FDCWD, path_.c_str(), AT_SYMLINK_FOLLOW) != 0) {
    return errno == EEXIST ? Status(fail(exists(path_)))
                           : Status(fail_errno(std::format("name the archive '{}'", path_)));
  }
  return sync_directory(directory_of(path_));
}

}  // namespace perdure::cli
