// From the services of a Compose application to the keys of docs/application.md. Private to this room.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/compose/compose_files.h"
#include "model/reading.h"

namespace perdure::model::compose {

struct Lowered {
  YamlNode root{};  // for read_application_map() (application_table.h)
  // What components and containers are called in the Compose file, for messages: "services.web", "x-ha.containers[0]".
  std::vector<std::string> component_paths{};
  std::vector<std::string> container_paths{};
  std::string name_path = "name";
};

Lowered lower_project(Reading& reading, std::vector<Note>& notes, Files& files, const ComposeOptions& options, const Project& project);

// A message about `lowered.root` in the words of the Compose file.
std::string in_compose_words(const Lowered& lowered, std::string message);

}  // namespace perdure::model::compose
