#include "placement/topology.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <string_view>
#include <unordered_map>

namespace perdure::placement {
namespace {

using model::FailureDomain;

}  // namespace

Topology::Topology(const PlacementProblem& problem) : apart_(label_of(problem.apart)), numbers_(problem.nodes.size()), failures_(problem.nodes.size()) {
  for (std::size_t label = 0; label <= kLabels; ++label) {
    std::unordered_map<std::string_view, std::uint32_t> known;
    for (std::size_t node = 0; node < problem.nodes.size(); ++node) {
      const std::string_view text = label == kLabels ? problem.nodes[node].name.str() : problem.nodes[node].domains[label];
      if (text.empty()) continue;
      numbers_[node][label] = known.try_emplace(text, static_cast<std::uint32_t>(known.size() + 1)).first->second;
    }
  }
  find_domains(problem);
}

void Topology::find_domains(const PlacementProblem& problem) {
  std::vector<std::size_t> by_name(numbers_.size());
  std::iota(by_name.begin(), by_name.end(), std::size_t{0});
  if (apart_ == kLabels) {  // each by itself
    domains_ = by_name;
    for (std::size_t node = 0; node < failures_.size(); ++node) failures_[node] = {node};
    return;
  }
  std::ranges::sort(by_name, {}, [&](std::size_t node) -> const NodeName& { return problem.nodes[node].name; });
  for (std::size_t node = 0; node < numbers_.size(); ++node) {
    domains_.push_back(*std::ranges::find_if(by_name, [&](std::size_t other) { return fail_together(node, other); }));
  }
  std::vector<std::size_t> standing = domains_;
  std::ranges::sort(standing);
  const auto repeated = std::ranges::unique(standing);
  standing.erase(repeated.begin(), repeated.end());
  for (std::size_t node = 0; node < failures_.size(); ++node) {
    std::ranges::copy_if(standing, std::back_inserter(failures_[node]), [&](std::size_t domain) { return fail_together(node, domain); });
  }
}

bool Topology::are_close(std::size_t one, std::size_t other, Closeness closeness) const {
  switch (closeness) {
    case Closeness::kAnywhere:
      return true;
    case Closeness::kDataCentre:
      return share(one, other, label_of(FailureDomain::kDataCentre));
    case Closeness::kRack:
      return share(one, other, label_of(FailureDomain::kRack));
    case Closeness::kHost:
      return share(one, other, label_of(FailureDomain::kNode));
    case Closeness::kContainer:
      return false;
  }
  return false;
}

bool Topology::share(std::size_t one, std::size_t other, std::size_t label) const {
  const auto& a = numbers_[one];
  const auto& b = numbers_[other];
  if (a[kLabels] == b[kLabels]) return true;
  if (label == kLabels) return false;
  for (std::size_t wider = 0; wider < label; ++wider) {
    if (a[wider] != 0 && b[wider] != 0 && a[wider] != b[wider]) return false;
  }
  return a[label] != 0 && a[label] == b[label];
}

}  // namespace perdure::placement
