#include "io/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <format>
#include <thread>

#include "base/log.h"

namespace perdure::io {

namespace {

constexpr std::size_t kNameBytes = 255;  // NAME_MAX of every file system we write to
constexpr std::size_t kRandomDigits = 16;
constexpr std::string_view kTemporarySuffix = ".tmp";

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string name_of(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

Result<std::string> temporary_name(const std::string& name) {
  std::uint64_t random = 0;
  if (::getrandom(&random, sizeof random, 0) != sizeof random) {
    return fail_errno("read random bytes");
  }
  const std::string suffix = std::format(".{:0{}x}{}", random, kRandomDigits, kTemporarySuffix);
  return "." + name.substr(0, kNameBytes - 1 - suffix.size()) + suffix;
}

bool is_temporary_name(std::string_view name) {
  constexpr std::size_t kEnd = 1 + kRandomDigits + kTemporarySuffix.size();  // after ".NAME"
  if (!name.starts_with('.') || name.size() < 2 + kEnd || !name.ends_with(kTemporarySuffix)) return false;
  const std::string_view random = name.substr(name.size() - kEnd, 1 + kRandomDigits);
  return random.starts_with('.') && random.find_first_not_of("0123456789abcdef", 1) == std::string_view::npos;
}

// Removes the name again unless told that it has been renamed away.
class TemporaryFile {
 public:
  TemporaryFile(int directory, std::string name) : directory_(directory), name_(std::move(name)) {}
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (!renamed_) ::unlinkat(directory_, name_.c_str(), 0);
  }
  const char* name() const { return name_.c_str(); }
  void renamed() { renamed_ = true; }

 private:
  int directory_;
  std::string name_;
  bool renamed_ = false;
};

Status fill_file(int fd, std::span<const std::byte> data, mode_t mode, const std::string& path) {
  PERDURE_TRY(write_all(fd, data, std::format("'{}'", path)));
  if (::fchmod(fd, mode) != 0) return fail_errno(std::format("set mode of '{}'", path));
  if (::fsync(fd) != 0) return fail_errno(std::format("sync '{}'", path));
  return {};
}

}  // namespace

Status write_file_atomically(const std::string& path, std::span<const std::byte> data,
                             mode_t mode) {
  const std::string name = name_of(path);
  if (name.empty() || name == "." || name == "..") {
    return fail(ErrorCode::kInvalid, std::format("write '{}': not the name of a file", path));
  }
  PERDURE_ASSIGN(const UniqueFd directory, open_file(parent_of(path), O_RDONLY | O_DIRECTORY));
  PERDURE_ASSIGN(std::string temporary_path, temporary_name(name));
  UniqueFd file(::openat(directory.get(), temporary_path.c_str(),
                         O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return fail_errno(std::format("create '{}' beside '{}'", temporary_path, path));
  TemporaryFile temporary(directory.get(), std::move(temporary_path));
  PERDURE_TRY(fill_file(file.get(), data, mode, path));
  log::debug("naming '{}'", path);
  if (::renameat(directory.get(), temporary.name(), directory.get(), name.c_str()) != 0) {
    return fail_errno(std::format("rename '{}' to '{}'", temporary.name(), path));
  }
  temporary.renamed();
  if (::fsync(directory.get()) != 0) {
    return fail_errno(std::format("sync directory '{}'", parent_of(path)));
  }
  return {};
}

Status write_file_atomically(const std::string& path, std::string_view text, mode_t mode) {
  return write_file_atomically(path, std::as_bytes(std::span(text)), mode);
}

Status remove_temporary_files(const std::string& directory) {
  std::error_code error;
  std::filesystem::directory_iterator entries(directory, error);
  if (error == std::errc::no_such_file_or_directory) return {};
  while (!error && entries != std::filesystem::directory_iterator()) {
    const std::string path = entries->path();
    if (is_temporary_name(name_of(path)) && ::unlink(path.c_str()) != 0) {
      return fail_errno(std::format("remove '{}'", path));
    }
    entries.increment(error);
  }
  if (error) return fail(Error::from_errno(std::format("list directory '{}'", directory), error.value()));
  return {};
}

Status sync_directory(const std::string& path) {
  PERDURE_ASSIGN(const UniqueFd directory, open_file(path, O_RDONLY | O_DIRECTORY));
  if (::fsync(directory.get()) != 0) return fail_errno(std::format("sync directory '{}'", path));
  return {};
}

Status make_directories(const std::string& path, mode_t mode) {
  if (path.empty()) return fail(ErrorCode::kInvalid, "create a directory: empty path");
  for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    if (::mkdir(part.c_str(), 0700) == 0) {
      if (::chmod(part.c_str(), mode) != 0) {
        return fail_errno(std::format("set mode of '{}'", part));
      }
    } else if (errno == ENOTDIR) {
      return fail(ErrorCode::kConflict,
                  std::format("create directory '{}': '{}' is in the way and not a directory", path,
                              parent_of(part)));
    } else if (errno != EEXIST) {
      return fail_errno(std::format("create directory '{}'", part));
    }
    if (end == std::string::npos) break;
  }
  struct stat found{};
  if (::stat(path.c_str(), &found) != 0) return fail_errno(std::format("look at '{}'", path));
  if (!S_ISDIR(found.st_mode)) {
    return fail(ErrorCode::kConflict,
                std::format("create directory '{}': a file of that name is in the way", path));
  }
  return {};
}

Result<FileLock> FileLock::acquire(const std::string& path, Instant deadline) {
  constexpr Duration kLook = std::chrono::milliseconds(5);  // flock(2) knows no deadline
  PERDURE_ASSIGN(UniqueFd fd, open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return fail_errno(std::format("lock '{}'", path));
    if (BootClock::now() >= deadline) {
      return fail(ErrorCode::kConflict, std::format("lock '{}': another process holds it", path));
    }
    std::this_thread::sleep_for(kLook);
  }
  return FileLock(std::move(fd));
}

}  // namespace perdure::io
