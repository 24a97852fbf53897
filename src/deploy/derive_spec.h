// The specification of a container of an application, with everything that follows from the model (paper III-B). Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "model/address.h"
#include "model/application/application.h"
#include "model/spec.h"
#include "placement/grouping.h"

namespace perdure::deploy {

struct Derivation {
  const model::Application& application;
  const placement::Grouping& grouping;
  const std::vector<std::optional<model::Ipv4Prefix>>& addresses;  // addresses.h
  const std::vector<std::vector<NodeName>>& standbys;              // by container: where they are planned; may be empty
};

// Stands for one that is not known yet.
std::string no_digest();

// What an integrator has said about the container comes first. `image`: the digest of its root file system. kInvalid: the settings
// and what was derived break a rule of docs/spec.md together; the message says which key.
//
// - components: command, environment, user, probes as in the model; stateful if an interface is; started behind those of the same
//   container that they require.
// - checkpoint.state-sensitivity: the shortest; checkpoint.standbys: the application's; checkpoint.standby-nodes: as planned.
// - availability.outage-tolerance: the shortest of those that depend on it.
// - network: the application's, with the address that was assigned; network.hosts: the components it requires, by their names.
// - application: its name, the containers it depends on, and what was reserved for it.
Result<model::ContainerSpec> derive_spec(const Derivation& derivation, std::size_t container, const std::string& image);

// What of it decides what is in the image: the programs, and what all of them have. Where the container runs and under which address is
// nothing to it, nor is its name: equal containers have equal images. Errors as above.
Result<model::ContainerSpec> derive_image_spec(const model::Application& application, const placement::Grouping& grouping, std::size_t container);

}  // namespace perdure::deploy
