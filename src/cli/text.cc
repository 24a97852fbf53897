#include "cli/text.h"

#include <algorithm>
#include <cstdint>

namespace perdure::cli {
namespace {

std::string_view escape_of(Colour colour) {
  switch (colour) {
    case Colour::kNone:
      return "";
    case Colour::kGood:
      return "\x1b[32m";
    case Colour::kBad:
      return "\x1b[31m";
    case Colour::kDoubtful:
      return "\x1b[33m";
    case Colour::kFaint:
      return "\x1b[2m";
    case Colour::kTitle:
      return "\x1b[1m";
  }
  return "";
}

bool is_continuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

// Length of the well-formed UTF-8 sequence at the front (RFC 3629), 0 if there is none.
std::size_t sequence_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const std::size_t length = lead >= 0xF0 && lead <= 0xF4   ? 4
                             : lead >= 0xE0 && lead <= 0xEF ? 3
                             : lead >= 0xC2 && lead <= 0xDF ? 2
                                                            : 0;
  if (length == 0 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if (!is_continuation(text[i])) return 0;
  }
  if ((lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xED && byte(1) > 0x9F) ||
      (lead == 0xF0 && byte(1) < 0x90) || (lead == 0xF4 && byte(1) > 0x8F)) {
    return 0;
  }
  return length;
}

// C0, DEL and, in two bytes, C1: all of them can start a terminal sequence.
bool is_control(std::string_view sequence) {
  const auto lead = static_cast<unsigned char>(sequence[0]);
  if (sequence.size() == 1) return lead < 0x20 || lead == 0x7F;
  return sequence.size() == 2 && lead == 0xC2 && static_cast<unsigned char>(sequence[1]) < 0xA0;
}

enum class Breaks { kToSpaces, kKept };

std::string clean_text(std::string_view text, Breaks breaks) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = sequence_length(text);
    const std::string_view sequence = text.substr(0, std::max<std::size_t>(length, 1));
    if (text[0] == '\n' || text[0] == '\t') {
      result += breaks == Breaks::kKept ? text[0] : ' ';
    } else if (length == 0 || is_control(sequence)) {
      result += '?';
    } else {
      result += sequence;
    }
    text.remove_prefix(sequence.size());
  }
  return result;
}

std::string pad(const Cell& cell, int width, Align align, bool last, const Style& style) {
  const auto missing = static_cast<std::size_t>(std::max(0, width - display_width(cell.text)));
  const std::string painted = paint(cell.text, cell.colour, style);
  if (align == Align::kRight) return std::string(missing, ' ') + painted;
  return last ? painted : painted + std::string(missing, ' ');
}

constexpr int kGap = 2;  // columns between two columns of a table

using Shown = std::vector<std::size_t>;  // indexes into the columns

int total_width(const Shown& shown, const std::vector<int>& widths) {
  int total = -kGap;
  for (const std::size_t column : shown) total += widths[column] + kGap;
  return total;
}

// Drops the most expendable column until the table fits, or until none is expendable.
Shown choose_columns(const std::vector<Column>& columns, const std::vector<int>& widths,
                     int available) {
  Shown shown;
  for (std::size_t i = 0; i < columns.size(); ++i) shown.push_back(i);
  while (total_width(shown, widths) > available) {
    const auto victim =
        std::ranges::max_element(shown, {}, [&](std::size_t i) { return columns[i].expendable; });
    if (columns[*victim].expendable == 0) break;
    shown.erase(victim);
  }
  return shown;
}

std::string render_row(const std::vector<Cell>& cells, const std::vector<Column>& columns,
                       const Shown& shown, const std::vector<int>& widths, const Style& style) {
  std::string line;
  for (const std::size_t i : shown) {
    const bool last = i == shown.back();
    Cell cell = cells[i];
    if (cell.text.empty()) cell.text = "-";
    line += pad(cell, widths[i], columns[i].align, last, style);
    if (!last) line += std::string(kGap, ' ');
  }
  return line + '\n';
}

}  // namespace

std::string paint(std::string_view text, Colour colour, const Style& style) {
  if (!style.colour || colour == Colour::kNone || text.empty()) return std::string(text);
  return std::string(escape_of(colour)) + std::string(text) + "\x1b[0m";
}

std::string clean(std::string_view text) {
  return clean_text(text, Breaks::kToSpaces);
}
std::string clean_block(std::string_view text) {
  return clean_text(text, Breaks::kKept);
}

int display_width(std::string_view text) {
  return static_cast<int>(
      std::ranges::count_if(text, [](char byte) { return !is_continuation(byte); }));
}

std::string shorten(std::string_view text, int width) {
  if (display_width(text) <= width) return std::string(text);
  std::size_t end = 0;
  for (int kept = 0; end < text.size(); ++end) {
    if (is_continuation(text[end])) continue;
    if (kept == std::max(0, width - 2)) break;
    ++kept;
  }
  return std::string(text.substr(0, end)) + "..";
}

std::string wrap(std::string_view text, int width, std::string_view first_indent,
                 std::string_view next_indent) {
  std::string result(first_indent);
  int column = display_width(first_indent);
  bool line_is_empty = true;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (word.empty()) continue;
    const int needed = display_width(word) + (line_is_empty ? 0 : 1);
    if (!line_is_empty && column + needed > width) {
      result += '\n';
      result += next_indent;
      column = display_width(next_indent) + display_width(word);
      result += word;
      continue;
    }
    if (!line_is_empty) result += ' ';
    result += word;
    column += needed;
    line_is_empty = false;
  }
  return result + '\n';
}

std::string render_table(const std::vector<Column>& columns,
                         const std::vector<std::vector<Cell>>& rows, const Style& style) {
  std::vector<int> widths;
  std::vector<Cell> titles;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    int width = display_width(columns[i].title);
    for (const auto& row : rows) width = std::max(width, display_width(row[i].text));
    widths.push_back(width);
    titles.push_back({columns[i].title, Colour::kTitle});
  }
  const Shown shown = choose_columns(columns, widths, std::max(style.width, kMinimumWidth));
  std::string result = render_row(titles, columns, shown, widths, style);
  for (const auto& row : rows) result += render_row(row, columns, shown, widths, style);
  return result;
}

std::string render_facts(const std::vector<Fact>& facts, const Style& style) {
  int title_width = 0;
  for (const Fact& fact : facts) title_width = std::max(title_width, display_width(fact.title));
  const std::string indent(static_cast<std::size_t>(title_width) + 4, ' ');
  std::string result;
  for (const Fact& fact : facts) {
    std::string block = wrap(fact.text, std::max(style.width, kMinimumWidth), indent, indent);
    block.erase(0, indent.size());
    if (!block.empty()) block.pop_back();
    result +=
        "  " + fact.title +
        std::string(indent.size() - 2 - static_cast<std::size_t>(display_width(fact.title)), ' ');
    result += paint(block, fact.colour, style) + '\n';
  }
  return result;
}

}  // namespace perdure::cli
