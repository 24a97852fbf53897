#include "placement/choose_standbys.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>
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

// A node, and how much it has in common with those before it; its labels and its name in numbers, 0 for one that is missing.
struct Candidate {
  const NodeView* node = nullptr;
  std::array<std::uint32_t, model::kDomainLabels.size() + 1> numbers = {};
  int with_owner = 0;
  int most = 0;  // with the owner and with any that is chosen

  // The farthest from all of those, then from the owner, then the least loaded, then by name.
  auto worth() const {
    return std::tuple(most, with_owner, node->held_bytes, node->owned, std::string_view(node->description.life.node.str()));
  }
};

// As shared_domains() says, without comparing texts: each candidate is compared with each one that is chosen.
int shared_by(const Candidate& one, const Candidate& other) {
  constexpr std::size_t kLevels = model::kDomainLabels.size();
  if (one.numbers[kLevels] == other.numbers[kLevels]) return static_cast<int>(kLevels);
  int shared = 0;
  for (std::size_t level = 0; level < kLevels; ++level) {
    if (one.numbers.at(level) == 0 || other.numbers.at(level) == 0) continue;
    if (one.numbers.at(level) != other.numbers.at(level)) break;
    shared = static_cast<int>(level) + 1;
  }
  return shared;
}

std::vector<Candidate> candidates_of(const std::vector<const NodeView*>& nodes, const NodeView* owner) {
  std::vector<Candidate> all;
  std::array<std::map<std::string_view, std::uint32_t>, model::kDomainLabels.size() + 1> known;
  const auto number = [&](std::size_t level, std::string_view text) {
    return known.at(level).try_emplace(text, static_cast<std::uint32_t>(known.at(level).size() + 1)).first->second;
  };
  for (const NodeView* node : nodes) {
    Candidate candidate{.node = node};
    for (std::size_t level = 0; level < model::kDomainLabels.size(); ++level) {
      const std::string* text = label(node->description, model::kDomainLabels.at(level));
      if (text != nullptr) candidate.numbers.at(level) = number(level, *text);
    }
    candidate.numbers.back() = number(model::kDomainLabels.size(), node->description.life.node.str());
    if (owner != nullptr) candidate.with_owner = shared_domains(owner->description, node->description);
    candidate.most = candidate.with_owner;
    all.push_back(candidate);
  }
  return all;
}

// One group behind the other, in each the best first: the farthest from all before it, also from those of other groups.
std::vector<const NodeView*> best_first(const std::vector<std::vector<const NodeView*>>& groups, const NodeView* owner) {
  std::vector<const NodeView*> nodes;
  for (const auto& group : groups) nodes.insert(nodes.end(), group.begin(), group.end());
  std::vector<Candidate> left = candidates_of(nodes, owner);
  std::vector<const NodeView*> chosen;
  for (const auto& group : groups) {
    for (std::size_t here = group.size(); here > 0; --here) {
      const auto end = left.begin() + static_cast<std::ptrdiff_t>(here);
      const auto best = std::ranges::min_element(left.begin(), end, {}, &Candidate::worth);
      const Candidate next = *best;
      chosen.push_back(next.node);
      left.erase(best);
      for (Candidate& candidate : left) candidate.most = std::max(candidate.most, shared_by(next, candidate));
    }
  }
  return chosen;
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
  std::vector<std::vector<const NodeView*>> groups{std::move(present)};
  for (const NodeName& wanted : question.wanted) {
    const auto found = std::ranges::find(others, wanted, [](const NodeView* node) { return node->description.life.node; });
    if (found == others.end()) continue;
    groups.push_back({*found});
    others.erase(found);
  }
  groups.push_back(std::move(others));
  for (const NodeView* node : best_first(groups, owner)) choice.candidates.push_back(node->description.life.node);
  return choice;
}

}  // namespace perdure::placement
