// The tree of a Compose file: what is looked up in it, and what has to be done to it before it says anything. Private to
// this room.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "model/reading.h"
#include "model/yaml_adapter.h"

namespace perdure::model::compose {

// nullptr: not there, or `map` is no map.
const YamlNode* find(const YamlNode& map, std::string_view key);
YamlNode* find(YamlNode& map, std::string_view key);
// Where the key stands; of an absent one the map itself.
Position key_position(const YamlNode& map, std::string_view key);
// Replaces what is there.
YamlNode& set(YamlNode& map, std::string_view key, Position position, YamlNode value);
// Of what a list of keys leads to; maps that are missing are made. `path` has dots between the keys.
YamlNode& set_path(YamlNode& map, std::string_view path, YamlNode value);
const YamlNode* find_path(const YamlNode& map, std::string_view path);
YamlNode* find_path(YamlNode& map, std::string_view path);
// Of a list; none of what is none, or not there.
const std::vector<YamlNode>& items_of(const YamlNode* list);
// Of a single value; empty if there is none.
std::string text_of(const YamlNode& map, std::string_view key);
// The list that a path leads to, else an empty one in its place.
YamlNode& list_in(YamlNode& map, std::string_view path, Position position);
// `node` over `base`: maps key by key, whatever else as a whole.
void overlay(YamlNode& base, YamlNode node);
// The key and what stands there, if it is there.
void remove(YamlNode& map, std::string_view key);

YamlNode scalar(std::string text, Position position);
YamlNode empty_map(Position position);
YamlNode empty_list(Position position);

// How many nodes and keys, and how many bytes of text are in them.
std::size_t size_of(const YamlNode& node);
std::size_t text_size_of(const YamlNode& node);

// All positions below get this file.
void stamp(YamlNode& node, unsigned file);

// Merge keys (`<<`, a map or a list of maps, of which the first comes first) become keys; one that stands there comes before one
// that is merged. The values are moved, so that the tree does not grow.
void merge_keys(Reading& reading, YamlNode& node);

}  // namespace perdure::model::compose
