// The elements of a UML model in XMI, by their ids and in the order of the file. Private to this room.
//
// Told apart by namespaces and xmi:type, whatever the prefixes: Eclipse UML2 2.x to 5.x, OMG's UML and XMI. What tools add for
// themselves (xmi:Extension, eAnnotations) is left out.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/application/uml_profile.h"
#include "model/application/xml_adapter.h"
#include "model/reading.h"

namespace perdure::model {

struct UmlElement {
  const XmlElement* xml = nullptr;
  const UmlElement* owner = nullptr;  // nullptr: the model
  std::string_view type{};            // "Component"; empty: none
  std::string_view id{};              // empty: none
  std::size_t order = 0;              // that of the file

  // Of an attribute without namespace; nullptr: there is none.
  const XmlAttribute* attribute(std::string_view name) const;
  std::string_view name() const;  // empty: none
  Position name_position() const;
  // "component 'db'", for messages.
  std::string described() const;
};

// One application of a stereotype of our profile.
struct UmlApplication {
  const XmlElement* xml = nullptr;
  StereotypeKind kind{};
  const UmlElement* base = nullptr;
  bool used = false;  // what it says has come into the application
};

struct UmlReference {
  std::string id{};
  Position position{};
};

class UmlModel {
 public:
  // Complains about what is no UML model, about ids that stand twice and applications of our stereotypes to nothing. `document`
  // outlives this.
  UmlModel(const XmlDocument& document, Reading& reading);
  UmlModel(const UmlModel&) = delete;
  UmlModel& operator=(const UmlModel&) = delete;

  const UmlElement* root() const { return root_; }  // nullptr after a complaint
  const std::deque<UmlElement>& elements() const { return elements_; }
  std::deque<UmlApplication>& applications() { return applications_; }
  bool is_said(const UmlElement& element, StereotypeKind kind) const { return by_base_.contains({&element, kind}); }
  // nullptr: the stereotype is not applied to it.
  UmlApplication* application_of(const UmlElement& element, StereotypeKind kind);

  // What a feature refers to: ids in an attribute, or children with xmi:idref or href.
  std::vector<UmlReference> references(const XmlElement& from, std::string_view feature) const;
  const UmlElement* look_up(const UmlReference& reference) const;  // nullptr: not in the model
  // nullptr after a complaint about an id that nothing has, or that is in another file.
  const UmlElement* find(const UmlReference& reference) const;
  // What is found of them.
  std::vector<const UmlElement*> targets(const UmlElement& from, std::string_view feature) const;

 private:
  void find_root(const XmlDocument& document);
  void add(const XmlElement& xml, const UmlElement* owner);
  std::string_view take_id(const XmlElement& xml, const UmlElement* element);
  void add_application(const XmlElement& xml);
  void find_base(UmlApplication& application);

  Reading& reading_;
  const UmlElement* root_ = nullptr;
  std::deque<UmlElement> elements_;
  std::deque<UmlApplication> applications_;
  struct Known {
    const UmlElement* element = nullptr;  // nullptr: not one of the model
    unsigned line = 0;
  };
  std::map<std::string_view, Known> ids_;
  std::map<std::pair<const UmlElement*, StereotypeKind>, UmlApplication*> by_base_;
};

bool is_xmi_space(std::string_view uri);
bool is_uml_space(std::string_view uri);
// xmi:nil or xsi:nil: as if it were not there.
bool is_nil(const XmlElement& xml);

}  // namespace perdure::model
