#include "placement/vicinity.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "placement/problem.h"

namespace perdure::placement {
namespace {

constexpr std::size_t kDataCentreLabel = 0;  // of model::kDomainLabels
constexpr std::size_t kRackLabel = 1;

PlaceNode place_of(const NodeName& name, const std::vector<model::NodeDescription>& nodes) {
  PlaceNode place{.name = name};
  const auto found = std::ranges::find(nodes, name, [](const model::NodeDescription& it) { return it.life.node; });
  if (found == nodes.end()) return place;
  for (std::size_t i = 0; i < model::kDomainLabels.size(); ++i) {
    const auto label = found->labels.find(std::string(model::kDomainLabels[i]));
    if (label != found->labels.end()) place.domains[i] = label->second;
  }
  return place;
}

bool has_label(const std::vector<model::NodeDescription>& nodes, std::size_t label) {
  return std::ranges::any_of(nodes, [&](const model::NodeDescription& node) {
    const auto found = node.labels.find(std::string(model::kDomainLabels[label]));
    return found != node.labels.end() && !found->second.empty();
  });
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

Closeness widened(Closeness closeness, bool has_racks, bool has_data_centres) {
  if (closeness == Closeness::kRack && !has_racks) closeness = Closeness::kDataCentre;
  if (closeness == Closeness::kDataCentre && !has_data_centres) closeness = Closeness::kAnywhere;
  return closeness;
}

std::vector<std::size_t> too_far(const NodeName& node, const std::vector<model::Vicinity>& near,
                                 const std::map<std::string, NodeName>& sponsors_at,
                                 const std::vector<model::NodeDescription>& nodes) {
  const PlaceNode here = place_of(node, nodes);
  const bool has_racks = has_label(nodes, kRackLabel);
  const bool has_data_centres = has_label(nodes, kDataCentreLabel);
  std::vector<std::size_t> far;
  for (std::size_t i = 0; i < near.size(); ++i) {
    const Closeness closeness = widened(closeness_of(near[i].within), has_racks, has_data_centres);
    bool is_anywhere = false;
    bool is_kept = false;
    for (const std::string& sponsor : near[i].sponsors) {
      const auto at = sponsors_at.find(sponsor);
      if (at == sponsors_at.end()) continue;
      is_anywhere = true;
      is_kept = is_kept || are_close(here, place_of(at->second, nodes), closeness);
    }
    if (is_anywhere && !is_kept) far.push_back(i);
  }
  return far;
}

}  // namespace perdure::placement
