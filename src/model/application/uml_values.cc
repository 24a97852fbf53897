#include "model/application/uml_values.h"

#include <algorithm>
#include <format>
#include <set>
#include <utility>

#include "base/assert.h"
#include "model/text.h"
#include "model/yaml_writer.h"

namespace perdure::model {
namespace {

constexpr std::string_view kYaml = "yaml:";
constexpr std::string_view kArrow = " -> ";
constexpr std::string_view kEmptyList = "[]";

// In double quotes where YAML needs them.
std::string yaml_scalar(const YamlNode& node) {
  const YamlNode map{.kind = YamlNode::Kind::kMap, .keys = {{.text = "v"}}, .items = {node}};
  std::string text = write_yaml(map).substr(3);
  text.pop_back();
  return text;
}

// XML 1.0 has no way to write these; U+FFFE and U+FFFF neither.
bool is_xml_text(std::string_view text) {
  const bool control = std::ranges::any_of(text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\t' && c != '\n') || byte == 0x7f;
  });
  return !control && !text.contains("\ufffe") && !text.contains("\uffff");
}

std::string quoted_yaml(std::string_view text) {
  std::string quoted = yaml_scalar({.kind = YamlNode::Kind::kScalar, .text = std::string(text)});
  for (const auto& [character, escape] : {std::pair("\ufffe", "\\ufffe"), std::pair("\uffff", "\\uffff")}) {
    for (auto at = quoted.find(character); at != std::string::npos; at = quoted.find(character)) quoted.replace(at, 3, escape);
  }
  return quoted;
}

std::string encode(std::string_view text) {
  if (is_xml_text(text) && !text.starts_with(kYaml)) return std::string(text);
  return std::string(kYaml) + quoted_yaml(text);
}

void set_position(YamlNode& node, Position position) {
  node.position = position;
  for (YamlKey& key : node.keys) key.position = position;
  for (YamlNode& item : node.items) set_position(item, position);
}

std::size_t size_of(const YamlNode& node) {
  std::size_t size = 1 + node.keys.size();
  for (const YamlNode& item : node.items) size += size_of(item);
  return size;
}

class Reader {
 public:
  Reader(Reading& reading, const std::string& at, const SpecKey& key, std::size_t& values_left)
      : reading_(reading), at_(at), key_(key), values_left_(values_left) {}

  std::optional<YamlNode> read(const std::vector<UmlText>& texts) {
    PERDURE_ASSERT(!texts.empty());
    if (key_.structure == KeyStructure::kValue) return scalar(texts.front().text, texts.front().position);
    YamlNode node{.kind = key_.structure == KeyStructure::kTextMap ? YamlNode::Kind::kMap : YamlNode::Kind::kSequence,
                  .position = texts.front().position};
    if (texts.size() == 1 && texts.front().text == kEmptyList && key_.min_items == 0) return node;
    for (const UmlText& text : texts) {
      if (!item(text, node)) return std::nullopt;
    }
    return node;
  }

 private:
  bool refuse(Position position, std::string_view why) {
    reading_.complain(position, at_, why);
    return false;
  }

  bool charge(Position position, std::size_t values) {
    const bool enough = values <= values_left_;
    values_left_ -= std::min(values, values_left_);
    return enough || refuse(position, "is one value too many for one application; make it smaller");
  }

  bool item(const UmlText& text, YamlNode& node) {
    if (key_.structure == KeyStructure::kTextMap) return entry(text, node);
    auto value = key_.structure == KeyStructure::kMapList ? map_item(text) : scalar(text.text, text.position);
    if (!value) return false;
    node.items.push_back(std::move(*value));
    return true;
  }

  std::optional<YamlNode> scalar(std::string_view text, Position position) {
    if (!charge(position, 1)) return std::nullopt;
    if (!text.starts_with(kYaml)) return YamlNode{.kind = YamlNode::Kind::kScalar, .position = position, .text = std::string(text)};
    auto node = yaml(text.substr(kYaml.size()), position);
    if (!node) return std::nullopt;
    if (node->kind != YamlNode::Kind::kScalar) {
      refuse(position, "has no single text behind yaml:; write one, in double quotes");
      return std::nullopt;
    }
    return node;
  }

