// Cluster: containers that follow those that they have to be close to.
#include <algorithm>
#include <charconv>
#include <format>
#include <map>
#include <utility>

#include "node/cluster/cluster.h"
#include "node/cluster/takeover_request.h"
#include "placement/vicinity.h"

namespace perdure::node {
namespace {

namespace near = policy::nearness;

// "'shop-db' on node 'b', not on the same host"
std::string text_of(const model::Vicinity& vicinity, const std::map<std::string, NodeName>& sponsors_at) {
  std::string text;
  for (const std::string& sponsor : vicinity.sponsors) {
    const auto at = sponsors_at.find(sponsor);
    if (at == sponsors_at.end()) continue;
    text += std::format("{}'{}' on node '{}'", text.empty() ? "" : ", ", sponsor, at->second.str());
  }
  const auto closeness = placement::closeness_of(vicinity.within);
  return std::format("{}, not {} the same {}", text, closeness == placement::Closeness::kHost ? "on" : "in",
                     closeness == placement::Closeness::kDataCentre ? "data centre" : to_string(closeness));
}

// Of APPLICATION-NAME-N; 0: it has none.
std::size_t replica_number(const ContainerName& name) {
  const std::string& text = name.str();
  std::size_t number = 0;
  if (const auto dash = text.rfind('-'); dash != std::string::npos) {
    std::from_chars(text.data() + dash + 1, text.data() + text.size(), number);
  }
  return number;
}

}  // namespace

std::unique_ptr<NearnessWatch> Cluster::make_nearness_watch() {
  NearnessWatch::Environment environment{
      .loop = options_.loop,
      .clock = options_.clock,
      .events = options_.events,
      .look = [this](const ContainerName& name, const std::vector<model::Vicinity>& vicinities) { return look_near(name, vicinities); },
      .hand_over =
          [this](const ContainerName& name, const NodeName& target, const NearnessWatch::Failed& failed) {
            move(name, target, MoveCause::kOther, [failed](const Result<OwnedContainer::MoveResult>& moved) {
              if (!moved) failed(moved.error().message());
            });
          }};
  return std::make_unique<NearnessWatch>(std::move(environment), near::Options{});
}

near::Looked Cluster::look_near(const ContainerName& name, const std::vector<model::Vicinity>& vicinities) {
  const coord::ClusterView& view = membership_->view();
  near::Looked looked;
  looked.settled = view.current();
  for (const model::Vicinity& vicinity : vicinities) {
    for (const std::string& sponsor : vicinity.sponsors) {
      const auto parsed = ContainerName::parse(sponsor);
      const coord::StoredRecord* stored = parsed ? view.record(*parsed) : nullptr;
      if (stored == nullptr || stored->record.desired != model::DesiredState::kRunning) continue;
      looked.sponsors_at.emplace(sponsor, stored->record.owner.node);
      const bool is_there = owner_is_there(stored->record, membership_->self(), membership_->peers());
      looked.settled = looked.settled && is_there && stored->record.phase == model::RecordPhase::kRunning;
    }
  }
  std::vector<placement::PlaceNode> nodes;
  for (const auto& [node, stored] : view.nodes()) nodes.push_back(placement::place_of(stored.value));
  for (const std::size_t index : placement::too_far(membership_->identity().node, vicinities, looked.sponsors_at, nodes)) {
    looked.too_far.push_back(text_of(vicinities[index], looked.sponsors_at));
  }
  if (looked.too_far.empty()) return looked;
  std::vector<NodeName> ready = ready_targets(name);
  // Replicas that follow at the same time are not to meet on one node.
  if (!ready.empty()) std::ranges::rotate(ready, ready.begin() + static_cast<std::ptrdiff_t>(replica_number(name) % ready.size()));
  for (const NodeName& node : ready) {
    looked.candidates.push_back({node, placement::too_far(node, vicinities, looked.sponsors_at, nodes).size()});
  }
  return looked;
}

}  // namespace perdure::node
