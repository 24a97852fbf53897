#include <algorithm>
#include <format>
#include <map>
#include <utility>

#include "base/assert.h"
#include "model/application/application_table.h"
#include "model/application/application_xmi.h"
#include "model/application/derive.h"
#include "model/application/uml_output.h"
#include "model/application/uml_profile.h"
#include "model/application/uml_values.h"
#include "model/application/xml_adapter.h"

namespace perdure::model {
namespace {

// nullptr: the map has no such key.
const YamlNode* find_value(const YamlNode& map, std::string_view path) {
  const YamlNode* node = &map;
  while (!path.empty()) {
    const std::string_view key = path.substr(0, path.find('.'));
    path.remove_prefix(std::min(path.size(), key.size() + 1));
    const auto found = std::ranges::find(node->keys, key, &YamlKey::text);
    if (node->kind != YamlNode::Kind::kMap || found == node->keys.end()) return nullptr;
    node = &node->items[static_cast<std::size_t>(found - node->keys.begin())];
  }
  return node;
}

std::string text_of(const YamlNode& map, std::string_view path) {
  const YamlNode* node = find_value(map, path);
  return node == nullptr ? std::string() : node->text;
}

const std::vector<YamlNode>& items_of(const YamlNode& map, std::string_view path) {
  static const std::vector<YamlNode> kNone;
  const YamlNode* node = find_value(map, path);
  return node == nullptr ? kNone : node->items;
}

std::string component_id(std::string_view name) { return std::format("_component.{}", name); }
std::string interface_id(std::string_view component, std::string_view name) { return std::format("_interface.{}.{}", component, name); }

class Writer {
 public:
  explicit Writer(const Application& application) : application_(application), map_(write_application_map(application)) {}

  std::string run() {
    XmlOutput model = uml_element("uml:Model", "", "_model", application_.name.str());
    apply(StereotypeKind::kApplication, map_, "Package", "_model");
    const auto& components = items_of(map_, "components");
    for (const YamlNode& component : components) model.add(drawn(component));
    for (std::size_t i = 0; i < components.size(); ++i) add_usages(model, components[i], i);
    for (const YamlNode& container : items_of(map_, "containers")) add_container(model, container);
    model.add(profile_application());
    XmlOutput root = uml_root("xmi:XMI");
    root.attributes.emplace_back("xmlns:perdure", kProfileSpace);
    root.attributes.emplace_back("xsi:schemaLocation", std::format("{} {}#{}", kProfileSpace, kProfileFile, kDefinitionId));
    root.add(std::move(model));
    for (XmlOutput& application : applications_) root.add(std::move(application));
    return write_xml(root);
  }

 private:
  // An interface or a usage of which nothing is to be said goes without.
  void apply(StereotypeKind kind, const YamlNode& map, std::string_view metaclass, std::string_view base,
             std::vector<std::pair<std::string, std::string>> more = {}) {
    const UmlStereotype& stereotype = stereotype_of(kind);
    XmlOutput application{.name = "perdure:" + stereotype.name};
    application.attributes = {{"xmi:id", std::format("_said{}", base)}, {std::format("base_{}", metaclass), std::string(base)}};
    std::ranges::move(more, std::back_inserter(application.attributes));
    bool says_something = kind == StereotypeKind::kComponent || kind == StereotypeKind::kContainer || kind == StereotypeKind::kApplication;
    for (const UmlAttribute& attribute : stereotype.attributes) {
      const YamlNode* value = find_value(map, attribute.key.path);
      if (value == nullptr) continue;
      says_something = true;
      for (std::string& text : write_uml_texts(attribute.key, *value)) {
        if (attribute.is_many()) {
          application.add({.name = attribute.name, .text = std::move(text)});
        } else {
          application.attributes.emplace_back(attribute.name, std::move(text));
        }
      }
    }
    if (says_something) applications_.push_back(std::move(application));
  }

  XmlOutput drawn(const YamlNode& component) {
    const std::string name = text_of(component, "name");
    const std::string id = component_id(name);
    XmlOutput element = uml_element("packagedElement", "uml:Component", id, name);
    apply(StereotypeKind::kComponent, component, "Component", id);
    std::vector<XmlOutput> realizations;
    for (const YamlNode& provided : items_of(component, "provides")) {
      const std::string interface = text_of(provided, "name");
      const std::string provided_id = interface_id(name, interface);
      element.add(uml_element("packagedElement", "uml:Interface", provided_id, interface));
      apply(StereotypeKind::kProvidedInterface, provided, "Interface", provided_id);
      XmlOutput realization = uml_element("interfaceRealization", "uml:InterfaceRealization", std::format("_realization.{}.{}", name, interface), "");
      for (const auto& [feature, target] : {std::pair("client", id), std::pair("supplier", provided_id), std::pair("contract", provided_id)}) {
        realization.attributes.emplace_back(feature, target);
      }
      realizations.push_back(std::move(realization));
    }
    // In this order Eclipse writes the features of a component.
    std::ranges::move(element.children, std::back_inserter(realizations));
    element.children = std::move(realizations);
    return element;
  }

  void add_usages(XmlOutput& model, const YamlNode& component, std::size_t index) {
    const std::string name = text_of(component, "name");
    const auto& all = items_of(component, "requires");
    for (std::size_t i = 0; i < all.size(); ++i) {
      const Sponsor sponsor = sponsor_of(application_, application_.components[index].required[i]);
      PERDURE_ASSERT(sponsor.found == Sponsor::Found::kOne);
      const std::string id = std::format("_usage.{}.{}", name, i + 1);
      XmlOutput usage = uml_element("packagedElement", "uml:Usage", id, "");
      usage.attributes.emplace_back("client", component_id(name));
      usage.attributes.emplace_back("supplier",
                                    interface_id(application_.components[sponsor.component].name(), text_of(all[i], "interface")));
      model.add(std::move(usage));
      apply(StereotypeKind::kRequiredInterface, all[i], "Usage", id);
    }
  }

  void add_container(XmlOutput& model, const YamlNode& container) {
    const std::string name = text_of(container, "name");
    const std::string id = std::format("_container.{}", name);
    model.add(uml_element("packagedElement", "uml:Node", id, name));
    std::string components;
    for (const YamlNode& component : items_of(container, "components")) {
      components += (components.empty() ? "" : " ") + component_id(component.text);
    }
    apply(StereotypeKind::kContainer, container, "Node", id, {{"components", components}});
  }

  static XmlOutput profile_application() {
    XmlOutput application = uml_element("profileApplication", "uml:ProfileApplication", "_profile", "");
    XmlOutput note = uml_element("eAnnotations", "ecore:EAnnotation", "_profile.definition", "");
    note.attributes.emplace_back("source", kUmlAnnotation);
    note.add({.name = "references",
              .attributes = {{"xmi:type", "ecore:EPackage"}, {"href", std::format("{}#{}", kProfileFile, kDefinitionId)}}});
    application.add(std::move(note));
    application.add({.name = "appliedProfile",
                     .attributes = {{"xmi:type", "uml:Profile"}, {"href", std::format("{}#{}", kProfileFile, kProfileId)}}});
    return application;
  }

  const Application& application_;
  YamlNode map_;
  std::vector<XmlOutput> applications_;
};

}  // namespace

std::string to_xmi(const Application& application) { return Writer(application).run(); }

}  // namespace perdure::model
