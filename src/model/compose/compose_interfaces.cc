// What a service provides and requires.
#include <algorithm>
#include <format>
#include <utility>

#include "model/compose/compose_service.h"
#include "model/compose/compose_tree.h"
#include "model/compose/compose_values.h"
#include "model/text.h"

namespace perdure::model::compose {
namespace {

using Kind = YamlNode::Kind;

void add_offer(Lowering& service, Offer offer) {
  const auto same = [&](const Offer& other) { return other.port == offer.port && other.udp == offer.udp; };
  const auto there = std::ranges::find_if(service.offers, same);
  if (there == service.offers.end()) {
    service.offers.push_back(std::move(offer));
  } else if (there->said.items.empty()) {
    there->said = std::move(offer.said);  // exposed and published: what is said of either holds
  }
}

void add_offers(Lowering& service, std::string_view key, const YamlNode& node, std::string_view text, const YamlNode* said) {
  const auto ports = parse_ports(text);
  if (!ports) return service.refuse(node.position, key, ports.error().message());
  for (const Port& port : *ports) {
    add_offer(service, {.port = port.target, .udp = port.udp, .position = node.position, .said = said != nullptr ? *said : empty_map(node.position)});
  }
  const Port& first = ports->front();
  const std::string target = std::to_string(first.target);
  if (!first.published.empty() && first.published.substr(0, first.published.find('-')) != target) {
    service.note(node.position, key, std::format("nothing is published, clients reach the container's own address at port {} instead of {}", target,
                                                 first.published));
  }
}

// The long form as text of the short one.
void lower_long_port(Lowering& service, const YamlNode& node) {
  expect_keys(service, "ports", node, {"target", "published", "protocol", "host_ip", "mode", "name", "app_protocol"});
  const auto word = [&](const char* key) { return text_of(node, key); };
  const std::string published = word("published");
  const std::string protocol = word("protocol");
  YamlNode said = empty_map(node.position);
  const YamlNode* extension = find(node, "x-ha");
  if (extension != nullptr && extension->kind != Kind::kNull && expect_form(service, "ports.x-ha", *extension, Kind::kMap)) said = *extension;
  if (!word("name").empty() && find(said, "name") == nullptr) set(said, "name", key_position(node, "name"), *find(node, "name"));
  if (word("app_protocol") == "http" && find(said, "protocol") == nullptr) {
    set(said, "protocol", key_position(node, "app_protocol"), scalar("http", key_position(node, "app_protocol")));
  }
  add_offers(service, "ports", node,
             std::format("{}{}{}{}{}", published, published.empty() ? "" : ":", word("target"), protocol.empty() ? "" : "/", protocol), &said);
}

void lower_condition(Lowering& service, const YamlNode& node, Need& need) {
  const std::string at = "depends_on." + need.service;
  if (!expect_form(service, at, node, Kind::kMap)) return;
  expect_keys(service, at, node, {"condition", "restart", "required"});
  if (const YamlNode* condition = find(node, "condition")) {
    const std::string& word = condition->text;
    if (word == "service_started") need.until = "started";
    else if (word == "service_healthy") need.until = "ready";
    else if (word == "service_completed_successfully") need.until = "finished";
    else
      service.refuse(condition->position, at, std::format("{} is not understood; write service_started, service_healthy or "
                                                          "service_completed_successfully",
                                                          quote(word)));
  }
  for (const auto& [key, flag] : {std::pair("restart", &need.restart), std::pair("required", &need.required)}) {
    const YamlNode* value = find(node, key);
    if (value == nullptr) continue;
    const auto parsed = parse_flag(value->text);
    if (parsed) *flag = *parsed;
    else service.refuse(value->position, at + "." + key, parsed.error().message());
  }
  const YamlNode* extension = find(node, "x-ha");
  if (extension != nullptr && extension->kind != Kind::kNull && expect_form(service, at + ".x-ha", *extension, Kind::kMap)) need.said = *extension;
}

// --- Who provides what, and who requires it ---

class Wiring {
 public:
  Wiring(std::vector<Lowering>& services, const Project& project) : services_(services), project_(project) {}

  void run() {
    for (Lowering& service : services_) name_interfaces(service);
    for (Lowering& service : services_) {
      for (const Need& need : service.needs) provide_something(need);
    }
    for (Lowering& service : services_) require(service);
  }

