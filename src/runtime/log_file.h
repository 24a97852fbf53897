// The files of perdure-logger. Plain system calls and no stream or format library: the program is
// linked statically and runs once per container.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace perdure::runtime {

// LOG_DIR/container.log with LOG_DIR/container.log.1 … .(files-1), oldest last. Shared with other
// loggers of the same directory: every append happens under a lock and looks whether another one
// has rotated.
class LogFile {
 public:
  struct Options {
    std::string directory;
    std::uint64_t limit_bytes = 0;
    int files = 1;
  };
  explicit LogFile(Options options);
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;
  ~LogFile();

  // Appends whole lines, or drops and counts them. The first append that works again is preceded by
  // a line that says how many were lost and why. Never gives up, never blocks on a full disk.
  void append(std::string_view lines);
  std::uint64_t dropped_lines() const { return dropped_lines_; }

 private:
  bool open_current();
  bool write_whole(std::string_view text);
  void rotate();
  std::string path(int index) const;

  Options options_;
  int fd_ = -1;
  int lock_fd_ = -1;
  std::uint64_t dropped_lines_ = 0;
  int last_error_ = 0;
};

// "2025-06-01T12:00:00.123Z" of now.
std::string log_time_stamp();

// Cuts a stream into stamped lines: `TIME TAG text`. What has no newline yet is kept, up to
// kMaxLineBytes; then it is written as a piece that ends with " \".
class LineSplitter {
 public:
  static constexpr std::size_t kMaxLineBytes = 8192;
  explicit LineSplitter(char tag) : tag_(tag) {}

  // Appends the finished lines of INPUT to OUTPUT.
  void split(std::string_view input, std::string_view time_stamp, std::string& output);
  // The rest, as a line of its own; at the end of the stream.
  void finish(std::string_view time_stamp, std::string& output);

 private:
  void emit(std::string_view text, bool continues, std::string_view time_stamp,
            std::string& output);
  char tag_;
  std::string partial_;
};

}  // namespace perdure::runtime
