// What the servers of this room have in common when they accept connections. Private to it.
#pragma once

#include <chrono>

#include "base/clock.h"

namespace perdure::io {

// Before whoever is connected already has his turn.
inline constexpr int kAcceptsPerTurn = 16;
// Without a free descriptor a connection cannot even be refused: try again after this.
inline constexpr Duration kAcceptRetryTime = std::chrono::milliseconds(100);

}  // namespace perdure::io
