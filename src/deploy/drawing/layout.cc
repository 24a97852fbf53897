#include "deploy/drawing/layout.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "deploy/drawing/channel.h"
#include "deploy/drawing/layers.h"

namespace perdure::deploy::drawing {
namespace {

// What several pictures beside each other aim at together, of a screen or a page.
constexpr double kAspect = 1.6;

// Without points that a line passes straight, or twice.
Line simple(const Line& line) {
  Line result;
  for (const Point& point : line) {
    if (!result.empty() && result.back() == point) continue;
    const std::size_t size = result.size();
    const bool straight = size >= 2 && ((result[size - 2].x == result[size - 1].x && result[size - 1].x == point.x) ||
                                        (result[size - 2].y == result[size - 1].y && result[size - 1].y == point.y));
    if (straight) result.pop_back();
    result.push_back(point);
  }
  return result;
}

// From layers to points: the channels are as wide as their tracks need.
class Drafting {
 public:
  Drafting(const std::vector<LayoutNode>& nodes, std::size_t nets, const Layers& layers, const LayoutGaps& gaps)
      : nodes_(nodes), layers_(layers), gaps_(gaps) {
    layout_.nodes.resize(nodes.size());
    layout_.lines.resize(nets);
  }

  Layout run() {
    find_columns();
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      layout_.nodes[i] = {column_[layers_.items[i].layer], layers_.items[i].y};
      layout_.height = std::max(layout_.height, layers_.items[i].y + nodes_[i].height);
    }
    for (std::size_t i = nodes_.size(); i < layers_.items.size(); ++i) {
      const Item& lane = layers_.items[i];
      const int y = lane.y + lane.height / 2;
      if (width_[lane.layer] > 0) layout_.lines[lane.net].push_back({{column_[lane.layer], y}, {column_[lane.layer] + width_[lane.layer], y}});
      layout_.height = std::max(layout_.height, lane.y + lane.height);
    }
    for (std::size_t channel = 0; channel < layers_.channels.size(); ++channel) draw_lines(channel);
    return std::move(layout_);
  }

 private:
  void find_columns() {
    for (const auto& order : layers_.order) {
      int width = 0;
      for (const std::size_t item : order) {
        if (layers_.items[item].node) width = std::max(width, nodes_[*layers_.items[item].node].width);
      }
      width_.push_back(width);
    }
    int x = 0;
    for (std::size_t channel = 0; channel < layers_.channels.size(); ++channel) {
      channels_.push_back(route(crossings(channel)));
      const bool outermost = channel == 0 || channel + 1 == layers_.channels.size();
      const int tracks = (channels_.back().tracks + 1) * kTrackWidth;
      const int wide = layers_.channels[channel].empty() ? 0 : std::max(tracks, outermost ? 0 : gaps_.channel);
      first_track_.push_back(x + (wide - tracks) / 2 + kTrackWidth);
      x += wide;
      if (channel == width_.size()) break;
      column_.push_back(x);
      x += width_[channel];
    }
    layout_.width = x;
  }

  std::vector<Crossing> crossings(std::size_t channel) const {
    std::vector<Crossing> all;
    for (const Trunk& trunk : layers_.channels[channel]) {
      Crossing& crossing = all.emplace_back();
      for (const Attachment& at : trunk.inputs) (at.left ? crossing.left : crossing.right).push_back(layers_.y_of(at));
      (trunk.output.left ? crossing.left : crossing.right).push_back(layers_.y_of(trunk.output));
    }
    return all;
  }

  Point point_of(const Attachment& at) const {
    const Item& item = layers_.items[at.item];
    const int width = item.node ? nodes_[*item.node].width : width_[item.layer];
    return {column_[item.layer] + (at.left ? width : 0), layers_.y_of(at)};
  }

  void draw_lines(std::size_t channel) {
    for (std::size_t i = 0; i < layers_.channels[channel].size(); ++i) {
      const Trunk& trunk = layers_.channels[channel][i];
      const Tracks& tracks = channels_[channel].nets[i];
      const auto track_of = [&](const Attachment& at) { return first_track_[channel] + (at.left ? tracks.left : tracks.right) * kTrackWidth; };
      const Point out = point_of(trunk.output);
      for (const Attachment& input : trunk.inputs) {
        const Point in = point_of(input);
        Line line = {in, {track_of(input), in.y}};
        if (track_of(input) != track_of(trunk.output)) {
          line.push_back({track_of(input), tracks.between});
          line.push_back({track_of(trunk.output), tracks.between});
        }
        line.push_back({track_of(trunk.output), out.y});
        line.push_back(out);
        layout_.lines[trunk.net].push_back(simple(line));
      }
    }
  }

