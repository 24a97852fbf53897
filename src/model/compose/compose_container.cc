// What a service says about its container: volumes, network, rights.
#include <algorithm>
#include <array>
#include <format>
#include <optional>
#include <set>
#include <utility>

#include "model/compose/compose_service.h"
#include "model/compose/compose_tree.h"
#include "model/compose/compose_values.h"
#include "model/spec.h"
#include "model/text.h"
#include "model/value_codec.h"

namespace perdure::model::compose {
namespace {

using Kind = YamlNode::Kind;

// --- Volumes ---

struct Mount {
  std::string source{};  // a path of the host or a name; empty: none
  std::string target{};
  bool read_only = false;
  bool is_bind = false;
  Position position{};
};

// Who may talk to the engine owns the host; what talks to it finds nothing here.
bool is_engine_socket(std::string_view path) {
  constexpr std::array<std::string_view, 5> kSockets = {"docker.sock", "podman.sock", "containerd.sock", "crio.sock", "cri-dockerd.sock"};
  return std::ranges::contains(kSockets, path.substr(path.rfind('/') + 1));
}

bool is_of_the_kernel(std::string_view path) {
  constexpr std::array<std::string_view, 4> kDirectories = {"/proc", "/sys", "/dev", "/run"};
  return path == "/" || std::ranges::any_of(kDirectories, [&](std::string_view directory) { return is_within(path, directory); });
}

std::optional<Mount> parse_short(Lowering& service, const YamlNode& node) {
  Mount mount{.position = node.position};
  const std::string& text = node.text;
  const auto first = text.find(':');
  if (first == std::string::npos) {
    mount.target = text;
    return mount;
  }
  const auto second = text.find(':', first + 1);
  mount.source = text.substr(0, first);
  mount.target = text.substr(first + 1, second == std::string::npos ? second : second - first - 1);
  mount.is_bind = mount.source.starts_with('/') || mount.source.starts_with('~');
  std::string modes = second == std::string::npos ? "" : text.substr(second + 1);
  while (!modes.empty()) {
    const auto comma = std::min(modes.find(','), modes.size());
    const std::string mode = modes.substr(0, comma);
    modes.erase(0, comma + 1);
    mount.read_only |= mode == "ro";
    constexpr std::array<std::string_view, 10> kKnown = {"ro", "rw", "z", "Z", "nocopy", "cached", "delegated", "consistent", "rprivate", "private"};
    if (std::ranges::contains(kKnown, mode)) continue;
    service.refuse(node.position, "volumes", std::format("{} is not understood in {}; write SOURCE:TARGET[:ro]", quote(mode), quote(text)));
    return std::nullopt;
  }
  return mount;
}

std::optional<Mount> parse_long(Lowering& service, const YamlNode& node) {
  expect_keys(service, "volumes", node, {"type", "source", "target", "read_only", "consistency", "bind", "volume", "tmpfs", "image"});
  const auto word = [&](const char* key) { return text_of(node, key); };
  Mount mount{.source = word("source"), .target = word("target"), .position = node.position};
  const std::string type = word("type");
  mount.is_bind = type == "bind";
  if (type == "tmpfs") {
    service.note(node.position, "volumes", std::format("{} lies in the container's writable layer, which is captured", quote(mount.target)));
    return std::nullopt;
  }
  if (type != "volume" && type != "bind") {
    service.refuse(node.position, "volumes", std::format("type {} is not supported; write volume, bind or tmpfs", quote(type)));
    return std::nullopt;
  }
  if (const YamlNode* flag = find(node, "read_only")) {
    const auto value = parse_flag(flag->text);
    if (!value) return service.refuse(flag->position, "volumes.read_only", value.error().message()), std::nullopt;
    mount.read_only = *value;
  }
  if (find_path(node, "volume.subpath") != nullptr) {
    service.refuse(node.position, "volumes.volume.subpath", "a part of a volume cannot be mounted; remove it, or mount the whole volume");
    return std::nullopt;
  }
  if (mount.is_bind && mount.source.empty()) {
    service.refuse(node.position, "volumes", "names no source; add it");
    return std::nullopt;
  }
  return mount;
}

// Volumes of one container have names of their own, in our letters.
std::string volume_name(std::string_view name) {
  std::string plain;
  for (const char c : name) {
    if (c >= 'A' && c <= 'Z') plain += static_cast<char>(c - 'A' + 'a');
    else plain += c == '_' || c == '.' ? '-' : c;
  }
  return plain;
}

void lower_named(Lowering& service, const Mount& mount) {
  const YamlNode* known = find_path(service.project.root, "volumes");
  const YamlNode* volume = known == nullptr ? nullptr : find(*known, mount.source);
  if (volume == nullptr) {
    return service.refuse(mount.position, "volumes", std::format("{} is no volume of the file; add it to volumes at the top", quote(mount.source)));
  }
  service.named_volumes.push_back({mount.source, mount.position});
  YamlNode entry = empty_map(mount.position);
  set(entry, "name", mount.position, scalar(volume_name(mount.source), mount.position));
  set(entry, "mount", mount.position, scalar(mount.target, mount.position));
  if (mount.read_only) set(entry, "access", mount.position, scalar("read-only", mount.position));
  list_in(service.settings, "volumes", mount.position).items.push_back(std::move(entry));
}

void copy_file(Lowering& service, const std::string& from, const std::string& to, Position position) {
  YamlNode file = empty_map(position);
  set(file, "from", position, scalar(from, position));
  set(file, "to", position, scalar(to, position));
  service.files_copied.push_back(std::move(file));
}

void lower_bind(Lowering& service, const Mount& mount) {
  if (is_engine_socket(mount.source)) {
    return service.refuse(mount.position, "volumes",
                          std::format("{} is the socket of a container engine, there is none to talk to, and who may talk to one owns the host; remove it",
                                      quote(mount.source)));
  }
  if (mount.source.starts_with('~')) {
    return service.refuse(mount.position, "volumes", std::format("{} depends on who reads it; write the path out", quote(mount.source)));
  }
  if (is_of_the_kernel(mount.source)) {
    return service.refuse(mount.position, "volumes",
                          std::format("{} belongs to the host, and the container could not be restored on another one; remove it", quote(mount.source)));
  }
  if (mount.read_only) return copy_file(service, mount.source, mount.target, mount.position);
  service.refuse(mount.position, "volumes",
                 std::format("{} is written on this host only; add ':ro' for a copy in the image, name a volume instead, which is captured, or say in "
                             "x-ha.container.volumes that it is shared: {{name: NAME, mount: {}, kind: shared, host: {}}}",
                             quote(mount.source), mount.target, mount.source));
}

// --- Network ---

// The length of the network's prefix that has the address; empty: none has.
std::string prefix_length(const YamlNode& network, std::string_view address) {
  const YamlNode* configs = find_path(network, "ipam.config");
  if (configs == nullptr) return {};
  const bool is_v6 = address.contains(':');
  for (const YamlNode& config : configs->items) {
    const YamlNode* subnet = find(config, "subnet");
    if (subnet == nullptr || subnet->text.contains(':') != is_v6) continue;
    const auto slash = subnet->text.rfind('/');
    if (slash != std::string::npos) return subnet->text.substr(slash);
  }
  return {};
}

void lower_own_address(Lowering& service, const std::string& name, const YamlNode& address, const char* key, const char* path) {
  const YamlNode* network = nullptr;
  if (const YamlNode* networks = find_path(service.project.root, "networks")) network = find(*networks, name);
  const std::string length = network == nullptr ? "" : prefix_length(*network, address.text);
  const std::string at = std::format("networks.{}.{}", name, key);
  if (length.empty()) {
    return service.refuse(address.position, at,
                          std::format("how long the network's prefix is, is not said; give networks.{}.ipam.config a subnet", name));
  }
  set_path(service.settings, path, scalar(address.text + length, address.position));
}

void lower_one_network(Lowering& service, const YamlKey& name, const YamlNode& node) {
  const std::string at = "networks." + name.text;
  const YamlNode* networks = find_path(service.project.root, "networks");
  if (name.text != "default" && (networks == nullptr || find(*networks, name.text) == nullptr)) {
    service.refuse(name.position, at, "is no network of the file; add it to networks at the top, or remove it");
  }
  if (node.kind == Kind::kNull || !expect_form(service, at, node, Kind::kMap)) return;
  expect_keys(service, at, node,
              {"aliases", "ipv4_address", "ipv6_address", "mac_address", "priority", "gw_priority", "link_local_ips", "driver_opts", "interface_name"});
  if (const YamlNode* address = find(node, "ipv4_address")) lower_own_address(service, name.text, *address, "ipv4_address", "network.ipv4");
  if (const YamlNode* address = find(node, "ipv6_address")) lower_own_address(service, name.text, *address, "ipv6_address", "network.ipv6");
  if (const YamlNode* mac = find(node, "mac_address")) put_text(service, service.settings, "network.mac", at + ".mac_address", *mac);
  if (const YamlNode* aliases = find(node, "aliases")) {
    for (const YamlNode& alias : aliases->items) {
      if (alias.text == service.name) continue;
      service.refuse(alias.position, at + ".aliases", std::format("{} is not found by others; have them use the name of the service, {}", quote(alias.text),
                                                                  quote(service.name)));
    }
  }
  for (const char* key : {"link_local_ips", "driver_opts", "interface_name"}) {
    if (find(node, key) != nullptr) service.note(key_position(node, key), at + "." + key, "the container has one interface, and its addresses are those of x-ha.network or its own");
  }
}

// --- Rights ---

std::string capability_name(std::string_view text) {
  std::string name;
  for (const char c : text) name += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return name == "ALL" || name.starts_with("CAP_") ? name : "CAP_" + name;
}

// nullptr: absent, or no list.
const YamlNode* capability_list(Lowering& service, const char* key) {
  const YamlNode* list = find(service.service, key);
  if (list == nullptr || list->kind == Kind::kNull || !expect_form(service, key, *list, Kind::kSequence)) return nullptr;
  return list;
}

}  // namespace

void lower_volumes(Lowering& service, const YamlNode& node) {
  if (!expect_form(service, "volumes", node, Kind::kSequence)) return;
  // What x-ha says about the same place comes instead.
  std::set<std::string> said;
  if (const YamlNode* own = find_path(service.service, "x-ha.container.volumes")) {
    for (const YamlNode& volume : own->items) {
      if (const YamlNode* mount = find(volume, "mount")) said.insert(mount->text);
    }
  }
  for (const YamlNode& item : node.items) {
    if (item.kind != Kind::kMap && expect_text(service, "volumes", item) == nullptr) continue;
    auto mount = item.kind == Kind::kMap ? parse_long(service, item) : parse_short(service, item);
    if (!mount || said.contains(mount->target)) continue;
    if (mount->source.empty()) {
      service.note(item.position, "volumes", std::format("{} lies in the container's writable layer, which is captured", quote(mount->target)));
    } else if (mount->is_bind) {
      lower_bind(service, *mount);
    } else {
      lower_named(service, *mount);
    }
  }
}

void lower_configs(Lowering& service, const YamlNode& node) {
  if (!expect_form(service, "configs", node, Kind::kSequence)) return;
  for (const YamlNode& item : node.items) {
    if (item.kind == Kind::kMap) expect_keys(service, "configs", item, {"source", "target", "uid", "gid", "mode"});
    const YamlNode* source = item.kind == Kind::kMap ? find(item, "source") : &item;
    if (source == nullptr || source->kind != Kind::kScalar) {
      service.refuse(item.position, "configs", "names no config; write its name, or {source: NAME, target: PATH}");
      continue;
    }
    const YamlNode* configs = find_path(service.project.root, "configs");
    const YamlNode* config = configs == nullptr ? nullptr : find(*configs, source->text);
    const YamlNode* file = config == nullptr ? nullptr : find(*config, "file");
    if (config == nullptr) {
      service.refuse(source->position, "configs", std::format("{} is no config of the file; add it to configs at the top", quote(source->text)));
      continue;
    }
    if (file == nullptr) {
      service.refuse(source->position, "configs", std::format("{} is in no file; write its content into one and give configs.{}.file", quote(source->text), source->text));
      continue;
    }
    const YamlNode* target = item.kind == Kind::kMap ? find(item, "target") : nullptr;
    copy_file(service, file->text, target != nullptr ? target->text : "/" + source->text, source->position);
    for (const char* key : {"uid", "gid", "mode"}) {
      if (item.kind == Kind::kMap && find(item, key) != nullptr) service.note(key_position(item, key), "configs", "root owns it, with the mode of the file on this host");
    }
  }
}

void lower_networks(Lowering& service, const YamlNode& node) {
  if (!expect_form(service, "networks", node, Kind::kMap)) return;
  for (std::size_t i = 0; i < node.items.size(); ++i) lower_one_network(service, node.keys[i], node.items[i]);
  if (node.items.size() > 1) {
    service.note(node.keys[1].position, "networks", "all containers of an application are in one network, x-ha.network; nothing keeps these apart");
  }
}

void lower_hostname(Lowering& service, const YamlNode& node) { put_text(service, service.settings, "hostname", "hostname", node); }
void lower_mac_address(Lowering& service, const YamlNode& node) { put_text(service, service.settings, "network.mac", "mac_address", node); }

void lower_dns(Lowering& service, const YamlNode& node) {
  if (expect_form(service, "dns", node, Kind::kSequence) && !node.items.empty()) set_path(service.settings, "network.dns", node);
}

void lower_extra_hosts(Lowering& service, const YamlNode& node) {
  const auto add = [&](const std::string& name, const std::string& address, Position position) {
    if (address == "host-gateway") {
      return service.refuse(position, "extra_hosts", "the host is another one after a takeover; give the address of what is to be reached");
    }
    YamlNode names = empty_list(position);
    names.items.push_back(scalar(name, position));
    YamlNode entry = empty_map(position);
    set(entry, "address", position, scalar(address, position));
    set(entry, "names", position, std::move(names));
    list_in(service.settings, "network.hosts", position).items.push_back(std::move(entry));
  };
  if (node.kind == Kind::kMap) {
    for (std::size_t i = 0; i < node.items.size(); ++i) {
      if (expect_text(service, "extra_hosts", node.items[i]) != nullptr) add(node.keys[i].text, node.items[i].text, node.items[i].position);
    }
    return;
  }
  if (!expect_form(service, "extra_hosts", node, Kind::kSequence)) return;
  for (const YamlNode& item : node.items) {
    const auto mark = item.text.find_first_of("=:");
    if (item.kind != Kind::kScalar || mark == std::string::npos) {
      service.refuse(item.position, "extra_hosts", "is no host; write NAME=ADDRESS");
      continue;
    }
    std::string address = item.text.substr(mark + 1);
    if (address.starts_with('[') && address.ends_with(']')) address = address.substr(1, address.size() - 2);
    add(item.text.substr(0, mark), address, item.position);
  }
}

void lower_sysctls(Lowering& service, const YamlNode& node) {
  if (expect_form(service, "sysctls", node, Kind::kMap) && !node.items.empty()) set_path(service.settings, "security.sysctls", node);
}

void lower_capabilities(Lowering& service) {
  const YamlNode* added = capability_list(service, "cap_add");
  const YamlNode* dropped = capability_list(service, "cap_drop");
  if (added == nullptr && dropped == nullptr) return;
  std::vector<std::string> names = default_capabilities();
  if (dropped != nullptr) {
    for (const YamlNode& item : dropped->items) {
      const std::string name = capability_name(item.text);
      if (name == "ALL") names.clear();
      std::erase(names, name);
    }
  }
  if (added != nullptr) {
    for (const YamlNode& item : added->items) {
      const std::string name = capability_name(item.text);
      if (name == "ALL") {
        service.refuse(item.position, "cap_add", "the container could harm its host, and could not be restored elsewhere; name what it needs");
      } else if (!std::ranges::contains(names, name)) {
        names.push_back(name);
      }
    }
  }
  const Position position = (added != nullptr ? added : dropped)->position;
  YamlNode list = empty_list(position);
  for (std::string& name : names) list.items.push_back(scalar(std::move(name), position));
  set_path(service.settings, "security.capabilities", std::move(list));
}

}  // namespace perdure::model::compose
