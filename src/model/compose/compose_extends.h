// One service over another, as `extends` has it. Private to this room.
#pragma once

#include <string>

#include "model/reading.h"
#include "model/yaml_adapter.h"

namespace perdure::model::compose {

// Of keys that have several forms only the long one is left: `environment` and the like become maps (a variable without a value has a
// null), `depends_on` and `networks` maps by name, `env_file`, `dns` and the like lists. Complains about what has none of its forms.
void settle_forms(Reading& reading, YamlNode& service);

// Relative paths of the host start at `directory` (absolute).
void settle_paths(YamlNode& service, const std::string& directory);

// `service` over `base`, both settled: maps by key, lists one behind the other, volumes by where they are mounted; the
// command, the entrypoint, the probe's test and lists in x-ha are those of `service` if it has any.
YamlNode extend_service(YamlNode base, YamlNode service);

}  // namespace perdure::model::compose
