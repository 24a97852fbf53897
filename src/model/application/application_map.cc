// An application as a tree of plain values, which all its forms have in common.
#include <algorithm>

#include "model/application/application_table.h"
#include "model/manual.h"

namespace perdure::model {
namespace {

Application unnamed() { return {.name = ContainerName::parse("unnamed").value()}; }

// The order of packages means nothing, so that the same ones are the same application.
void put_in_order(Application& application) {
  for (Component& component : application.components) std::ranges::sort(component.artefact.packages);
  for (ContainerSettings& container : application.containers) {
    std::ranges::sort(container.settings.network.tcp_ports);
    auto& capabilities = container.settings.security.capabilities;
    std::ranges::sort(capabilities);
    const auto same = std::ranges::unique(capabilities);
    capabilities.erase(same.begin(), same.end());
  }
}

}  // namespace

Application read_application_map(Reading& reading, const YamlNode& root) {
  Application application = unnamed();
  read_table(reading, "", root, application_table(), application);
  check_application(reading, application);
  put_in_order(application);
  return application;
}

YamlNode write_application_map(const Application& application) {
  return write_changes(application_table(), application, unnamed());
}

std::vector<SpecKey> all_application_keys() {
  std::vector<SpecKey> keys;
  document("", application_table(), unnamed(), keys);
  document_items("components", "[].", application_component_table(), keys);
  document_items("components[].artefact.files", "[].", copied_file_table(), keys);
  document_items("components[].provides", "[].", provided_interface_table(), keys);
  document_items("components[].requires", "[].", required_interface_table(), keys);
  document_items("components[].probe", ".", probe_table(), keys);
  document_items("containers", "[].", container_settings_table(), keys);
  document_items("containers[].volumes", "[].", volume_table(), keys);
  document_items("containers[].network.hosts", "[].", host_entry_table(), keys);
  document_items("containers[].network.tcp-ports", "[].", tcp_port_table(), keys);
  return keys;
}

}  // namespace perdure::model
