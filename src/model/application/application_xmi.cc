// UML to the map of keys that an application in YAML is: values, ranges and rules are those of the one table.
#include "model/application/application_xmi.h"

#include <algorithm>
#include <format>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "model/application/application_table.h"
#include "model/application/uml_model.h"
#include "model/application/uml_values.h"
#include "model/application/uml_wiring.h"
#include "model/application/xml_adapter.h"
#include "model/spec_yaml.h"
#include "model/text.h"

namespace perdure::model {
namespace {

// Lists, maps and values together; somewhat more than what a file of YAML may have.
constexpr std::size_t kMaxValues = 2 * kMaxYamlNodes;

using Texts = std::map<std::string_view, std::vector<UmlText>>;  // by the name of the attribute

class Lowering {
 public:
  Lowering(UmlModel& model, Reading& reading) : model_(model), reading_(reading) {}

  YamlNode run() {
    const UmlElement& scope = find_scope();
    components_ = read_wiring(model_, scope, reading_);
    count_providers();
    YamlNode root{.kind = YamlNode::Kind::kMap, .position = scope.name_position()};
    put(root, "application", scope.name(), scope.name_position());
    say(root, "", StereotypeKind::kApplication, {&scope});
    YamlNode components{.kind = YamlNode::Kind::kSequence, .position = scope.name_position()};
    for (std::size_t i = 0; i < components_.size(); ++i) components.items.push_back(component(i));
    put(root, "components", std::move(components));
    YamlNode containers = containers_of(scope);
    if (!containers.items.empty()) put(root, "containers", std::move(containers));
    check_used(scope);
    return root;
  }

 private:
  // --- Small things ---

  static void put(YamlNode& map, std::string key, YamlNode value) {
    map.keys.push_back({.text = std::move(key), .position = value.position});
    map.items.push_back(std::move(value));
  }
  // Without a name the key is missing.
  static void put(YamlNode& map, std::string key, std::string_view text, Position position) {
    if (text.empty()) return;
    put(map, std::move(key), YamlNode{.kind = YamlNode::Kind::kScalar, .position = position, .text = std::string(text)});
  }

  // The package that is said to be the application; else the whole model.
  const UmlElement& find_scope() {
    const UmlElement* scope = nullptr;
    for (const UmlApplication& application : model_.applications()) {
      if (application.kind != StereotypeKind::kApplication || application.base == nullptr) continue;
      if (scope != nullptr) reading_.complain(application.xml->position, "a second application; keep one per file");
      scope = application.base;
    }
    return scope == nullptr ? *model_.root() : *scope;
  }

  static bool is_within(const UmlElement* element, const UmlElement& scope) {
    while (element != nullptr && element != &scope) element = element->owner;
    return element != nullptr;
  }

  // What is said of something outside belongs to another application.
  void check_used(const UmlElement& scope) {
    for (const UmlApplication& application : model_.applications()) {
      if (application.used || application.base == nullptr || !is_within(application.base, scope)) continue;
      reading_.complain(application.xml->position,
                        std::format("{} is said of {}, which nothing of the application {}; draw that, or remove this", application.xml->name,
                                    application.base->described(),
                                    application.kind == StereotypeKind::kRequiredInterface ? "requires" : "provides"));
    }
  }

  // --- Stereotypes ---

  void take_text(Texts& texts, StereotypeKind kind, std::string_view name, UmlText text, Position position, bool split) {
    const UmlStereotype& stereotype = stereotype_of(kind);
    if (name.starts_with("base_") || (name == "components" && stereotype.has_components)) return;
    const auto known = std::ranges::find(stereotype.attributes, name, &UmlAttribute::name);
    if (known == stereotype.attributes.end()) {
      // More are not shown, and a hint is work.
      if (++unknown_ > kMaxSpecErrors) return reading_.complain(position, "unknown attribute");
      std::vector<std::string> names;
      for (const UmlAttribute& one : stereotype.attributes) names.push_back(one.name);
      return reading_.complain(position, std::format("unknown attribute {} of {}; {}", quote(name), stereotype.name,
                                                     did_you_mean(name, names, "known: " + join(names))));
    }
    std::vector<UmlText>& all = texts[known->name];
    if (!known->is_many() && !all.empty()) {
      return reading_.complain(position, std::format("{} is given twice; remove one of them", quote(name)));
    }
    const bool words = known->key.structure == KeyStructure::kList || known->key.structure == KeyStructure::kTextMap;
    if (!words || !split) return all.push_back(std::move(text));
    // An attribute that stands for a list holds words.
    for (std::size_t at = text.text.find_first_not_of(" \t\n"); at < text.text.size();) {
      const std::size_t end = std::min(text.text.find_first_of(" \t\n", at), text.text.size());
      all.push_back({text.text.substr(at, end - at), text.position});
      at = text.text.find_first_not_of(" \t\n", end);
    }
  }

