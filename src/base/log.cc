#include "base/log.h"

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string>

#include "base/clock.h"

namespace perdure::log {
namespace {

std::atomic<Level> current_level = Level::kInfo;

std::string_view prefix_of(Level level) {
  static const bool journal = std::getenv("JOURNAL_STREAM") != nullptr;
  switch (level) {
    case Level::kDebug: return journal ? "<7>" : "debug";
    case Level::kInfo: return journal ? "<6>" : "info";
    case Level::kWarning: return journal ? "<4>" : "warning";
    case Level::kError: return journal ? "<3>" : "error";
  }
  return "";
}

}  // namespace

void set_level(Level level) { current_level.store(level, std::memory_order_relaxed); }

bool enabled(Level level) { return level >= current_level.load(std::memory_order_relaxed); }

void write(Level level, std::string_view message) {
  if (!enabled(level)) return;
  const std::string_view prefix = prefix_of(level);
  const std::string line =
      prefix.starts_with('<')
          ? std::format("{}{}\n", prefix, message)
          : std::format("{} {} {}\n", format_wall_time(std::chrono::system_clock::now()), prefix,
                        message);
  [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace perdure::log
