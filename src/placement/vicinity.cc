#include "placement/vicinity.h"

#include <algorithm>

namespace perdure::placement {
namespace {

constexpr std::size_t kDataCentreLabel = 0;  // of model::kDomainLabels
constexpr std::size_t kRackLabel = 1;

bool has_label(const std::vector<PlaceNode>& nodes, std::size_t label) {
  return std::ranges::any_of(nodes, [&](const PlaceNode& node) { return !node.domains[label].empty(); });
}

PlaceNode find(const NodeName& name, const std::vector<PlaceNode>& nodes) {
  const auto found = std::ranges::find(nodes, name, &PlaceNode::name);
  return found == nodes.end() ? PlaceNode{.name = name} : *found;
}

}  // namespace

Closeness closeness_of(model::Within within) {
  switch (within) {
    case model::Within::kHost:
      return Closeness::kHost;
    case model::Within::kRack:
      return Closeness::kRack;
    case model::Within::kDataCentre:
      return Closeness::kDataCentre;
  }
  return Closeness::kHost;
}

PlaceNode place_of(const model::NodeDescription& node) {
  PlaceNode place{.name = node.life.node};
  for (std::size_t i = 0; i < model::kDomainLabels.size(); ++i) {
    const auto label = node.labels.find(std::string(model::kDomainLabels[i]));
    if (label != node.labels.end()) place.domains[i] = label->second;
  }
  return place;
}

Closeness widened(Closeness closeness, const std::vector<PlaceNode>& nodes) {
  if (closeness == Closeness::kRack && !has_label(nodes, kRackLabel)) closeness = Closeness::kDataCentre;
  if (closeness == Closeness::kDataCentre && !has_label(nodes, kDataCentreLabel)) closeness = Closeness::kAnywhere;
  return closeness;
}

std::vector<std::size_t> too_far(const NodeName& node, const std::vector<model::Vicinity>& near,
                                 const std::map<std::string, NodeName>& sponsors_at,
                                 const std::vector<PlaceNode>& nodes) {
  const PlaceNode here = find(node, nodes);
  std::vector<std::size_t> far;
  for (std::size_t i = 0; i < near.size(); ++i) {
    const Closeness closeness = widened(closeness_of(near[i].within), nodes);
    bool is_anywhere = false;
    bool is_kept = false;
    for (const std::string& sponsor : near[i].sponsors) {
      const auto at = sponsors_at.find(sponsor);
      if (at == sponsors_at.end()) continue;
      is_anywhere = true;
      is_kept = is_kept || are_close(here, find(at->second, nodes), closeness);
    }
    if (is_anywhere && !is_kept) far.push_back(i);
  }
  return far;
}

}  // namespace perdure::placement
