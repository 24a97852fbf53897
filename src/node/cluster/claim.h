// What a node writes when it takes a container's name and addresses for the first time.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "coord/record_store.h"
#include "model/address.h"
#include "model/cluster.h"
#include "model/spec.h"

namespace perdure::node {

std::vector<model::IpAddress> addresses_of(const model::ContainerSpec& spec);
// Without an image digest: that is known when the root file system is.
coord::CreateRequest claim_of(const model::ContainerSpec& spec, const model::NodeLife& owner, model::DesiredState desired,
                              WallTime now);

}  // namespace perdure::node
