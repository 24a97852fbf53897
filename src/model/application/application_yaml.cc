#include "model/application/application_yaml.h"

#include <algorithm>
#include <array>
#include <format>
#include <utility>

#include "model/application/application_table.h"
#include "model/application/application_xmi.h"
#include "model/json_schema.h"
#include "model/manual.h"
#include "model/spec_yaml.h"
#include "model/yaml_writer.h"

namespace perdure::model {
namespace {

Application read_root(Reading& reading, const YamlNode& root) {
  if (root.kind == YamlNode::Kind::kMap) return read_application_map(reading, root);
  reading.complain(root.position, root.kind == YamlNode::Kind::kNull
                                      ? "the application is empty; begin it with 'application: NAME'"
                                      : "an application is a map of keys; begin it with 'application: NAME'");
  return {.name = ContainerName::parse("unnamed").value()};
}

constexpr std::array<ManualSection, 5> kSections = {{
    {"", "The application"},
    {"network.", "network"},
    {"components", "components"},
    {"containers", "containers"},
    {"placement.", "placement"},
}};

constexpr std::string_view kIntroduction = R"(# The model of an application

<!-- Printed from the table in src/model/application; edit that, not this. -->

An application is described by its components: what each provides and what it requires of the others (the extended UML
component diagram of the paper, Fig. 3). Which containers they run in, how those are protected and where they are placed
follows from it. How a file is written, its limits and its errors are those of a container's spec (`docs/spec.md`).

```yaml
application: pair
network:
  bridge: br0
  addresses: [192.0.2.20-192.0.2.29/24]
components:
  - name: comp-a
    artefact:
      packages: [python3-minimal]
      files: [{{from: a.py, to: /app/a.py}}]
    command: [python3, /app/a.py]
    provides: [{{name: interface-a, port: 8080, protocol: http}}]
    requires:
      - {{interface: interface-b, delay-tolerance: 1ms, outage-tolerance: 5s}}
  - name: comp-b
    artefact:
      packages: [python3-minimal]
      files: [{{from: b.py, to: /app/b.py}}]
    command: [python3, /app/b.py]
    provides:
      - name: interface-b
        port: 9000
        state: stateful
        state-sensitivity: 500ms
```

What follows from it:

- A component is **stateful** if one of the interfaces it provides is.
- The **interval** of a container's checkpoints follows from the shortest `state-sensitivity` of its components.
- A stateless component that fails is started again by itself; the failure of a stateful one is its container's, which goes
  back to a generation (`docs/recovery.md`).
- A component is started behind those that it requires, whether they share a container or not.

`perdure model check FILE` checks a model and says what follows from it; `perdure model schema` prints a JSON Schema, with which
an editor completes and checks a file while it is written.

`perdure plan FILE` shows, on a node of a cluster, which containers the components share, where each would run and why, the expected
availability and what the failure of each node would cause. `perdure apply FILE` builds their images, starts them behind their
sponsors and waits until they are ready and stood by; run again, it changes what differs. `perdure diff FILE` shows what that would
be, `perdure delete APPLICATION` removes all.

- A container is called APPLICATION-COMPONENT, or as `containers` names it; of replicas each has a number.
- A component finds those that it requires by their names, which stand in its container's /etc/hosts.
- A container keeps its address, and its place as long as it may stay there. One whose specification has changed is removed, with
  its memory and its files, and made anew; `apply` says so before.
- Memory and processors are counted as the components say (`resources`), also where a standby would need them; nine tenths of a
  node's memory are given out. Where no node has a label `rack` or `data-centre` all are taken to be in one; where some have, a node
  without is far from all others.
- Each container has the standbys that `placement.standbys` says, also one without state: it goes on there from its newest checkpoint.

Files have at most {} KiB, an application at most {} components. A model may be drawn as well as written: see [UML](#uml) and [Compose](#compose).
)";

constexpr std::string_view kUml = R"(
## After a failure

Placement keeps every delay tolerance, also after the failure of any one node where it can: a container's standby is where that of its
sponsor is. When only one of them fails over, or is moved, whoever depends on it follows as soon as the other has stayed for 3 s where it
is, by a planned move to a standby that is close enough: no state is lost, no connection is closed (event `follows_sponsors`).
A dependency that bears the distance, or says no tolerance, moves nobody. A sponsor never follows those that depend on it.

What an operator has moved stays where it is, also if that is too far, until one of its sponsors goes elsewhere. So does what has come
because it did not hold where it was, or because its clients could not be reached from there, and what is found after a start of
`perdured`. `inspect` shows what is too far and why the container stays, `perdure status` counts it as a
problem, and after 30 s the event `far_from_sponsors` tells of it. `perdure apply`, run again, places the whole application anew.

A container that has to be started afresh is started behind its sponsors, as at the first time: it waits for those that are on their
way, at most 10 s.

## Compose

An existing Compose file is read too, with what makes it highly available in `x-ha`: [compose.md](compose.md).

## UML

The same application as a UML model in XMI 2, as Papyrus and other tools on Eclipse UML2 save it (2.1 to 5), Enterprise Architect
exports it, or the OMG describes it. `perdure model check` knows it by its content; `perdure model convert` makes one form of the
other, and a PlantUML diagram of both; `perdure model draw` draws both as SVG. Nothing that YAML says is lost on the way. A file has at
most {} MiB. Values, ranges, rules and the paths in messages are those above.

| UML | is |
|---|---|
| Model, or the Package with «Application» | the application; its name, `application` |
| Component | a component and its name. Without «Component», one that holds others (nested, or as parts) is the frame around them and does not count. |
| InterfaceRealization (or Realization) of an Interface | `provides`; the interface's name |
| Usage (or Dependency) of an Interface | `requires`. Of a Component that provides one interface alone: this one. |
| Port typed by an Interface | `provides`; with `isConjugated`, `requires` |
| Port typed by a Class | what the class realizes and uses; with `isConjugated` the other way round |
| `provided`, `required` of a component or port (Enterprise Architect) | the same, by name |
| Connector of two ports | which component is the `sponsor`, where several provide the interface |
| Node (or ExecutionEnvironment) with «Container» | a container, with the `components` that it names |
| Package with «Container» | a container of the components in it |

What UML has no place for is said by stereotypes of the profile `perdure.profile.uml` (`perdure model profile`, or `examples/uml`; each
example has a model that uses it): «Application», «Component», «ProvidedInterface», «RequiredInterface» and «Container». Their attributes are the keys
in other letters: `probe.max-age` of a component is `probeMaxAge` of «Component», `state-sensitivity` is `stateSensitivity`. All are text,
written as in YAML. What is said of an interface holds for all that provide or require it; of a realization, usage, port or connector
for that one, and comes first.

- A list has one value for each item. In an XML attribute they are separated by blanks. `[]` is a list that is empty.
- A map has values `NAME=VALUE`: `environment`, `securitySysctls`.
- `artefactFiles` has values `FROM -> TO`; `volumes` and `networkTcpPorts` have maps in one line, `{{name: data, mount: /data}}`.
- What XML cannot write, control characters for instance, is a YAML text behind `yaml:`, as in `yaml:"\x1b[0m"`.

Elements are told apart by their ids and namespaces, not by names and prefixes. Stereotypes of other profiles, `eAnnotations`, diagrams and
`xmi:Extension` do not count, nor does what is no component, interface or relation of both. What is drawn but cannot be followed is
refused: a component that inherits, an interface in another file, a usage of a class, two parts of one component (say `replicas`).
)";

}  // namespace

Result<Application> read_application(std::string_view yaml, std::string_view file_name, std::string_view base_directory) {
  return read_document<Application>(yaml, "application", kMaxApplicationBytes, file_name, base_directory, read_root);
}

std::string to_yaml(const Application& application) {
  return write_yaml(write_application_map(application));
}

std::vector<SpecKey> application_keys() {
  std::vector<SpecKey> keys = all_application_keys();
  std::erase_if(keys, [](const SpecKey& key) {
    return key.path.starts_with("containers[].") && key.path != "containers[].name" && key.path != "containers[].components";
  });
  return keys;
}

std::string application_json_schema() { return json_schema_of("The model of an application of Perdure", all_application_keys()); }

std::string application_reference_markdown() {
  return std::format(kIntroduction, kMaxApplicationBytes >> 10, kMaxApplicationComponents) +
         manual_of(application_keys(), kSections) + std::format(kUml, kMaxXmiBytes >> 20);
}

}  // namespace perdure::model
