#include "node/cluster/claim.h"

#include <span>

#include "capsule/format/codec.h"
#include "model/spec_yaml.h"

namespace perdure::node {

std::vector<model::IpAddress> addresses_of(const model::ContainerSpec& spec) {
  std::vector<model::IpAddress> addresses;
  if (spec.network.ipv4) addresses.emplace_back(spec.network.ipv4->address);
  if (spec.network.ipv6) addresses.emplace_back(spec.network.ipv6->address);
  return addresses;
}

coord::CreateRequest claim_of(const model::ContainerSpec& spec, const model::NodeLife& owner, model::DesiredState desired,
                              WallTime now) {
  coord::CreateRequest request{.record = {.container = spec.name,
                                          .owner = owner,
                                          .standbys = {},
                                          .term = {},
                                          .spec_digest = {},
                                          .image_digest = {},
                                          .desired = desired,
                                          .phase = model::RecordPhase::kStarting,
                                          .writer = owner,
                                          .nonce = {},
                                          .created = now,
                                          .application = spec.application.name.value_or("")},
                               .spec_yaml = model::to_yaml(spec),
                               .addresses = addresses_of(spec)};
  request.record.spec_digest = capsule::to_string(capsule::digest_of(std::as_bytes(std::span(request.spec_yaml))));
  return request;
}

}  // namespace perdure::node
