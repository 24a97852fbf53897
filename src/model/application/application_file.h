// An application's file in whichever form it is.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/application/application.h"
#include "model/application/application_compose.h"

namespace perdure::model {

enum class ApplicationForm { kYaml, kXmi, kCompose };

// "yaml", "xmi" or "compose"; nullopt: none of them.
std::optional<ApplicationForm> find_application_form(std::string_view word);

// By what the text begins with and what the file is called: XML, or a file of UML, is a UML model; what is called as Compose calls its
// files, or has services, is a Compose file; everything else is YAML.
ApplicationForm form_of_application(std::string_view text, std::string_view file_name);

struct ReadApplication {
  Application application;
  std::vector<std::string> notes{};  // "FILE:LINE:COLUMN: what has no effect, and why"; of Compose files only
};

// Reads a text of that form; errors as of read_application() (application_yaml.h), read_application_xmi() (application_xmi.h) and
// read_application_compose() (application_compose.h).
Result<ReadApplication> read_application_form(ApplicationForm form, std::string_view text, std::string_view file_name,
                                              std::string_view base_directory = {}, const ComposeOptions& options = {});

// Of a file, in whose directory relative paths start; in the form that it is found to have, unless `form` says which. In
// addition: the errors of opening and reading it.
Result<ReadApplication> read_any_application_file(const std::string& path, std::optional<ApplicationForm> form = std::nullopt,
                                                  const ComposeOptions& options = {});

}  // namespace perdure::model