  const std::vector<LayoutNode>& nodes_;
  const Layers& layers_;
  const LayoutGaps& gaps_;
  std::vector<Channel> channels_;
  std::vector<int> width_;        // by layer
  std::vector<int> column_;       // by layer: its left edge
  std::vector<int> first_track_;  // by channel
  Layout layout_;
};

Layout lay_out_connected(const std::vector<LayoutNode>& nodes, const std::vector<Net>& nets, const LayoutGaps& gaps) {
  Layers layers = make_layers(nodes, nets, gaps);
  straighten(layers, gaps);
  return Drafting(nodes, nets.size(), layers, gaps).run();
}

// Nodes and nets that have nothing to do with the others.
struct Part {
  std::vector<std::size_t> nodes{};
  std::vector<std::size_t> nets{};
  Layout layout{};
};

std::vector<Part> parts_of(const std::vector<LayoutNode>& nodes, const std::vector<Net>& nets) {
  std::vector<std::size_t> root(nodes.size());
  std::iota(root.begin(), root.end(), std::size_t{0});
  const auto find = [&root](std::size_t v) {
    while (root[v] != v) v = root[v] = root[root[v]];
    return v;
  };
  for (const Net& net : nets) {
    for (const PortOf& source : net.sources) {
      const std::size_t one = find(source.node);
      const std::size_t other = find(net.sink.node);
      root[std::max(one, other)] = std::min(one, other);
    }
  }
  std::vector<Part> parts;
  std::vector<std::size_t> place(nodes.size());
  for (std::size_t v = 0; v < nodes.size(); ++v) {
    if (find(v) == v) {
      place[v] = parts.size();
      parts.emplace_back();
    }
    parts[place[find(v)]].nodes.push_back(v);
  }
  for (std::size_t i = 0; i < nets.size(); ++i) parts[place[find(nets[i].sink.node)]].nets.push_back(i);
  return parts;
}

void lay_out_part(Part& part, const std::vector<LayoutNode>& nodes, const std::vector<Net>& nets, const LayoutGaps& gaps) {
  std::vector<std::size_t> place(nodes.size());
  std::vector<LayoutNode> of_nodes;
  for (const std::size_t v : part.nodes) {
    place[v] = of_nodes.size();
    of_nodes.push_back(nodes[v]);
  }
  std::vector<Net> of_nets;
  for (const std::size_t i : part.nets) {
    Net& net = of_nets.emplace_back(nets[i]);
    net.sink.node = place[net.sink.node];
    for (PortOf& source : net.sources) source.node = place[source.node];
  }
  part.layout = lay_out_connected(of_nodes, of_nets, gaps);
}

// In rows, the larger ones first.
Layout pack(const std::vector<Part>& parts, std::size_t nodes, std::size_t nets, const LayoutGaps& gaps) {
  double area = 0;
  int widest = 0;
  for (const Part& part : parts) {
    area += static_cast<double>(part.layout.width + gaps.channel) * (part.layout.height + gaps.nodes);
    widest = std::max(widest, part.layout.width);
  }
  const int row_width = std::max(widest, static_cast<int>(std::sqrt(area * kAspect)));
  Layout all{.nodes = std::vector<Point>(nodes), .lines = std::vector<std::vector<Line>>(nets)};
  Point at;
  for (const Part& part : parts) {
    if (at.x > 0 && at.x + part.layout.width > row_width) at = {0, all.height + gaps.nodes};
    const auto moved = [&](Point point) { return Point{point.x + at.x, point.y + at.y}; };
    for (std::size_t i = 0; i < part.nodes.size(); ++i) all.nodes[part.nodes[i]] = moved(part.layout.nodes[i]);
    for (std::size_t i = 0; i < part.nets.size(); ++i) {
      for (Line line : part.layout.lines[i]) {
        std::ranges::transform(line, line.begin(), moved);
        all.lines[part.nets[i]].push_back(std::move(line));
      }
    }
    all.width = std::max(all.width, at.x + part.layout.width);
    all.height = std::max(all.height, at.y + part.layout.height);
    at.x += part.layout.width + gaps.nodes;
  }
  return all;
}

}  // namespace

bool can_lay_out(const std::vector<LayoutNode>& nodes, const std::vector<Net>& nets) {
  std::size_t lines = count_lanes(ranks_of(nodes, nets), nets);
  for (const Net& net : nets) lines += net.sources.size();
  return lines <= kMaxLines;
}

Layout lay_out(const std::vector<LayoutNode>& nodes, const std::vector<Net>& nets, const LayoutGaps& gaps) {
  if (std::ranges::any_of(nodes, [](const LayoutNode& node) { return node.rank != Rank::kAny; })) return lay_out_connected(nodes, nets, gaps);
  std::vector<Part> parts = parts_of(nodes, nets);
  for (Part& part : parts) lay_out_part(part, nodes, nets, gaps);
  std::ranges::stable_sort(parts, std::greater(), [](const Part& part) { return part.nodes.size(); });
  return pack(parts, nodes.size(), nets.size(), gaps);
}

}  // namespace perdure::deploy::drawing