  Texts texts_of(const UmlApplication& application) {
    Texts texts;
    for (const XmlAttribute& one : application.xml->attributes) {
      if (one.space.empty()) take_text(texts, application.kind, one.name, {one.value, one.value_position}, one.position, true);
    }
    for (const XmlElement& one : application.xml->children) {
      if (is_nil(one) || one.name == "eAnnotations" || is_xmi_space(one.space)) continue;
      take_text(texts, application.kind, one.name, {one.text, one.position}, one.position, false);
    }
    return texts;
  }

  // What the stereotype says at these elements comes into `map`; of an attribute the last counts that says it. `at` is the path
  // of the map, with a dot behind it.
  void say(YamlNode& map, const std::string& at, StereotypeKind kind, const std::vector<const UmlElement*>& elements) {
    Texts texts;
    for (const UmlElement* element : elements) {
      UmlApplication* application = model_.application_of(*element, kind);
      if (application == nullptr) continue;
      application->used = true;
      for (auto& [name, values] : texts_of(*application)) texts[name] = std::move(values);
    }
    for (const UmlAttribute& attribute : stereotype_of(kind).attributes) {
      const auto said = texts.find(attribute.name);
      if (said == texts.end() || said->second.empty()) continue;
      const Position position = said->second.front().position;
      auto node = read_uml_texts(reading_, at + attribute.key.path, attribute.key, said->second, values_left_);
      if (node) place_value(map, attribute.key.path, std::move(*node), position);
    }
  }

  // --- Components ---

  // For one thing that is drawn.
  bool charge(Position position) {
    if (values_left_ > 0 && --values_left_ == 0) reading_.complain(position, "this is too much for one application; make it smaller");
    return values_left_ > 0;
  }

  void count_providers() {
    for (std::size_t i = 0; i < components_.size(); ++i) {
      for (const UmlProvided& provided : components_[i].provides) {
        by_interface_[provided.interface].insert(i);
        by_name_[provided.interface->name()].insert(i);
      }
    }
  }

  YamlNode component(std::size_t index) {
    const UmlComponent& drawn = components_[index];
    const std::string at = std::format("components[{}].", index);
    const Position position = drawn.element->xml->position;
    YamlNode map{.kind = YamlNode::Kind::kMap, .position = position};
    put(map, "name", drawn.element->name(), drawn.element->name_position());
    say(map, at, StereotypeKind::kComponent, {drawn.element});
    YamlNode provides{.kind = YamlNode::Kind::kSequence, .position = position};
    for (std::size_t i = 0; i < drawn.provides.size(); ++i) {
      provides.items.push_back(provided(drawn.provides[i], std::format("{}provides[{}].", at, i)));
    }
    YamlNode requires_{.kind = YamlNode::Kind::kSequence, .position = position};
    for (std::size_t i = 0; i < drawn.required.size(); ++i) {
      requires_.items.push_back(required(drawn.required[i], std::format("{}requires[{}].", at, i)));
    }
    if (!provides.items.empty()) put(map, "provides", std::move(provides));
    if (!requires_.items.empty()) put(map, "requires", std::move(requires_));
    return map;
  }

  YamlNode provided(const UmlProvided& drawn, const std::string& at) {
    YamlNode map{.kind = YamlNode::Kind::kMap, .position = drawn.said_at.back()->xml->position};
    if (!charge(map.position)) return map;
    put(map, "name", drawn.interface->name(), drawn.interface->name_position());
    say(map, at, StereotypeKind::kProvidedInterface, drawn.said_at);
    return map;
  }

  YamlNode required(const UmlRequired& drawn, const std::string& at) {
    const Position position = drawn.drawn().xml->position;
    YamlNode map{.kind = YamlNode::Kind::kMap, .position = position};
    if (!charge(position)) return map;
    put(map, "interface", drawn.interface->name(), position);
    say(map, at, StereotypeKind::kRequiredInterface, drawn.said_at);
    const auto said = std::ranges::find(map.keys, "sponsor", &YamlKey::text);
    const UmlElement* sponsor = sponsor_of(drawn, said != map.keys.end());
    if (sponsor == nullptr) return map;
    if (said == map.keys.end()) {
      put(map, "sponsor", sponsor->name(), position);
    } else if (drawn.sponsor != nullptr && map.items[static_cast<std::size_t>(said - map.keys.begin())].text != sponsor->name()) {
      reading_.complain(said->position, at + "sponsor", std::format("says another component than the connection, which leads to {}", sponsor->described()));
    }
    return map;
  }

