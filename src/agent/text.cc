#include "agent/text.h"

#include <charconv>

namespace perdure::agent {
namespace {

constexpr char kHex[] = "0123456789ABCDEF";

int hex_value(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  return -1;
}

}  // namespace

std::string to_text(std::int64_t number) {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof digits, number);
  return {digits, end.ptr};
}

std::string escaped(std::string_view field) {
  if (field.empty()) return "%";
  std::string text;
  for (const char c : field) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte > 0x20 && byte < 0x7f && c != '%') {
      text += c;
      continue;
    }
    text += '%';
    text += kHex[byte >> 4];
    text += kHex[byte & 15];
  }
  return text;
}

std::optional<std::string> unescaped(std::string_view field) {
  std::string text;
  if (field == "%") return text;
  for (std::size_t i = 0; i < field.size(); ++i) {
    if (field[i] != '%') {
      text += field[i];
      continue;
    }
    if (i + 2 >= field.size()) return std::nullopt;
    const int high = hex_value(field[i + 1]);
    const int low = hex_value(field[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    text += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return text;
}

std::string_view Fields::cut() {
  const auto blank = rest_.find(' ');
  const std::string_view field = rest_.substr(0, blank);
  rest_.remove_prefix(blank == std::string_view::npos ? rest_.size() : blank + 1);
  if (field.empty() || (blank != std::string_view::npos && rest_.empty())) bad_ = true;
  return field;
}

std::string Fields::text(std::size_t max_bytes) {
  auto value = unescaped(cut());
  if (!value || value->size() > max_bytes) {
    bad_ = true;
    return {};
  }
  return *std::move(value);
}

std::int64_t Fields::number(std::int64_t min, std::int64_t max) {
  const std::string_view field = cut();
  std::int64_t value = 0;
  const auto end = std::from_chars(field.data(), field.data() + field.size(), value);
  if (end.ec != std::errc() || end.ptr != field.data() + field.size() || value < min || value > max) {
    bad_ = true;
    return min;
  }
  return value;
}

std::optional<std::vector<std::string_view>> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const auto end = text.find('\n');
    if (end == std::string_view::npos) return std::nullopt;
    lines.push_back(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  return lines;
}

}  // namespace perdure::agent
