#include "model/spec_keys.h"

#include <array>
#include <format>

#include "base/assert.h"
#include "model/json_schema.h"
#include "model/manual.h"
#include "model/spec_yaml.h"

namespace perdure::model {
namespace {

// In the order of the table; a key belongs to the last section whose prefix it has.
constexpr std::array<ManualSection, 12> kSections = {{
    {"", "The container"},
    {"root-filesystem.", "root-filesystem"},
    {"network.", "network"},
    {"volumes", "volumes"},
    {"components", "components"},
    {"checkpoint.", "checkpoint"},
    {"restart.", "restart"},
    {"stop.", "stop"},
    {"resources.", "resources"},
    {"log.", "log"},
    {"security.", "security"},
    {"application.", "application"},
}};

constexpr std::string_view kIntroduction = R"(# The spec of a container

<!-- Printed from the table in src/model; edit that, not this. -->

A container is described by one YAML file. Keys are written in lower case with dashes; sections are maps.
What is not known, given twice or out of range is refused with `file:line:column` and a remedy, all errors
at once (the first {} of them). Examples: `examples/*.yaml`.

- **Durations** are a number and a unit (`ns`, `us`, `ms`, `s`, `min`, `h`, `d`): `500ms`, `1.5s`.
- **Sizes** likewise (`B`, `KB`, `MB`, `GB`, `TB` count in thousands, `KiB`, `MiB`, `GiB`, `TiB` in 1024): `512MiB`.
- **Paths** are absolute, without `//`, `.`, `..` and a slash at the end, at most 4095 bytes.
- **Host paths** are paths on the host. They may be relative and then start at the directory of the file.
- Any value may be quoted; numbers and words need no quotes.

```yaml
name: counter
root-filesystem:
  tar: images/python.tar.zst
command: [python3, /app/counter.py]
network:
  bridge: br0
  ipv4: 192.0.2.10/24
checkpoint:
  interval: 500ms
```

## Limits of the file

| limit | value | reason |
|---|---|---|
| size | {} KiB | a spec is written by a person |
| nesting | {} levels | a spec needs five |
| values, aliases expanded | {} | a small file must not grow without bound by aliases |
| text, aliases expanded | {} KiB | the same |

Not understood and refused: tags (`!name`), merge keys (`<<`), keys that are no text, a second document in
the file, encodings other than UTF-8, control characters.
)";

std::string introduction() {
  return std::format(kIntroduction, kMaxSpecErrors, kMaxSpecBytes >> 10, kMaxYamlDepth,
                     kMaxYamlNodes, kMaxYamlTextBytes >> 10);
}

}  // namespace

std::vector<SpecKey> spec_keys() {
  const auto name = ContainerName::parse("unnamed");
  PERDURE_ASSERT(name.has_value());
  std::vector<SpecKey> keys;
  document("", container_table(), ContainerSpec{.name = *name}, keys);
  document_items("volumes", "[].", volume_table(), keys);
  document_items("network.hosts", "[].", host_entry_table(), keys);
  document_items("network.tcp-ports", "[].", tcp_port_table(), keys);
  document_items("application.near", "[].", vicinity_table(), keys);
  document_items("components", "[].", component_table(), keys);
  document_items("components[].depends-on", "[].", dependency_table(), keys);
  document_items("components[].probe", ".", probe_table(), keys);
  return keys;
}

std::string spec_json_schema() { return json_schema_of("The spec of a container of Perdure", spec_keys()); }

std::string spec_reference_markdown() {
  return introduction() + manual_of(spec_keys(), kSections);
}

}  // namespace perdure::model
