#include "model/application/application_plantuml.h"

#include <algorithm>
#include <format>
#include <set>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "model/application/derive.h"
#include "model/value_codec.h"

namespace perdure::model {
namespace {

// As what PlantUML shows between double quotes: it has no escape for the quote, and takes some pairs for formats or line ends.
std::string escape(std::string_view text) {
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || byte >= 0x80 || c == ' ' ||
                       c == '.' || c == '/' || c == ':' || c == '=' || c == ',';
    const bool single_dash = c == '-' && !result.ends_with('-');
    result += plain || single_dash ? std::string(1, c) : std::format("<U+{:04X}>", unsigned{byte});
  }
  return result;
}

std::string component_id(std::size_t component) { return std::format("c{}", component + 1); }
std::string interface_id(std::size_t component, std::size_t interface) { return std::format("i{}_{}", component + 1, interface + 1); }

std::string protocol_of(const ProvidedInterface& provided) {
  switch (provided.protocol) {
    case Protocol::kTcp: return "tcp";
    case Protocol::kUdp: return "udp";
    case Protocol::kHttp: return "http";
    case Protocol::kRtsp: return "rtsp";
  }
  return "";
}

class Drawing {
 public:
  explicit Drawing(const Application& application) : application_(application) {}

  std::string run() {
    line(std::format("@startuml {}", escape(application_.name.str())));
    line(std::format("title {}", escape(application_.name.str())));
    line("left to right direction");
    draw_containers();
    for (std::size_t i = 0; i < application_.components.size(); ++i) {
      if (!drawn_.contains(i)) draw_component(i, "");
    }
    for (std::size_t i = 0; i < application_.components.size(); ++i) draw_provided(i);
    for (std::size_t i = 0; i < application_.components.size(); ++i) draw_required(i);
    line("@enduml");
    return std::move(text_);
  }

 private:
  void line(std::string_view text) {
    text_ += text;
    text_ += '\n';
  }

  void draw_containers() {
    for (const ContainerSettings& container : application_.containers) {
      line(std::format("node \"{}\" <<container>> {{", escape(container.name)));
      for (const std::string& name : container.components) {
        const auto component = std::ranges::find(application_.components, name, &Component::name);
        PERDURE_ASSERT(component != application_.components.end());
        const auto index = static_cast<std::size_t>(component - application_.components.begin());
        drawn_.insert(index);
        draw_component(index, "  ");
      }
      line("}");
    }
  }

  void draw_component(std::size_t index, std::string_view indent) {
    const Component& component = application_.components[index];
    const bool stateful = state_of(component) == StateKind::kStateful;
    const std::string replicas = component.replicas > 1 ? std::format("\\n{} replicas", component.replicas) : "";
    line(std::format("{}component \"{}{}\" as {} <<{}>>", indent, escape(component.name()), replicas, component_id(index),
                     stateful ? "stateful" : "stateless"));
  }

  void draw_provided(std::size_t index) {
    const auto& all = application_.components[index].provides;
    for (std::size_t i = 0; i < all.size(); ++i) {
      std::string label = escape(all[i].name);
      if (all[i].port) label += std::format("\\n{} {}", protocol_of(all[i]), *all[i].port);
      if (all[i].state_sensitivity) label += std::format("\\nstate sensitivity {}", spell(*all[i].state_sensitivity));
      const std::string_view stateful = all[i].state == StateKind::kStateful ? " <<stateful>>" : "";
      line(std::format("() \"{}\" as {}{}", label, interface_id(index, i), stateful));
      line(std::format("{} -- {}", component_id(index), interface_id(index, i)));
    }
  }

  void draw_required(std::size_t index) {
    for (const RequiredInterface& required : application_.components[index].required) {
      const Sponsor sponsor = sponsor_of(application_, required);
      PERDURE_ASSERT(sponsor.found == Sponsor::Found::kOne);
      const auto& provides = application_.components[sponsor.component].provides;
      const auto place = std::ranges::find(provides, required.interface, &ProvidedInterface::name) - provides.begin();
      std::string label;
      const auto add = [&](const std::string& text) { label += (label.empty() ? " : " : "\\n") + text; };
      if (required.delay_tolerance) add("delay tolerance " + spell(*required.delay_tolerance));
      if (required.outage_tolerance) add("outage tolerance " + spell(*required.outage_tolerance));
      line(std::format("{} --( {}{}", component_id(index), interface_id(sponsor.component, static_cast<std::size_t>(place)), label));
    }
  }

  const Application& application_;
  std::set<std::size_t> drawn_;
  std::string text_;
};

}  // namespace

std::string to_plantuml(const Application& application) { return Drawing(application).run(); }

}  // namespace perdure::model
