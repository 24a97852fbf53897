// An Application from YAML and back: the native form. The keys are documented in
// docs/application.md.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/application/application.h"
#include "model/spec_keys.h"

namespace perdure::model {

// As of a spec, for the same reason.
inline constexpr std::size_t kMaxApplicationBytes = std::size_t{256} << 10;

// kInvalid with one line per error, as read_spec() (model/spec_yaml.h). Relative paths of the host
// start at `base_directory`; if it is empty they are refused.
Result<Application> read_application(std::string_view yaml, std::string_view file_name,
                                     std::string_view base_directory = {});

// Canonical: what differs from its default, in the order of docs/application.md. For an application
// that satisfies the rules, read_application(to_yaml(a)) == a.
std::string to_yaml(const Application& application);

// In the order in which they are documented and written.
std::vector<SpecKey> application_keys();
// The whole text of docs/application.schema.json (model/json_schema.h).
std::string application_json_schema();
// The whole text of docs/application.md.
std::string application_reference_markdown();

}  // namespace perdure::model
