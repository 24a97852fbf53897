// The daemon's log: one line per event on standard error, with a syslog priority prefix under systemd
// (sd-daemon(3)) and a time stamp elsewhere. Safe from any thread; a line is one write.
#pragma once

#include <format>
#include <string_view>

namespace perdure::log {

enum class Level { kDebug, kInfo, kWarning, kError };

void set_level(Level level);
bool enabled(Level level);
void write(Level level, std::string_view message);

template <typename... Args>
void debug(std::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kDebug)) write(Level::kDebug, std::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void info(std::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kInfo)) write(Level::kInfo, std::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void warning(std::format_string<Args...> format, Args&&... args) {
  write(Level::kWarning, std::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void error(std::format_string<Args...> format, Args&&... args) {
  write(Level::kError, std::format(format, std::forward<Args>(args)...));
}

}  // namespace perdure::log
