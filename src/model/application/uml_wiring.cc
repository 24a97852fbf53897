#include "model/application/uml_wiring.h"

#include <algorithm>
#include <format>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "model/application/application.h"
#include "model/text.h"

namespace perdure::model {
namespace {

constexpr std::size_t kMaxDrawn = 512;

bool is_within(const UmlElement* element, const UmlElement& scope) {
  while (element != nullptr && element != &scope) element = element->owner;
  return element != nullptr;
}

// Of a composite structure; not the end of an association, unless that is one of a whole and its part.
bool is_part(const UmlElement& element) {
  if (element.type != "Property" || element.xml->name != "ownedAttribute") return false;
  const XmlAttribute* aggregation = element.attribute("aggregation");
  return element.attribute("association") == nullptr || (aggregation != nullptr && aggregation->value == "composite");
}

// How many there may be of a property: "1" if nothing is said.
std::string_view most_of(const UmlElement& element) {
  const auto upper = std::ranges::find(element.xml->children, "upperValue", &XmlElement::name);
  if (upper == element.xml->children.end()) return "1";
  const auto value = std::ranges::find(upper->attributes, "value", &XmlAttribute::name);
  return value == upper->attributes.end() ? std::string_view("1") : std::string_view(value->value);
}

class Wiring {
 public:
  Wiring(const UmlModel& model, const UmlElement& scope, Reading& reading) : model_(model), scope_(scope), reading_(reading) {}

  std::vector<UmlComponent> run() {
    find_components();
    check_parts();
    collect_relations();
    for (UmlComponent& component : components_) wire(component);
    wire_usages_of_components();
    note_ends();
    for (const UmlElement& element : model_.elements()) {
      if (element.type == "Connector") connect(element);
    }
    for (UmlComponent& component : components_) put_in_order(component);
    return std::move(components_);
  }

 private:
  using Elements = std::vector<const UmlElement*>;

  void complain(const UmlElement& element, const std::string& message) { reading_.complain(element.xml->position, message); }

  // --- Components ---

  const UmlElement* type_of(const UmlElement& element) const {
    const auto types = model_.references(*element.xml, "type");
    return types.size() == 1 ? model_.look_up(types.front()) : nullptr;
  }

  void find_components() {
    std::set<const UmlElement*> frames;
    for (const UmlElement& element : model_.elements()) {
      if (element.owner != nullptr) children_[element.owner].push_back(&element);
      const UmlElement* type = is_part(element) ? type_of(element) : nullptr;
      if (type != nullptr && type->type == "Component") frames.insert(element.owner);
      if (element.type != "Component") continue;
      for (const UmlElement* owner = element.owner; owner != nullptr; owner = owner->owner) frames.insert(owner);
    }
    for (const UmlElement& element : model_.elements()) {
      if (element.type != "Component" || !is_within(&element, scope_)) continue;
      const bool said = model_.is_said(element, StereotypeKind::kComponent);
      if (!said && frames.contains(&element)) continue;
      if (components_.size() == kMaxApplicationComponents) {
        return complain(element, std::format("more than {} components; make several applications of them", kMaxApplicationComponents));
      }
      index_[&element] = components_.size();
      components_.push_back({.element = &element});
    }
  }

  UmlComponent* component_of(const UmlElement* element) {
    const auto found = index_.find(element);
    return found == index_.end() ? nullptr : &components_[found->second];
  }

  // Two parts of one component would be two of them.
  void check_parts() {
    std::set<const UmlElement*> known;
    for (const UmlElement& element : model_.elements()) {
      const UmlElement* type = is_part(element) ? type_of(element) : nullptr;
      if (component_of(type) == nullptr) continue;
      if (known.insert(type).second && most_of(element) == "1") continue;
      complain(element, std::format("there are several of {}; draw one, and say in its stereotype how many replicas there are",
                                    type->described()));
    }
  }

  // --- Relations: realizations, usages, ports ---

