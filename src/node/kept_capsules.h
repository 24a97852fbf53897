// Capsules that were kept when their container was removed. A new container of that name begins its numbers anew: what is older goes
// out of its way, under a name with the time, where nothing finds it but who looks for it.
//
// Both calls block.
#pragma once

#include <string>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

namespace perdure::node {

// All of `directory`, if it is there.
Status set_aside(const std::string& directory, WallTime now);
// Only if all its generations are of lower terms than `first`. One that is not is of the container itself: of its owner by now,
// perhaps, for the storage may have hung since this was wanted.
Status set_aside_before(const std::string& directory, Term first, WallTime now);

}  // namespace perdure::node
