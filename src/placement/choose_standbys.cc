#include "placement/choose_standbys.h"

#include <algorithm>
#include <tuple>

namespace perdure::placement {
namespace {

const std::string* label(const model::NodeDescription& node, std::string_view key) {
  const auto found = node.labels.find(std::string(key));
  return found == node.labels.end() || found->second.empty() ? nullptr : &found->second;
}

std::string why_not(const StandbyQuestion& question, const NodeView& node, bool present) {
  std::string reasons;
  const auto add = [&](const std::string& reason) {
    reasons += (reasons.empty() ? "" : "; ") + reason;
  };
  if (node.description.witness) add("it is a witness: it runs no containers");
  if (node.description.cordoned) add("it is cordoned: 'perdure node uncordon' allows it again");
  if (!node.reachable && !present) add("it cannot be reached");
  for (const auto& reason : check_eligible(question.requirements, node.description.facts)) {
    add(reason);
  }
  const auto refusal = question.refusals.find(node.description.life.node);
  if (refusal != question.refusals.end() && !present) add(refusal->second);
  return reasons;
}

// The farthest from all of `others`, then from the owner, then the least loaded, then by name.
auto worth(const NodeView& node, const NodeView* owner,
           const std::vector<const NodeView*>& others) {
  const int with_owner =
      owner == nullptr ? 0 : shared_domains(owner->description, node.description);
  int most = with_owner;
  for (const NodeView* other : others) {
    most = std::max(most, shared_domains(other->description, node.description));
  }
  return std::tuple(most, with_owner, node.held_bytes, node.owned, node.description.life.node);
}

void append_best_first(std::vector<const NodeView*> from, const NodeView* owner,
                       std::vector<const NodeView*>& chosen) {
  while (!from.empty()) {
    const auto best = std::ranges::min_element(
        from, {}, [&](const NodeView* node) { return worth(*node, owner, chosen); });
    chosen.push_back(*best);
    from.erase(best);
  }
}

}  // namespace

int shared_domains(const model::NodeDescription& one, const model::NodeDescription& other) {
  if (one.life.node == other.life.node) return static_cast<int>(model::kDomainLabels.size());
  int shared = 0;
  for (std::size_t level = 0; level < model::kDomainLabels.size(); ++level) {
    const std::string* a = label(one, model::kDomainLabels.at(level));
    const std::string* b = label(other, model::kDomainLabels.at(level));
    if (a == nullptr || b == nullptr) continue;
    if (*a != *b) break;
    shared = static_cast<int>(level) + 1;
  }
  return shared;
}

StandbyChoice choose_standbys(const StandbyQuestion& question) {
  StandbyChoice choice;
  const NodeView* owner = nullptr;
  std::vector<const NodeView*> present;
  std::vector<const NodeView*> others;
  for (const NodeView& node : question.nodes) {
    const NodeName& name = node.description.life.node;
    if (name == question.owner) {
      owner = &node;
      continue;
    }
    const bool is_present = std::ranges::contains(question.present, name);
    if (std::string reasons = why_not(question, node, is_present); !reasons.empty()) {
      choice.refused.emplace(name, std::move(reasons));
    } else {
      (is_present ? present : others).push_back(&node);
    }
  }
  std::vector<const NodeView*> chosen;
  append_best_first(std::move(present), owner, chosen);
  for (const NodeName& wanted : question.wanted) {
    const auto found = std::ranges::find(others, wanted, [](const NodeView* node) { return node->description.life.node; });
    if (found == others.end()) continue;
    chosen.push_back(*found);
    others.erase(found);
  }
  append_best_first(std::move(others), owner, chosen);
  for (const NodeView* node : chosen) choice.candidates.push_back(node->description.life.node);
  return choice;
}

}  // namespace perdure::placement