  void collect_relations() {
    for (const UmlElement& element : model_.elements()) {
      const bool realization = element.type == "InterfaceRealization" || element.type == "Realization";
      if (!realization && element.type != "Usage" && element.type != "Dependency") continue;
      auto clients = model_.references(*element.xml, "client");
      if (clients.empty()) clients = model_.references(*element.xml, "implementingClassifier");
      if (clients.empty() && element.xml->name == "interfaceRealization") {
        relations_[element.owner].push_back(&element);
      }
      for (const UmlReference& reference : clients) {
        if (reference.id.contains('#')) continue;  // a client in another file is none of these components
        const UmlElement* client = model_.find(reference);
        if (client != nullptr && client->type == "Port") client = client->owner;
        if (client != nullptr) relations_[client].push_back(&element);
      }
    }
  }

  Elements suppliers_of(const UmlElement& relation) {
    const bool contract = !model_.references(*relation.xml, "contract").empty();
    return model_.targets(relation, contract ? "contract" : "supplier");
  }

  // Work grows with the square of what is drawn at one component.
  bool may_draw(UmlComponent& component) {
    const std::size_t drawn = ++drawn_[&component];
    if (drawn == kMaxDrawn + 1) {
      complain(*component.element, std::format("{} has more than {} relations and ports; make several components of it",
                                               component.element->described(), kMaxDrawn));
    }
    return drawn <= kMaxDrawn;
  }

  void provide(UmlComponent& component, const UmlElement& interface, const Elements& drawn) {
    if (!may_draw(component)) return;
    auto known = std::ranges::find(component.provides, &interface, &UmlProvided::interface);
    if (known == component.provides.end()) {
      known = component.provides.insert(component.provides.end(), {&interface, {&interface}});
    }
    for (const UmlElement* element : drawn) {
      if (element != &interface) known->said_at.push_back(element);
    }
  }

  // A port and a usage of the same interface are one requirement drawn twice; two ports are not.
  void require(UmlComponent& component, UmlRequired required) {
    if (!may_draw(component)) return;
    const bool relation = is_relation(required.drawn());
    const auto known = std::ranges::find_if(component.required, [&](const UmlRequired& one) {
      const auto same_kind = [&](const UmlElement* at) { return is_relation(*at) == relation; };
      return one.interface == required.interface && one.sponsor == required.sponsor &&
             std::none_of(one.said_at.begin() + 1, one.said_at.end(), same_kind);
    });
    if (known == component.required.end()) {
      component.required.push_back(std::move(required));
    } else {
      known->said_at.insert(known->said_at.end(), required.said_at.begin() + 1, required.said_at.end());
    }
  }
  static bool is_relation(const UmlElement& element) { return element.type == "Usage" || element.type == "Dependency"; }

  // What a relation of `client` means for `component`, which is the client or has a port of this type.
  void take_relation(UmlComponent& component, const UmlElement& relation, const UmlElement* port, bool conjugated) {
    const bool realization = relation.type == "InterfaceRealization" || relation.type == "Realization";
    for (const UmlElement* supplier : suppliers_of(relation)) {
      if (supplier->type != "Interface") {
        if (port == nullptr) take_other(component, relation, *supplier);
        continue;
      }
      const UmlElement& drawn = port == nullptr ? relation : *port;
      if (realization != conjugated) {
        provide(component, *supplier, {&drawn});
      } else {
        require(component, {.interface = supplier, .said_at = {supplier, &drawn}});
      }
    }
  }

  // A relation to what is no interface.
  void take_other(UmlComponent& component, const UmlElement& relation, const UmlElement& supplier) {
    if (relation.type == "Dependency" || relation.type == "Realization") return;
    if (relation.type == "Usage" && component_of(&supplier) != nullptr) {
      usages_of_components_.push_back({&component - components_.data(), &relation, &supplier});
      return;
    }
    complain(relation, std::format("{} leads from {} to {}, but has to lead to an interface{}", relation.type, component.element->described(),
                                   supplier.described(), relation.type == "Usage" ? " or a component; draw a dependency if nothing is required" : ""));
  }

