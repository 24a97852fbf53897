#include "model/text.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <format>
#include <numeric>
#include <vector>

namespace perdure::model {
namespace {

constexpr std::size_t kMaxQuoted = 60;
constexpr std::size_t kMaxEdits = 2;
// Longer than any key: not worth comparing.
constexpr std::size_t kMaxCompared = 40;

bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 || byte == 0x7f;
}

std::string as_key(std::string_view text) {
  std::string key(text);
  for (char& c : key) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (c == '_' || c == ' ') c = '-';
  }
  return key;
}

// Levenshtein, two rows.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t change = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({change, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

}  // namespace

std::size_t utf8_length(std::string_view text) {
  if (text.empty()) return 0;
  const auto at = [&](std::size_t i) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i]));
  };
  const std::uint32_t first = at(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  std::uint32_t code = first & (0xffU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((at(i) & 0xc0U) != 0x80) return 0;
    code = (code << 6) | (at(i) & 0x3fU);
  }
  constexpr std::array<std::uint32_t, 5> kSmallest = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  return code < kSmallest[length] || surrogate || code > 0x10ffff ? 0 : length;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string quote(std::string_view text) {
  std::string quoted = "'";
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = utf8_length(text.substr(at));
    if (at + length > kMaxQuoted) return quoted + "…'";
    if (length == 0 || is_control(text[at])) {
      quoted += std::format("\\x{:02x}", unsigned{static_cast<unsigned char>(text[at])});
    } else {
      quoted += text.substr(at, length);
    }
    at += std::max<std::size_t>(length, 1);
  }
  return quoted + "'";
}

bool has_control_character(std::string_view text) {
  return std::ranges::any_of(text, is_control);
}

std::string_view closest(std::string_view text, std::span<const std::string> known) {
  if (text.size() > kMaxCompared) return {};
  const std::string key = as_key(text);
  std::string_view best;
  std::size_t best_distance = kMaxEdits + 1;
  for (const std::string& candidate : known) {
    const std::size_t distance = edit_distance(key, candidate);
    // A short word is not meant by whatever has as many letters.
    if (distance < best_distance && distance < candidate.size() / 2 + 1) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string did_you_mean(std::string_view text, std::span<const std::string> known, std::string_view otherwise) {
  const std::string_view close = closest(text, known);
  return close.empty() ? std::string(otherwise) : std::format("did you mean {}?", quote(close));
}

void replace_all(std::string& text, std::string_view what, std::string_view with) {
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + with.size())) text.replace(at, what.size(), with);
}

std::string join(std::span<const std::string> words) {
  std::string joined;
  for (const std::string& word : words) joined += (joined.empty() ? "" : ", ") + word;
  return joined;
}

}  // namespace perdure::model
