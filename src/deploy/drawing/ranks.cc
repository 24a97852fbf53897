#include <algorithm>
#include <set>
#include <utility>

#include "deploy/drawing/layers.h"

namespace perdure::deploy::drawing {
namespace {

class Ranking {
 public:
  Ranking(const std::vector<LayoutNode>& nodes, const std::vector<Net>& nets)
      : nodes_(nodes), after_(nodes.size()), before_(nodes.size()), state_(nodes.size(), State::kNew), ranks_(nodes.size(), 0) {
    std::set<std::pair<std::size_t, std::size_t>> seen;
    for (const Net& net : nets) {
      for (const PortOf& source : net.sources) {
        if (source.node == net.sink.node || !seen.emplace(source.node, net.sink.node).second) continue;
        after_[source.node].push_back(net.sink.node);
        before_[net.sink.node].push_back(source.node);
      }
    }
  }

  std::vector<std::size_t> run() {
    // Circles are opened where one comes in from outside, if any does.
    for (std::size_t v = 0; v < nodes_.size(); ++v) {
      if (before_[v].empty()) visit(v);
    }
    for (std::size_t v = 0; v < nodes_.size(); ++v) visit(v);
    std::ranges::reverse(sorted_);
    for (std::size_t v = 0; v < nodes_.size(); ++v) before_[v].clear();
    for (std::size_t v = 0; v < nodes_.size(); ++v) {
      for (const std::size_t next : after_[v]) before_[next].push_back(v);
    }
    put_as_far_left_as_possible();
    for (int round = 0; round < kRounds; ++round) {
      for (const std::size_t v : sorted_) shorten_lines_of(v);
      for (std::size_t i = sorted_.size(); i-- > 0;) shorten_lines_of(sorted_[i]);
    }
    close_gaps();
    return std::move(ranks_);
  }

 private:
  enum class State { kNew, kOpen, kDone };
  static constexpr int kRounds = 4;

  // At most as deep as there are components. Leaves out what closes a circle.
  void visit(std::size_t v) {
    if (state_[v] != State::kNew) return;
    state_[v] = State::kOpen;
    std::erase_if(after_[v], [this](std::size_t next) { return state_[next] == State::kOpen; });
    for (const std::size_t next : after_[v]) visit(next);
    state_[v] = State::kDone;
    sorted_.push_back(v);
  }

  void put_as_far_left_as_possible() {
    const bool framed = std::ranges::contains(nodes_, Rank::kFirst, &LayoutNode::rank);
    first_ = framed ? 1 : 0;
    for (const std::size_t v : sorted_) {
      if (nodes_[v].rank != Rank::kFirst) ranks_[v] = std::max(ranks_[v], first_);
      for (const std::size_t next : after_[v]) ranks_[next] = std::max(ranks_[next], ranks_[v] + 1);
    }
    last_ = first_;
    for (std::size_t v = 0; v < nodes_.size(); ++v) {
      if (nodes_[v].rank == Rank::kAny) last_ = std::max(last_, ranks_[v]);
    }
    for (std::size_t v = 0; v < nodes_.size(); ++v) {
      if (nodes_[v].rank == Rank::kLast) ranks_[v] = last_ + 1;
    }
  }

  bool is_inside(std::size_t v) const { return nodes_[v].rank == Rank::kAny; }

  void shorten_lines_of(std::size_t v) {
    if (!is_inside(v)) return;
    std::size_t low = first_;
    std::size_t high = last_;
    std::ptrdiff_t pull = 0;
    for (const std::size_t other : before_[v]) {
      low = std::max(low, ranks_[other] + 1);
      if (is_inside(other)) --pull;
    }
    for (const std::size_t other : after_[v]) {
      high = std::min(high, ranks_[other] - 1);
      if (is_inside(other)) ++pull;
    }
    if (pull > 0) ranks_[v] = high;
    if (pull < 0) ranks_[v] = low;
  }

  void close_gaps() {
    const std::set<std::size_t> used(ranks_.begin(), ranks_.end());
    for (std::size_t& rank : ranks_) rank = static_cast<std::size_t>(std::distance(used.begin(), used.find(rank)));
  }

  const std::vector<LayoutNode>& nodes_;
  std::vector<std::vector<std::size_t>> after_;   // by node: what it depends on
  std::vector<std::vector<std::size_t>> before_;  // by node: what depends on it
  std::vector<State> state_;
  std::vector<std::size_t> sorted_;               // dependants first
  std::vector<std::size_t> ranks_;
  std::size_t first_ = 0;                         // of nodes that are inside
  std::size_t last_ = 0;
};

}  // namespace

std::vector<std::size_t> ranks_of(const std::vector<LayoutNode>& nodes, const std::vector<Net>& nets) { return Ranking(nodes, nets).run(); }

std::size_t count_lanes(const std::vector<std::size_t>& ranks, const std::vector<Net>& nets) {
  std::size_t count = 0;
  for (const Net& net : nets) {
    const std::size_t sink = ranks[net.sink.node];
    std::size_t first = sink;
    std::size_t last = sink;
    bool back = false;
    for (const PortOf& source : net.sources) {
      first = std::min(first, ranks[source.node]);
      last = std::max(last, ranks[source.node]);
      back = back || ranks[source.node] >= sink;
    }
    if (first < sink) count += sink - first - 1;
    if (back) count += last - sink + 1;
  }
  return count;
}

}  // namespace perdure::deploy::drawing
