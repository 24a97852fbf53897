#include "deploy/drawing/layers.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <utility>

namespace perdure::deploy::drawing {
namespace {

constexpr int kSweeps = 16;
// Exchanging neighbours costs a count of crossings each time.
constexpr std::size_t kMaxLinksToExchange = 600;

// The items, with the trunks that join them.
class Weaving {
 public:
  Weaving(const std::vector<LayoutNode>& nodes, const std::vector<Net>& nets) : nodes_(nodes) {
    const std::vector<std::size_t> ranks = ranks_of(nodes, nets);
    const std::size_t count = ranks.empty() ? 0 : *std::ranges::max_element(ranks) + 1;
    layers_.order.resize(count);
    layers_.channels.resize(count + 1);
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      layers_.items.push_back({.node = i, .layer = ranks[i], .height = nodes[i].height, .edge = nodes[i].rank != Rank::kAny});
      layers_.order[ranks[i]].push_back(i);
    }
    for (std::size_t i = 0; i < nets.size(); ++i) weave(i, nets[i]);
  }

  Layers take() { return std::move(layers_); }

 private:
  Attachment lane(std::size_t net, std::size_t layer) {
    layers_.items.push_back({.net = net, .layer = layer});
    layers_.order[layer].push_back(layers_.items.size() - 1);
    return {layers_.items.size() - 1, kLaneHeight / 2, false};
  }

  Trunk& trunk(std::size_t net, std::size_t channel) {
    std::vector<Trunk>& trunks = layers_.channels[channel];
    if (trunks.empty() || trunks.back().net != net) trunks.push_back({.net = net});
    return trunks.back();
  }

  static Attachment on(Attachment at, bool left) {
    at.left = left;
    return at;
  }

  void weave(std::size_t index, const Net& net) {
    const std::size_t sink = layers_.items[net.sink.node].layer;
    std::size_t first = sink;
    std::size_t end = sink;  // behind the last from which a line comes back
    for (const PortOf& source : net.sources) {
      const std::size_t layer = layers_.items[source.node].layer;
      trunk(index, layer + 1).inputs.push_back({source.node, nodes_[source.node].right[source.port], true});
      first = std::min(first, layer);
      if (layer >= sink) end = std::max(end, layer + 1);
    }
    for (std::size_t layer = first + 1; layer < sink; ++layer) {
      const Attachment passes = lane(index, layer);
      trunk(index, layer).output = on(passes, false);
      trunk(index, layer + 1).inputs.push_back(on(passes, true));
    }
    for (std::size_t layer = end; layer-- > sink;) {
      const Attachment passes = lane(index, layer);
      trunk(index, layer + 1).output = on(passes, true);
      trunk(index, layer).inputs.push_back(on(passes, false));
    }
    trunk(index, sink).output = {net.sink.node, nodes_[net.sink.node].left[net.sink.port], false};
  }

  const std::vector<LayoutNode>& nodes_;
  Layers layers_;
};

// A line of a channel, as one of its ends sees it.
struct Link {
  std::size_t item = 0;
  int offset = 0;
  std::size_t other = 0;
  int other_offset = 0;
};

class Ordering {
 public:
  Ordering(Layers& layers, const LayoutGaps& gaps) : layers_(layers), gaps_(gaps), left_(layers.items.size()), right_(layers.items.size()) {
    for (const auto& channel : layers.channels) {
      for (const Trunk& trunk : channel) {
        for (const Attachment& input : trunk.inputs) {
          link(input, trunk.output);
          link(trunk.output, input);
          ++links_;
        }
      }
    }
  }

  void run() {
    for (std::size_t layer = 0; layer < layers_.order.size(); ++layer) stack(layer);
    keep_if_better();
    for (int sweep = 0; sweep < kSweeps; ++sweep) {
      for (std::size_t layer = 0; layer < layers_.order.size(); ++layer) sort(layer, left_);
      keep_if_better();
      for (std::size_t layer = layers_.order.size(); layer-- > 0;) sort(layer, right_);
      keep_if_better();
    }
    layers_.order = best_;
    for (std::size_t layer = 0; layer < layers_.order.size(); ++layer) stack(layer);
    if (links_ <= kMaxLinksToExchange) exchange_neighbours();
  }

 private:
  void link(const Attachment& one, const Attachment& other) {
    (one.left ? right_ : left_)[one.item].push_back({one.item, one.offset, other.item, other.offset});
  }

