#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <utility>

#include "deploy/drawing/layers.h"

namespace perdure::deploy::drawing {
namespace {

constexpr int kStraightenings = 8;
// How much a line wants to be straight: long ones most, and what has no line wants to stay.
constexpr int kStay = 1;
constexpr int kBetweenNodes = 8;
constexpr int kAtLane = 16;
constexpr int kBetweenLanes = 32;

struct Wish {
  int place = 0;
  int weight = 0;
  auto operator<=>(const Wish&) const = default;
};

int median_of(const std::vector<Wish>& sorted) {
  std::int64_t total = 0;
  for (const Wish& wish : sorted) total += wish.weight;
  std::int64_t sum = 0;
  for (const Wish& wish : sorted) {
    sum += wish.weight;
    if (2 * sum >= total) return wish.place;
  }
  return 0;
}

class Straightening {
 public:
  Straightening(Layers& layers, const LayoutGaps& gaps) : layers_(layers), gaps_(gaps), links_(layers.items.size()) {
    for (const auto& channel : layers.channels) {
      for (const Trunk& trunk : channel) {
        for (const Attachment& input : trunk.inputs) {
          link(input, trunk.output);
          link(trunk.output, input);
        }
      }
    }
  }

  void run() {
    const std::size_t count = layers_.order.size();
    for (int sweep = 0; sweep < kStraightenings; ++sweep) {
      for (std::size_t layer = 0; layer < count; ++layer) settle(layer, Side::kLeft);
      for (std::size_t layer = count; layer-- > 0;) settle(layer, Side::kRight);
    }
    for (int sweep = 0; sweep < kStraightenings; ++sweep) {
      for (std::size_t layer = 0; layer < count; ++layer) settle(layer, Side::kBoth);
      for (std::size_t layer = count; layer-- > 0;) settle(layer, Side::kBoth);
    }
    int top = std::numeric_limits<int>::max();
    for (const Item& item : layers_.items) top = std::min(top, item.y);
    for (Item& item : layers_.items) item.y -= top;
  }

 private:
  enum class Side { kLeft, kRight, kBoth };

  struct Link {
    std::size_t other = 0;
    int shift = 0;  // from the other's top to where this one's would have to be
    int weight = 0;
    Side side = Side::kLeft;
  };

  // Neighbours that stand close together, at the place that suits them best.
  struct Block {
    std::size_t end = 0;  // behind its last, as a place in the layer
    std::vector<Wish> wishes{};
    int place = 0;
  };

  void link(const Attachment& one, const Attachment& other) {
    const bool lane = !layers_.items[one.item].node;
    const bool other_lane = !layers_.items[other.item].node;
    const int weight = lane && other_lane ? kBetweenLanes : lane || other_lane ? kAtLane : kBetweenNodes;
    links_[one.item].push_back({other.item, other.offset - one.offset, weight, one.left ? Side::kRight : Side::kLeft});
  }

  std::vector<Wish> wishes_of(std::size_t item, Side side, int down) const {
    std::vector<Wish> wishes;
    for (const Link& link : links_[item]) {
      if (side != Side::kBoth && link.side != side) continue;
      wishes.push_back({layers_.items[link.other].y + link.shift - down, link.weight});
    }
    if (wishes.empty()) wishes.push_back({layers_.items[item].y - down, kStay});
    std::ranges::sort(wishes);
    return wishes;
  }

  // The best places in this order for neighbours that stay where they are: whoever would overlap is moved as one.
  void settle(std::size_t layer, Side side) {
    const std::vector<std::size_t>& order = layers_.order[layer];
    std::vector<int> down(order.size(), 0);  // how far an item is below the first, at least
    std::vector<Block> blocks;
    for (std::size_t i = 0; i < order.size(); ++i) {
      if (i > 0) {
        const Item& above = layers_.items[order[i - 1]];
        down[i] = down[i - 1] + above.height + gap_between(above, layers_.items[order[i]], gaps_);
      }
      Block block{.end = i + 1, .wishes = wishes_of(order[i], side, down[i])};
      block.place = median_of(block.wishes);
      while (!blocks.empty() && blocks.back().place > block.place) join(block, blocks);
      blocks.push_back(std::move(block));
    }
    std::size_t i = 0;
    for (const Block& block : blocks) {
      for (; i < block.end; ++i) layers_.items[order[i]].y = block.place + down[i];
    }
  }

  static void join(Block& block, std::vector<Block>& blocks) {
    std::vector<Wish> both;
    std::ranges::merge(blocks.back().wishes, block.wishes, std::back_inserter(both));
    block.wishes = std::move(both);
    block.place = median_of(block.wishes);
    blocks.pop_back();
  }

  Layers& layers_;
  const LayoutGaps& gaps_;
  std::vector<std::vector<Link>> links_;  // by item
};

}  // namespace

void straighten(Layers& layers, const LayoutGaps& gaps) { Straightening(layers, gaps).run(); }

}  // namespace perdure::deploy::drawing
