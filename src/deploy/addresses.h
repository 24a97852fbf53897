// Which address each container of an application gets from the application's ranges. Pure.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "model/address.h"
#include "model/application/application.h"
#include "placement/grouping.h"

namespace perdure::deploy {

struct TakenAddresses {
  std::map<ContainerName, model::Ipv4Address> kept{};  // what containers have already: they keep it if it is still in a range
  std::set<model::Ipv4Address> foreign{};              // of whoever else is there
};

// By container of the grouping; nullopt: it has none, or one of its own settings. kNoSpace: the ranges have too few; the message says
// how many are missing. Each other container gets the lowest that is free.
Result<std::vector<std::optional<model::Ipv4Prefix>>> assign_addresses(const model::Application& application,
                                                                       const placement::Grouping& grouping,
                                                                       const TakenAddresses& taken);

}  // namespace perdure::deploy