  // The one that the drawing says where the name of the interface leaves it open.
  const UmlElement* sponsor_of(const UmlRequired& drawn, bool said) {
    const std::size_t of_this_name = by_name_[drawn.interface->name()].size();
    if (drawn.sponsor != nullptr) return said || of_this_name > 1 ? drawn.sponsor : nullptr;
    if (drawn.by_name || said) return nullptr;
    const auto providers = by_interface_.find(drawn.interface);
    if (providers == by_interface_.end()) {
      if (of_this_name > 0) {
        reading_.complain(drawn.drawn().xml->position,
                          std::format("nobody provides this {}, but another one of the same name; let it lead to that one", drawn.interface->described()));
      }
      return nullptr;
    }
    if (providers->second.size() > 1 || of_this_name == 1) return nullptr;
    return components_[*providers->second.begin()].element;
  }

  // --- Containers ---

  YamlNode containers_of(const UmlElement& scope) {
    YamlNode list{.kind = YamlNode::Kind::kSequence, .position = scope.name_position()};
    std::vector<const UmlApplication*> drawn;
    for (const UmlApplication& one : model_.applications()) {
      if (one.kind == StereotypeKind::kContainer && one.base != nullptr && is_within(one.base, scope)) drawn.push_back(&one);
    }
    std::ranges::sort(drawn, {}, [](const UmlApplication* one) { return one->base->order; });
    for (const UmlApplication* one : drawn) list.items.push_back(container(*one, std::format("containers[{}].", list.items.size())));
    return list;
  }

  YamlNode container(const UmlApplication& application, const std::string& at) {
    YamlNode map{.kind = YamlNode::Kind::kMap, .position = application.xml->position};
    put(map, "name", application.base->name(), application.base->name_position());
    YamlNode components{.kind = YamlNode::Kind::kSequence, .position = application.xml->position};
    const auto add = [&](const UmlElement& component, Position position) {
      if (!charge(position)) return;
      components.items.push_back({.kind = YamlNode::Kind::kScalar, .position = position, .text = std::string(component.name())});
    };
    const auto references = model_.references(*application.xml, "components");
    for (const UmlReference& reference : references) {
      const UmlElement* component = model_.find(reference);
      if (component != nullptr && component->type == "Component") {
        add(*component, reference.position);
      } else if (component != nullptr) {
        reading_.complain(reference.position, std::format("{} is no component", component->described()));
      }
    }
    if (references.empty() && application.base->type == "Package") {
      for (const UmlComponent& one : components_) {
        if (is_within(one.element, *application.base)) add(*one.element, one.element->xml->position);
      }
    }
    if (!components.items.empty()) put(map, "components", std::move(components));
    say(map, at, StereotypeKind::kContainer, {application.base});
    return map;
  }

  UmlModel& model_;
  Reading& reading_;
  std::vector<UmlComponent> components_;
  std::map<const UmlElement*, std::set<std::size_t>> by_interface_;
  std::map<std::string_view, std::set<std::size_t>> by_name_;
  std::size_t values_left_ = kMaxValues;
  std::size_t unknown_ = 0;
};

}  // namespace

Result<Application> read_application_xmi(std::string_view xmi, std::string_view file_name, std::string_view base_directory) {
  if (xmi.size() > kMaxXmiBytes) {
    return fail(ErrorCode::kInvalid, std::format("{}:1:1: the model has {} bytes; shorten it to {}", file_name, xmi.size(), kMaxXmiBytes));
  }
  Reading reading(base_directory);
  const XmlDocument document = parse_xml(xmi);
  for (const YamlIssue& issue : document.issues) reading.complain(issue.position, issue.message);
  if (!reading.good()) return fail(reading.error(file_name));
  UmlModel model(document, reading);
  if (!reading.good()) return fail(reading.error(file_name));
  const YamlNode root = Lowering(model, reading).run();
  // What is drawn wrongly would be complained about again as what is missing.
  if (!reading.good()) return fail(reading.error(file_name));
  Application application = read_application_map(reading, root);
  if (!reading.good()) return fail(reading.error(file_name));
  return application;
}

}  // namespace perdure::model
