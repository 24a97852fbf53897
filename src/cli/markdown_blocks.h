// Reads the little Markdown that our own references are written in: headings, paragraphs, lists,
// fenced code, tables.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace perdure::cli {

struct MarkdownBlock {
  enum class Kind { kHeading, kParagraph, kItem, kCode, kTable };
  Kind kind = Kind::kParagraph;
  int level = 0;     // of a heading, from 1
  std::string text;  // of all but tables; the lines of a paragraph or item are joined
  std::vector<std::vector<std::string>> rows;  // of a table; the first is its titles
};

// HTML comments are left out.
std::vector<MarkdownBlock> read_markdown(std::string_view markdown);

// Without `, ** and the backslash before a |.
std::string plain_text(std::string_view inline_markdown);

}  // namespace perdure::cli
