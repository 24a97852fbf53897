// Owners of descriptors. A UniqueFd closes what it holds; it moves, it never copies.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace perdure {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    reset(other.release());
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  explicit operator bool() const { return valid(); }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};
Result<Pipe> make_pipe();  // both ends close-on-exec

Result<UniqueFd> open_file(const std::string& path, int flags, mode_t mode = 0600);  // adds O_CLOEXEC
Result<UniqueFd> open_pidfd(pid_t pid);
Result<UniqueFd> duplicate(int fd);  // close-on-exec

// These go over EINTR and short transfers; `what` is for the message: "read WHAT: ...".
Status write_all(int fd, std::span<const std::byte> data, std::string_view what);
// Fill `into` from where the descriptor stands, or from an offset; how many bytes there were: fewer only at
// the end of the input.
Result<std::size_t> read_up_to(int fd, std::span<std::byte> into, std::string_view what);
Result<std::size_t> read_at(int fd, std::span<std::byte> into, std::uint64_t offset, std::string_view what);
// Everything up to the end of the input, refused with kInvalid beyond the limit.
Result<std::string> read_rest(int fd, std::size_t limit_bytes, std::string_view what);
// Whole file, refused with kInvalid beyond the limit.
Result<std::string> read_file(const std::string& path, std::size_t limit_bytes = std::size_t{1} << 20);
// For files of /proc, /sys and cgroups: one open, one write, no rename.
Status write_control_file(const std::string& path, std::string_view text);

}  // namespace perdure
