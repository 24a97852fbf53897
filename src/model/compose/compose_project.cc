#include "model/compose/compose_project.h"

#include <algorithm>
#include <array>
#include <format>
#include <map>
#include <set>
#include <utility>

#include "model/compose/compose_service.h"
#include "model/compose/compose_tree.h"
#include "model/table.h"
#include "model/text.h"
#include "model/value_codec.h"

namespace perdure::model::compose {
namespace {

using Kind = YamlNode::Kind;

constexpr std::string_view kExtension = "x-ha";
// Of the application itself; `images` is ours alone.
constexpr std::array<std::string_view, 6> kProjectKeys = {"application", "suite", "network", "containers", "placement", "images"};

// --- Which services ---

std::set<std::string, std::less<>> chosen_profiles(const ComposeOptions& options, const Project& project) {
  std::set<std::string, std::less<>> chosen(options.profiles.begin(), options.profiles.end());
  const auto variable = project.variables.find("COMPOSE_PROFILES");
  std::string_view rest = variable == project.variables.end() ? std::string_view() : variable->second;
  while (!rest.empty()) {
    const auto comma = std::min(rest.find(','), rest.size());
    if (comma > 0) chosen.emplace(rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return chosen;
}

bool is_chosen(const YamlNode& service, const std::set<std::string, std::less<>>& chosen) {
  const YamlNode* profiles = find(service, "profiles");
  if (profiles == nullptr || profiles->kind != Kind::kSequence || profiles->items.empty()) return true;
  if (chosen.contains("*")) return true;
  return std::ranges::any_of(profiles->items, [&](const YamlNode& profile) { return chosen.contains(profile.text); });
}

// --- Images ---

struct ImageName {
  std::string repository{};
  std::string tag = "latest";
  bool has_digest = false;
};

ImageName parse_image(std::string_view text) {
  ImageName name;
  if (const auto at = text.find('@'); at != std::string_view::npos) {
    name.has_digest = true;
    text = text.substr(0, at);
  }
  const auto colon = text.rfind(':');
  const auto slash = text.rfind('/');
  if (colon != std::string_view::npos && (slash == std::string_view::npos || colon > slash)) {
    name.tag = text.substr(colon + 1);
    text = text.substr(0, colon);
  }
  name.repository = text;
  return name;
}

bool has_artefact(const YamlNode& component) {
  const YamlNode* artefact = find(component, "artefact");
  if (artefact == nullptr) return false;
  return std::ranges::any_of(artefact->keys, [](const YamlKey& key) { return key.text != "files"; });
}

class ProjectLowering {
 public:
  ProjectLowering(Reading& reading, std::vector<Note>& notes, Files& files, const ComposeOptions& options, const Project& project)
      : reading_(reading), notes_(notes), files_(files), options_(options), project_(project) {}

  Lowered run() {
    check_top();
    const YamlNode* services = find(project_.root, "services");
    const auto chosen = chosen_profiles(options_, project_);
    for (std::size_t i = 0; services != nullptr && i < services->items.size(); ++i) {
      if (is_chosen(services->items[i], chosen)) lower_one(services->keys[i], services->items[i]);
    }
    if (services_.empty()) {
      reading_.complain(key_position(project_.root, "services"), "services: there is none to run; add one, or choose one of their profiles");
      return {};
    }
    wire_services(services_, project_);
    check_volumes();
    return assemble();
  }

 private:
  // --- The file as a whole ---

  const YamlNode* extension() const {
    const YamlNode* ours = find(project_.root, kExtension);
    return ours != nullptr && ours->kind == Kind::kMap ? ours : nullptr;
  }

  void check_top() {
    static const std::vector<std::string> kKnown = {"name", "version", "services", "networks", "volumes", "configs", "secrets", "include", "models"};
    for (const YamlKey& key : project_.root.keys) {
      if (key.text.starts_with("x-") || std::ranges::contains(kKnown, key.text)) continue;
      reading_.complain(key.position, std::format("unknown key {}; {}", quote(key.text), did_you_mean(key.text, kKnown, "known here: " + join(kKnown))));
    }
    if (const YamlNode* networks = find(project_.root, "networks")) {
      for (std::size_t i = 0; i < networks->items.size(); ++i) {
        const bool only_subnets = std::ranges::all_of(networks->items[i].keys, [](const YamlKey& key) { return key.text == "ipam"; });
        if (only_subnets) continue;
        note(networks->keys[i].position, "networks." + networks->keys[i].text,
             "x-ha.network says which network the containers are in; of this one only the subnets are read");
      }
    }
    const YamlNode* ours = extension();
    if (ours == nullptr) {
      const YamlNode* other = find(project_.root, kExtension);
      if (other != nullptr && other->kind != Kind::kNull) reading_.complain(other->position, "x-ha: must be a map of keys and values");
      return;
    }
    for (const YamlKey& key : ours->keys) {
      if (std::ranges::contains(kProjectKeys, key.text)) continue;
      const std::vector<std::string> known(kProjectKeys.begin(), kProjectKeys.end());
      reading_.complain(key.position, std::format("unknown key {} in 'x-ha'; {}", quote(key.text),
                                                  key.text == "components" ? "the services are the components, each with x-ha of its own"
                                                                           : "known here: " + join(known)));
    }
  }

  void note(Position position, const std::string& at, std::string_view why) { notes_.push_back({position, std::format("{}: {}", at, why)}); }

  // --- One service ---

  void lower_one(const YamlKey& name, const YamlNode& node) {
    Lowering& service = services_.emplace_back(Lowering{reading_, notes_, files_, project_, name.text, node});
    service.component.position = name.position;
    service.settings.position = name.position;
    YamlNode ours = empty_map(name.position);
    if (const YamlNode* given = find(node, kExtension); given != nullptr && given->kind != Kind::kNull) {
      if (given->kind == Kind::kMap) ours = *given;
      else reading_.complain(given->position, std::format("services.{}.x-ha: must be a map of keys and values", name.text));
    }
    find_artefact(service, ours);
    lower_service(service);
    const YamlNode* settings = find(ours, "container");
    if (settings != nullptr && settings->kind == Kind::kMap) {
      // Volumes of both are there; what stands at the same place was left out.
      YamlNode volumes = empty_list(settings->position);
      for (const YamlNode* from : {find(std::as_const(service.settings), "volumes"), find(*settings, "volumes")}) {
        for (const YamlNode& volume : items_of(from)) volumes.items.push_back(volume);
      }
      overlay(service.settings, *settings);
      if (!volumes.items.empty()) set(service.settings, "volumes", settings->position, std::move(volumes));
    } else if (settings != nullptr) {
      service.refuse(settings->position, "x-ha.container", "must be a map of keys and values");
    }
    if (const YamlNode* own = find(ours, "name")) service.refuse(own->position, "x-ha.name", "the service's name is its name; remove it");
    overlay_component(service, std::move(ours));
  }

  void overlay_component(Lowering& service, YamlNode ours) {
    for (const char* key : {"container", "name", "provides", "requires", "state", "state-sensitivity"}) remove(ours, key);
    overlay(service.component, std::move(ours));
    set(service.component, "name", service.component.position, scalar(service.name, service.component.position));
    if (!service.files_copied.empty()) {
      YamlNode* artefact = find(service.component, "artefact");
      if (artefact == nullptr || artefact->kind != Kind::kMap) {
        artefact = &set(service.component, "artefact", service.component.position, empty_map(service.component.position));
      }
      YamlNode& files = list_in(*artefact, "files", service.component.position);
      std::ranges::move(service.files_copied, std::back_inserter(files.items));
    }
    // A limit is what a node must have, if nothing else is said: as with the systems that know both.
    for (const char* path : {"resources.memory", "resources.cpu"}) {
      const YamlNode* limit = find_path(service.settings, path);
      if (limit != nullptr && find_path(service.component, path) == nullptr) set_path(service.component, path, *limit);
    }
  }

  void find_artefact(Lowering& service, const YamlNode& ours) {
    const YamlNode* image = find(service.service, "image");
    const bool has_image = image != nullptr && image->kind == Kind::kScalar && !image->text.empty();
    if (has_artefact(ours)) {
      service.has_artefact = true;
      if (const YamlNode* oci = find_path(ours, "artefact.oci"); oci != nullptr && oci->kind == Kind::kScalar) {
        const YamlNode* tag = find_path(ours, "artefact.tag");
        know_image(service, {.path = oci->text, .tag = tag != nullptr ? tag->text : OciRoot{}.tag});
      }
      return;
    }
    const YamlNode* directory = extension() == nullptr ? nullptr : find(*extension(), "images");
    if (has_image && directory != nullptr && directory->kind == Kind::kScalar) return take_image(service, *image, directory->text);
    if (image != nullptr && image->kind != Kind::kScalar && image->kind != Kind::kNull) return service.refuse(image->position, "image", "must be a single value");
    if (find(service.service, "extends") != nullptr) return;  // what it extends could not be read, which was complained about
    if (has_image) {
      const ImageName name = parse_image(image->text);
      return service.refuse(image->position, "image",
                            std::format("nothing is pulled; fetch it ('skopeo copy docker://{} oci:images/{}:{}') and write 'images: images' into x-ha "
                                        "at the top, or say by x-ha.artefact what the service is made of",
                                        image->text, name.repository, name.tag));
    }
    if (find(service.service, "build") != nullptr) {
      return service.refuse(key_position(service.service, "build"), "build",
                            "nothing is built; say by x-ha.artefact what the service is made of: packages and files, a directory, or an OCI layout "
                            "that your builder writes");
    }
    reading_.complain(service.service.position, std::format("services.{}: has no image; say by x-ha.artefact what it is made of", service.name));
  }

  void take_image(Lowering& service, const YamlNode& image, const std::string& directory) {
    const ImageName name = parse_image(image.text);
    if (name.has_digest || name.repository.empty() || name.tag.empty()) {
      return service.refuse(image.position, "image", std::format("{} has no tag, by which it is found in x-ha.images; write NAME:TAG", quote(image.text)));
    }
    const OciRoot root{.path = resolve_path(reading_.base_directory(), directory) + "/" + name.repository, .tag = name.tag};
    YamlNode& artefact = set(service.component, "artefact", image.position, empty_map(image.position));
    set(artefact, "oci", image.position, scalar(root.path, image.position));
    set(artefact, "tag", image.position, scalar(root.tag, image.position));
    service.has_artefact = true;
    know_image(service, root);
  }

  void know_image(Lowering& service, const OciRoot& root) {
    service.image_root = root;
    if (!options_.find_image) return;
    auto image = options_.find_image(root);
    if (image) service.image = *std::move(image);
    else service.image_trouble = image.error().message();
  }

  // --- Containers ---

  // The item of x-ha.containers that has the service; npos: none.
  std::size_t home_of(const std::string& service) const {
    const YamlNode* list = extension() == nullptr ? nullptr : find(*extension(), "containers");
    const std::vector<YamlNode>& containers = items_of(list);
    for (std::size_t i = 0; i < containers.size(); ++i) {
      const YamlNode* members = find(containers[i], "components");
      if (std::ranges::any_of(items_of(members), [&](const YamlNode& member) { return member.text == service; })) return i;
    }
    return std::string::npos;
  }

  void check_volumes() {
    std::map<std::string, const Lowering*> owners;
    for (Lowering& service : services_) {
      for (const NamedVolume& volume : service.named_volumes) {
        const Lowering* owner = owners.try_emplace(volume.name, &service).first->second;
        const bool together = owner == &service || (home_of(service.name) != std::string::npos && home_of(service.name) == home_of(owner->name));
        if (together) continue;
        service.refuse(volume.position, "volumes",
                       std::format("{} is a volume of {} already, and goes with its container; put both into one container by x-ha.containers at the "
                                   "top, or make it a directory that is shared, by x-ha.container.volumes of both",
                                   quote(volume.name), quote(owner->name)));
      }
    }
  }

  // Keys that the item has come first. Two services that say different things about one container are refused.
  void merge_settings(Lowering& service, const std::string& at, const YamlNode& said, YamlNode& item, const YamlNode& settings) {
    for (std::size_t i = 0; i < settings.items.size(); ++i) {
      const YamlKey& key = settings.keys[i];
      const std::string path = at.empty() ? key.text : at + "." + key.text;
      YamlNode* there = find(item, key.text);
      if (there == nullptr) {
        set(item, key.text, key.position, settings.items[i]);
      } else if (there->kind == Kind::kMap && settings.items[i].kind == Kind::kMap) {
        merge_settings(service, path, said, *there, settings.items[i]);
      } else if (there->kind == Kind::kSequence && settings.items[i].kind == Kind::kSequence) {
        for (const YamlNode& more : settings.items[i].items) {
          if (!std::ranges::any_of(there->items, [&](const YamlNode& one) { return same_text(one, more); })) there->items.push_back(more);
        }
      } else if (find_path(said, path) == nullptr && !same_text(*there, settings.items[i])) {
        reading_.complain(settings.items[i].position, std::format("services.{}: another service of the same container says something else about {}; say it in x-ha.containers",
                                                                  service.name, path));
      }
    }
  }

  YamlNode containers(Lowered& lowered) {
    const YamlNode* given = extension() == nullptr ? nullptr : find(*extension(), "containers");
    if (given != nullptr && given->kind != Kind::kSequence) return *given;  // refused when it is read
    YamlNode list = empty_list(given != nullptr ? given->position : project_.root.position);
    for (const YamlNode& item : items_of(given)) {
      lowered.container_paths.push_back(std::format("x-ha.containers[{}]", list.items.size()));
      list.items.push_back(item);
    }
    for (Lowering& service : services_) {
      if (service.settings.items.empty()) continue;
      const std::size_t home = home_of(service.name);
      if (home != std::string::npos) {
        merge_settings(service, "", given->items[home], list.items[home], service.settings);
        continue;
      }
      YamlNode members = empty_list(service.component.position);
      members.items.push_back(scalar(service.name, service.component.position));
      YamlNode item = empty_map(service.component.position);
      set(item, "name", item.position, scalar(service.name, item.position));
      set(item, "components", item.position, std::move(members));
      overlay(item, service.settings);
      lowered.container_paths.push_back("services." + service.name);
      list.items.push_back(std::move(item));
    }
    return list;
  }

  bool has_network(const YamlNode& root) const {
    if (find(root, "network") != nullptr) return true;
    return std::ranges::any_of(items_of(find(root, "containers")), [](const YamlNode& container) {
      return find_path(container, "network.bridge") != nullptr || find_path(container, "network.nic") != nullptr;
    });
  }

  Lowered assemble() {
    Lowered lowered{.root = empty_map(project_.root.position)};
    YamlNode components = empty_list(key_position(project_.root, "services"));
    set(lowered.root, "application", project_.name_position, scalar(project_.name, project_.name_position));
    if (const YamlNode* ours = extension()) {
      for (std::size_t i = 0; i < ours->items.size(); ++i) {
        const std::string& key = ours->keys[i].text;
        if (key == "images" || key == "containers" || !std::ranges::contains(kProjectKeys, key)) continue;
        set(lowered.root, key, ours->keys[i].position, ours->items[i]);
        if (key == "application") lowered.name_path = "x-ha.application";
      }
    }
    YamlNode list = containers(lowered);
    if (list.kind != Kind::kSequence || !list.items.empty()) set(lowered.root, "containers", list.position, std::move(list));
    const bool has_port = std::ranges::any_of(services_, [](const Lowering& service) { return !service.offers.empty(); });
    if (has_port && !has_network(lowered.root)) {
      reading_.complain(project_.root.position,
                        "x-ha.network: is missing; say at the top which network the containers are in, and which addresses they may take: "
                        "x-ha: {network: {bridge: br0, addresses: [192.0.2.20-192.0.2.29/24]}}");
    }
    for (Lowering& service : services_) {
      lowered.component_paths.push_back("services." + service.name);
      components.items.push_back(std::move(service.component));
    }
    set(lowered.root, "components", components.position, std::move(components));
    return lowered;
  }

  Reading& reading_;
  std::vector<Note>& notes_;
  Files& files_;
  const ComposeOptions& options_;
  const Project& project_;
  std::vector<Lowering> services_{};
};

}  // namespace

Lowered lower_project(Reading& reading, std::vector<Note>& notes, Files& files, const ComposeOptions& options, const Project& project) {
  return ProjectLowering(reading, notes, files, options, project).run();
}

std::string in_compose_words(const Lowered& lowered, std::string message) {
  for (std::size_t i = 0; i < lowered.component_paths.size(); ++i) replace_all(message, std::format("components[{}]", i), lowered.component_paths[i]);
  for (std::size_t i = 0; i < lowered.container_paths.size(); ++i) replace_all(message, std::format("containers[{}]", i), lowered.container_paths[i]);
  if (message.starts_with("application:")) message.replace(0, std::string_view("application").size(), lowered.name_path);
  const std::string_view key = std::string_view(message).substr(0, message.find_first_of(".:[ "));
  if (key != "application" && std::ranges::contains(kProjectKeys, key)) message.insert(0, "x-ha.");
  return message;
}

}  // namespace perdure::model::compose