  void stack(std::size_t layer) {
    const std::vector<std::size_t>& order = layers_.order[layer];
    int y = 0;
    for (std::size_t i = 0; i < order.size(); ++i) {
      Item& item = layers_.items[order[i]];
      if (i > 0) y += gap_between(layers_.items[order[i - 1]], item, gaps_);
      item.y = y;
      y += item.height;
    }
  }

  void sort(std::size_t layer, const std::vector<std::vector<Link>>& links) {
    std::vector<std::pair<double, std::size_t>> keyed;
    for (const std::size_t item : layers_.order[layer]) {
      double sum = 0;
      for (const Link& at : links[item]) sum += layers_.items[at.other].y + at.other_offset - at.offset;
      const double key = links[item].empty() ? layers_.items[item].y : sum / static_cast<double>(links[item].size());
      keyed.emplace_back(key, item);
    }
    std::ranges::stable_sort(keyed, {}, &std::pair<double, std::size_t>::first);
    std::ranges::transform(keyed, layers_.order[layer].begin(), &std::pair<double, std::size_t>::second);
    stack(layer);
  }

  // Pairs of lines that cross; those of one net do not.
  std::size_t crossings(std::size_t channel) const {
    std::vector<std::pair<int, int>> lines;
    for (const Trunk& trunk : layers_.channels[channel]) {
      for (const Attachment& input : trunk.inputs) {
        if (input.left == trunk.output.left) continue;
        const int left = layers_.y_of(input.left ? input : trunk.output);
        const int right = layers_.y_of(input.left ? trunk.output : input);
        lines.emplace_back(left, right);
      }
    }
    std::ranges::sort(lines);
    std::size_t count = 0;
    std::vector<int> passed;  // right ends, sorted
    for (const auto& [left, right] : lines) {
      const auto place = std::ranges::upper_bound(passed, right);
      count += static_cast<std::size_t>(passed.end() - place);
      passed.insert(place, right);
    }
    return count;
  }

  // What lines are longer by than they had to be.
  std::int64_t detours() const {
    std::int64_t sum = 0;
    for (const auto& links : left_) {
      for (const Link& at : links) {
        sum += std::abs(layers_.items[at.item].y + at.offset - layers_.items[at.other].y - at.other_offset);
      }
    }
    return sum;
  }

  void keep_if_better() {
    std::size_t count = 0;
    for (std::size_t channel = 0; channel < layers_.channels.size(); ++channel) count += crossings(channel);
    const std::pair score(count, detours());
    if (score >= best_score_) return;
    best_score_ = score;
    best_ = layers_.order;
  }

  void exchange_neighbours() {
    for (std::size_t round = 0; round < layers_.order.size(); ++round) {
      bool changed = false;
      for (std::size_t layer = 0; layer < layers_.order.size(); ++layer) changed = exchange_in(layer) || changed;
      if (!changed) break;
    }
  }

  bool exchange_in(std::size_t layer) {
    bool changed = false;
    std::vector<std::size_t>& order = layers_.order[layer];
    std::size_t count = crossings(layer) + crossings(layer + 1);
    for (std::size_t i = 0; i + 1 < order.size() && count > 0; ++i) {
      std::swap(order[i], order[i + 1]);
      stack(layer);
      const std::size_t now = crossings(layer) + crossings(layer + 1);
      if (now < count) {
        count = now;
        changed = true;
        continue;
      }
      std::swap(order[i], order[i + 1]);
      stack(layer);
    }
    return changed;
  }

  Layers& layers_;
  const LayoutGaps& gaps_;
  std::vector<std::vector<Link>> left_;   // by item: its lines in the channel left of it
  std::vector<std::vector<Link>> right_;
  std::size_t links_ = 0;
  std::vector<std::vector<std::size_t>> best_;
  std::pair<std::size_t, std::int64_t> best_score_{std::numeric_limits<std::size_t>::max(), 0};
};

}  // namespace

int gap_between(const Item& above, const Item& below, const LayoutGaps& gaps) {
  const bool inner_above = above.node && !above.edge;
  const bool inner_below = below.node && !below.edge;
  if (inner_above && inner_below) return gaps.nodes;
  return inner_above || inner_below ? kGrid : 0;
}

Layers make_layers(const std::vector<LayoutNode>& nodes, const std::vector<Net>& nets, const LayoutGaps& gaps) {
  Layers layers = Weaving(nodes, nets).take();
  Ordering(layers, gaps).run();
  return layers;
}

}  // namespace perdure::deploy::drawing
