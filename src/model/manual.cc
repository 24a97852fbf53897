#include "model/manual.h"

namespace perdure::model {
namespace {

const ManualSection& section_of(const SpecKey& key, std::span<const ManualSection> sections) {
  const ManualSection* best = &sections.front();
  for (const ManualSection& section : sections) {
    if (key.path.starts_with(section.prefix)) best = &section;
  }
  return *best;
}

}  // namespace

std::string inline_text(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::kScalar) return node.text;
  if (node.items.empty()) return "none";
  std::string text;
  for (const YamlNode& item : node.items) text += (text.empty() ? "" : ", ") + inline_text(item);
  return text;
}

std::string markdown_cell(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '|') result += '\\';
    result += c;
  }
  return result;
}

std::string manual_of(const std::vector<SpecKey>& keys, std::span<const ManualSection> sections) {
  std::string text;
  for (const ManualSection& section : sections) {
    text += std::format(
        "\n## {}\n\n| key | type | default | range | meaning |\n|---|---|---|---|---|\n",
        section.title);
    for (const SpecKey& key : keys) {
      if (&section_of(key, sections) != &section) continue;
      text += std::format("| `{}` | {} | {} | {} | {} |\n", key.path, markdown_cell(key.type),
                          markdown_cell(key.default_value), markdown_cell(key.range),
                          markdown_cell(key.description));
    }
  }
  return text;
}

}  // namespace perdure::model
