// The tables of an application's keys (model/table.h). Private to this room.
#pragma once

#include <vector>

#include "model/application/application.h"
#include "model/table.h"

namespace perdure::model {

const Table<Application>& application_table();
const Table<Component>& application_component_table();
const Table<CopiedFile>& copied_file_table();
const Table<ProvidedInterface>& provided_interface_table();
const Table<RequiredInterface>& required_interface_table();
const Table<ContainerSettings>& container_settings_table();

// Complains about what no single key can tell. Whatever the form that the application was read from,
// the paths are those of docs/application.md.
void check_application(Reading& reading, const Application& application);

// The application that a map of the keys of docs/application.md says, whatever form it was read from; complains about what
// is wrong with it.
Application read_application_map(Reading& reading, const YamlNode& root);
// The other way round: what differs from its default.
YamlNode write_application_map(const Application& application);

// All keys with those of a container's spec, which the manual has elsewhere.
std::vector<SpecKey> all_application_keys();

}  // namespace perdure::model
