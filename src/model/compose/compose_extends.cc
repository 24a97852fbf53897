#include "model/compose/compose_extends.h"

#include <algorithm>
#include <array>
#include <format>
#include <string_view>
#include <utility>

#include "model/compose/compose_tree.h"
#include "model/value_codec.h"

namespace perdure::model::compose {
namespace {

using Kind = YamlNode::Kind;

// Lists of "NAME=VALUE" as well as maps.
constexpr std::array<std::string_view, 4> kAssignments = {"environment", "sysctls", "labels", "annotations"};
// Lists of names as well as maps by name.
constexpr std::array<std::string_view, 2> kNamed = {"depends_on", "networks"};
// A value instead of a list of one.
constexpr std::array<std::string_view, 5> kLists = {"env_file", "dns", "dns_search", "tmpfs", "label_file"};
// Replaced as a whole.
constexpr std::array<std::string_view, 2> kWhole = {"command", "entrypoint"};

void assignments_to_map(Reading& reading, std::string_view key, YamlNode& node) {
  if (node.kind != Kind::kSequence) return;
  YamlNode map = empty_map(node.position);
  for (YamlNode& item : node.items) {
    if (item.kind != Kind::kScalar) {
      reading.complain(item.position, std::format("{}: must be NAME=VALUE", key));
      continue;
    }
    const auto equals = item.text.find('=');
    YamlNode value = equals == std::string::npos ? YamlNode{.position = item.position} : scalar(item.text.substr(equals + 1), item.position);
    set(map, item.text.substr(0, equals), item.position, std::move(value));
  }
  node = std::move(map);
}

void names_to_map(Reading& reading, std::string_view key, YamlNode& node) {
  if (node.kind != Kind::kSequence) return;
  YamlNode map = empty_map(node.position);
  for (YamlNode& item : node.items) {
    if (item.kind != Kind::kScalar) {
      reading.complain(item.position, std::format("{}: must be a name", key));
    } else {
      set(map, item.text, item.position, YamlNode{.position = item.position});
    }
  }
  node = std::move(map);
}

void value_to_list(YamlNode& node) {
  if (node.kind != Kind::kScalar) return;
  YamlNode list = empty_list(node.position);
  list.items.push_back(std::move(node));
  node = std::move(list);
}

void make_absolute(YamlNode* node, const std::string& directory) {
  if (node != nullptr && node->kind == Kind::kScalar) node->text = resolve_path(directory, node->text);
}

// The host's side of "SOURCE:TARGET[:MODE]", if it is a path.
void settle_volume(YamlNode& volume, const std::string& directory) {
  if (volume.kind == Kind::kMap) {
    if (text_of(volume, "type") == "bind") make_absolute(find(volume, "source"), directory);
    return;
  }
  if (volume.kind != Kind::kScalar || !volume.text.starts_with('.')) return;
  const auto colon = volume.text.find(':');
  if (colon == std::string::npos) return;
  volume.text = resolve_path(directory, volume.text.substr(0, colon)) + volume.text.substr(colon);
}

// Where a volume is mounted; empty if that cannot be told.
std::string target_of(const YamlNode& volume) {
  if (volume.kind == Kind::kMap) return text_of(volume, "target");
  const auto first = volume.text.find(':');
  if (first == std::string::npos) return volume.text;
  const std::string rest = volume.text.substr(first + 1);
  return rest.substr(0, rest.find(':'));
}

bool same_item(std::string_view key, const YamlNode& one, const YamlNode& other) {
  if (key == "volumes") return !target_of(one).empty() && target_of(one) == target_of(other);
  return one.kind == Kind::kScalar && other.kind == Kind::kScalar && one.text == other.text;
}

void merge_node(std::string_view path, YamlNode& base, YamlNode node);

void merge_map(std::string_view path, YamlNode& base, YamlNode node) {
  for (std::size_t i = 0; i < node.items.size(); ++i) {
    const YamlKey& key = node.keys[i];
    YamlNode* there = find(base, key.text);
    if (there == nullptr) {
      set(base, key.text, key.position, std::move(node.items[i]));
      continue;
    }
    merge_node(path.empty() ? key.text : std::format("{}.{}", path, key.text), *there, std::move(node.items[i]));
  }
}

void merge_node(std::string_view path, YamlNode& base, YamlNode node) {
  const bool whole = std::ranges::contains(kWhole, path) || path == "healthcheck.test" || path.starts_with("ulimits.");
  if (node.kind == Kind::kNull && base.kind == Kind::kMap) return;
  if (whole || base.kind != node.kind || node.kind == Kind::kScalar) {
    base = std::move(node);
  } else if (node.kind == Kind::kMap) {
    merge_map(path, base, std::move(node));
  } else if (path.starts_with("x-ha.")) {
    base = std::move(node);
  } else {
    for (YamlNode& item : node.items) {
      std::erase_if(base.items, [&](const YamlNode& there) { return same_item(path, there, item); });
      base.items.push_back(std::move(item));
    }
  }
}

}  // namespace

void settle_forms(Reading& reading, YamlNode& service) {
  for (std::size_t i = 0; i < service.items.size(); ++i) {
    const std::string& key = service.keys[i].text;
    if (std::ranges::contains(kAssignments, key)) assignments_to_map(reading, key, service.items[i]);
    if (std::ranges::contains(kNamed, key)) names_to_map(reading, key, service.items[i]);
    if (std::ranges::contains(kLists, key)) value_to_list(service.items[i]);
  }
}

void settle_paths(YamlNode& service, const std::string& directory) {
  if (YamlNode* files = find(service, "env_file")) {
    for (YamlNode& file : files->items) make_absolute(file.kind == Kind::kMap ? find(file, "path") : &file, directory);
  }
  if (YamlNode* volumes = find(service, "volumes")) {
    for (YamlNode& volume : volumes->items) settle_volume(volume, directory);
  }
  YamlNode* ours = find(service, "x-ha");
  if (ours == nullptr) return;
  if (YamlNode* volumes = find_path(*ours, "container.volumes")) {
    for (YamlNode& volume : volumes->items) make_absolute(find(volume, "host"), directory);
  }
  YamlNode* artefact = find(*ours, "artefact");
  if (artefact == nullptr) return;
  make_absolute(find(*artefact, "directory"), directory);
  make_absolute(find(*artefact, "oci"), directory);
  if (YamlNode* files = find(*artefact, "files")) {
    for (YamlNode& file : files->items) make_absolute(find(file, "from"), directory);
  }
}

YamlNode extend_service(YamlNode base, YamlNode service) {
  if (base.kind == Kind::kMap && service.kind == Kind::kMap) {
    base.position = service.position;
    merge_map("", base, std::move(service));
    return base;
  }
  return service;
}

}  // namespace perdure::model::compose
