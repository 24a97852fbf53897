#include "model/table.h"

#include <array>

namespace perdure::model {
namespace {

struct Hint {
  std::string_view key;
  std::string_view remedy;
};
// What people know from elsewhere.
constexpr std::array<Hint, 10> kHints = {{
    {"services", "a Compose file has no application:, its name is name:; remove that, or write each service as an item of components:"},
    {"image", "write root-filesystem: with oci: and tag:"},
    {"rootfs", "write root-filesystem: with directory:, tar: or oci:"},
    {"ports", "the container has its own address, nothing needs publishing; remove it"},
    {"entrypoint", "write the whole argument list as command:"},
    {"args", "write the whole argument list as command:"},
    {"env", "write environment:"},
    {"mounts", "write volumes:"},
    {"devices", "devices cannot be checkpointed; remove it"},
    {"<<", "merge keys are not supported; write the keys out"},
}};

std::vector<std::string> keys_of_section(const std::vector<std::string>& paths,
                                         std::string_view section) {
  std::vector<std::string> keys;
  for (const std::string& path : paths) {
    if (!path.starts_with(section)) continue;
    std::string key = path.substr(section.size());
    key.erase(std::min(key.find('.'), key.size()));
    if (keys.empty() || keys.back() != key) keys.push_back(std::move(key));
  }
  return keys;
}

std::string unknown_key(std::string_view key, std::string_view section,
                        const std::vector<std::string>& known) {
  std::string message = std::format("unknown key {}", quote(key));
  if (!section.empty()) message += std::format(" in {}", quote(section));
  for (const Hint& hint : kHints) {
    if (hint.key == key) return std::format("{}; {}", message, hint.remedy);
  }
  return std::format("{}; {}", message, did_you_mean(key, known, "known here: " + join(known)));
}

class Finder {
 public:
  Finder(Reading& reading, const std::string& prefix, const std::vector<std::string>& paths)
      : reading_(reading), prefix_(prefix), paths_(paths) {}

  // `section` is empty or ends with a dot.
  void search(const YamlNode& map, const std::string& section) {
    for (std::size_t i = 0; i < map.items.size(); ++i) {
      visit(map.keys[i], map.items[i], section);
    }
  }

  FoundValues take() { return std::move(found_); }

 private:
  void visit(const YamlKey& key, const YamlNode& value, const std::string& section) {
    const std::string path = section + key.text;
    const std::vector<std::string> known = keys_of_section(paths_, section);
    if (std::ranges::find(known, key.text) == known.end()) {
      std::string place = prefix_ + section;
      if (!place.empty()) place.pop_back();  // the dot
      reading_.complain(key.position, unknown_key(key.text, place, known));
      return;
    }
    const bool leaf = std::ranges::find(paths_, path) != paths_.end();
    const bool scalar = value.kind == YamlNode::Kind::kScalar;
    reading_.saw(prefix_ + path, scalar ? value.position : key.position);
    if (leaf) {
      found_[path] = &value;
    } else if (expect_kind(reading_, prefix_ + path, value, YamlNode::Kind::kMap)) {
      search(value, path + ".");
    }
  }

  Reading& reading_;
  const std::string& prefix_;
  const std::vector<std::string>& paths_;
  FoundValues found_;
};

}  // namespace

bool expect_kind(Reading& reading, const std::string& path, const YamlNode& node,
                 YamlNode::Kind kind) {
  if (node.kind == kind) return true;
  if (node.kind == YamlNode::Kind::kNull) {
    reading.complain(node.position, path, "is empty; fill it or leave the key out");
  } else {
    reading.complain(node.position, path,
                     kind == YamlNode::Kind::kMap
                         ? "must be a map of keys and values"
                         : "must be a list; write '- ITEM' lines or [ITEM, ITEM]");
  }
  return false;
}

bool expect_size(Reading& reading, const std::string& path, const YamlNode& node, std::size_t min,
                 std::size_t max) {
  const std::size_t size = node.items.size();
  if (size >= min && size <= max) return true;
  reading.complain(node.position, path,
                   size < min ? std::format("has {} items; give at least {}", size, min)
                              : std::format("has {} items; give at most {}", size, max));
  return false;
}

FoundValues find_values(Reading& reading, const std::string& prefix, const YamlNode& root,
                        const std::vector<std::string>& paths) {
  Finder finder(reading, prefix, paths);
  finder.search(root, "");
  return finder.take();
}

bool same_text(const YamlNode& one, const YamlNode& other) {
  const auto items = [](const YamlNode& a, const YamlNode& b) { return same_text(a, b); };
  return one.kind == other.kind && one.text == other.text &&
         std::ranges::equal(one.keys, other.keys, {}, &YamlKey::text, &YamlKey::text) &&
         std::ranges::equal(one.items, other.items, items);
}

bool same_text(const std::optional<YamlNode>& one, const std::optional<YamlNode>& other) {
  return one && other ? same_text(*one, *other) : one.has_value() == other.has_value();
}

void place_value(YamlNode& root, std::string_view path, YamlNode value, Position position) {
  YamlNode* map = &root;
  for (auto dot = path.find('.'); dot != std::string_view::npos; dot = path.find('.')) {
    const std::string_view section = path.substr(0, dot);
    path.remove_prefix(dot + 1);
    if (map->keys.empty() || map->keys.back().text != section) {
      map->keys.push_back({.text = std::string(section), .position = position});
      map->items.push_back({.kind = YamlNode::Kind::kMap, .position = position});
    }
    map = &map->items.back();
  }
  map->keys.push_back({.text = std::string(path), .position = position});
  map->items.push_back(std::move(value));
}

}  // namespace perdure::model
