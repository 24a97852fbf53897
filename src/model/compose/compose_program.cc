// What a service runs, and how it is watched, limited and stopped.
#include <algorithm>
#include <format>
#include <map>
#include <optional>
#include <utility>

#include "model/compose/compose_service.h"
#include "model/compose/compose_tree.h"
#include "model/compose/compose_values.h"
#include "model/text.h"
#include "model/value_codec.h"

namespace perdure::model::compose {
namespace {

using Kind = YamlNode::Kind;

// Text, or a list of arguments; nullopt: not there, or complained about.
std::optional<YamlNode> arguments(Lowering& service, std::string_view key) {
  const YamlNode* node = find(service.service, key);
  if (node == nullptr || node->kind == Kind::kNull) return std::nullopt;
  if (node->kind == Kind::kSequence) return *node;
  if (expect_text(service, key, *node) == nullptr) return std::nullopt;
  auto words = split_words(node->text);
  if (!words) {
    service.refuse(node->position, key, words.error().message());
    return std::nullopt;
  }
  YamlNode list = empty_list(node->position);
  for (std::string& word : *words) list.items.push_back(scalar(std::move(word), node->position));
  return list;
}

// The variable's value: `value`, or that of the environment. nullopt: it has none, and the variable is left out.
std::optional<std::string> value_of(const Lowering& service, const std::string& name, const std::optional<std::string>& value) {
  if (value) return value;
  const auto found = service.project.variables.find(name);
  return found == service.project.variables.end() ? std::nullopt : std::optional(found->second);
}

void read_env_file(Lowering& service, const YamlNode& entry, YamlNode& environment) {
  const YamlNode* path = entry.kind == Kind::kMap ? find(entry, "path") : &entry;
  if (path == nullptr || path->kind != Kind::kScalar) return service.refuse(entry.position, "env_file", "names no file");
  bool required = true;
  if (entry.kind == Kind::kMap) {
    expect_keys(service, "env_file", entry, {"path", "required"});
    const YamlNode* word = find(entry, "required");
    const auto flag = word == nullptr ? Result<bool>(true) : parse_flag(word->text);
    if (!flag) return service.refuse(word->position, "env_file", flag.error().message());
    required = *flag;
  }
  for (const auto& [name, value] : service.files.read_variables(path->text, path->position, required, service.project.variables)) {
    if (const auto text = value_of(service, name, value)) set(environment, name, path->position, scalar(*text, path->position));
  }
}

// --- Probe ---

// nullopt: there is none; or a complaint.
std::optional<YamlNode> probe_command(Lowering& service, const YamlNode& test) {
  YamlNode command = empty_list(test.position);
  const auto shell = [&](const std::string& line) {
    for (const char* word : {"/bin/sh", "-c"}) command.items.push_back(scalar(word, test.position));
    command.items.push_back(scalar(line, test.position));
    return command;
  };
  if (test.kind == Kind::kScalar) return test.text == "NONE" ? std::nullopt : std::optional(shell(test.text));
  if (test.kind == Kind::kSequence && !test.items.empty()) {
    const std::string& form = test.items[0].text;
    if (form == "NONE" && test.items.size() == 1) return std::nullopt;
    if (form == "CMD-SHELL" && test.items.size() == 2 && test.items[1].kind == Kind::kScalar) return shell(test.items[1].text);
    if (form == "CMD" && test.items.size() > 1) {
      command.items.assign(test.items.begin() + 1, test.items.end());
      return command;
    }
  }
  service.refuse(test.position, "healthcheck.test", "is no test; write a line for the shell, [CMD, PROGRAM, ...], [CMD-SHELL, LINE] or [NONE]");
  return std::nullopt;
}

bool has_native(const Lowering& service, std::string_view key) {
  const YamlNode* ours = find(service.service, "x-ha");
  return ours != nullptr && find(*ours, key) != nullptr;
}

void refuse_unknown_image(Lowering& service, Position position) {
  const OciRoot& root = *service.image_root;
  const YamlNode* image = find(service.service, "image");
  const std::string fetch = image == nullptr || image->kind != Kind::kScalar
                                ? std::string("put it there")
                                : std::format("fetch it ('skopeo copy docker://{} oci:{}:{}')", image->text, root.path, root.tag);
  service.refuse(position, "command",
                 std::format("what the image runs is not known{}{}; {}, or write out entrypoint and command", service.image_trouble.empty() ? "" : ": ",
                             service.image_trouble, fetch));
}

// --- Numbers of retries and replicas ---

void put_limit(Lowering& service, std::string_view key, const YamlNode& node, std::string_view text) {
  const auto number = parse_number(text, 0, 1'000'000);
  if (!number) return service.refuse(node.position, key, number.error().message());
  // More than a hundred restarts in a minute is no limit any more.
  set_path(service.component, "restart.limit", scalar(std::to_string(std::min<std::uint64_t>(*number, 100)), node.position));
}

void lower_restart_policy(Lowering& service, const YamlNode& policy) {
  const std::string at = "deploy.restart_policy";
  if (!expect_form(service, at, policy, Kind::kMap)) return;
  expect_keys(service, at, policy, {"condition", "delay", "max_attempts", "window"});
  if (const YamlNode* condition = find(policy, "condition")) {
    const std::string& word = condition->text;
    if (word == "any" || word == "on-failure") {
      set_path(service.component, "restart.when", scalar(word == "any" ? "always" : "failure", condition->position));
    } else if (word == "none") {
      service.note(condition->position, at, "what fails is started again all the same; what ends with exit code 0 is not");
    } else {
      service.refuse(condition->position, at + ".condition", std::format("{} is not understood; write any, on-failure or none", quote(word)));
    }
  }
  if (const YamlNode* delay = find(policy, "delay")) put_duration(service, service.component, "restart.delay", at + ".delay", *delay);
  if (const YamlNode* window = find(policy, "window")) put_duration(service, service.component, "restart.window", at + ".window", *window);
  if (const YamlNode* attempts = find(policy, "max_attempts")) put_limit(service, at + ".max_attempts", *attempts, attempts->text);
}

void put_cores(Lowering& service, YamlNode& root, std::string_view key, const YamlNode& node) {
  const YamlNode* text = expect_text(service, key, node);
  if (text == nullptr || text->text == "0") return;  // 0: no limit, as in Compose
  if (const auto cores = cores_codec({10}, {1'024'000}).parse(text->text); !cores) return service.refuse(node.position, key, cores.error().message());
  set_path(root, "resources.cpu", *text);
}

void lower_resources(Lowering& service, const YamlNode& resources) {
  if (!expect_form(service, "deploy.resources", resources, Kind::kMap)) return;
  expect_keys(service, "deploy.resources", resources, {"limits", "reservations"});
  for (std::size_t i = 0; i < resources.items.size(); ++i) {
    const std::string& kind = resources.keys[i].text;
    if (kind != "limits" && kind != "reservations") continue;
    const std::string at = "deploy.resources." + kind;
    const YamlNode& section = resources.items[i];
    if (!expect_form(service, at, section, Kind::kMap)) continue;
    expect_keys(service, at, section, {"cpus", "memory", "pids", "devices", "generic_resources"});
    YamlNode& root = kind == "limits" ? service.settings : service.component;
    if (const YamlNode* cpus = find(section, "cpus")) put_cores(service, root, at + ".cpus", *cpus);
    if (const YamlNode* memory = find(section, "memory")) put_bytes(service, root, "resources.memory", at + ".memory", *memory);
    if (const YamlNode* pids = find(section, "pids")) {
      if (kind == "limits") lower_pids_limit(service, *pids);
      else service.note(pids->position, at, "processes are not reserved");
    }
    for (const char* key : {"devices", "generic_resources"}) {
      if (find(section, key) != nullptr) service.refuse(key_position(section, key), at + "." + key, "devices cannot be checkpointed; remove it");
    }
  }
}

}  // namespace

void lower_command(Lowering& service) {
  const auto entrypoint = arguments(service, "entrypoint");
  const auto command = arguments(service, "command");
  const Position position = entrypoint ? entrypoint->position : command ? command->position : service.component.position;
  // An entrypoint of the service takes the place of both of the image, a command that of its command.
  YamlNode all = empty_list(position);
  const auto add = [&](const std::vector<std::string>& words) {
    for (const std::string& word : words) all.items.push_back(scalar(word, position));
  };
  if (entrypoint) all.items = entrypoint->items;
  else if (service.image) add(service.image->entrypoint);
  if (command) all.items.insert(all.items.end(), command->items.begin(), command->items.end());
  else if (!entrypoint && service.image) add(service.image->command);
  if (has_native(service, "command")) return;
  if (!entrypoint && service.image_root && !service.image) {
    refuse_unknown_image(service, position);
  } else if (all.items.empty() && service.has_artefact) {
    service.refuse(position, "command", "is missing; write out what is run as entrypoint or command");
  }
  if (all.items.empty()) all.items.push_back(scalar("-", position));  // has been complained about
  set(service.component, "command", position, std::move(all));
}

void lower_user(Lowering& service) {
  const YamlNode* user = find(service.service, "user");
  if (user != nullptr && user->kind != Kind::kNull) return put_text(service, service.component, "user", "user", *user);
  const Position position = service.component.position;
  if (service.image && !service.image->user.empty()) set(service.component, "user", position, scalar(service.image->user, position));
}

void lower_working_dir(Lowering& service) {
  const YamlNode* directory = find(service.service, "working_dir");
  if (directory != nullptr && directory->kind != Kind::kNull) return put_text(service, service.component, "working-directory", "working_dir", *directory);
  const Position position = service.component.position;
  if (!service.image || service.image->working_directory.empty()) return;
  set(service.component, "working-directory", position, scalar(service.image->working_directory, position));
}

void lower_environment(Lowering& service) {
  YamlNode all = empty_map(service.service.position);
  if (const YamlNode* files = find(service.service, "env_file"); files != nullptr && files->kind != Kind::kNull) {
    all.position = files->position;
    if (expect_form(service, "env_file", *files, Kind::kSequence)) {
      for (const YamlNode& entry : files->items) read_env_file(service, entry, all);
    }
  }
  if (const YamlNode* map = find(service.service, "environment"); map != nullptr && map->kind != Kind::kNull) {
    all.position = map->position;
    if (!expect_form(service, "environment", *map, Kind::kMap)) return;
    for (std::size_t i = 0; i < map->items.size(); ++i) {
      const YamlNode& item = map->items[i];
      const std::string& name = map->keys[i].text;
      const bool given = item.kind != Kind::kNull;
      if (given && expect_text(service, "environment." + name, item) == nullptr) continue;
      const auto value = value_of(service, name, given ? std::optional(item.text) : std::nullopt);
      if (value) {
        set(all, name, map->keys[i].position, scalar(*value, item.position));
      } else {
        service.note(map->keys[i].position, "environment." + name, "has no value, here or in the environment, and is left out");
      }
    }
  }
  if (!all.keys.empty()) set(service.component, "environment", all.position, std::move(all));
}

void lower_healthcheck(Lowering& service, const YamlNode& node) {
  if (!expect_form(service, "healthcheck", node, Kind::kMap)) return;
  expect_keys(service, "healthcheck", node, {"test", "interval", "timeout", "retries", "start_period", "start_interval", "disable"});
  if (const YamlNode* disable = find(node, "disable")) {
    const auto flag = parse_flag(disable->text);
    if (!flag) return service.refuse(disable->position, "healthcheck.disable", flag.error().message());
    if (*flag) return;
  }
  const YamlNode* test = find(node, "test");
  if (test == nullptr || has_native(service, "probe")) {
    if (test == nullptr && !has_native(service, "probe")) {
      service.refuse(node.position, "healthcheck", "has no test; the image's own is not known, write it out");
    }
    return;
  }
  auto command = probe_command(service, *test);
  if (!command) return;
  YamlNode& component = service.component;
  set_path(component, "probe.exec", std::move(*command));
  const Position here = node.position;
  struct Time {
    const char* key;
    const char* path;
    const char* otherwise;
  };
  for (const Time& time : {Time{"interval", "probe.interval", "30s"}, Time{"timeout", "probe.timeout", "30s"}, Time{"start_period", "probe.grace", "0s"}}) {
    const YamlNode* given = find(node, time.key);
    put_duration(service, component, time.path, std::string("healthcheck.") + time.key, given != nullptr ? *given : scalar(time.otherwise, here));
  }
  const YamlNode* retries = find(node, "retries");
  put_text(service, component, "probe.failures", "healthcheck.retries", retries != nullptr ? *retries : scalar("3", here));
  if (find(node, "start_interval") != nullptr) {
    service.note(key_position(node, "start_interval"), "healthcheck.start_interval", "probes come at the interval from the beginning");
  }
}

void lower_restart(Lowering& service, const YamlNode& node) {
  const YamlNode* text = expect_text(service, "restart", node);
  if (text == nullptr || find_path(service.service, "deploy.restart_policy") != nullptr) return;
  const std::string& word = text->text;
  const auto put_when = [&](const char* when) { set_path(service.component, "restart.when", scalar(when, node.position)); };
  if (word == "always" || word == "unless-stopped") return put_when("always");
  if (word == "on-failure" || word.starts_with("on-failure:")) {
    put_when("failure");
    if (word.size() > 11) put_limit(service, "restart", node, std::string_view(word).substr(11));
    return;
  }
  if (word == "no" || word == "false") {
    return service.note(node.position, "restart", "what fails is started again all the same; what ends with exit code 0 is not");
  }
  service.refuse(node.position, "restart", std::format("{} is not understood; write always, unless-stopped, on-failure or no", quote(word)));
}

void lower_stop_signal(Lowering& service, const YamlNode& node) {
  const YamlNode* text = expect_text(service, "stop_signal", node);
  if (text == nullptr) return;
  const bool full = text->text.starts_with("SIG") || text->text.find_first_not_of("0123456789") == std::string::npos;
  set_path(service.component, "stop.signal", scalar(full ? text->text : "SIG" + text->text, node.position));
}

void lower_stop_grace_period(Lowering& service, const YamlNode& node) {
  put_duration(service, service.component, "stop.deadline", "stop_grace_period", node);
}

void lower_ulimits(Lowering& service, const YamlNode& node) {
  static const std::map<std::string, std::string> kLimits = {
      {"nofile", "limits.open-files"}, {"core", "limits.core-size"}, {"fsize", "limits.file-size"}, {"as", "limits.address-space"}};
  if (!expect_form(service, "ulimits", node, Kind::kMap)) return;
  for (std::size_t i = 0; i < node.items.size(); ++i) {
    const std::string at = "ulimits." + node.keys[i].text;
    const auto limit = kLimits.find(node.keys[i].text);
    if (limit == kLimits.end()) {
      service.note(node.keys[i].position, at, "is not limited");
      continue;
    }
    const YamlNode* value = &node.items[i];
    if (value->kind == Kind::kMap) {
      expect_keys(service, at, *value, {"soft", "hard"});
      const YamlNode* soft = find(*value, "soft");
      const YamlNode* hard = find(*value, "hard");
      if (soft == nullptr || hard == nullptr || soft->text != hard->text) {
        service.refuse(value->position, at, "has a soft and a hard limit that differ; write one number for both");
        continue;
      }
      value = hard;
    }
    if (value->kind == Kind::kScalar && (value->text == "-1" || value->text == "unlimited")) {
      service.note(value->position, at, "the container's limit holds");
    } else if (limit->first == "nofile") {
      put_text(service, service.component, limit->second, at, *value);
    } else {
      put_bytes(service, service.component, limit->second, at, *value);
    }
  }
}

void lower_deploy(Lowering& service, const YamlNode& node) {
  if (!expect_form(service, "deploy", node, Kind::kMap)) return;
  expect_keys(service, "deploy", node,
              {"mode", "replicas", "resources", "restart_policy", "endpoint_mode", "labels", "placement", "update_config", "rollback_config"});
  for (std::size_t i = 0; i < node.items.size(); ++i) {
    const std::string& key = node.keys[i].text;
    const YamlNode& value = node.items[i];
    if (value.kind == Kind::kNull) continue;
    if (key == "mode" && value.text != "replicated") {
      service.refuse(value.position, "deploy.mode", "only 'replicated' is supported; remove it and give replicas");
    }
    if (key == "replicas") put_text(service, service.component, "replicas", "deploy.replicas", value);
    if (key == "resources") lower_resources(service, value);
    if (key == "restart_policy") lower_restart_policy(service, value);
    if (key == "placement" && !value.items.empty()) {
      service.refuse(node.keys[i].position, "deploy.placement", "nodes are not chosen like this; remove it, and say by x-ha.placement at the top what is to be apart");
    }
    if (key == "endpoint_mode") service.note(node.keys[i].position, "deploy.endpoint_mode", "each replica has an address of its own");
    if (key == "labels") service.note(node.keys[i].position, "deploy.labels", "nothing reads labels");
    if (key == "update_config" || key == "rollback_config") service.note(node.keys[i].position, "deploy." + key, "'perdure apply' replaces one container after the other");
  }
}

void lower_scale(Lowering& service, const YamlNode& node) {
  const YamlNode* replicas = find_path(service.service, "deploy.replicas");
  if (replicas != nullptr && replicas->text != node.text) return service.refuse(node.position, "scale", "says something else than deploy.replicas; keep one of them");
  put_text(service, service.component, "replicas", "scale", node);
}

void lower_mem_limit(Lowering& service, const YamlNode& node) { put_bytes(service, service.settings, "resources.memory", "mem_limit", node); }
void lower_mem_reservation(Lowering& service, const YamlNode& node) { put_bytes(service, service.component, "resources.memory", "mem_reservation", node); }
void lower_cpus(Lowering& service, const YamlNode& node) { put_cores(service, service.settings, "cpus", node); }

void lower_pids_limit(Lowering& service, const YamlNode& node) {
  if (node.text == "-1" || node.text == "0") return;  // no limit
  put_text(service, service.settings, "resources.pids", "pids_limit", node);
}

}  // namespace perdure::model::compose
