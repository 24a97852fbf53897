// XML text to a tree with namespaces and positions, and back. The only user of pugixml sits behind it.
// pugixml knows no namespaces, no duplicate attributes, no positions of attributes, and lets much pass that is no XML: what is
// said here is added to it.
#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/yaml_adapter.h"

namespace perdure::model {

struct XmlAttribute {
  std::string_view space{};  // the URI of its namespace; empty: none
  std::string name{};        // without its prefix
  std::string value{};
  // Of a value like "uml:Component": the URI that this prefix has here; empty: the value begins with none.
  std::string_view value_space{};
  Position position{};        // of the name
  Position value_position{};
};

struct XmlElement {
  std::string_view space{};
  std::string name{};
  Position position{};                     // of the name
  std::vector<XmlAttribute> attributes{};  // without the declarations of namespaces
  std::string text{};                      // all of its own, in one
  std::vector<XmlElement> children{};
};

struct XmlDocument {
  std::deque<std::string> spaces{};  // what the views above look at; lives as long as they do
  XmlElement root{};
  std::vector<YamlIssue> issues{};
  bool complete = false;  // false: the root is not to be used
};

// UML nests a dozen levels. Deeper ones cost stack in everything that walks the tree.
inline constexpr std::size_t kMaxXmlDepth = 64;
// Elements and attributes: the largest application that YAML holds, drawn, has half of this.
inline constexpr std::size_t kMaxXmlNodes = 200'000;

// Never throws. Refuses what is not UTF-8, document types and with them all entities but the five of XML, prefixes that are
// not declared, attributes that stand twice, and whatever exceeds the limits above. A byte order mark is passed over. `text`
// itself must be bounded by the caller.
XmlDocument parse_xml(std::string_view text);

// For writing: names with their prefixes, namespaces as attributes.
struct XmlOutput {
  std::string name{};
  std::vector<std::pair<std::string, std::string>> attributes{};
  std::string text{};  // only without children
  std::vector<XmlOutput> children{};

  XmlOutput& add(XmlOutput child) { return children.emplace_back(std::move(child)); }
};

// Indented by two spaces, with an XML declaration. parse_xml() of it gives the same texts, but for carriage returns and what
// XML has no way to write.
std::string write_xml(const XmlOutput& root);

}  // namespace perdure::model
