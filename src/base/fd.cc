#include "base/fd.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
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

namespace {

// `read_some(rest, done)` is one read(2) or pread(2).
template <typename ReadSome>
Result<std::size_t> fill(std::span<std::byte> into, std::string_view what, ReadSome read_some) {
  std::size_t done = 0;
  while (done < into.size()) {
    const ssize_t got = read_some(into.subspan(done), done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(std::format("read {}", what));
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

}  // namespace

Result<std::size_t> read_up_to(int fd, std::span<std::byte> into, std::string_view what) {
  return fill(into, what, [fd](std::span<std::byte> rest, std::size_t) {
    return ::read(fd, rest.data(), rest.size());
  });
}

Result<std::size_t> read_at(int fd, std::span<std::byte> into, std::uint64_t offset,
                            std::string_view what) {
  return fill(into, what, [fd, offset](std::span<std::byte> rest, std::size_t done) {
    return ::pread(fd, rest.data(), rest.size(), static_cast<off_t>(offset + done));
  });
}

Result<std::string> read_rest(int fd, std::size_t limit_bytes, std::string_view what) {
  std::string text;
  std::array<char, 16384> buffer;
  for (;;) {
    PERDURE_ASSIGN(const std::size_t got, read_up_to(fd, std::as_writable_bytes(std::span(buffer)), what));
    text.append(buffer.data(), got);
    if (text.size() > limit_bytes) {
      return fail(ErrorCode::kInvalid, std::format("{} is larger than {} bytes", what, limit_bytes));
    }
    if (got < buffer.size()) return text;
  }
}

Result<std::string> read_file(const std::string& path, std::size_t limit_bytes) {
  PERDURE_ASSIGN(const UniqueFd fd, open_file(path, O_RDONLY));
  return read_rest(fd.get(), limit_bytes, std::format("'{}'", path));
}

Status write_control_file(const std::string& path, std::string_view text) {
  PERDURE_ASSIGN(const UniqueFd fd, open_file(path, O_WRONLY));
  if (::write(fd.get(), text.data(), text.size()) < 0) {
    return fail_errno(std::format("write '{}' to '{}'", text, path));
  }
  return {};
}

}  // namespace perdure
