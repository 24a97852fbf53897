// The bridge that a container's interface is a port of.
#pragma once

#include <string>

#include "model/spec.h"

namespace perdure::node {

// Of a bridge that is made around a network interface of the host: at most 15 characters, and it tells where
// the bridge comes from.
std::string bridge_name_of(const model::NicAttachment& nic);
// Empty without a network.
std::string bridge_of(const model::NetworkSpec& network);

}  // namespace perdure::node
