// What the writers of UML files have in common. Private to this room.
#pragma once

#include <string>
#include <string_view>

#include "model/application/xml_adapter.h"

namespace perdure::model {

// Of an EAnnotation that holds or names the definition of a profile.
inline constexpr std::string_view kUmlAnnotation = "http://www.eclipse.org/uml2/2.0.0/UML";

// With the namespaces of XMI, Ecore and UML 2.5 as Eclipse UML2 5 writes them.
inline XmlOutput uml_root(std::string name) {
  return {.name = std::move(name),
          .attributes = {{"xmi:version", "20131001"},
                         {"xmlns:xmi", "http://www.omg.org/spec/XMI/20131001"},
                         {"xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance"},
                         {"xmlns:ecore", "http://www.eclipse.org/emf/2002/Ecore"},
                         {"xmlns:uml", "http://www.eclipse.org/uml2/5.0.0/UML"}}};
}

// `type` and `name` are left out where they are empty.
inline XmlOutput uml_element(std::string feature, std::string type, std::string id, std::string name) {
  XmlOutput element{.name = std::move(feature)};
  if (!type.empty()) element.attributes.emplace_back("xmi:type", std::move(type));
  element.attributes.emplace_back("xmi:id", std::move(id));
  if (!name.empty()) element.attributes.emplace_back("name", std::move(name));
  return element;
}

}  // namespace perdure::model
