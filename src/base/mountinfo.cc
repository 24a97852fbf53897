#include "base/mountinfo.h"

#include <charconv>
#include <format>

#include "base/fd.h"

namespace perdure {
namespace {

// A host with thousands of containers has some MB of it.
constexpr std::size_t kMountinfoLimitBytes = std::size_t{64} << 20;

bool is_octal(char c) {
  return c >= '0' && c <= '7';
}

// Space, tab, newline and backslash are written as \ooo.
std::string unescape(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && is_octal(text[i + 1]) && is_octal(text[i + 2]) &&
        is_octal(text[i + 3])) {
      result += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                  (text[i + 3] - '0'));
      i += 3;
    } else {
      result += text[i];
    }
  }
  return result;
}

std::vector<std::string_view> split_fields(std::string_view line) {
  std::vector<std::string_view> fields;
  while (!line.empty()) {
    const auto space = line.find(' ');
    fields.push_back(line.substr(0, space));
    line = space == std::string_view::npos ? std::string_view{} : line.substr(space + 1);
  }
  return fields;
}

bool parse_int(std::string_view text, int& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size();
}

bool parse_line(std::string_view line, MountEntry& entry) {
  const auto fields = split_fields(line);
  std::size_t dash = 6;
  while (dash < fields.size() && fields[dash] != "-") ++dash;
  if (fields.size() < dash + 3 || !parse_int(fields[0], entry.id) ||
      !parse_int(fields[1], entry.parent_id)) {
    return false;
  }
  entry.device = fields[2];
  entry.root = unescape(fields[3]);
  entry.mount_point = unescape(fields[4]);
  entry.options = fields[5];
  for (std::size_t i = 6; i < dash; ++i) entry.propagation.emplace_back(fields[i]);
  entry.type = fields[dash + 1];
  entry.source = unescape(fields[dash + 2]);
  if (fields.size() > dash + 3) entry.super_options = unescape(fields[dash + 3]);
  return true;
}

}  // namespace

Result<std::vector<MountEntry>> parse_mountinfo(std::string_view text) {
  std::vector<MountEntry> entries;
  while (!text.empty()) {
    const auto newline = text.find('\n');
    const std::string_view line = text.substr(0, newline);
    text = newline == std::string_view::npos ? std::string_view{} : text.substr(newline + 1);
    if (line.empty()) continue;
    MountEntry entry;
    if (!parse_line(line, entry)) {
      return fail(ErrorCode::kCorrupt,
                  std::format("mountinfo: line '{}' cannot be parsed", line.substr(0, 200)));
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

Result<std::vector<MountEntry>> read_mountinfo() {
  PERDURE_ASSIGN(const std::string text, read_file("/proc/self/mountinfo", kMountinfoLimitBytes));
  return parse_mountinfo(text);
}

}  // namespace perdure
