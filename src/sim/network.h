// Wires between the nodes: which way is open, and datagrams, each of which may get lost, come twice,
// late, or after one that was sent later.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "sim/names.h"
#include "sim/true_time.h"

namespace perdure::sim {

class World;

class Network {
 public:
  Network(World& world, std::size_t nodes)
      : world_(world), nodes_(nodes), cut_(nodes * nodes, false) {}

  void cut(NodeIndex from, NodeIndex to) { cut_[from * nodes_ + to] = true; }
  void mend_all() { cut_.assign(cut_.size(), false); }
  void mend(NodeIndex one, NodeIndex other) {
    cut_[one * nodes_ + other] = cut_[other * nodes_ + one] = false;
  }
  bool open(NodeIndex from, NodeIndex to) const { return !cut_[from * nodes_ + to]; }
  bool open_both_ways(NodeIndex one, NodeIndex other) const {
    return open(one, other) && open(other, one);
  }

  // `arrive` is called once for each time that it comes out at the other end.
  void datagram(NodeIndex from, NodeIndex to, std::function<void()> arrive);
  Duration latency();

 private:
  World& world_;
  std::size_t nodes_;
  std::vector<bool> cut_;
};

}  // namespace perdure::sim
