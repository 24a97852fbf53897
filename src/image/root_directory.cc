#include "image/root_directory.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <format>

namespace perdure::image {
namespace {

constexpr mode_t kParentMode = 0755;

int open_beneath(int root_fd, const std::string& path, int flags) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  // RESOLVE_IN_ROOT: "/" and ".." at the top mean ROOT_FD; proc's magic links are refused.
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  for (;;) {
    const long fd = ::syscall(SYS_openat2, root_fd, path.c_str(), &how, sizeof how);
    // A rename elsewhere in the tree during ".." resolution gives EAGAIN.
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) return static_cast<int>(fd);
  }
}

std::string parent_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos || slash == 0 ? "/" : path.substr(0, slash);
}

std::string name_of(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

}  // namespace

Result<RootDirectory> RootDirectory::open(const std::string& path) {
  PERDURE_ASSIGN(UniqueFd fd, open_file(path, O_PATH | O_DIRECTORY));
  return RootDirectory(path, std::move(fd));
}

std::string RootDirectory::host_name(const std::string& path) const {
  return path_ + (path.starts_with('/') ? "" : "/") + path;
}

Result<UniqueFd> RootDirectory::open_inside(const std::string& path, int flags) const {
  UniqueFd fd(open_beneath(fd_.get(), path, flags));
  if (!fd) return fail_errno(std::format("open '{}'", host_name(path)));
  return fd;
}

Result<UniqueFd> RootDirectory::resolve(const std::string& path) const {
  return open_inside(path, O_PATH);
}

Result<UniqueFd> RootDirectory::open_for_reading(const std::string& path) const {
  // O_NONBLOCK: a FIFO of the image must not hang us.
  return open_inside(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
}

Status RootDirectory::make_directory(const std::string& path, mode_t mode) const {
  if (path.empty() || path == "/") return {};
  const auto present = open_inside(path, O_PATH | O_DIRECTORY);
  if (present) return {};
  if (present.error().code() != ErrorCode::kNotFound) {
    return fail(ErrorCode::kConflict,
                std::format("directory '{}': {}", host_name(path), present.error().message()));
  }
  PERDURE_TRY(make_directory(parent_of(path), kParentMode));
  PERDURE_ASSIGN(const UniqueFd parent, open_inside(parent_of(path), O_RDONLY | O_DIRECTORY));
  const std::string name = name_of(path);
  if (::mkdirat(parent.get(), name.c_str(), mode) != 0) {
    if (errno == EEXIST) {
      return fail(ErrorCode::kConflict,
                  std::format("directory '{}': a link that leads nowhere is in "
                              "the way",
                              host_name(path)));
    }
    return fail_errno(std::format("make directory '{}'", host_name(path)));
  }
  // mkdirat obeys the umask; /tmp must be 1777 all the same.
  if (::fchmodat(parent.get(), name.c_str(), mode, 0) != 0) {
    return fail_errno(std::format("set mode of '{}'", host_name(path)));
  }
  return {};
}

Result<std::optional<std::string>> RootDirectory::read_file(const std::string& path,
                                                            std::size_t limit_bytes) const {
  auto fd = open_for_reading(path);
  if (!fd) {
    if (fd.error().code() == ErrorCode::kNotFound) return std::nullopt;
    return fail(std::move(fd).error());
  }
  return read_rest(fd->get(), limit_bytes, std::format("'{}'", host_name(path)));
}

Status RootDirectory::write_file(const std::string& path, std::string_view text, mode_t mode) const {
  PERDURE_ASSIGN(const UniqueFd parent, open_inside(parent_of(path), O_RDONLY | O_DIRECTORY));
  const std::string name = name_of(path);
  struct stat info{};
  const bool regular = ::fstatat(parent.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 &&
                       S_ISREG(info.st_mode);
  if (regular && info.st_size == static_cast<off_t>(text.size()) && (info.st_mode & 07777) == mode) {
    const auto present = read_file(path, text.size());
    if (present && *present == text) return {};
  }
  const std::string temporary = name + ".perdure";
  ::unlinkat(parent.get(), temporary.c_str(), 0);
  const UniqueFd file(::openat(parent.get(), temporary.c_str(),
                               O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!file) return fail_errno(std::format("create '{}.perdure'", host_name(path)));
  PERDURE_TRY(write_all(file.get(), std::as_bytes(std::span(text)), host_name(path)));
  if (::fchmod(file.get(), mode) != 0 ||
      ::renameat(parent.get(), temporary.c_str(), parent.get(), name.c_str()) != 0) {
    return fail_errno(std::format("write '{}'", host_name(path)));
  }
  return {};
}

}  // namespace perdure::image
