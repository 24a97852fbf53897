#include "model/spec_yaml.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <format>
#include <system_error>

#include "base/assert.h"
#include "base/fd.h"
#include "model/table.h"

namespace perdure::model {
namespace {

Result<ContainerSpec> read_root(Reading& reading, const YamlNode& root) {
  // Replaced by the spec's own name, or never seen: without a name there is an issue.
  PERDURE_ASSIGN(ContainerName placeholder, ContainerName::parse("unnamed"));
  ContainerSpec spec{.name = std::move(placeholder)};
  if (root.kind != YamlNode::Kind::kMap) {
    reading.complain(root.position, root.kind == YamlNode::Kind::kNull
                                        ? "the spec is empty; begin it with 'name: NAME'"
                                        : "a spec is a map of keys; begin it with 'name: NAME'");
    return spec;
  }
  read_table(reading, "", root, container_table(), spec);
  check_rules(reading, spec);
  // The order of ports and of capabilities means nothing, so that the same set is the same spec.
  std::ranges::sort(spec.network.tcp_ports);
  std::ranges::sort(spec.security.capabilities);
  const auto same = std::ranges::unique(spec.security.capabilities);
  spec.security.capabilities.erase(same.begin(), same.end());
  return spec;
}

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

Result<ContainerSpec> read_spec(std::string_view yaml, std::string_view file_name,
                                std::string_view base_directory) {
  if (yaml.size() > kMaxSpecBytes) {
    return fail(ErrorCode::kInvalid, std::format("{}:1:1: the spec has {} bytes; shorten it to {}",
                                                 file_name, yaml.size(), kMaxSpecBytes));
  }
  Reading reading(base_directory);
  const YamlDocument document = parse_yaml(yaml);
  for (const YamlIssue& issue : document.issues) reading.complain(issue.position, issue.message);
  if (!document.complete) return fail(reading.error(file_name));
  PERDURE_ASSIGN(ContainerSpec spec, read_root(reading, document.root));
  if (!reading.good()) return fail(reading.error(file_name));
  return spec;
}

Result<ContainerSpec> read_spec_file(const std::string& path) {
  PERDURE_ASSIGN(const std::string text, read_file(path, kMaxSpecBytes));
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error)
    return fail(ErrorCode::kIo,
                std::format("find the directory of '{}': {}", path, error.message()));
  return read_spec(text, path, absolute.parent_path().native());
}

std::string to_yaml(const ContainerSpec& spec) {
  std::string out;
  emit_items(out, write_table(container_table(), spec), 0);
  return out;
}

}  // namespace perdure::model
