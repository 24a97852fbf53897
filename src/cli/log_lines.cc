#include "cli/log_lines.h"

#include <algorithm>
#include <utility>

namespace perdure::cli {

std::vector<LogLine> LogLines::add(const control::v1::LogChunk& chunk) {
  const auto index = static_cast<std::size_t>(std::clamp(static_cast<int>(chunk.stream()), 0, 2));
  LogLine& line = waiting_[index];
  std::vector<LogLine> lines;
  std::string_view data = chunk.data();
  while (!data.empty()) {
    if (line.text.empty()) {
      line.stream = chunk.stream();
      line.time_unix_ms =
          chunk.has_time_unix_ms() ? std::optional(chunk.time_unix_ms()) : std::nullopt;
    }
    const std::size_t room = kMaxLogLineBytes - line.text.size();
    const std::size_t end = data.find('\n');
    const std::size_t taken = std::min({end, data.size(), room});
    line.text += data.substr(0, taken);
    data.remove_prefix(taken);
    const bool complete = data.starts_with('\n');
    if (complete) data.remove_prefix(1);
    if (complete || line.text.size() == kMaxLogLineBytes) {
      line.complete = complete;
      lines.push_back(std::exchange(line, LogLine{}));
    }
  }
  return lines;
}

std::vector<LogLine> LogLines::finish() {
  std::vector<LogLine> lines;
  for (LogLine& line : waiting_) {
    if (!line.text.empty()) lines.push_back(std::exchange(line, LogLine{}));
  }
  return lines;
}

}  // namespace perdure::cli