 private:
  static bool is_the_same_port(const YamlNode& provided, const Offer& offer) {
    return text_of(provided, "port") == std::to_string(offer.port) && (text_of(provided, "protocol") == "udp") == offer.udp;
  }

  void name_interfaces(Lowering& service) {
    const YamlNode* ours = find(service.service, "x-ha");
    const YamlNode* own = ours == nullptr ? nullptr : find(*ours, "provides");
    YamlNode provides = empty_list(service.component.position);
    if (own != nullptr && own->kind != Kind::kSequence) {
      set(service.component, "provides", own->position, *own);  // refused when it is read
      return;
    }
    for (const YamlNode& item : items_of(own)) provides.items.push_back(item);
    const std::size_t said = provides.items.size();
    for (const Offer& offer : service.offers) {
      const auto end = provides.items.begin() + static_cast<std::ptrdiff_t>(said);
      if (std::any_of(provides.items.begin(), end, [&](const YamlNode& item) { return is_the_same_port(item, offer); })) continue;
      provides.items.push_back(interface_of(service, offer, ours));
    }
    const bool has_state = ours != nullptr && (find(*ours, "state") != nullptr || find(*ours, "state-sensitivity") != nullptr);
    if (provides.items.empty() && has_state) {
      YamlNode item = empty_map(service.component.position);
      set(item, "name", item.position, scalar(service.name, item.position));
      put_state(item, ours);
      provides.items.push_back(std::move(item));
    }
    if (!provides.items.empty()) set(service.component, "provides", provides.position, std::move(provides));
  }

  static YamlNode interface_of(const Lowering& service, const Offer& offer, const YamlNode* ours) {
    YamlNode item = empty_map(offer.position);
    std::string name = service.name;
    if (service.offers.size() > 1) {
      const bool both = std::ranges::count(service.offers, offer.port, &Offer::port) > 1;
      name += std::format("-{}{}", offer.port, both && offer.udp ? "-udp" : "");
    }
    set(item, "name", offer.position, scalar(std::move(name), offer.position));
    set(item, "port", offer.position, scalar(std::to_string(offer.port), offer.position));
    if (offer.udp) set(item, "protocol", offer.position, scalar("udp", offer.position));
    put_state(item, ours);
    overlay(item, offer.said);
    return item;
  }

  static void put_state(YamlNode& item, const YamlNode* ours) {
    if (ours == nullptr) return;
    for (const char* key : {"state", "state-sensitivity"}) {
      if (const YamlNode* value = find(*ours, key)) set(item, key, key_position(*ours, key), *value);
    }
  }

  Lowering* find_service(std::string_view name) {
    const auto found = std::ranges::find(services_, name, &Lowering::name);
    return found == services_.end() ? nullptr : &*found;
  }

  static const std::vector<YamlNode>& provided_by(const Lowering& service) { return items_of(find(service.component, "provides")); }

  // What others only wait for has an interface too.
  void provide_something(const Need& need) {
    Lowering* sponsor = find_service(need.service);
    if (sponsor == nullptr || find(sponsor->component, "provides") != nullptr) return;
    const Position position = sponsor->component.position;
    YamlNode item = empty_map(position);
    set(item, "name", position, scalar(sponsor->name, position));
    list_in(sponsor->component, "provides", position).items.push_back(std::move(item));
  }

  bool is_provided_by_others(const Lowering& sponsor, std::string_view interface) const {
    return std::ranges::any_of(services_, [&](const Lowering& other) {
      return &other != &sponsor && std::ranges::any_of(provided_by(other), [&](const YamlNode& item) { return text_of(item, "name") == interface; });
    });
  }

  bool is_of(const Lowering& sponsor, const YamlNode& required) const {
    const std::string named = text_of(required, "sponsor");
    if (!named.empty()) return named == sponsor.name;
    return std::ranges::any_of(provided_by(sponsor), [&](const YamlNode& item) { return text_of(item, "name") == text_of(required, "interface"); });
  }

