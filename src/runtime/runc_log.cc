#include "runtime/runc_log.h"

#include <deque>

namespace perdure::runtime {
namespace {

constexpr std::size_t kMaxMessages = 3;
constexpr std::size_t kMaxMessageBytes = 1000;

// The value of msg="…", with \" and \\ resolved; or of msg=word.
std::string message_of(std::string_view line) {
  constexpr std::string_view kKey = " msg=";
  const auto start = line.find(kKey);
  if (start == std::string_view::npos) return std::string(line);
  std::string_view value = line.substr(start + kKey.size());
  if (!value.starts_with('"')) return std::string(value);
  std::string text;
  for (std::size_t i = 1; i < value.size() && value[i] != '"'; ++i) {
    if (value[i] == '\\' && i + 1 < value.size()) ++i;
    text += value[i];
  }
  return text;
}

}  // namespace

std::string last_runc_errors(std::string_view log) {
  std::deque<std::string> errors;
  std::string_view last;
  while (!log.empty()) {
    const auto newline = log.find('\n');
    const std::string_view line = log.substr(0, newline);
    log = newline == std::string_view::npos ? std::string_view{} : log.substr(newline + 1);
    if (line.empty()) continue;
    last = line;
    if (!line.contains(" level=error ") && !line.contains(" level=fatal ")) continue;
    errors.push_back(message_of(line));
    if (errors.size() > kMaxMessages) errors.pop_front();
  }
  if (errors.empty()) return last.empty() ? "no reason given" : message_of(last);
  std::string text;
  for (const std::string& error : errors) text += (text.empty() ? "" : "; ") + error;
  return text.substr(0, kMaxMessageBytes);
}

}  // namespace perdure::runtime