  void take_port(UmlComponent& component, const UmlElement& port) {
    const XmlAttribute* conjugated = port.attribute("isConjugated");
    if (conjugated != nullptr && conjugated->value != "true" && conjugated->value != "false") {
      reading_.complain(conjugated->value_position, std::format("isConjugated is {}; write true or false", quote(conjugated->value)));
    }
    const bool is_conjugated = conjugated != nullptr && conjugated->value == "true";
    take_exposed(component, port);
    for (const UmlElement* type : model_.targets(port, "type")) {
      if (type->type == "Interface" && !is_conjugated) {
        provide(component, *type, {&port});
      } else if (type->type == "Interface") {
        require(component, {.interface = type, .said_at = {type, &port}});
      } else {
        for (const UmlElement* relation : relations_[type]) {
          if (drawn_[&component] > kMaxDrawn) return;
          take_relation(component, *relation, &port, is_conjugated);
        }
      }
    }
  }

  // Interfaces drawn at the component or the port alone, as Enterprise Architect does.
  void take_exposed(UmlComponent& component, const UmlElement& at) {
    const Elements drawn = &at == component.element ? Elements{} : Elements{&at};
    const auto said_at = [&](const UmlElement* interface) {
      Elements all{interface};
      all.insert(all.end(), drawn.begin(), drawn.end());
      return all;
    };
    for (const UmlElement* child : children_[&at]) {
      if (child->xml->name == "provided") provide(component, *child, drawn);
      if (child->xml->name == "required") require(component, {.interface = child, .said_at = said_at(child), .by_name = true});
    }
    for (const UmlElement* interface : model_.targets(at, "provided")) provide(component, *interface, drawn);
    for (const UmlElement* interface : model_.targets(at, "required")) {
      require(component, {.interface = interface, .said_at = said_at(interface)});
    }
  }

  void wire(UmlComponent& component) {
    for (const UmlElement* relation : relations_[component.element]) take_relation(component, *relation, nullptr, false);
    take_exposed(component, *component.element);
    for (const UmlElement* child : children_[component.element]) {
      if (child->type == "Port") take_port(component, *child);
      if (child->type == "Generalization" || child->xml->name == "generalization") {
        complain(*child, std::format("{} inherits from another element, which is not followed; draw what it provides and requires at itself",
                                     component.element->described()));
      }
    }
  }

  // When it is known what they provide.
  void wire_usages_of_components() {
    for (const auto& [index, usage, supplier] : usages_of_components_) {
      const UmlComponent& sponsor = *component_of(supplier);
      if (sponsor.provides.size() != 1) {
        complain(*usage, std::format("{} provides {} interfaces; let the usage lead to one of them", supplier->described(), sponsor.provides.size()));
        continue;
      }
      const UmlElement* interface = sponsor.provides.front().interface;
      require(components_[static_cast<std::size_t>(index)], {.interface = interface, .said_at = {interface, usage}, .sponsor = supplier});
    }
  }

  // --- Connectors ---

  struct End {
    const UmlElement* role = nullptr;
    UmlComponent* component = nullptr;  // nullptr: of none that counts
    bool is_delegation = false;         // the port of a frame
  };

  End end_of(const UmlElement& end) {
    const auto roles = model_.references(*end.xml, "role");
    const auto parts = model_.references(*end.xml, "partWithPort");
    if (roles.size() != 1 || parts.size() > 1) return {};
    End found{.role = roles.front().id.contains('#') ? nullptr : model_.find(roles.front())};
    if (found.role == nullptr) return found;
    if (!parts.empty()) {
      const UmlElement* part = parts.front().id.contains('#') ? nullptr : model_.find(parts.front());
      if (part != nullptr) found.component = component_of(type_of(*part));
    } else if (found.role->type == "Property") {
      found.component = component_of(type_of(*found.role));
    } else {
      const UmlElement* owner = found.role->owner;
      while (owner != nullptr && owner->type != "Component") owner = owner->owner;
      found.component = component_of(owner);
      found.is_delegation = found.component == nullptr;
    }
    return found;
  }

