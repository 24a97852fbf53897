#include "deploy/drawing/channel.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

namespace perdure::deploy::drawing {
namespace {

// Comparisons of two nets while neighbours are exchanged; each is a few heights.
constexpr std::size_t kMaxComparisons = 200'000;

// A vertical piece of a net.
struct Piece {
  std::size_t net = 0;
  std::vector<int> left{};
  std::vector<int> right{};
  int low = 0;
  int high = 0;
  int track = 0;

  bool is_straight() const { return low == high; }
};

void measure(Piece& piece) {
  piece.low = std::min(piece.left.empty() ? piece.right.front() : std::ranges::min(piece.left),
                       piece.right.empty() ? piece.left.front() : std::ranges::min(piece.right));
  piece.high = std::max(piece.left.empty() ? piece.right.front() : std::ranges::max(piece.left),
                        piece.right.empty() ? piece.left.front() : std::ranges::max(piece.right));
}

class Routing {
 public:
  explicit Routing(const std::vector<Crossing>& nets) : between_(nets.size()) {
    for (std::size_t i = 0; i < nets.size(); ++i) {
      pieces_.push_back({.net = i, .left = nets[i].left, .right = nets[i].right});
      measure(pieces_.back());
    }
  }

  Channel run() {
    sort_and_split();
    exchange_neighbours();
    Channel channel{.nets = std::vector<Tracks>(between_.size())};
    for (std::size_t i = 0; i < order_.size(); ++i) {
      Piece& piece = pieces_[order_[i]];
      if (piece.is_straight()) continue;
      for (std::size_t j = 0; j < i; ++j) {
        const Piece& before = pieces_[order_[j]];
        if (!before.is_straight() && excludes(before, piece)) piece.track = std::max(piece.track, before.track + 1);
      }
      channel.tracks = std::max(channel.tracks, piece.track + 1);
    }
    for (const Piece& piece : pieces_) channel.nets[piece.net] = {piece.track, piece.track, piece.low};
    for (const auto& [net, parts] : parts_) {
      channel.nets[net] = {pieces_[parts.first].track, pieces_[parts.second].track, *between_[net]};
    }
    return channel;
  }

 private:
  // They cannot have the same track. Of two of which one must precede, and of the two pieces of a net, both have one height.
  static bool excludes(const Piece& one, const Piece& other) { return one.low <= other.high + kGrid / 2 && other.low <= one.high + kGrid / 2; }

  // Else what comes to it from the left would run over what the other has on the right.
  static bool must_precede(const Piece& one, const Piece& other) {
    return one.net != other.net && std::ranges::any_of(one.left, [&](int y) { return std::ranges::contains(other.right, y); });
  }

  // In an order in which all that must precede does. A circle is opened by splitting one of it.
  void sort_and_split() {
    while (true) {
      successors_.assign(pieces_.size(), {});
      std::map<int, std::size_t> by_right;
      for (std::size_t i = 0; i < pieces_.size(); ++i) {
        for (const int y : pieces_[i].right) by_right[y] = i;
      }
      for (std::size_t i = 0; i < pieces_.size(); ++i) {
        for (const int y : pieces_[i].left) {
          const auto other = by_right.find(y);
          if (other != by_right.end() && other->second != i) successors_[i].push_back(other->second);
        }
      }
      for (const auto& [net, parts] : parts_) successors_[parts.first].push_back(parts.second);
      const std::optional<std::size_t> circular = sort();
      if (!circular) return;
      split(*circular);
    }
  }

  // A piece of a circle, if there is one.
  std::optional<std::size_t> sort() {
    std::vector<std::size_t> waits(pieces_.size(), 0);
    for (const auto& all : successors_) {
      for (const std::size_t next : all) ++waits[next];
    }
    order_.clear();
    std::vector<bool> done(pieces_.size(), false);
    while (order_.size() < pieces_.size()) {
      std::optional<std::size_t> best;
      for (std::size_t i = 0; i < pieces_.size(); ++i) {
        if (done[i] || waits[i] > 0) continue;
        if (!best || comes_first(pieces_[i], pieces_[*best])) best = i;
      }
      if (!best) return any_splittable(done);
      done[*best] = true;
      order_.push_back(*best);
      for (const std::size_t next : successors_[*best]) --waits[next];
    }
    return std::nullopt;
  }

  // Those that go up, from the top; then those that go down, from the bottom: such lines do not cross.
  static bool comes_first(const Piece& one, const Piece& other) {
    const auto key = [](const Piece& piece) {
      const int left = piece.left.empty() ? piece.low : std::ranges::min(piece.left);
      const int right = piece.right.empty() ? piece.low : piece.right.front();
      return right < left ? std::pair(0, left) : std::pair(1, -left);
    };
    return key(one) < key(other);
  }

  // Only what has both sides can be in a circle. Of what is left some may only wait for a circle: splitting one of these too early
  // costs a track and nothing else.
  std::size_t any_splittable(const std::vector<bool>& done) const {
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      if (!done[i] && !between_[pieces_[i].net] && !pieces_[i].left.empty() && !pieces_[i].right.empty()) return i;
    }
    std::unreachable();
  }

  void split(std::size_t index) {
    Piece right = pieces_[index];
    Piece& left = pieces_[index];
    const int y = free_height((left.low + left.high) / 2);
    between_[left.net] = y;
    left.right.clear();
    right.left.clear();
    for (Piece* piece : {&left, &right}) {
      measure(*piece);
      piece->low = std::min(piece->low, y);
      piece->high = std::max(piece->high, y);
    }
    parts_.emplace_back(left.net, std::pair(index, pieces_.size()));
    pieces_.push_back(std::move(right));
  }

  // Half a grid beside all ports, and nobody else's.
  int free_height(int wanted) const {
    int y = wanted / kGrid * kGrid + kGrid / 2;
    while (std::ranges::contains(between_, std::optional(y))) y += kGrid;
    return y;
  }

  // Crossings of the two if the first is left of the second.
  static std::size_t cost(const Piece& one, const Piece& other) {
    const auto within = [](const std::vector<int>& heights, const Piece& piece) {
      return static_cast<std::size_t>(std::ranges::count_if(heights, [&](int y) { return y >= piece.low && y <= piece.high; }));
    };
    return within(other.left, one) + within(one.right, other);
  }

  void exchange_neighbours() {
    std::size_t comparisons = 0;
    for (bool changed = true; changed && comparisons < kMaxComparisons;) {
      changed = false;
      for (std::size_t i = 0; i + 1 < order_.size(); ++i, ++comparisons) {
        const Piece& one = pieces_[order_[i]];
        const Piece& other = pieces_[order_[i + 1]];
        if (one.net == other.net || must_precede(one, other) || cost(other, one) >= cost(one, other)) continue;
        std::swap(order_[i], order_[i + 1]);
        changed = true;
      }
    }
  }

  std::vector<Piece> pieces_;
  std::vector<std::vector<std::size_t>> successors_;                                // by piece: those right of it
  std::vector<std::size_t> order_;                                                  // from left to right
  std::vector<std::optional<int>> between_;                                         // by net, of those that are split
  std::vector<std::pair<std::size_t, std::pair<std::size_t, std::size_t>>> parts_;  // net, its left and its right piece
};

}  // namespace

Channel route(const std::vector<Crossing>& nets) { return Routing(nets).run(); }

}  // namespace perdure::deploy::drawing
