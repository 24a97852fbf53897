// An Application from a Compose file with `x-ha:` extensions. What each key becomes is documented in docs/compose.md. Source:
// the Compose specification (github.com/compose-spec/compose-spec).
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/application/application.h"

namespace perdure::model {

// What an image runs where a service does not say it (OCI image spec, "config"); all empty: it does not say it either.
struct ComposeImage {
  std::vector<std::string> entrypoint{};
  std::vector<std::string> command{};
  std::string working_directory{};
  std::string user{};
};

struct ComposeOptions {
  std::vector<std::string> profiles{};  // beside those of COMPOSE_PROFILES; "*" is all of them
  // For the variables in the files; comes before what a .env file says.
  std::map<std::string, std::string, std::less<>> environment{};
  std::optional<std::string> env_file{};  // absent: .env beside the file, if there is one
  // The text of a file by its absolute path, or an error if it is longer than `max_bytes`; kNotFound if there is none. Empty: from
  // the disk.
  std::function<Result<std::string>(const std::string& path, std::size_t max_bytes)> read_text{};
  // Of an OCI layout. Empty, or an error: nothing is known, and services have to say what they run.
  std::function<Result<ComposeImage>(const OciRoot& image)> find_image{};
};

struct ComposeResult {
  Application application;
  std::vector<std::string> notes{};  // "FILE:LINE:COLUMN: what has no effect, and why", in the order of the files
};

// `text` is that of the file `file_name` in the absolute directory `base_directory`; those that it includes, extends and takes
// variables from are read too. kInvalid with one line per error, each with its own file, as read_application()
// (application_yaml.h).
Result<ComposeResult> read_application_compose(std::string_view text, std::string_view file_name, std::string_view base_directory,
                                               const ComposeOptions& options = {});

// Whether a text looks like one: it, or its name, says so.
bool is_compose_file(std::string_view text, std::string_view file_name);

// The whole text of docs/compose.md.
std::string compose_reference_markdown();

}  // namespace perdure::model