  void connect(const UmlElement& connector) {
    std::vector<End> ends;
    for (const UmlElement* child : children_[&connector]) {
      if (child->xml->name != "end") continue;
      ends.push_back(end_of(*child));
    }
    const auto count = std::ranges::count_if(ends, [](const End& end) { return end.component != nullptr; });
    if (count == 0) return;
    if (ends.size() != 2) return complain(connector, std::format("{} has {} ends; draw one from a port to another", connector.described(), ends.size()));
    if (ends[0].is_delegation || ends[1].is_delegation) return;
    if (count == 1) {
      return complain(connector, std::format("{} leads to what is no component of the application; connect ports of components", connector.described()));
    }
    const bool forth = join_ends(connector, ends[0], ends[1]);
    const bool back = join_ends(connector, ends[1], ends[0]);
    if (forth || back) return;
    complain(connector, std::format("{} connects {} and {}, of which at these ends neither requires what the other provides", connector.described(),
                                    ends[0].component->element->described(), ends[1].component->element->described()));
  }

  void note_ends() {
    for (UmlComponent& component : components_) {
      for (UmlRequired& required : component.required) {
        for (const UmlElement* at : required.said_at) required_at_[at].push_back(&required);
      }
      for (const UmlProvided& provided : component.provides) {
        for (const UmlElement* at : provided.said_at) provided_at_.emplace(at, provided.interface->name());
      }
    }
  }

  bool join_ends(const UmlElement& connector, const End& dependent, const End& sponsor) {
    bool joined = false;
    for (UmlRequired* required : required_at_[dependent.role]) {
      if (!provided_at_.contains({sponsor.role, required->interface->name()})) continue;
      if (required->sponsor != nullptr) {
        complain(connector, std::format("{} is connected already; draw a port for each connection", dependent.role->described()));
        return true;
      }
      joined = true;
      required->sponsor = sponsor.component->element;
      required->said_at.push_back(&connector);
    }
    return joined;
  }

  // Where it was drawn first, the interface itself not counted unless it is drawn there.
  template <typename Drawn>
  static std::size_t order_of(const Drawn& one) {
    if (one.said_at.size() == 1) return one.said_at.front()->order;
    std::size_t order = one.said_at[1]->order;
    for (std::size_t i = 2; i < one.said_at.size(); ++i) order = std::min(order, one.said_at[i]->order);
    return order;
  }
  static void put_in_order(UmlComponent& component) {
    std::ranges::stable_sort(component.provides, {}, order_of<UmlProvided>);
    std::ranges::stable_sort(component.required, {}, order_of<UmlRequired>);
  }

  struct ComponentUsage {
    std::ptrdiff_t dependent = 0;
    const UmlElement* usage = nullptr;
    const UmlElement* supplier = nullptr;
  };

  const UmlModel& model_;
  const UmlElement& scope_;
  Reading& reading_;
  std::vector<UmlComponent> components_;
  std::map<const UmlElement*, std::size_t> index_;
  std::map<const UmlElement*, Elements> children_;
  std::map<const UmlElement*, Elements> relations_;  // by client
  std::map<const UmlComponent*, std::size_t> drawn_;
  std::vector<ComponentUsage> usages_of_components_;
  std::map<const UmlElement*, std::vector<UmlRequired*>> required_at_;                // by what a connector may end at
  std::set<std::pair<const UmlElement*, std::string_view>> provided_at_;  // and the interface's name
};

}  // namespace

std::vector<UmlComponent> read_wiring(const UmlModel& model, const UmlElement& scope, Reading& reading) {
  return Wiring(model, scope, reading).run();
}

}  // namespace perdure::model
