#include "node/log_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <format>

#include "base/fd.h"
#include "control_limits.h"
#include "runtime/log_file.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;

constexpr std::string_view kContinues = " \\";
constexpr std::size_t kTimeBytes = std::string_view("2025-06-01T12:00:00.123Z").size();
constexpr std::size_t kHeadBytes = kTimeBytes + std::string_view(" o ").size();

std::optional<std::int64_t> parse_time(const std::string& text) {
  tm parts{};
  int milliseconds = 0;
  int consumed = 0;
  const int read = std::sscanf(text.c_str(), "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ%n", &parts.tm_year, &parts.tm_mon,
                               &parts.tm_mday, &parts.tm_hour, &parts.tm_min, &parts.tm_sec, &milliseconds, &consumed);
  constexpr int kFields = 7;
  if (read != kFields || consumed != static_cast<int>(kTimeBytes)) return std::nullopt;
  parts.tm_year -= 1900;
  parts.tm_mon -= 1;
  constexpr std::int64_t kPerSecond = 1000;
  return static_cast<std::int64_t>(::timegm(&parts)) * kPerSecond + milliseconds;
}

Result<std::string> text_at(int fd, std::uint64_t offset, std::size_t bytes, const std::string& what) {
  std::string text(bytes, '\0');
  PERDURE_ASSIGN(const std::size_t got, read_at(fd, std::as_writable_bytes(std::span(text)), offset,
                                                std::format("'{}'", what)));
  text.resize(got);
  return text;
}

Result<std::uint64_t> size_of(int fd, const std::string& what) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) return fail_errno(std::format("look at '{}'", what));
  return static_cast<std::uint64_t>(status.st_size);
}

// Where the last `lines` lines of a file begin, and how many it has of them.
struct Tail {
  std::uint64_t offset = 0;
  std::uint64_t lines = 0;
};
Result<Tail> find_tail(int fd, std::uint64_t lines, const std::string& what) {
  PERDURE_ASSIGN(const std::uint64_t size, size_of(fd, what));
  Tail tail;
  std::uint64_t end = size;
  while (end > 0) {
    const std::size_t bytes = static_cast<std::size_t>(std::min<std::uint64_t>(end, LogReader::kReadBytes));
    const std::uint64_t begin = end - bytes;
    PERDURE_ASSIGN(const std::string text, text_at(fd, begin, bytes, what));
    for (std::size_t i = text.size(); i-- > 0;) {
      if (text[i] != '\n') continue;
      // The file's last newline ends a line, it begins none.
      if (begin + i + 1 != size) ++tail.lines;
      if (tail.lines == lines) return Tail{begin + i + 1, lines};
    }
    end = begin;
  }
  if (size > 0) ++tail.lines;
  return tail;
}

}  // namespace

LogLine parse_log_line(std::string_view line) {
  LogLine parsed;
  parsed.text = line;
  if (line.size() < kHeadBytes || line[kTimeBytes] != ' ' || line[kTimeBytes + 2] != ' ') return parsed;
  const char tag = line[kTimeBytes + 1];
  const auto time = parse_time(std::string(line.substr(0, kTimeBytes)));
  if (!time || (tag != 'o' && tag != 'e')) return parsed;
  parsed.stream = tag == 'o' ? v1::LOG_STREAM_STDOUT : v1::LOG_STREAM_STDERR;
  parsed.time_unix_ms = time;
  parsed.text = line.substr(kHeadBytes);
  // Only a piece of full length may end like this; in a shorter line it is the container's own.
  constexpr std::size_t kPieceBytes = runtime::LineSplitter::kMaxLineBytes + kContinues.size();
  if (parsed.text.size() == kPieceBytes && parsed.text.ends_with(kContinues)) {
    parsed.continues = true;
    parsed.text.remove_suffix(kContinues.size());
  }
  return parsed;
}

std::string LogReader::path(int index) const {
  return index == 0 ? options_.directory + "/container.log"
                    : std::format("{}/container.log.{}", options_.directory, index);
}

Result<std::optional<LogReader::File>> LogReader::open(int index) const {
  auto fd = open_file(path(index), O_RDONLY | O_NOFOLLOW);
  if (!fd && fd.error().code() == ErrorCode::kNotFound) return std::nullopt;
  if (!fd) return fail(std::move(fd).error());
  struct stat status{};
  if (::fstat(fd->get(), &status) != 0) return fail_errno(std::format("look at '{}'", path(index)));
  return File{*std::move(fd), status.st_ino};
}

