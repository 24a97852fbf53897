#include "model/yaml_writer.h"

#include <algorithm>
#include <array>
#include <format>
#include <string_view>

#include "model/text.h"

namespace perdure::model {
namespace {

// Text that every YAML reader takes for itself without quotes.
bool is_plain(std::string_view text) {
  static constexpr std::array<std::string_view, 9> kWords = {"null", "true", "false", "yes", "no",
                                                             "on",   "off",  "y",     "n"};
  std::string lower(text);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  const auto is_inner = [&](char c) {
    return is_letter(c) || (c >= '0' && c <= '9') || c == '/' || c == '.' || c == '_' || c == '-';
  };
  return !text.empty() && (is_letter(text.front()) || text.front() == '/') &&
         std::ranges::all_of(text, is_inner) && std::ranges::find(kWords, lower) == kWords.end();
}

// Double quotes. Escapes all that a YAML reader may take for a line break or the beginning of a
// text.
std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = std::max<std::size_t>(utf8_length(text.substr(at)), 1);
    const std::string_view character = text.substr(at, length);
    const auto byte = static_cast<unsigned char>(character.front());
    if (character == "\"" || character == "\\") {
      result += std::format("\\{}", character);
    } else if (character == "\n") {
      result += "\\n";
    } else if (character == "\t") {
      result += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      result += std::format("\\x{:02x}", unsigned{byte});
    } else if (character == "\u0085") {
      result += "\\u0085";
    } else if (character == "\u2028" || character == "\u2029") {
      result += character == "\u2028" ? "\\L" : "\\P";
    } else if (character == "\ufeff") {
      result += "\\ufeff";
    } else {
      result += character;
    }
    at += length;
  }
  return result + "\"";
}

std::string scalar_text(std::string_view text) {
  return is_plain(text) ? std::string(text) : quoted(text);
}

// Block style. The cursor stands behind `indent` spaces, or behind "- " which takes their place.
void emit_items(std::string& out, const YamlNode& node, std::size_t indent);

// What follows "KEY:".
void emit_value(std::string& out, const YamlNode& node, std::size_t indent) {
  if (node.kind == YamlNode::Kind::kScalar) {
    out += " " + (node.plain ? node.text : scalar_text(node.text)) + "\n";
  } else if (node.items.empty()) {
    out += node.kind == YamlNode::Kind::kMap ? " {}\n" : " []\n";
  } else {
    out += "\n" + std::string(indent, ' ');
    emit_items(out, node, indent);
  }
}

void emit_items(std::string& out, const YamlNode& node, std::size_t indent) {
  for (std::size_t i = 0; i < node.items.size(); ++i) {
    const YamlNode& item = node.items[i];
    if (i > 0) out.append(indent, ' ');
    if (node.kind == YamlNode::Kind::kMap) {
      out += scalar_text(node.keys[i].text) + ":";
      emit_value(out, item, indent + 2);
    } else if (item.kind == YamlNode::Kind::kMap && !item.items.empty()) {
      out += "- ";
      emit_items(out, item, indent + 2);
    } else {
      out += "-";
      emit_value(out, item, indent + 2);
    }
  }
}

}  // namespace

std::string write_yaml(const YamlNode& root) {
  std::string out;
  emit_items(out, root, 0);
  return out;
}

}  // namespace perdure::model
