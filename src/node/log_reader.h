// Reads what perdure-logger wrote (runtime/logger.h), from the oldest file that is kept to the newest, over
// rotations. Blocking: pool threads; one call at a time.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "control.pb.h"

namespace perdure::node {

// "2025-06-01T12:00:00.123Z o text", as the logger wrote it, without the newline.
struct LogLine {
  control::v1::LogStream stream = control::v1::LOG_STREAM_UNSPECIFIED;
  std::optional<std::int64_t> time_unix_ms;
  std::string_view text;
  bool continues = false;  // the logger cut a long line here
};
// A line that the logger did not write is all text.
LogLine parse_log_line(std::string_view line);

struct LogReaderOptions {
  std::string directory;
  std::optional<std::uint32_t> tail_lines;
  std::optional<std::int64_t> since_unix_ms;
};

class LogReader {
 public:
  // The logger's own bound on what it keeps, as one file and as many.
  static constexpr int kMaxFiles = 100;
  // Of a file per read(); what it gives is not more.
  static constexpr std::size_t kReadBytes = std::size_t{256} << 10;

  explicit LogReader(LogReaderOptions options) : options_(std::move(options)) {}

  struct Batch {
    std::vector<control::v1::LogChunk> chunks;
    bool at_end = false;  // nothing more for now
  };
  // The next piece. No log at all is an end. kIo, kPermission.
  Result<Batch> read();

 private:
  struct File {
    UniqueFd fd;
    ino_t inode = 0;
  };
  std::string path(int index) const;
  Result<std::optional<File>> open(int index) const;
  Status start();
  Status start_at_tail();
  Result<bool> advance();
  Result<bool> read_more();
  void take_lines(Batch& batch);
  void add_line(Batch& batch, const LogLine& line) const;

  const LogReaderOptions options_;
  bool started_ = false;
  std::optional<File> file_;
  std::uint64_t offset_ = 0;
  std::string partial_;  // of a line that is not finished
};

}  // namespace perdure::node
