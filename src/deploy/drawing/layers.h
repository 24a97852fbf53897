// The first half of a layout: which layer each node is in, which lanes the nets take, and their order in each layer. Private to
// this directory.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "deploy/drawing/layout.h"

namespace perdure::deploy::drawing {

inline constexpr int kLaneHeight = 2 * kGrid;

// What stands in a layer: a node, or the lane in which a net passes.
struct Item {
  std::optional<std::size_t> node{};
  std::size_t net = 0;  // of a lane
  std::size_t layer = 0;
  int height = kLaneHeight;
  bool edge = false;    // a node on the frame's edge
  int y = 0;
};

// Where a line enters or leaves the channel between two layers.
struct Attachment {
  std::size_t item = 0;
  int offset = 0;          // from the item's top
  bool left = false;       // the item is in the layer left of the channel
};
// A net in one channel: all that comes in leaves by one place.
struct Trunk {
  std::size_t net = 0;
  std::vector<Attachment> inputs{};
  Attachment output{};
};

struct Layers {
  std::vector<Item> items{};                     // nodes first, in their order
  std::vector<std::vector<std::size_t>> order{};  // by layer: items from top to bottom
  std::vector<std::vector<Trunk>> channels{};    // one more than layers; the first is left of all of them

  int y_of(const Attachment& at) const { return items[at.item].y + at.offset; }
};

// How much room two neighbours of a layer leave between them.
int gap_between(const Item& above, const Item& below, const LayoutGaps& gaps);

std::vector<std::size_t> ranks_of(const std::vector<LayoutNode>& nodes, const std::vector<Net>& nets);
std::size_t count_lanes(const std::vector<std::size_t>& ranks, const std::vector<Net>& nets);

// In an order with few crossings; stacked, each layer from 0.
Layers make_layers(const std::vector<LayoutNode>& nodes, const std::vector<Net>& nets, const LayoutGaps& gaps);

// Moves items up and down, within their order, until most lines are straight; the uppermost is at 0.
void straighten(Layers& layers, const LayoutGaps& gaps);

}  // namespace perdure::deploy::drawing
