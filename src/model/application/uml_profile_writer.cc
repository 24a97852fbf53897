// The profile as Eclipse UML2 and Papyrus read it: the stereotypes in UML, and the same as an Ecore package, which is what
// applications of them are instances of.
#include <format>
#include <utility>

#include "model/application/application_xmi.h"
#include "model/application/uml_output.h"
#include "model/application/uml_profile.h"

namespace perdure::model {
namespace {

constexpr std::string_view kMetamodel = "pathmap://UML_METAMODELS/UML.metamodel.uml#";
constexpr std::string_view kString = "pathmap://UML_LIBRARIES/UMLPrimitiveTypes.library.uml#String";
constexpr std::string_view kEcoreString = "http://www.eclipse.org/uml2/5.0.0/Types#//String";
constexpr std::string_view kEcoreUml = "http://www.eclipse.org/uml2/5.0.0/UML#//";
constexpr std::string_view kComponents = "components";

std::string stereotype_id(const UmlStereotype& stereotype) { return "_" + stereotype.name; }
std::string import_id(std::string_view metaclass) { return std::format("_import.{}", metaclass); }
std::string extension_id(const UmlStereotype& stereotype, std::string_view metaclass) {
  return std::format("_extension.{}.{}", stereotype.name, metaclass);
}
std::string property_id(const UmlStereotype& stereotype, std::string_view name) { return std::format("_{}.{}", stereotype.name, name); }

std::vector<std::string> all_metaclasses() {
  std::vector<std::string> all;
  for (const UmlStereotype& stereotype : uml_profile()) {
    for (const std::string& metaclass : stereotype.metaclasses) {
      if (std::ranges::find(all, metaclass) == all.end()) all.push_back(metaclass);
    }
  }
  return all;
}

XmlOutput reference(std::string feature, std::string type, std::string href) {
  return {.name = std::move(feature), .attributes = {{"xmi:type", std::move(type)}, {"href", std::move(href)}}};
}

XmlOutput comment(const std::string& owner, std::string_view text) {
  XmlOutput comment = uml_element("ownedComment", "uml:Comment", owner + ".comment", "");
  comment.attributes.emplace_back("annotatedElement", owner);
  comment.add({.name = "body", .text = std::string(text)});
  return comment;
}

std::string manual_of(const SpecKey& key) {
  std::string text = std::format("{} ({}", key.description, key.type);
  if (!key.range.empty()) text += "; " + key.range;
  text += std::format("). Default: {}.", key.default_value);
  return text;
}

// --- UML ---

void add_bounds(XmlOutput& property, const std::string& id, bool many) {
  property.add(uml_element("lowerValue", "uml:LiteralInteger", id + ".lower", ""));
  property.add(uml_element("upperValue", "uml:LiteralUnlimitedNatural", id + ".upper", "")).attributes.emplace_back("value", many ? "*" : "1");
}

XmlOutput property_of(const UmlStereotype& stereotype, const UmlAttribute& attribute) {
  const std::string id = property_id(stereotype, attribute.name);
  XmlOutput property = uml_element("ownedAttribute", "uml:Property", id, attribute.name);
  if (attribute.is_many()) {
    property.attributes.emplace_back("isOrdered", "true");
    property.attributes.emplace_back("isUnique", "false");
  }
  property.add(comment(id, manual_of(attribute.key)));
  // Text whatever the key is: Ecore leaves a number out that is 0, though that need not be its default here.
  property.add(reference("type", "uml:PrimitiveType", std::string(kString)));
  add_bounds(property, id, attribute.is_many());
  return property;
}

XmlOutput base_property(const UmlStereotype& stereotype, const std::string& metaclass) {
  const std::string name = "base_" + metaclass;
  const std::string id = property_id(stereotype, name);
  XmlOutput property = uml_element("ownedAttribute", "uml:Property", id, name);
  property.attributes.emplace_back("association", extension_id(stereotype, metaclass));
  property.add(reference("type", "uml:Class", std::string(kMetamodel) + metaclass));
  add_bounds(property, id, false);
  return property;
}

XmlOutput components_property(const UmlStereotype& stereotype) {
  const std::string id = property_id(stereotype, kComponents);
  XmlOutput property = uml_element("ownedAttribute", "uml:Property", id, std::string(kComponents));
  property.attributes.emplace_back("isOrdered", "true");
  property.add(comment(id, "What runs in it; of a package nothing need be said, for those that stand in it."));
  property.add(reference("type", "uml:Class", std::string(kMetamodel) + "Component"));
  add_bounds(property, id, true);
  return property;
}

XmlOutput stereotype_element(const UmlStereotype& stereotype) {
  XmlOutput element = uml_element("packagedElement", "uml:Stereotype", stereotype_id(stereotype), stereotype.name);
  element.add(comment(stereotype_id(stereotype), stereotype.description));
  for (const std::string& metaclass : stereotype.metaclasses) element.add(base_property(stereotype, metaclass));
  if (stereotype.has_components) element.add(components_property(stereotype));
  for (const UmlAttribute& attribute : stereotype.attributes) element.add(property_of(stereotype, attribute));
  return element;
}

XmlOutput extension(const UmlStereotype& stereotype, const std::string& metaclass) {
  const std::string id = extension_id(stereotype, metaclass);
  XmlOutput element = uml_element("packagedElement", "uml:Extension", id, std::format("E_{}_{}", stereotype.name, metaclass));
  element.attributes.emplace_back("memberEnd", std::format("{}.end {}", id, property_id(stereotype, "base_" + metaclass)));
  XmlOutput end = uml_element("ownedEnd", "uml:ExtensionEnd", id + ".end", "extension_" + stereotype.name);
  end.attributes.emplace_back("type", stereotype_id(stereotype));
  end.attributes.emplace_back("aggregation", "composite");
  end.attributes.emplace_back("association", id);
  element.add(std::move(end));
  return element;
}

// --- Ecore ---

XmlOutput feature(const UmlStereotype& stereotype, std::string type, std::string name, bool many, XmlOutput of) {
  XmlOutput feature = uml_element("eStructuralFeatures", std::move(type), std::format("_ecore.{}.{}", stereotype.name, name), name);
  if (!many) feature.attributes.emplace_back("ordered", "false");
  if (many && of.attributes.front().second == "ecore:EDataType") feature.attributes.emplace_back("unique", "false");
  if (many) feature.attributes.emplace_back("upperBound", "-1");
  feature.add(std::move(of));
  return feature;
}

XmlOutput ecore_class(const UmlStereotype& stereotype) {
  const std::string id = std::format("_ecore.{}", stereotype.name);
  XmlOutput element = uml_element("eClassifiers", "ecore:EClass", id, stereotype.name);
  XmlOutput note = uml_element("eAnnotations", "ecore:EAnnotation", id + ".stereotype", "");
  note.attributes.emplace_back("source", kUmlAnnotation);
  note.attributes.emplace_back("references", stereotype_id(stereotype));
  element.add(std::move(note));
  const auto uml_class = [](std::string_view name) { return reference("eType", "ecore:EClass", std::string(kEcoreUml) + std::string(name)); };
  for (const std::string& metaclass : stereotype.metaclasses) {
    element.add(feature(stereotype, "ecore:EReference", "base_" + metaclass, false, uml_class(metaclass)));
  }
  if (stereotype.has_components) element.add(feature(stereotype, "ecore:EReference", std::string(kComponents), true, uml_class("Component")));
  for (const UmlAttribute& attribute : stereotype.attributes) {
    element.add(feature(stereotype, "ecore:EAttribute", attribute.name, attribute.is_many(),
                        reference("eType", "ecore:EDataType", std::string(kEcoreString))));
  }
  return element;
}

XmlOutput definition() {
  XmlOutput note = uml_element("eAnnotations", "ecore:EAnnotation", "_definitions", "");
  note.attributes.emplace_back("source", kUmlAnnotation);
  XmlOutput package = uml_element("contents", "ecore:EPackage", std::string(kDefinitionId), "perdure");
  package.attributes.emplace_back("nsURI", kProfileSpace);
  package.attributes.emplace_back("nsPrefix", "perdure");
  for (const UmlStereotype& stereotype : uml_profile()) package.add(ecore_class(stereotype));
  note.add(std::move(package));
  return note;
}

}  // namespace

std::string uml_profile_xmi() {
  XmlOutput profile = uml_root("uml:Profile");
  profile.attributes.emplace_back("xmi:id", kProfileId);
  profile.attributes.emplace_back("name", "perdure");
  profile.attributes.emplace_back("URI", kProfileSpace);
  std::string imports;
  for (const std::string& metaclass : all_metaclasses()) imports += (imports.empty() ? "" : " ") + import_id(metaclass);
  profile.attributes.emplace_back("metaclassReference", imports);
  profile.add(definition());
  for (const std::string& metaclass : all_metaclasses()) {
    XmlOutput import = uml_element("elementImport", "uml:ElementImport", import_id(metaclass), "");
    import.attributes.emplace_back("alias", metaclass);
    import.add(reference("importedElement", "uml:Class", std::string(kMetamodel) + metaclass));
    profile.add(std::move(import));
  }
  XmlOutput import = uml_element("packageImport", "uml:PackageImport", "_import.types", "");
  import.add(reference("importedPackage", "uml:Model", "pathmap://UML_LIBRARIES/UMLPrimitiveTypes.library.uml#_0"));
  profile.add(std::move(import));
  for (const UmlStereotype& stereotype : uml_profile()) {
    profile.add(stereotype_element(stereotype));
    for (const std::string& metaclass : stereotype.metaclasses) profile.add(extension(stereotype, metaclass));
  }
  return write_xml(profile);
}

}  // namespace perdure::model
