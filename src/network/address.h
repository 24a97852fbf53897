// The model's addresses, and what a connection has at each end. Text out, no resolver.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "model/address.h"

namespace perdure::network {

using model::IpAddress;
using model::IpFamily;
using model::IpPrefix;
using model::MacAddress;

struct Endpoint {
  IpAddress address;
  std::uint16_t port = 0;

  auto operator<=>(const Endpoint&) const = default;
};
std::string to_string(const Endpoint& endpoint);  // "10.0.0.5:80", "[fd00::5]:80"

struct TcpTuple {
  Endpoint local;
  Endpoint remote;
  auto operator<=>(const TcpTuple&) const = default;
};

}  // namespace perdure::network
