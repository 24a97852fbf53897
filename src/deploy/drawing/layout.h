// Where the boxes of a diagram stand, and how the lines between them run. Knows nothing of what is drawn. Pure, deterministic.
//
// Layered from left to right: what depends stands left of what it depends on. All lines are horizontal or vertical. A line
// passes a layer in a lane of its own between the boxes; between two layers it changes its height on a track of its own. So no
// line touches a box, and two lines cross at right angles or not at all. All that leads to one place is one net, and shares
// lanes and tracks. A line against the direction, in a circle, runs around its box and back in lanes in the same way.
#pragma once

#include <cstddef>
#include <vector>

namespace perdure::deploy::drawing {

// Pixels. Heights and the places of ports are multiples of it; lines of two nets are at least half of it apart.
inline constexpr int kGrid = 8;

struct Point {
  int x = 0;
  int y = 0;
  bool operator==(const Point&) const = default;
};

// kFirst, kLast: of a frame around all others, on its left or right edge; without width, one port in the middle of its height.
enum class Rank { kAny, kFirst, kLast };

struct LayoutNode {
  int width = 0;
  int height = 0;
  std::vector<int> left{};   // how far below its top lines come in, each once
  std::vector<int> right{};  // the same, of lines that leave it
  Rank rank = Rank::kAny;
};

struct PortOf {
  std::size_t node = 0;
  std::size_t port = 0;  // of its right ones, or of its left ones
};
// What leads to one left port of a node. Never without sources.
struct Net {
  PortOf sink{};
  std::vector<PortOf> sources{};
};

struct LayoutGaps {
  int nodes = 32;    // between two nodes of a layer
  int channel = 48;  // between two layers, at least
};

using Line = std::vector<Point>;  // its corners
struct Layout {
  int width = 0;
  int height = 0;
  std::vector<Point> nodes{};              // left upper corners
  std::vector<std::vector<Line>> lines{};  // by net: together from all its sources to its sink, in the direction of the net
};

// Sources and lanes of all nets together. More are no picture that anybody can read; so many take seconds.
inline constexpr std::size_t kMaxLines = 10'000;

// Whether lay_out() may be asked: not more than kMaxLines.
bool can_lay_out(const std::vector<LayoutNode>& nodes, const std::vector<Net>& nets);

Layout lay_out(const std::vector<LayoutNode>& nodes, const std::vector<Net>& nets, const LayoutGaps& gaps);

}  // namespace perdure::deploy::drawing
