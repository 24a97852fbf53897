#include "placement/drain.h"

#include <algorithm>
#include <format>
#include <string_view>
#include <tuple>
#include <unordered_map>

namespace perdure::placement {

Result<NodeName> choose_move_target(const MoveQuestion& question) {
  const StandbyChoice choice = choose_standbys(question.container);
  std::vector<const NodeView*> reachable;
  std::string why = "";
  const auto say = [&](const NodeName& node, std::string_view reason) {
    why += std::format("{}'{}': {}", why.empty() ? "" : "; ", node.str(), reason);
  };
  std::unordered_map<std::string_view, const NodeView*> by_name;
  for (const NodeView& node : question.container.nodes) by_name.emplace(node.description.life.node.str(), &node);
  for (const NodeName& name : choice.candidates) {
    const NodeView* found = by_name.at(name.str());
    if (found->reachable) {
      reachable.push_back(found);
    } else {
      say(name, "it cannot be reached");
    }
  }
  for (const auto& [name, reason] : choice.refused) say(name, reason);
  if (reachable.empty()) {
    return fail(ErrorCode::kUnsupported,
                why.empty() ? "there is no other node: join one with 'perdure cluster join'"
                            : "no node can take it: " + why);
  }
  // min_element takes the first of equals: the order of the candidates decides.
  const auto worth = [&](const NodeView* node) {
    const bool ready = question.ready.contains(node->description.life.node);
    return std::tuple(!ready, ready ? node->owned : 0U);
  };
  return (*std::ranges::min_element(reachable, {}, worth))->description.life.node;
}

std::vector<ContainerName> drain_order(std::vector<DrainRow> rows) {
  std::ranges::sort(rows, {}, [](const DrainRow& row) {
    return std::tuple(!row.has_ready_standby, row.memory_bytes, row.container);
  });
  std::vector<ContainerName> names;
  names.reserve(rows.size());
  for (DrainRow& row : rows) names.push_back(std::move(row.container));
  return names;
}

}  // namespace perdure::placement
