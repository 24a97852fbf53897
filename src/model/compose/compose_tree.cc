#include "model/compose/compose_tree.h"

#include <algorithm>
#include <utility>

namespace perdure::model::compose {

const YamlNode* find(const YamlNode& map, std::string_view key) {
  const auto found = std::ranges::find(map.keys, key, &YamlKey::text);
  return found == map.keys.end() ? nullptr : &map.items[static_cast<std::size_t>(found - map.keys.begin())];
}

YamlNode* find(YamlNode& map, std::string_view key) { return const_cast<YamlNode*>(find(std::as_const(map), key)); }

Position key_position(const YamlNode& map, std::string_view key) {
  const auto found = std::ranges::find(map.keys, key, &YamlKey::text);
  return found == map.keys.end() ? map.position : found->position;
}

YamlNode& set(YamlNode& map, std::string_view key, Position position, YamlNode value) {
  if (YamlNode* there = find(map, key)) return *there = std::move(value);
  map.keys.push_back({.text = std::string(key), .position = position});
  return map.items.emplace_back(std::move(value));
}

YamlNode& set_path(YamlNode& map, std::string_view path, YamlNode value) {
  const Position position = value.position;
  YamlNode* section = &map;
  for (auto dot = path.find('.'); dot != std::string_view::npos; dot = path.find('.')) {
    YamlNode* there = find(*section, path.substr(0, dot));
    section = there != nullptr && there->kind == YamlNode::Kind::kMap ? there
                                                                      : &set(*section, path.substr(0, dot), position, empty_map(position));
    path.remove_prefix(dot + 1);
  }
  return set(*section, path, position, std::move(value));
}

const YamlNode* find_path(const YamlNode& map, std::string_view path) {
  const YamlNode* node = &map;
  while (node != nullptr && !path.empty()) {
    const auto dot = std::min(path.find('.'), path.size());
    node = find(*node, path.substr(0, dot));
    path.remove_prefix(std::min(dot + 1, path.size()));
  }
  return node;
}

YamlNode* find_path(YamlNode& map, std::string_view path) { return const_cast<YamlNode*>(find_path(std::as_const(map), path)); }

void overlay(YamlNode& base, YamlNode node) {
  if (base.kind != YamlNode::Kind::kMap || node.kind != YamlNode::Kind::kMap) {
    base = std::move(node);
    return;
  }
  for (std::size_t i = 0; i < node.items.size(); ++i) {
    if (YamlNode* there = find(base, node.keys[i].text)) overlay(*there, std::move(node.items[i]));
    else set(base, node.keys[i].text, node.keys[i].position, std::move(node.items[i]));
  }
}

void remove(YamlNode& map, std::string_view key) {
  const auto found = std::ranges::find(map.keys, key, &YamlKey::text);
  if (found == map.keys.end()) return;
  map.items.erase(map.items.begin() + (found - map.keys.begin()));
  map.keys.erase(found);
}

const std::vector<YamlNode>& items_of(const YamlNode* list) {
  static const std::vector<YamlNode> kNone;
  return list != nullptr && list->kind == YamlNode::Kind::kSequence ? list->items : kNone;
}

std::string text_of(const YamlNode& map, std::string_view key) {
  const YamlNode* node = find(map, key);
  return node != nullptr && node->kind == YamlNode::Kind::kScalar ? node->text : std::string();
}

YamlNode& list_in(YamlNode& map, std::string_view path, Position position) {
  if (YamlNode* there = find_path(map, path); there != nullptr && there->kind == YamlNode::Kind::kSequence) return *there;
  return set_path(map, path, empty_list(position));
}

YamlNode scalar(std::string text, Position position) {
  return {.kind = YamlNode::Kind::kScalar, .position = position, .text = std::move(text)};
}
YamlNode empty_map(Position position) { return {.kind = YamlNode::Kind::kMap, .position = position}; }
YamlNode empty_list(Position position) { return {.kind = YamlNode::Kind::kSequence, .position = position}; }

std::size_t size_of(const YamlNode& node) {
  std::size_t size = 1 + node.keys.size();
  for (const YamlNode& item : node.items) size += size_of(item);
  return size;
}

std::size_t text_size_of(const YamlNode& node) {
  std::size_t size = node.text.size();
  for (const YamlKey& key : node.keys) size += key.text.size();
  for (const YamlNode& item : node.items) size += text_size_of(item);
  return size;
}

void stamp(YamlNode& node, unsigned file) {
  node.position.file = file;
  for (YamlKey& key : node.keys) key.position.file = file;
  for (YamlNode& item : node.items) stamp(item, file);
}

namespace {

void merge_one(Reading& reading, YamlNode& into, YamlNode from) {
  if (from.kind != YamlNode::Kind::kMap) {
    reading.complain(from.position, "'<<' merges a map or a list of maps; write '<<: *NAME'");
    return;
  }
  for (std::size_t i = 0; i < from.items.size(); ++i) {
    if (find(into, from.keys[i].text) == nullptr) set(into, from.keys[i].text, from.keys[i].position, std::move(from.items[i]));
  }
}

}  // namespace

void merge_keys(Reading& reading, YamlNode& node) {
  for (YamlNode& item : node.items) merge_keys(reading, item);
  const auto found = std::ranges::find(node.keys, "<<", &YamlKey::text);
  if (found == node.keys.end()) return;
  const auto index = found - node.keys.begin();
  YamlNode merged = std::move(node.items[static_cast<std::size_t>(index)]);
  node.keys.erase(found);
  node.items.erase(node.items.begin() + index);
  if (merged.kind != YamlNode::Kind::kSequence) return merge_one(reading, node, std::move(merged));
  for (YamlNode& item : merged.items) merge_one(reading, node, std::move(item));
}

}  // namespace perdure::model::compose