Status LogReader::start() {
  started_ = true;
  if (options_.tail_lines) return start_at_tail();
  for (int index = kMaxFiles - 1; index >= 0 && !file_; --index) {
    PERDURE_ASSIGN(file_, open(index));
  }
  return {};
}

Status LogReader::start_at_tail() {
  std::uint64_t missing = *options_.tail_lines;
  for (int index = 0; index < kMaxFiles; ++index) {
    PERDURE_ASSIGN(auto file, open(index));
    if (!file && index == 0) continue;  // between a rotation and the next line
    if (!file) break;
    file_ = std::move(file);
    if (missing == 0) {
      PERDURE_ASSIGN(offset_, size_of(file_->fd.get(), path(index)));
      return {};
    }
    PERDURE_ASSIGN(const Tail tail, find_tail(file_->fd.get(), missing, path(index)));
    offset_ = tail.offset;
    missing -= tail.lines;
    if (missing == 0) return {};
  }
  return {};
}

// To the file after the one that has been read to its end; false: there is none, more may come to this one.
Result<bool> LogReader::advance() {
  std::optional<File> newer;
  for (int index = 0; index < kMaxFiles; ++index) {
    PERDURE_ASSIGN(auto file, open(index));
    if (!file && index == 0) continue;
    if (!file) break;
    if (file_ && file->inode == file_->inode) {
      if (!newer) return false;
      break;
    }
    newer = std::move(file);  // at the end: the successor of ours, or the oldest if ours is gone
  }
  if (!newer) return false;
  // What was appended between our last look and the rotation comes first; then it is complete.
  if (file_) {
    PERDURE_ASSIGN(const bool more, read_more());
    if (more) return true;
  }
  file_ = std::move(newer);
  offset_ = 0;
  if (!partial_.empty()) partial_ += '\n';
  return true;
}

// False at the end of the file.
Result<bool> LogReader::read_more() {
  PERDURE_ASSIGN(const std::uint64_t size, size_of(file_->fd.get(), options_.directory));
  if (size < offset_) {  // the logger took back what a full disk had let it write in part
    offset_ = size;
    partial_.clear();
  }
  PERDURE_ASSIGN(const std::string text, text_at(file_->fd.get(), offset_, kReadBytes, options_.directory));
  offset_ += text.size();
  partial_ += text;
  return !text.empty();
}

Result<LogReader::Batch> LogReader::read() {
  if (!started_) PERDURE_TRY(start());
  Batch batch;
  bool more = false;
  if (file_) {
    PERDURE_ASSIGN(more, read_more());
  }
  if (!more) {
    PERDURE_ASSIGN(more, advance());
  }
  take_lines(batch);
  batch.at_end = !more;
  return batch;
}

void LogReader::take_lines(Batch& batch) {
  std::string_view rest = partial_;
  for (std::size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
    const LogLine line = parse_log_line(rest.substr(0, end));
    const bool wanted = !options_.since_unix_ms || !line.time_unix_ms || *line.time_unix_ms >= *options_.since_unix_ms;
    if (wanted) add_line(batch, line);
    rest.remove_prefix(end + 1);
  }
  // A file that no logger wrote may hold a line without end: it is given in pieces.
  if (rest.size() >= kReadBytes) {
    add_line(batch, {.stream = v1::LOG_STREAM_UNSPECIFIED, .time_unix_ms = {}, .text = rest, .continues = true});
    rest = {};
  }
  partial_ = std::string(rest);
}

void LogReader::add_line(Batch& batch, const LogLine& line) const {
  std::string text(line.text);
  if (!line.continues) text += '\n';
  for (std::string_view rest = text; !rest.empty();) {
    v1::LogChunk* last = batch.chunks.empty() ? nullptr : &batch.chunks.back();
    const bool fits = last != nullptr && last->stream() == line.stream && last->has_time_unix_ms() &&
                      last->time_unix_ms() == line.time_unix_ms &&
                      last->data().size() + rest.size() <= control::kMaxLogChunkBytes;
    if (!fits) {
      last = &batch.chunks.emplace_back();
      last->set_stream(line.stream);
      if (line.time_unix_ms) last->set_time_unix_ms(*line.time_unix_ms);
    }
    const std::size_t taken = std::min(rest.size(), control::kMaxLogChunkBytes - last->data().size());
    last->mutable_data()->append(rest.substr(0, taken));
    rest.remove_prefix(taken);
  }
}

}  // namespace perdure::node