  std::optional<YamlNode> yaml(std::string_view text, Position position) {
    if (!charge(position, 1)) return std::nullopt;
    YamlDocument document = parse_yaml(text);
    for (const YamlIssue& issue : document.issues) refuse(position, "in its YAML text: " + issue.message);
    if (!document.issues.empty() || !charge(position, size_of(document.root))) return std::nullopt;
    set_position(document.root, position);
    return std::move(document.root);
  }

  bool entry(const UmlText& text, YamlNode& node) {
    const auto equals = text.text.find('=');
    if (equals == std::string::npos) return refuse(text.position, std::format("{} is no NAME=VALUE", quote(text.text)));
    std::string name = text.text.substr(0, equals);
    if (!names_.emplace(name).second) {
      return refuse(text.position, std::format("{} is given twice; remove one of them", quote(name)));
    }
    auto value = scalar(std::string_view(text.text).substr(equals + 1), text.position);
    if (!value) return false;
    node.keys.push_back({.text = std::move(name), .position = text.position});
    node.items.push_back(std::move(*value));
    return true;
  }

  std::optional<YamlNode> map_item(const UmlText& text) {
    if (text.text.starts_with('{')) return yaml(text.text, text.position);
    const bool is_files = key_.path.ends_with("files");
    const auto arrow = is_files ? text.text.find(kArrow) : std::string::npos;
    if (arrow == std::string::npos) {
      refuse(text.position, std::format("{} is no item of it; write {}", quote(text.text),
                                        is_files ? "FROM -> TO" : "a map in one line: {KEY: VALUE, KEY: VALUE}"));
      return std::nullopt;
    }
    YamlNode map{.kind = YamlNode::Kind::kMap, .position = text.position};
    for (const auto& [name, value] : {std::pair("from", text.text.substr(0, arrow)),
                                      std::pair("to", text.text.substr(arrow + kArrow.size()))}) {
      auto node = scalar(value, text.position);
      if (!node) return std::nullopt;
      map.keys.push_back({.text = name, .position = text.position});
      map.items.push_back(std::move(*node));
    }
    return map;
  }

  Reading& reading_;
  const std::string& at_;
  const SpecKey& key_;
  std::size_t& values_left_;
  std::set<std::string> names_;
};

// {from: A, to: B} where that can be told from what is between both.
std::optional<std::string> arrow_text(const SpecKey& key, const YamlNode& item) {
  if (!key.path.ends_with("files") || item.items.size() != 2 || item.keys[0].text != "from") return std::nullopt;
  const std::string& from = item.items[0].text;
  const std::string& to = item.items[1].text;
  const bool plain = from.starts_with('/') && !from.contains(kArrow) && is_xml_text(from) && is_xml_text(to);
  return plain ? std::optional(from + std::string(kArrow) + to) : std::nullopt;
}

}  // namespace

std::string write_flow_yaml(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::kScalar) return node.plain ? node.text : quoted_yaml(node.text);
  const bool is_map = node.kind == YamlNode::Kind::kMap;
  std::string text = is_map ? "{" : "[";
  for (std::size_t i = 0; i < node.items.size(); ++i) {
    if (i > 0) text += ", ";
    if (is_map) text += quoted_yaml(node.keys[i].text) + ": ";
    text += write_flow_yaml(node.items[i]);
  }
  return text + (is_map ? '}' : ']');
}

std::vector<std::string> write_uml_texts(const SpecKey& key, const YamlNode& node) {
  if (key.structure == KeyStructure::kValue) return {encode(node.text)};
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < node.items.size(); ++i) {
    const YamlNode& item = node.items[i];
    if (key.structure == KeyStructure::kTextMap) {
      texts.push_back(node.keys[i].text + "=" + encode(item.text));
    } else if (key.structure == KeyStructure::kMapList) {
      texts.push_back(arrow_text(key, item).value_or(write_flow_yaml(item)));
    } else {
      texts.push_back(encode(item.text));
    }
  }
  if (texts.empty()) texts.emplace_back(kEmptyList);
  return texts;
}

std::optional<YamlNode> read_uml_texts(Reading& reading, const std::string& at, const SpecKey& key,
                                       const std::vector<UmlText>& texts, std::size_t& values_left) {
  return Reader(reading, at, key, values_left).read(texts);
}

}  // namespace perdure::model
