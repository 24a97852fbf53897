#include "cli/markdown_blocks.h"

#include <algorithm>

namespace perdure::cli {
namespace {

std::string_view take_line(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

std::string_view trim(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(' ');
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(' ') - begin + 1);
}

// "| a | b |" -> "a", "b"; an escaped bar does not separate.
std::vector<std::string> cells_of(std::string_view line) {
  std::vector<std::string> cells;
  std::string cell;
  line.remove_prefix(1);
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\\' && i + 1 < line.size() && line[i + 1] == '|') {
      cell += line[++i];
    } else if (line[i] == '|') {
      cells.emplace_back(trim(cell));
      cell.clear();
    } else {
      cell += line[i];
    }
  }
  return cells;
}

bool is_rule(std::string_view line) {
  return line.find_first_not_of("|-: ") == std::string_view::npos;
}

MarkdownBlock& block_of(std::vector<MarkdownBlock>& blocks, MarkdownBlock::Kind kind,
                        bool continues) {
  if (!continues || blocks.empty() || blocks.back().kind != kind)
    blocks.push_back(MarkdownBlock{.kind = kind, .level = 0, .text = "", .rows = {}});
  return blocks.back();
}

void read_code(std::string_view& rest, std::vector<MarkdownBlock>& blocks) {
  MarkdownBlock& code = block_of(blocks, MarkdownBlock::Kind::kCode, false);
  while (!rest.empty()) {
    const std::string_view line = take_line(rest);
    if (line.starts_with("```")) return;
    code.text += std::string(line) + "\n";
  }
}

}  // namespace

std::vector<MarkdownBlock> read_markdown(std::string_view markdown) {
  using Kind = MarkdownBlock::Kind;
  std::vector<MarkdownBlock> blocks;
  bool continues = false;  // the line before was part of the same block
  while (!markdown.empty()) {
    const std::string_view line = take_line(markdown);
    if (trim(line).empty() || line.starts_with("<!--")) {
      continues = false;
    } else if (line.starts_with("```")) {
      read_code(markdown, blocks);
      continues = false;
    } else if (line.starts_with('#')) {
      MarkdownBlock& heading = block_of(blocks, Kind::kHeading, false);
      heading.level = static_cast<int>(line.find_first_not_of('#'));
      heading.text = trim(line.substr(static_cast<std::size_t>(heading.level)));
      continues = false;
    } else if (line.starts_with('|')) {
      MarkdownBlock& table = block_of(blocks, Kind::kTable, continues);
      if (!is_rule(line)) table.rows.push_back(cells_of(line));
      continues = true;
    } else if (line.starts_with("- ")) {
      block_of(blocks, Kind::kItem, false).text = trim(line.substr(2));
      continues = true;
    } else {
      const bool in_item = continues && blocks.back().kind == Kind::kItem;
      MarkdownBlock& paragraph =
          block_of(blocks, in_item ? Kind::kItem : Kind::kParagraph, continues);
      if (!paragraph.text.empty()) paragraph.text += ' ';
      paragraph.text += trim(line);
      continues = true;
    }
  }
  return blocks;
}

std::string plain_text(std::string_view inline_markdown) {
  std::string result;
  for (std::size_t i = 0; i < inline_markdown.size(); ++i) {
    if (inline_markdown[i] == '`') continue;
    if (inline_markdown.substr(i).starts_with("**")) {
      ++i;
      continue;
    }
    result += inline_markdown[i];
  }
  return result;
}

}  // namespace perdure::cli
