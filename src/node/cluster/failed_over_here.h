// A container that has come to this node because it did not hold where it was.
#pragma once

#include "base/clock.h"
#include "policy/container_events.h"

namespace perdure::node {

struct FailedOverHere {
  policy::FailedOver what;
  Instant failed{};  // there, on this host's clock, too late by the time that the word was under way
  Instant noticed{};
};

}  // namespace perdure::node
