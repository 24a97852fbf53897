#include "model/application/uml_model.h"

#include <algorithm>
#include <array>
#include <format>
#include <utility>

#include "model/text.h"

namespace perdure::model {
namespace {

// More than a thing can have, so that what is looked up stays bounded.
constexpr std::size_t kMaxReferences = 512;
constexpr std::string_view kInstanceSpace = "http://www.w3.org/2001/XMLSchema-instance";

const XmlAttribute* find_attribute(const XmlElement& xml, std::string_view name, bool (*in_space)(std::string_view)) {
  const auto found = std::ranges::find_if(
      xml.attributes, [&](const XmlAttribute& one) { return one.name == name && in_space(one.space); });
  return found == xml.attributes.end() ? nullptr : &*found;
}

bool is_no_space(std::string_view uri) { return uri.empty(); }
bool is_type_space(std::string_view uri) { return is_xmi_space(uri) || uri == kInstanceSpace; }

// "uml:Component" as Component; of elements without xmi:type what their feature holds if nothing is said.
std::string_view type_of(const XmlElement& xml) {
  if (const XmlAttribute* type = find_attribute(xml, "type", is_type_space)) {
    const std::string_view value = type->value;
    return is_uml_space(type->value_space) ? value.substr(value.find(':') + 1) : std::string_view();
  }
  if (is_uml_space(xml.space)) return xml.name;  // a root
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 7> kFeatures = {{
      {"interfaceRealization", "InterfaceRealization"},
      {"ownedAttribute", "Property"},
      {"ownedPort", "Port"},
      {"ownedConnector", "Connector"},
      {"end", "ConnectorEnd"},
      {"provided", "Interface"},
      {"required", "Interface"},
  }};
  const auto found = std::ranges::find(kFeatures, xml.name, &std::pair<std::string_view, std::string_view>::first);
  return found == kFeatures.end() ? std::string_view() : found->second;
}

bool is_of_tools(const XmlElement& xml) {
  return xml.name == "eAnnotations" || (xml.name == "Extension" && is_xmi_space(xml.space));
}

bool is_reference(const XmlElement& xml) {
  return find_attribute(xml, "idref", is_xmi_space) != nullptr || find_attribute(xml, "href", is_no_space) != nullptr;
}

std::vector<UmlReference> all_references(const XmlElement& from, std::string_view feature) {
  std::vector<UmlReference> references;
  if (const XmlAttribute* ids = find_attribute(from, feature, is_no_space)) {
    const std::string_view text = ids->value;
    for (std::size_t at = text.find_first_not_of(" \t\n"); at < text.size();) {
      const std::size_t end = std::min(text.find_first_of(" \t\n", at), text.size());
      references.push_back({std::string(text.substr(at, end - at)), ids->value_position});
      at = text.find_first_not_of(" \t\n", end);
    }
  }
  for (const XmlElement& child : from.children) {
    if (child.name != feature || is_nil(child)) continue;
    if (const XmlAttribute* idref = find_attribute(child, "idref", is_xmi_space)) {
      references.push_back({idref->value, idref->value_position});
    } else if (const XmlAttribute* href = find_attribute(child, "href", is_no_space)) {
      // "#id" is in this file.
      references.push_back({href->value.starts_with('#') ? href->value.substr(1) : href->value, href->value_position});
    }
  }
  return references;
}

}  // namespace

bool is_xmi_space(std::string_view uri) {
  return uri == "http://www.omg.org/XMI" || uri.starts_with("http://schema.omg.org/spec/XMI/") ||
         uri.starts_with("http://www.omg.org/spec/XMI/");
}

bool is_uml_space(std::string_view uri) {
  const bool eclipse = uri.starts_with("http://www.eclipse.org/uml2/") && uri.ends_with("/UML");
  // A version follows; behind that come profiles.
  for (const std::string_view omg : {"http://schema.omg.org/spec/UML/", "http://www.omg.org/spec/UML/"}) {
    if (uri.starts_with(omg) && !uri.substr(omg.size()).contains('/')) return true;
  }
  return eclipse;
}

bool is_nil(const XmlElement& xml) {
  const XmlAttribute* nil = find_attribute(xml, "nil", is_type_space);
  return nil != nullptr && nil->value == "true";
}

const XmlAttribute* UmlElement::attribute(std::string_view name) const { return find_attribute(*xml, name, is_no_space); }

std::string_view UmlElement::name() const {
  const XmlAttribute* name = attribute("name");
  return name == nullptr ? std::string_view() : std::string_view(name->value);
}

Position UmlElement::name_position() const {
  const XmlAttribute* name = attribute("name");
  return name == nullptr ? xml->position : name->value_position;
}

std::string UmlElement::described() const {
  const std::string what = type.empty() ? xml->name : std::string(type);
  if (!name().empty()) return std::format("{} {}", what, quote(name()));
  return id.empty() ? what : std::format("{} {}", what, quote(id));
}

UmlModel::UmlModel(const XmlDocument& document, Reading& reading) : reading_(reading) {
  find_root(document);
  if (root_ == nullptr) return;
  for (const XmlElement& xml : document.root.children) {
    if (&document.root == root_->xml || &xml == root_->xml || is_of_tools(xml) || is_xmi_space(xml.space)) continue;
    if (xml.space.starts_with(kProfileSpaces)) {
      add_application(xml);
    } else {
      take_id(xml, nullptr);
    }
  }
  for (UmlApplication& application : applications_) find_base(application);
}

void UmlModel::find_root(const XmlDocument& document) {
  const auto is_model = [](const XmlElement& xml) {
    return is_uml_space(xml.space) && (xml.name == "Model" || xml.name == "Package");
  };
  if (is_model(document.root)) return add(document.root, nullptr);
  if (document.root.name != "XMI" || !is_xmi_space(document.root.space)) {
    reading_.complain(document.root.position,
                      std::format("{} is no UML model; save it as XMI 2 of UML 2, whose root is uml:Model or xmi:XMI", quote(document.root.name)));
    return;
  }
  const XmlElement* model = nullptr;
  for (const XmlElement& xml : document.root.children) {
    if (!is_model(xml)) continue;
    if (model != nullptr) return reading_.complain(xml.position, "a second model begins; keep one per file");
    model = &xml;
  }
  if (model == nullptr) return reading_.complain(document.root.position, "there is no uml:Model in it; save the whole model");
  add(*model, nullptr);
}

// Depth is bounded by kMaxXmlDepth.
void UmlModel::add(const XmlElement& xml, const UmlElement* owner) {
  if (xml.space.starts_with(kProfileSpaces)) {
    reading_.complain(xml.position, std::format("{} stands within the model; put it behind it, with the id of what it is said of", quote(xml.name)));
    return;
  }
  if (is_reference(xml)) {
    take_id(xml, nullptr);
    if (xml.name == "packagedElement") {
      reading_.complain(xml.position, "this part of the model is kept in another file, which is not read; bring it into this one");
    }
    return;
  }
  UmlElement& element = elements_.emplace_back(&xml, owner, type_of(xml), "", elements_.size());
  if (root_ == nullptr) root_ = &element;
  element.id = take_id(xml, &element);
  for (const XmlElement& child : xml.children) {
    if (!is_of_tools(child)) add(child, &element);
  }
}

std::string_view UmlModel::take_id(const XmlElement& xml, const UmlElement* element) {
  const XmlAttribute* id = find_attribute(xml, "id", is_xmi_space);
  if (id == nullptr) return {};
  const auto [known, fresh] = ids_.try_emplace(id->value, element, id->position.line);
  if (!fresh) {
    reading_.complain(id->value_position, std::format("id {} is given twice, first in line {}; give one of them another one", quote(id->value),
                                                      known->second.line));
  }
  return id->value;
}

void UmlModel::add_application(const XmlElement& xml) {
  take_id(xml, nullptr);
  if (xml.space != kProfileSpace) {
    return reading_.complain(xml.position, std::format("{} is another profile than the one that is understood, {}", quote(xml.space), kProfileSpace));
  }
  const auto profile = uml_profile();
  const auto found = std::ranges::find(profile, xml.name, &UmlStereotype::name);
  if (found == profile.end()) {
    std::vector<std::string> names;
    for (const UmlStereotype& one : profile) names.push_back(one.name);
    return reading_.complain(xml.position, std::format("unknown stereotype {}; there are: {}", quote(xml.name), join(names)));
  }
  applications_.push_back({.xml = &xml, .kind = static_cast<StereotypeKind>(found - profile.begin())});
}

void UmlModel::find_base(UmlApplication& application) {
  const XmlElement& xml = *application.xml;
  std::vector<UmlReference> bases;
  const auto is_base = [](const auto& one) { return one.space.empty() && one.name.starts_with("base_"); };
  for (const XmlAttribute& attribute : xml.attributes) {
    if (is_base(attribute) && !attribute.value.empty()) bases.push_back({attribute.value, attribute.value_position});
  }
  for (const XmlElement& child : xml.children) {
    if (is_base(child)) std::ranges::move(references(xml, child.name), std::back_inserter(bases));
  }
  if (bases.size() != 1) {
    return reading_.complain(xml.position, std::format("{} is said of {} elements; give it one base_ of an element's id", xml.name, bases.size()));
  }
  const UmlElement* base = find(bases.front());
  if (base == nullptr) return;
  const UmlStereotype& stereotype = stereotype_of(application.kind);
  if (!std::ranges::contains(stereotype.accepted, base->type)) {
    return reading_.complain(bases.front().position, std::format("{} is said of {}, but belongs to: {}", xml.name, base->described(),
                                                                 join(stereotype.accepted)));
  }
  application.base = base;
  if (!by_base_.try_emplace({base, application.kind}, &application).second) {
    reading_.complain(xml.position, std::format("{} is said of {} twice; remove one of them", xml.name, base->described()));
  }
}

UmlApplication* UmlModel::application_of(const UmlElement& element, StereotypeKind kind) {
  const auto found = by_base_.find({&element, kind});
  return found == by_base_.end() ? nullptr : found->second;
}

std::vector<UmlReference> UmlModel::references(const XmlElement& from, std::string_view feature) const {
  std::vector<UmlReference> references = all_references(from, feature);
  if (references.size() > kMaxReferences) {
    reading_.complain(references.back().position, std::format("{} refers to more than {} elements; split it", quote(feature), kMaxReferences));
    references.resize(kMaxReferences);
  }
  return references;
}

const UmlElement* UmlModel::look_up(const UmlReference& reference) const {
  const auto known = ids_.find(reference.id);
  return known == ids_.end() ? nullptr : known->second.element;
}

const UmlElement* UmlModel::find(const UmlReference& reference) const {
  if (const UmlElement* element = look_up(reference)) return element;
  if (reference.id.contains('#')) {
    reading_.complain(reference.position, std::format("{} is in another file, which is not read; draw it in this model", quote(reference.id)));
  } else {
    reading_.complain(reference.position, std::format("{} is the id of no element of the model; correct it, or save the whole model",
                                                      quote(reference.id)));
  }
  return nullptr;
}

std::vector<const UmlElement*> UmlModel::targets(const UmlElement& from, std::string_view feature) const {
  std::vector<const UmlElement*> targets;
  for (const UmlReference& reference : references(*from.xml, feature)) {
    if (const UmlElement* target = find(reference)) targets.push_back(target);
  }
  return targets;
}

}  // namespace perdure::model
