// docs/compose.md, from the table that the reader walks.
#include <format>

#include "model/application/application_compose.h"
#include "model/compose/compose_files.h"
#include "model/compose/compose_service.h"

namespace perdure::model {
namespace {

using compose::ServiceKey;
using compose::Treatment;

constexpr std::string_view kIntroduction = R"(# An application as a Compose file

<!-- Printed from the table in src/model/compose; edit that, not this. -->

An existing Compose file is the model of an application ([application.md](application.md)) once it says where its images are and which
network its containers are in; what else makes them highly available is said by `x-ha`, which Compose itself does not read. Whatever takes a
model takes such a file: `perdure plan compose.yaml`, `perdure apply compose.yaml`. It is known by its name or by its `services:`.

```yaml
name: shop
x-ha:
  images: images          # skopeo copy docker://redis:7 oci:images/redis:7
  network: {{bridge: br0, addresses: [192.0.2.20-192.0.2.29/24]}}
services:
  web:
    image: nginx:1.27
    ports: ["80"]
    depends_on:
      redis:
        condition: service_healthy
        x-ha: {{delay-tolerance: 10ms, outage-tolerance: 5s}}
  redis:
    image: redis:7
    command: redis-server --save ""
    expose: [6379]
    healthcheck: {{test: [CMD, redis-cli, ping], interval: 1s}}
    x-ha: {{state: stateful, state-sensitivity: 500ms}}
```

| `x-ha` | has |
|---|---|
| at the top | `application` (its name, in place of `name`), `suite`, `network`, `containers` and `placement` of an application; `images`, the directory of the images, of which each is an OCI layout of its own |
| of a service | the keys of a component, which come before what is derived from Compose's. An item of `provides` describes the port that it names; `requires` has what is to be said about a dependency, beside `depends_on`. |
| | `state` and `state-sensitivity` of all interfaces that are derived from its ports. |
| | `container`: what is to be said about the service's container, in the keys of a container's spec ([spec.md](spec.md)): its volumes, its checkpoints. |
| of a port (long form) | the keys of an item of `provides` |
| of a dependency (long form) | the keys of an item of `requires` |

- A service is a component. Its one port is an interface with the name of the service, of several each is called SERVICE-PORT. A service
  that others depend on and that has no port provides an interface all the same.
- A service finds those that it depends on by their names, and no others: each has to stand in its `depends_on` or `requires`.
- Services run in containers of their own, unless a delay tolerance or `x-ha.containers` puts them together. One of which something is said that
  is the container's (volumes, limits, addresses, rights) has a container of its own.
- Relative paths start at the file that names them. Names are those of an application: no `_`.
- Variables are those of the environment and of `.env` beside the file (`--env-file` names another one); profiles those of `--profile` and
  COMPOSE_PROFILES. `include`, `extends`, anchors and merge keys mean what they mean in Compose; `!reset`, `!override` and other tags are
  refused, as are paths of other hosts. An override file (`compose.override.yaml`) is not read by itself.
- At most {} files of 256 KiB.

What has no effect is named when the file is read, with its place. What would be another application without it is refused.
)";

std::string table_of(Treatment treatment, std::string_view heading, std::string_view column) {
  std::string text = std::format("\n## {}\n\n| key of a service | {} |\n|---|---|\n", heading, column);
  for (const ServiceKey& key : compose::service_keys()) {
    if (key.treatment == treatment) text += std::format("| `{}` | {} |\n", key.key, key.text);
  }
  return text;
}

}  // namespace

std::string compose_reference_markdown() {
  return std::format(kIntroduction, compose::kMaxComposeFiles) + table_of(Treatment::kUsed, "What is used", "becomes") +
         table_of(Treatment::kNoted, "What has no effect", "why") + table_of(Treatment::kRefused, "What is refused", "why, and what to do");
}

}  // namespace perdure::model
