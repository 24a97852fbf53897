#include "model/compose/compose_files.h"

#include <algorithm>
#include <array>
#include <format>
#include <utility>

#include "base/fd.h"
#include "model/application/application_yaml.h"
#include "model/compose/compose_extends.h"
#include "model/compose/compose_tree.h"
#include "model/text.h"
#include "model/value_codec.h"

namespace perdure::model::compose {
namespace {

using Kind = YamlNode::Kind;

constexpr std::array<std::string_view, 5> kSections = {"services", "networks", "volumes", "configs", "secrets"};
constexpr std::string_view kNameVariable = "COMPOSE_PROJECT_NAME";

std::string directory_part(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

// What Compose makes of a directory's name, with '-' for '_', which no name here has.
std::string name_of_directory(const std::string& directory) {
  std::string name;
  for (const char c : directory.substr(directory.rfind('/') + 1)) {
    if (c >= 'A' && c <= 'Z') name += static_cast<char>(c - 'A' + 'a');
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) name += c;
    if ((c == '-' || c == '_') && !name.empty()) name += '-';
  }
  while (name.ends_with('-')) name.pop_back();
  return name;
}

const YamlNode* text_at(const YamlNode& map, std::string_view key) {
  const YamlNode* node = find(map, key);
  return node != nullptr && node->kind == Kind::kScalar ? node : nullptr;
}

}  // namespace

std::optional<std::string> Files::read(const std::string& path, Position position, bool required) {
  if (++files_ > kMaxComposeFiles) {
    reading_.complain(position, std::format("is one of more than {} files; put some together", kMaxComposeFiles));
    return std::nullopt;
  }
  auto text = options_.read_text ? options_.read_text(path, kMaxApplicationBytes) : read_file(path, kMaxApplicationBytes);
  if (text) return std::move(*text);
  if (required || text.error().code() != ErrorCode::kNotFound) {
    reading_.complain(position, std::format("{} cannot be read: {}", quote(path), text.error().message()));
  }
  return std::nullopt;
}

bool Files::charge(Position position, const YamlNode& node) {
  nodes_ += size_of(node);
  if (nodes_ > kMaxComposeNodes && !std::exchange(overgrown_, true)) {
    reading_.complain(position, std::format("more than {} values with all files, extends and aliases; make it smaller", kMaxComposeNodes));
  }
  return charge_text(position, text_size_of(node));
}

bool Files::charge_text(Position position, std::size_t bytes) {
  text_bytes_ += bytes;
  if (text_bytes_ > kMaxComposeTextBytes && !std::exchange(overgrown_, true)) {
    reading_.complain(position, std::format("more than {} MiB of text with all files, extends and variables; make it smaller",
                                            kMaxComposeTextBytes >> 20));
  }
  return !overgrown_;
}

std::optional<YamlNode> Files::parse(const std::string& path, std::string_view text, unsigned file) {
  YamlDocument document = parse_yaml(text);
  for (YamlIssue& issue : document.issues) {
    issue.position.file = file;
    reading_.complain(issue.position, std::move(issue.message));
  }
  if (!document.complete) return std::nullopt;
  stamp(document.root, file);
  if (document.root.kind != Kind::kMap) {
    document.root.position = {.line = 1, .column = 1, .file = file};
    reading_.complain(document.root.position, std::format("{} is no Compose file; begin it with 'services:'", quote(path)));
    return std::nullopt;
  }
  if (!charge(document.root.position, document.root)) return std::nullopt;
  merge_keys(reading_, document.root);
  return std::move(document.root);
}

void Files::substitute(YamlNode& node, const Variables& variables) {
  for (YamlNode& item : node.items) substitute(item, variables);
  if (node.kind != Kind::kScalar || node.text.find('$') == std::string::npos || overgrown_) return;
  auto done = interpolate(node.text, variables);
  if (!done) return reading_.complain(node.position, done.error().message());
  for (const std::string& name : done->unset) {
    notes_.push_back({node.position, std::format("the variable {} is not set; nothing stands for it", quote(name))});
  }
  if (!charge_text(node.position, done->text.size())) return;
  node.text = std::move(done->text);
}

EnvironmentFile Files::read_variables(const std::string& path, Position position, bool required, const Variables& variables) {
  const auto text = read(path, position, required);
  if (!text) return {};
  if (const auto bad = find_bad_byte(*text)) {
    reading_.complain(position, std::format("{}:{}:{}: {}", path, bad->position.line, bad->position.column, bad->message));
    return {};
  }
  auto file = parse_environment_file(*text, variables);
  if (file) return std::move(*file);
  reading_.complain(position, std::format("{}:{}", path, file.error().message()));
  return {};
}

// Forms and paths of the services of one file.
void Files::settle(YamlNode& root, const Place& place) {
  for (const std::string_view section : kSections) {
    YamlNode* map = find(root, section);
    if (map == nullptr) continue;
    if (map->kind == Kind::kNull) *map = empty_map(map->position);
    if (map->kind != Kind::kMap) {
      reading_.complain(map->position, std::format("{}: must be a map of names", section));
      *map = empty_map(map->position);
    }
    for (std::size_t i = 0; i < map->items.size(); ++i) {
      YamlNode& item = map->items[i];
      if (item.kind == Kind::kNull) item = empty_map(map->keys[i].position);
      if (item.kind != Kind::kMap) {
        reading_.complain(item.position, std::format("{}.{}: must be a map of keys and values", section, map->keys[i].text));
        item = empty_map(item.position);
      }
      if (section == "services") {
        if (const YamlNode* extends = find(item, "extends"); extends != nullptr && extends->kind == Kind::kNull) remove(item, "extends");
        settle_forms(reading_, item);
        settle_paths(item, place.directory);
      } else if (YamlNode* file = find(item, "file"); file != nullptr && file->kind == Kind::kScalar) {
        file->text = resolve_path(place.directory, file->text);
      }
    }
  }
}

// --- include ---

void Files::adopt(YamlNode& root, YamlNode other, Position position) {
  for (std::size_t i = 0; i < other.items.size(); ++i) {
    const std::string& section = other.keys[i].text;
    if (section == "x-ha") {
      reading_.complain(other.keys[i].position, "x-ha: belongs into the file that includes this one; move it there");
    }
    if (!std::ranges::contains(kSections, section)) continue;
    YamlNode* mine = find(root, section);
    if (mine == nullptr) mine = &set(root, section, position, empty_map(position));
    for (std::size_t j = 0; j < other.items[i].items.size(); ++j) {
      const YamlKey& name = other.items[i].keys[j];
      if (find(*mine, name.text) == nullptr) {
        set(*mine, name.text, name.position, std::move(other.items[i].items[j]));
      } else if (section == "services") {
        reading_.complain(name.position, std::format("services.{}: is a service of the file that includes this one too; rename one", name.text));
      }
    }
  }
}

void Files::include_one(YamlNode& root, const YamlNode& entry, const Place& place) {
  const YamlNode* path = entry.kind == Kind::kScalar ? &entry : find(entry, "path");
  if (path != nullptr && path->kind == Kind::kSequence && path->items.size() == 1) path = &path->items.front();
  if (path == nullptr || path->kind != Kind::kScalar || path->text.empty()) {
    return reading_.complain(entry.position, "include: names no file, or several that are put over each other, which is not supported; write "
                                             "'- FILE' or '- {path: FILE}'");
  }
  if (path->text.find("://") != std::string::npos) return reading_.complain(path->position, "include: only files of this host can be included");
  for (const YamlKey& key : entry.keys) {
    if (key.text == "path" || key.text == "project_directory" || key.text == "env_file") continue;
    reading_.complain(key.position, std::format("include: unknown key {}; known here: path, project_directory, env_file", quote(key.text)));
  }
  Place next{resolve_path(place.directory, path->text), {}, {}};
  const YamlNode* directory = entry.kind == Kind::kMap ? text_at(entry, "project_directory") : nullptr;
  next.directory = directory != nullptr ? resolve_path(place.directory, directory->text) : directory_part(next.path);
  // The including file's variables come before the included one's.
  next.variables = place.variables;
  const YamlNode* files = entry.kind == Kind::kMap ? find(entry, "env_file") : nullptr;
  std::vector<std::pair<std::string, bool>> paths;
  if (files == nullptr) paths.emplace_back(resolve_path(next.directory, ".env"), false);
  if (files != nullptr && files->kind == Kind::kScalar) paths.emplace_back(resolve_path(place.directory, files->text), true);
  if (files != nullptr && files->kind == Kind::kSequence) {
    for (const YamlNode& file : files->items) paths.emplace_back(resolve_path(place.directory, file.text), true);
  }
  add_variables(paths, path->position, next.variables);
  include_file(root, path->position, next);
}

void Files::include_file(YamlNode& root, Position position, const Place& place) {
  if (std::ranges::contains(including_, place.path) || including_.size() >= kMaxComposeDepth) {
    return reading_.complain(position, std::format("include: {} is included by what it includes, or too deeply; remove one of both",
                                                   quote(place.path)));
  }
  const auto text = read(place.path, position, true);
  if (!text) return;
  auto other = parse(place.path, *text, reading_.add_file(place.path));
  if (!other) return;
  substitute(*other, place.variables);
  settle(*other, place);
  including_.push_back(place.path);
  include(*other, place);
  including_.pop_back();
  extend_all(*other, place);
  adopt(root, std::move(*other), position);
}

// Those of later files come before those of earlier ones; what is there already comes first.
void Files::add_variables(const std::vector<std::pair<std::string, bool>>& files, Position position, Variables& variables) {
  Variables more;
  for (const auto& [file, required] : files) {
    Variables known = more;
    known.insert(variables.begin(), variables.end());
    for (auto& [name, value] : read_variables(file, position, required, known)) {
      if (value) more.insert_or_assign(name, *value);
    }
  }
  variables.insert(more.begin(), more.end());
}

void Files::include(YamlNode& root, const Place& place) {
  const YamlNode* list = find(root, "include");
  if (list == nullptr || list->kind == Kind::kNull) return;
  if (list->kind != Kind::kSequence) return reading_.complain(list->position, "include: must be a list; write '- FILE' lines");
  const YamlNode entries = *list;  // the tree grows meanwhile
  for (const YamlNode& entry : entries.items) include_one(root, entry, place);
}

// --- extends ---

// The services of another file, read once. Its own includes are not looked at, as Compose has it.
YamlNode* Files::base_file(const std::string& path, Position position, const Place& place) {
  const auto known = base_files_.find(path);
  if (known != base_files_.end()) return &known->second;
  const auto text = read(path, position, true);
  if (!text) return nullptr;
  auto root = parse(path, *text, reading_.add_file(path));
  if (!root) return nullptr;
  substitute(*root, place.variables);
  settle(*root, {path, directory_part(path), place.variables});
  return &base_files_.emplace(path, std::move(*root)).first->second;
}

bool Files::extend(YamlNode& services, const std::string& name, const Place& place, std::vector<std::string>& open) {
  YamlNode* service = find(services, name);
  if (service == nullptr || find(*service, "extends") == nullptr) return service != nullptr;
  if (find(*service, "extends")->kind == Kind::kNull) return false;  // has been tried
  const YamlNode extends = *find(*service, "extends");
  const auto refuse = [&](std::string_view why) {
    reading_.complain(extends.position, std::format("services.{}.extends: {}", name, why));
    return false;
  };
  const YamlNode* base_name = extends.kind == Kind::kScalar ? &extends : text_at(extends, "service");
  if (base_name == nullptr) return refuse("names no service; write {service: NAME} or {service: NAME, file: FILE}");
  const std::string step = place.path + ": " + name;
  if (std::ranges::contains(open, step)) return refuse("closes a circle of services that extend each other; remove one of them");
  if (open.size() >= kMaxComposeDepth) return refuse(std::format("more than {} services extend each other; write one of them out", kMaxComposeDepth));
  open.push_back(step);
  const YamlNode* file = extends.kind == Kind::kMap ? text_at(extends, "file") : nullptr;
  YamlNode* others = &services;
  Place there = place;
  if (file != nullptr) {
    there.path = resolve_path(place.directory, file->text);
    there.directory = directory_part(there.path);
    if (there.path != place.path) {
      YamlNode* root = base_file(there.path, file->position, place);
      if (root == nullptr) return false;
      others = find(*root, "services");
      if (others == nullptr) return refuse(std::format("{} has no services", quote(there.path)));
    }
  }
  if (find(*others, base_name->text) == nullptr) {
    std::vector<std::string> known;
    for (const YamlKey& key : others->keys) known.push_back(key.text);
    return refuse(std::format("{} is no service of {}; {}", quote(base_name->text), file == nullptr ? "this file" : quote(there.path),
                              did_you_mean(base_name->text, known, "name one that is")));
  }
  const bool good = extend(*others, base_name->text, there, open);
  open.pop_back();
  if (!good) return false;
  YamlNode base = *find(*others, base_name->text);
  if (!charge(extends.position, base)) return false;
  service = find(services, name);
  *service = extend_service(std::move(base), std::move(*service));
  remove(*service, "extends");
  return true;
}

void Files::extend_all(YamlNode& root, const Place& place) {
  YamlNode* services = find(root, "services");
  if (services == nullptr) return;
  std::vector<std::string> names;
  for (const YamlKey& key : services->keys) names.push_back(key.text);
  for (const std::string& name : names) {
    std::vector<std::string> open;
    if (overgrown_ || extend(*services, name, place, open)) continue;
    // Has been complained about; what it would have had from its base is not known.
    YamlNode& mark = *find(*find(*services, name), "extends");
    mark = {.position = mark.position};
  }
}

// --- The project ---

std::string Files::decide_name(const YamlNode& root, const Place& place, Position& position) {
  const auto variable = place.variables.find(kNameVariable);
  if (variable != place.variables.end() && !variable->second.empty()) return variable->second;
  const YamlNode* name = text_at(root, "name");
  if (name == nullptr) return name_of_directory(place.directory);
  position = name->position;
  const auto done = interpolate(name->text, place.variables);
  return done ? done->text : name->text;  // complained about when all is substituted
}

std::optional<Project> Files::load(const std::string& path, std::string_view text) {
  Place place{path, directory_part(path), Variables(options_.environment.begin(), options_.environment.end())};
  add_variables({{resolve_path(place.directory, options_.env_file.value_or(".env")), options_.env_file.has_value()}}, {}, place.variables);
  if (text.size() > kMaxApplicationBytes) {
    reading_.complain(Position{}, std::format("the application has {} bytes; shorten it to {}", text.size(), kMaxApplicationBytes));
    return std::nullopt;
  }
  auto root = parse(path, text, 0);
  if (!root) return std::nullopt;
  Project project;
  project.name_position = root->position;
  project.name = decide_name(*root, place, project.name_position);
  place.variables.insert_or_assign(std::string(kNameVariable), project.name);
  substitute(*root, place.variables);
  settle(*root, place);
  including_.push_back(path);
  include(*root, place);
  extend_all(*root, place);
  if (overgrown_) return std::nullopt;  // parts of it are missing
  project.root = std::move(*root);
  project.variables = std::move(place.variables);
  return project;
}

}  // namespace perdure::model::compose
