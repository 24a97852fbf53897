#include "base/fd.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <format>

namespace perdure {

void UniqueFd::reset(int fd) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

Result<Pipe> make_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return fail_errno("create pipe");
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

Result<UniqueFd> open_file(const std::string& path, int flags, mode_t mode) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  if (fd < 0) return fail_errno(std::format("open '{}'", path));
  return UniqueFd(fd);
}

Result<UniqueFd> open_pidfd(pid_t pid) {
  const long fd = ::syscall(SYS_pidfd_open, pid, 0);
  if (fd < 0) return fail_errno(std::format("open pidfd of process {}", pid));
  return UniqueFd(static_cast<int>(fd));
}

Result<UniqueFd> duplicate(int fd) {
  const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (copy < 0) return fail_errno(std::format("duplicate descriptor {}", fd));
  return UniqueFd(copy);
}

Status write_all(int fd, std::span<const std::byte> data, std::string_view what) {
  while (!data.empty()) {
    const ssize_t written = ::write(fd, data.data(), data.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return fail_errno(std::format("write {}", what));
    }
    data = data.subspan(static_cast<std::size_t>(written));
  }
  return {};
}

Result<std::string> read_file(const std::string& path, std::size_t limit_bytes) {
  PERDURE_ASSIGN(const UniqueFd fd, open_file(path, O_RDONLY));
  std::string text;
  char buffer[16384];
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
    if (got < 0) {
      if (errno == EINTR) continue;
      return fail_errno(std::format("read '{}'", path));
    }
    if (got == 0) return text;
    text.append(buffer, static_cast<std::size_t>(got));
    if (text.size() > limit_bytes) {
      return fail(ErrorCode::kInvalid,
                  std::format("read '{}': larger than {} bytes", path, limit_bytes));
    }
  }
}

Status write_control_file(const std::string& path, std::string_view text) {
  PERDURE_ASSIGN(const UniqueFd fd, open_file(path, O_WRONLY));
  if (::write(fd.get(), text.data(), text.size()) < 0) {
    return fail_errno(std::format("write '{}' to '{}'", text, path));
  }
  return {};
}

}  // namespace perdure
