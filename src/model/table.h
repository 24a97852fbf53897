// A table of keys: for each its documentation, how it is read into an object and how it is written
// back. Reader, writer and manual walk the same table, so that none of them knows a key that
// another does not. Private to this room.
#pragma once

#include <algorithm>
#include <cstddef>
#include <format>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "model/reading.h"
#include "model/spec_keys.h"
#include "model/text.h"
#include "model/value_codec.h"
#include "model/yaml_adapter.h"

namespace perdure::model {

inline constexpr std::string_view kRequired = "required";

// Of a container and of each of its components.
inline constexpr std::size_t kMaxArguments = 1024;
inline constexpr std::size_t kMaxVariables = 512;

template <typename Object>
struct Key {
  SpecKey doc;  // default_value is taken from the object's own default where that writes something
  // Complains at `path` or at the node; leaves the object alone where the value is bad.
  std::function<void(Reading&, const std::string& path, const YamlNode&, Object&)> read;
  std::function<std::optional<YamlNode>(const Object&)> write;  // nullopt: the key is left out
};

template <typename Object>
using Table = std::vector<Key<Object>>;

// What the manual says of a key, beyond what its codec knows.
struct Words {
  std::string absent;  // what holds when nothing is written and the default writes nothing
  std::string description;
};

// --- Reading values ---

// nullopt after a complaint.
template <typename T>
std::optional<T> read_scalar(Reading& reading, const std::string& path, const YamlNode& node,
                             const Codec<T>& codec) {
  const auto refuse = [&](std::string_view why) {
    reading.complain(node.position, path, why);
    return std::nullopt;
  };
  if (node.kind == YamlNode::Kind::kNull)
    return refuse("is empty; give a value or leave the key out");
  if (node.kind != YamlNode::Kind::kScalar) {
    return refuse(std::format("must be a single value ({}), not a list or a map", codec.type));
  }
  if (node.text.size() > codec.max_bytes) {
    return refuse(std::format("is longer than {} bytes; shorten it", codec.max_bytes));
  }
  const bool control = codec.free_text ? node.text.find('\0') != std::string::npos
                                       : has_control_character(node.text);
  if (control)
    return refuse(std::format("has control characters: {}; remove them", quote(node.text)));
  const std::string& base = reading.base_directory();
  Result<T> value =
      codec.parse(codec.host_path && !base.empty() ? resolve_path(base, node.text) : node.text);
  if (!value) return refuse(value.error().message());
  return std::move(*value);
}

template <typename T>
YamlNode write_scalar(const Codec<T>& codec, const T& value) {
  return {.kind = YamlNode::Kind::kScalar, .text = codec.print(value), .plain = codec.plain};
}

bool expect_kind(Reading& reading, const std::string& path, const YamlNode& node,
                 YamlNode::Kind kind);
bool expect_size(Reading& reading, const std::string& path, const YamlNode& node, std::size_t min,
                 std::size_t max);

// --- Making keys. `get` takes a (const) Object& and returns a (const) reference to the value; it
// may be a std::optional of what the codec reads, and is then left out when absent. ---

template <typename Object, typename T, typename Get>
Key<Object> scalar_key(std::string path, Codec<T> codec, Get get, Words words) {
  using Value = std::remove_cvref_t<decltype(get(std::declval<Object&>()))>;
  SpecKey doc{std::move(path), codec.type, words.absent, codec.range, words.description};
  doc.shape = codec.shape;
  return {.doc = std::move(doc),
          .read =
              [=](Reading& reading, const std::string& at, const YamlNode& node, Object& object) {
                if (auto value = read_scalar(reading, at, node, codec))
                  get(object) = std::move(*value);
              },
          .write = [=](const Object& object) -> std::optional<YamlNode> {
            if constexpr (std::is_same_v<Value, T>) {
              return write_scalar(codec, get(object));
            } else {
              const auto& value = get(object);
              if (!value) return std::nullopt;
              return write_scalar(codec, *value);
            }
          }};
}

struct ListLimits {
  std::size_t min_items = 0;
  std::size_t max_items = 0;
};

template <typename Object, typename T, typename Get>
Key<Object> list_key(std::string path, Codec<T> codec, ListLimits limits, Get get, Words words) {
  using Value = std::remove_cvref_t<decltype(get(std::declval<Object&>()))>;
  constexpr bool kOptional = !std::is_same_v<Value, std::vector<T>>;
  SpecKey doc{std::move(path), "list of " + codec.type, words.absent,
              std::format("{} to {} items; {}", limits.min_items, limits.max_items, codec.range),
              words.description,
              KeyStructure::kList,
              codec.shape,
              limits.min_items,
              limits.max_items};
  return {.doc = std::move(doc),
          .read =
              [=](Reading& reading, const std::string& at, const YamlNode& node, Object& object) {
                if (!expect_kind(reading, at, node, YamlNode::Kind::kSequence)) return;
                if (!expect_size(reading, at, node, limits.min_items, limits.max_items)) return;
                std::vector<T> list;
                for (std::size_t i = 0; i < node.items.size(); ++i) {
                  auto value =
                      read_scalar(reading, std::format("{}[{}]", at, i), node.items[i], codec);
                  if (value) list.push_back(std::move(*value));
                }
                get(object) = std::move(list);
              },
          .write = [=](const Object& object) -> std::optional<YamlNode> {
            const std::vector<T>* list = nullptr;
            if constexpr (kOptional) {
              if (!get(object)) return std::nullopt;
              list = &*get(object);
            } else {
              list = &get(object);
            }
            YamlNode node{.kind = YamlNode::Kind::kSequence};
            for (const T& value : *list) node.items.push_back(write_scalar(codec, value));
            return node;
          }};
}

// A map of names, each accepted by `check_name`, to text.
template <typename Object, typename Get>
Key<Object> text_map_key(std::string path, Codec<std::string> codec,
                         Status (*check_name)(std::string_view), std::size_t max_items, Get get,
                         Words words) {
  SpecKey doc{std::move(path), "map of text", words.absent,
              std::format("0 to {} entries; {}", max_items, codec.range), words.description,
              KeyStructure::kTextMap, codec.shape, 0, max_items};
  return {.doc = std::move(doc),
          .read =
              [=](Reading& reading, const std::string& at, const YamlNode& node, Object& object) {
                if (!expect_kind(reading, at, node, YamlNode::Kind::kMap)) return;
                if (!expect_size(reading, at, node, 0, max_items)) return;
                for (std::size_t i = 0; i < node.items.size(); ++i) {
                  const YamlKey& name = node.keys[i];
                  if (Status good = check_name(name.text); !good) {
                    reading.complain(name.position, at, good.error().message());
                    continue;
                  }
                  auto value = read_scalar(reading, std::format("{}.{}", at, name.text),
                                           node.items[i], codec);
                  if (value) get(object)[name.text] = std::move(*value);
                }
              },
          .write = [=](const Object& object) -> std::optional<YamlNode> {
            YamlNode node{.kind = YamlNode::Kind::kMap};
            for (const auto& [name, value] : get(object)) {
              node.keys.push_back({.text = name});
              node.items.push_back(write_scalar(codec, value));
            }
            return node;
          }};
}

// --- Walking tables ---

using FoundValues = std::map<std::string, const YamlNode*>;

// Finds the value of each of `paths` in the map `root`; complains about what is none of them.
// `prefix` comes before a path in messages and in what the Reading has seen.
FoundValues find_values(Reading& reading, const std::string& prefix, const YamlNode& root,
                        const std::vector<std::string>& paths);

// Reads in the order of the table, whatever the order in the document.
template <typename Object>
void read_table(Reading& reading, const std::string& prefix, const YamlNode& root,
                const Table<Object>& table, Object& object) {
  std::vector<std::string> paths;
  for (const Key<Object>& key : table) paths.push_back(key.doc.path);
  const FoundValues found = find_values(reading, prefix, root, paths);
  for (const Key<Object>& key : table) {
    const std::string path = prefix + key.doc.path;
    const auto value = found.find(key.doc.path);
    if (value != found.end()) {
      key.read(reading, path, *value->second, object);
    } else if (key.doc.default_value == kRequired) {
      reading.complain(root.position, path, "is missing; add it");
    }
  }
}

// Puts `value` at a dotted path below the map `root`, making the maps on the way; all of it stands at `position`. What comes
// below one map comes in a row.
void place_value(YamlNode& root, std::string_view path, YamlNode value, Position position = {});

template <typename Object>
YamlNode write_table(const Table<Object>& table, const Object& object) {
  YamlNode root{.kind = YamlNode::Kind::kMap};
  for (const Key<Object>& key : table) {
    if (auto value = key.write(object)) place_value(root, key.doc.path, std::move(*value));
  }
  return root;
}

// Whether both are written alike, wherever they stand.
bool same_text(const YamlNode& one, const YamlNode& other);
bool same_text(const std::optional<YamlNode>& one, const std::optional<YamlNode>& other);

// Only the keys that are required, and those that are written otherwise than of `defaults`.
template <typename Object>
YamlNode write_changes(const Table<Object>& table, const Object& object, const Object& defaults) {
  YamlNode root{.kind = YamlNode::Kind::kMap};
  for (const Key<Object>& key : table) {
    auto value = key.write(object);
    if (!value) continue;
    if (key.doc.default_value != kRequired && same_text(value, key.write(defaults))) continue;
    place_value(root, key.doc.path, std::move(*value));
  }
  return root;
}

// What an empty list is written as. kNothing: the key is left out, so that what was written before
// it was known stays as it is.
enum class EmptyList { kItself, kNothing };

// A list of maps, each read and written by `table`; `type` is the manual's name of the list.
template <typename Object, typename Item, typename Get>
Key<Object> map_list_key(std::string path, std::string type, ListLimits limits,
                         const Table<Item>& (*table)(), EmptyList empty, Get get, Words words) {
  SpecKey doc{std::move(path), std::move(type), words.absent,
              std::format("{} to {} items", limits.min_items, limits.max_items), words.description,
              KeyStructure::kMapList, {}, limits.min_items, limits.max_items};
  return {.doc = std::move(doc),
          .read =
              [=](Reading& reading, const std::string& at, const YamlNode& node, Object& object) {
                if (!expect_kind(reading, at, node, YamlNode::Kind::kSequence)) return;
                if (!expect_size(reading, at, node, limits.min_items, limits.max_items)) return;
                for (std::size_t i = 0; i < node.items.size(); ++i) {
                  const std::string place = std::format("{}[{}]", at, i);
                  reading.saw(place, node.items[i].position);
                  // A place for every item, good or not: rules name items by their index.
                  Item& item = get(object).emplace_back();
                  if (!expect_kind(reading, place, node.items[i], YamlNode::Kind::kMap)) continue;
                  read_table(reading, place + ".", node.items[i], table(), item);
                }
              },
          .write = [=](const Object& object) -> std::optional<YamlNode> {
            const std::vector<Item>& items = get(object);
            if (items.empty() && empty == EmptyList::kNothing) return std::nullopt;
            YamlNode node{.kind = YamlNode::Kind::kSequence};
            for (const Item& item : items) node.items.push_back(write_table(table(), item));
            return node;
          }};
}

// --- The tables of a container, and what binds several keys ---

const Table<ContainerSpec>& container_table();
Table<ContainerSpec> membership_keys();  // a part of it
const Table<HostEntry>& host_entry_table();
const Table<Vicinity>& vicinity_table();
const Table<TcpPortPolicy>& tcp_port_table();
const Table<VolumeSpec>& volume_table();
const Table<ComponentSpec>& component_table();
const Table<DependencySpec>& dependency_table();
const Table<ProbeSpec>& probe_table();

// Complains about what no single key can tell: exclusive keys, gateways outside of their prefix,
// ports given twice, nested volumes, what check_components() knows.
void check_rules(Reading& reading, const ContainerSpec& spec);
// Names given twice, dependencies on nothing and in circles, kinds of probes.
void check_components(Reading& reading, const ContainerSpec& spec);

}  // namespace perdure::model
