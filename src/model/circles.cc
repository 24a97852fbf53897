#include "model/circles.h"

#include <algorithm>
#include <format>

namespace perdure::model {
namespace {

class CircleSearch {
 public:
  CircleSearch(Reading& reading, const std::vector<DependencyNode>& nodes)
      : reading_(reading), nodes_(nodes), visited_(nodes.size()) {}

  void visit(std::size_t index) {
    if (visited_[index]) return;
    visited_[index] = true;
    trail_.push_back(index);
    for (const DependencyEdge& edge : nodes_[index].edges) {
      if (edge.target == index) continue;
      const auto open = std::ranges::find(trail_, edge.target);
      if (open == trail_.end()) {
        visit(edge.target);
      } else {
        complain(edge.at, open);
      }
    }
    trail_.pop_back();
  }

 private:
  void complain(const std::string& at, std::vector<std::size_t>::const_iterator first) {
    std::string circle;
    for (auto step = first; step != trail_.end(); ++step) circle += nodes_[*step].name + " -> ";
    circle += nodes_[*first].name;
    reading_.complain(at, std::format("closes the circle {}, of which none could be started; remove "
                                      "one of these dependencies",
                                      circle));
  }

  Reading& reading_;
  const std::vector<DependencyNode>& nodes_;
  std::vector<bool> visited_;
  std::vector<std::size_t> trail_;  // each depends on the next
};

}  // namespace

void check_circles(Reading& reading, const std::vector<DependencyNode>& nodes) {
  CircleSearch search(reading, nodes);
  for (std::size_t i = 0; i < nodes.size(); ++i) search.visit(i);
}

}  // namespace perdure::model