  void require(Lowering& service) {
    const YamlNode* ours = find(service.service, "x-ha");
    if (const YamlNode* own = ours == nullptr ? nullptr : find(*ours, "requires")) set(service.component, "requires", own->position, *own);
    for (const Need& need : service.needs) {
      const Lowering* sponsor = find_service(need.service);
      if (sponsor == nullptr) {
        complain_about_nobody(service, need);
        continue;
      }
      YamlNode& requires_list = list_in(service.component, "requires", need.position);
      bool is_said = false;
      for (YamlNode& item : requires_list.items) {
        if (!is_of(*sponsor, item)) continue;
        is_said = true;
        complete(item, need);
      }
      if (!is_said) requires_list.items.push_back(requirement(*sponsor, need));
    }
  }

  static void complete(YamlNode& item, const Need& need) {
    if (find(item, "until") == nullptr) set(item, "until", need.position, scalar(need.until, need.position));
    if (need.restart && find(item, "on-restart") == nullptr) set(item, "on-restart", need.position, scalar("restart", need.position));
  }

  YamlNode requirement(const Lowering& sponsor, const Need& need) const {
    YamlNode item = empty_map(need.position);
    overlay(item, need.said);
    if (find(item, "interface") == nullptr) {
      const std::string interface = provided_by(sponsor).empty() ? sponsor.name : text_of(provided_by(sponsor).front(), "name");
      set(item, "interface", need.position, scalar(interface, need.position));
    }
    if (find(item, "sponsor") == nullptr && is_provided_by_others(sponsor, text_of(item, "interface"))) {
      set(item, "sponsor", need.position, scalar(sponsor.name, need.position));
    }
    complete(item, need);
    return item;
  }

  void complain_about_nobody(Lowering& service, const Need& need) {
    const std::string at = "depends_on." + need.service;
    const YamlNode* all = find(project_.root, "services");
    if (all != nullptr && find(*all, need.service) != nullptr) {
      if (!need.required) return service.note(need.position, at, "is in none of the chosen profiles, and left out");
      return service.refuse(need.position, at, "is in none of the chosen profiles; choose one of its profiles, or write 'required: false'");
    }
    if (!need.required) return service.note(need.position, at, "is no service of the file, and left out");
    std::vector<std::string> known;
    for (const Lowering& other : services_) known.push_back(other.name);
    service.refuse(need.position, at, "is no service of the file; " + did_you_mean(need.service, known, "remove it"));
  }

  std::vector<Lowering>& services_;
  const Project& project_;
};

}  // namespace

void wire_services(std::vector<Lowering>& services, const Project& project) { Wiring(services, project).run(); }

void lower_ports(Lowering& service, const YamlNode& node) {
  if (!expect_form(service, "ports", node, Kind::kSequence)) return;
  for (const YamlNode& item : node.items) {
    if (item.kind == Kind::kMap) lower_long_port(service, item);
    else if (const YamlNode* text = expect_text(service, "ports", item)) add_offers(service, "ports", item, text->text, nullptr);
  }
}

void lower_expose(Lowering& service, const YamlNode& node) {
  if (!expect_form(service, "expose", node, Kind::kSequence)) return;
  for (const YamlNode& item : node.items) {
    if (const YamlNode* text = expect_text(service, "expose", item)) add_offers(service, "expose", item, text->text, nullptr);
  }
}

void lower_depends_on(Lowering& service, const YamlNode& node) {
  if (!expect_form(service, "depends_on", node, Kind::kMap)) return;
  for (std::size_t i = 0; i < node.items.size(); ++i) {
    Need need{.service = node.keys[i].text, .position = node.keys[i].position, .said = empty_map(node.keys[i].position)};
    if (node.items[i].kind != Kind::kNull) lower_condition(service, node.items[i], need);
    service.needs.push_back(std::move(need));
  }
}

void lower_links(Lowering& service, const YamlNode& node) {
  if (!expect_form(service, "links", node, Kind::kSequence)) return;
  for (const YamlNode& item : node.items) {
    const YamlNode* text = expect_text(service, "links", item);
    if (text == nullptr) continue;
    const auto colon = text->text.find(':');
    const std::string name = text->text.substr(0, colon);
    if (colon != std::string::npos && text->text.substr(colon + 1) != name) {
      service.refuse(item.position, "links", std::format("{} gives a service another name; use its own, {}", quote(text->text), quote(name)));
      continue;
    }
    const YamlNode* stated = find_path(service.service, "depends_on");
    if (stated != nullptr && find(*stated, name) != nullptr) continue;
    service.needs.push_back({.service = name, .position = item.position, .said = empty_map(item.position)});
  }
}

}  // namespace perdure::model::compose
