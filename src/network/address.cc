#include "network/address.h"

#include <format>

namespace perdure::network {

std::string to_string(const Endpoint& endpoint) {
  const std::string address = to_string(endpoint.address);
  return endpoint.address.is_v4() ? std::format("{}:{}", address, endpoint.port)
                                  : std::format("[{}]:{}", address, endpoint.port);
}

}  // namespace perdure::network
