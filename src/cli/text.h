// Text for people: cleaning, wrapping, tables that fit a width. Pure; UTF-8 in and out.
//
// Width is counted in code points: names, numbers and messages of Perdure are ASCII; a wide
// character in a message costs alignment, nothing else.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace perdure::cli {

enum class Colour { kNone, kGood, kBad, kDoubtful, kFaint, kTitle };

// What a renderer may do.
struct Style {
  int width = 80;  // columns of the terminal, at least kMinimumWidth is assumed
  bool colour = false;
};
// Below this nothing sensible can be laid out; a narrower terminal folds the lines itself.
inline constexpr int kMinimumWidth = 40;

std::string paint(std::string_view text, Colour colour, const Style& style);

// Control characters and bytes that are no UTF-8 become '?': what a container or a file said must
// not drive the terminal. Line breaks and tabs become spaces.
std::string clean(std::string_view text);
// The same, but line breaks and tabs stay: for blocks of text.
std::string clean_block(std::string_view text);

int display_width(std::string_view text);
// At most `width` columns; a cut is shown by "..".
std::string shorten(std::string_view text, int width);

// Breaks at spaces; a word longer than a line stays whole (it is a name or a path that somebody
// will copy). Each line is at most `width` columns including its indent. Lines end in '\n'.
std::string wrap(std::string_view text, int width, std::string_view first_indent,
                 std::string_view next_indent);

struct Cell {
  std::string text;
  Colour colour = Colour::kNone;
};

enum class Align { kLeft, kRight };

struct Column {
  std::string title;
  Align align = Align::kLeft;
  // 0: always shown. Others: dropped, the highest first, while the table is too wide. No cell is
  // ever cut.
  int expendable = 0;
};

// A table without lines, columns two spaces apart, under a row of titles. Cells that are empty show
// "-".
std::string render_table(const std::vector<Column>& columns,
                         const std::vector<std::vector<Cell>>& rows, const Style& style);

// "  title        text", the text wrapped under itself.
struct Fact {
  std::string title;
  std::string text;
  Colour colour = Colour::kNone;
};
std::string render_facts(const std::vector<Fact>& facts, const Style& style);

}  // namespace perdure::cli
