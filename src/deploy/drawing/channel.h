// The room between two layers: on which track each net changes its height. Private to this directory.
#pragma once

#include <cstddef>
#include <vector>

#include "deploy/drawing/layout.h"

namespace perdure::deploy::drawing {

// From one track to the next.
inline constexpr int kTrackWidth = 12;

// A net in the channel: where its lines come to on either side. On one side no two nets are at the same height.
struct Crossing {
  std::vector<int> left{};
  std::vector<int> right{};
};

// Tracks count from the left. One that changes its height twice has another for the right side, and the height between the two.
struct Tracks {
  int left = 0;
  int right = 0;
  int between = 0;
};

struct Channel {
  int tracks = 0;
  std::vector<Tracks> nets{};
};

// So that no two nets share a piece of their way, with few crossings.
Channel route(const std::vector<Crossing>& nets);

}  // namespace perdure::deploy::drawing
