#include "runtime/log_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace perdure::runtime {
namespace {

constexpr mode_t kFileMode = 0600;

std::uint64_t size_of(int fd) {
  struct stat info{};
  return ::fstat(fd, &info) == 0 ? static_cast<std::uint64_t>(info.st_size) : 0;
}

// Held for one append. Without the lock (it could not be opened) two loggers may tear a line:
// better than none.
class DirectoryLock {
 public:
  explicit DirectoryLock(int fd) : fd_(fd) {
    while (fd_ >= 0 && ::flock(fd_, LOCK_EX) != 0 && errno == EINTR) {
    }
  }
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;
  ~DirectoryLock() {
    if (fd_ >= 0) ::flock(fd_, LOCK_UN);
  }

 private:
  int fd_;
};

}  // namespace

LogFile::LogFile(Options options) : options_(std::move(options)) {
  lock_fd_ = ::open(options_.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

LogFile::~LogFile() {
  if (fd_ >= 0) ::close(fd_);
  if (lock_fd_ >= 0) ::close(lock_fd_);
}

std::string LogFile::path(int index) const {
  std::string text = options_.directory + "/container.log";
  if (index > 0) text += "." + std::to_string(index);
  return text;
}

bool LogFile::open_current() {
  struct stat named{};
  struct stat open{};
  if (fd_ >= 0 && ::stat(path(0).c_str(), &named) == 0 && ::fstat(fd_, &open) == 0 &&
      named.st_ino == open.st_ino && named.st_dev == open.st_dev) {
    return true;
  }
  if (fd_ >= 0) ::close(fd_);
  fd_ = ::open(path(0).c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kFileMode);
  if (fd_ < 0) last_error_ = errno;
  return fd_ >= 0;
}

void LogFile::rotate() {
  for (int index = options_.files - 1; index > 0; --index) {
    ::rename(path(index - 1).c_str(), path(index).c_str());
  }
  if (options_.files == 1) ::unlink(path(0).c_str());
}

// All of it or nothing: half a line would be a lie.
bool LogFile::write_whole(std::string_view text) {
  const std::uint64_t before = size_of(fd_);
  while (!text.empty()) {
    const ssize_t written = ::write(fd_, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      last_error_ = written < 0 ? errno : ENOSPC;
      if (::ftruncate(fd_, static_cast<off_t>(before)) != 0) return false;
      return false;
    }
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

void LogFile::append(std::string_view lines) {
  if (lines.empty()) return;
  const DirectoryLock lock(lock_fd_);
  std::string text;
  if (dropped_lines_ > 0) {
    text = log_time_stamp() + " e [perdure: " + std::to_string(dropped_lines_) +
           " lines were lost: " + std::strerror(last_error_) + "]\n";
  }
  text += lines;
  bool written = open_current();
  if (written && size_of(fd_) > 0 && size_of(fd_) + text.size() > options_.limit_bytes) {
    rotate();
    written = open_current();
  }
  written = written && write_whole(text);
  if (written) {
    dropped_lines_ = 0;
  } else {
    dropped_lines_ += static_cast<std::uint64_t>(std::ranges::count(lines, '\n'));
  }
}

std::string log_time_stamp() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  ::gmtime_r(&now.tv_sec, &parts);
  char text[40];
  const std::size_t length = ::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text + length, sizeof text - length, ".%03ldZ", now.tv_nsec / 1'000'000);
  return text;
}

void LineSplitter::emit(std::string_view text, bool continues, std::string_view time_stamp,
                        std::string& output) {
  output += time_stamp;
  output += ' ';
  output += tag_;
  output += ' ';
  output += partial_;
  output += text;
  output += continues ? " \\\n" : "\n";
  partial_.clear();
}

void LineSplitter::split(std::string_view input, std::string_view time_stamp, std::string& output) {
  while (!input.empty()) {
    const std::size_t room = kMaxLineBytes - partial_.size();
    const std::size_t newline = input.find('\n');
    if (newline != std::string_view::npos && newline <= room) {
      emit(input.substr(0, newline), false, time_stamp, output);
      input.remove_prefix(newline + 1);
    } else if (input.size() > room) {
      emit(input.substr(0, room), true, time_stamp, output);
      input.remove_prefix(room);
    } else {
      partial_ += input;
      return;
    }
  }
}

void LineSplitter::finish(std::string_view time_stamp, std::string& output) {
  if (!partial_.empty()) emit({}, false, time_stamp, output);
}

}  // namespace perdure::runtime
