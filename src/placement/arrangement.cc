#include "placement/arrangement.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <limits>
#include <map>

namespace perdure::placement {
namespace {

bool has(const Part& part, std::size_t container) { return std::ranges::binary_search(part.members, container); }

}  // namespace

std::string_view words_of(Refusal refusal) {
  switch (refusal) {
    case Refusal::kNone:
      return "";
    case Refusal::kCordoned:
      return "cordoned";
    case Refusal::kMemory:
      return "without the memory";
    case Refusal::kProcessors:
      return "without the processors";
    case Refusal::kDisk:
      return "without the disk";
    case Refusal::kTooFar:
      return "too far from what it depends on";
    case Refusal::kTogether:
      return "where it would fail together with its other places";
  }
  return "";
}

Arrangement::Arrangement(const PlacementProblem& problem)
    : problem_(problem),
      topology_(problem),
      urgencies_(urgencies_of(problem)),
      touching_(problem.containers.size()),
      rivals_(problem.containers.size()),
      places_(problem.containers.size()),
      loads_(problem.nodes.size()),
      broken_(problem.dependencies.size()),
      is_stale_(problem.dependencies.size()),
      is_stale_node_(problem.nodes.size()),
      leaves_(std::bit_ceil(std::max<std::size_t>(1, problem.nodes.size()))) {
  std::map<std::size_t, std::vector<std::size_t>> groups;
  for (std::size_t i = 0; i < places_.size(); ++i) {
    count(i);
    if (const auto& group = container(i).replica_group) groups[*group].push_back(i);
  }
  for (const auto& [group, members] : groups) {
    for (const std::size_t member : members) {
      std::ranges::copy_if(members, std::back_inserter(rivals_[member]), [&](std::size_t other) { return other != member; });
    }
  }
  for (std::size_t i = 0; i < problem.dependencies.size(); ++i) {
    const ContainerDependency& dependency = problem.dependencies[i];
    if (dependency.within == Closeness::kAnywhere) continue;
    touching_[dependency.dependent].push_back(i);
    for (const std::size_t sponsor : dependency.sponsors) touching_[sponsor].push_back(i);
  }
  fullest_.assign(2 * leaves_, 0);
}

Part Arrangement::part_of(std::vector<std::size_t> members) const {
  Part part{.members = std::move(members)};
  for (const std::size_t member : part.members) part.demand = sum_of(part.demand, container(member).demand);
  return part;
}

// ---- Changes ----

void Arrangement::count(std::size_t index) {
  const PlaceContainer& it = container(index);
  const ContainerPlace& place = places_[index];
  if (!place.owner) {
    ++score_.unplaced;
    score_.urgency_unplaced += urgencies_[index];
  }
  score_.missing_standbys += it.standbys - std::min<std::size_t>(it.standbys, place.standbys.size());
  score_.moves += moves_of(it, place);
}

void Arrangement::uncount(std::size_t index) {
  const PlaceContainer& it = container(index);
  const ContainerPlace& place = places_[index];
  if (!place.owner) {
    --score_.unplaced;
    score_.urgency_unplaced -= urgencies_[index];
  }
  score_.missing_standbys -= it.standbys - std::min<std::size_t>(it.standbys, place.standbys.size());
  score_.moves -= moves_of(it, place);
}

void Arrangement::touch(std::size_t index, std::size_t node) const {
  for (const std::size_t dependency : touching_[index]) {
    if (is_stale_[dependency]) continue;
    is_stale_[dependency] = true;
    stale_.push_back(dependency);
  }
  if (is_stale_node_[node]) return;
  is_stale_node_[node] = true;
  stale_nodes_.push_back(node);
}

void Arrangement::hold(std::size_t index, std::size_t node) {
  Load& load = loads_[node];
  load.memory += container(index).demand.memory.count;
  load.disk += container(index).demand.disk.count;
  load.holders.push_back(index);
  touch(index, node);
}

void Arrangement::release(std::size_t index, std::size_t node) {
  Load& load = loads_[node];
  load.memory -= container(index).demand.memory.count;
  load.disk -= container(index).demand.disk.count;
  const auto it = std::ranges::find(load.holders, index);
  *it = load.holders.back();
  load.holders.pop_back();
  touch(index, node);
}

void Arrangement::bring(std::size_t index, std::size_t node) {
  Load& load = loads_[node];
  const std::size_t domain = topology_.domains()[*places_[index].owner];
  auto it = std::ranges::find(load.brought, domain, &std::pair<std::size_t, std::uint64_t>::first);
  if (it == load.brought.end()) it = load.brought.insert(it, {domain, 0});
  it->second += container(index).demand.cpu.count;
  load.most_brought = std::max(load.most_brought, it->second);
}

void Arrangement::bring_no_more(std::size_t index, std::size_t node) {
  Load& load = loads_[node];
  const std::size_t domain = topology_.domains()[*places_[index].owner];
  const auto it = std::ranges::find(load.brought, domain, &std::pair<std::size_t, std::uint64_t>::first);
  it->second -= container(index).demand.cpu.count;
  if (it->second == 0) load.brought.erase(it);
  load.most_brought = 0;
  for (const auto& [from, cpu] : load.brought) load.most_brought = std::max(load.most_brought, cpu);
}

void Arrangement::set_owner(std::size_t index, std::size_t node) {
  uncount(index);
  places_[index].owner = node;
  loads_[node].cpu += container(index).demand.cpu.count;
  hold(index, node);
  count(index);
}

void Arrangement::add_standby(std::size_t index, std::size_t node) {
  uncount(index);
  if (places_[index].standbys.empty() && container(index).demand.cpu.count > 0) bring(index, node);
  places_[index].standbys.push_back(node);
  hold(index, node);
  count(index);
}

void Arrangement::clear_standbys(std::size_t index) {
  std::vector<std::size_t>& standbys = places_[index].standbys;
  if (standbys.empty()) return;
  uncount(index);
  if (container(index).demand.cpu.count > 0) bring_no_more(index, standbys.front());
  for (const std::size_t node : standbys) release(index, node);
  standbys.clear();
  count(index);
}

void Arrangement::clear(std::size_t index) {
  clear_standbys(index);
  const auto owner = places_[index].owner;
  if (!owner) return;
  uncount(index);
  loads_[*owner].cpu -= container(index).demand.cpu.count;
  release(index, *owner);
  places_[index].owner.reset();
  count(index);
}

void Arrangement::set(std::size_t index, const ContainerPlace& place) {
  clear(index);
  if (!place.owner) return;
  set_owner(index, *place.owner);
  for (const std::size_t node : place.standbys) add_standby(index, node);
}

void Arrangement::set(const Places& places) {
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (places[i] != places_[i]) set(i, ContainerPlace(places[i]));
  }
}

// ---- How good it is ----

std::optional<std::size_t> Arrangement::after_failure(std::size_t index, std::size_t failed) const {
  const ContainerPlace& place = places_[index];
  if (!place.owner || !topology_.fail_together(*place.owner, failed)) return place.owner;
  const auto next = std::ranges::find_if_not(place.standbys, [&](std::size_t node) { return topology_.fail_together(node, failed); });
  return next == place.standbys.end() ? std::nullopt : Where(*next);
}

// Only the failures that move one of its containers: without one it is kept.
std::size_t Arrangement::failures_breaking(const ContainerDependency& dependency) const {
  std::vector<std::size_t> failing;
  const auto add = [&](std::size_t index) {
    if (!places_[index].owner) return;
    const std::vector<std::size_t>& failures = topology_.failures_of(*places_[index].owner);
    failing.insert(failing.end(), failures.begin(), failures.end());
  };
  add(dependency.dependent);
  for (const std::size_t sponsor : dependency.sponsors) add(sponsor);
  std::ranges::sort(failing);
  const auto repeated = std::ranges::unique(failing);
  failing.erase(repeated.begin(), repeated.end());
  const auto close = [&](std::size_t one, std::size_t other, Closeness within) { return topology_.are_close(one, other, within); };
  return static_cast<std::size_t>(std::ranges::count_if(failing, [&](std::size_t failed) {
    return !placement::is_kept(dependency, [&](std::size_t index) { return after_failure(index, failed); }, close);
  }));
}

const Score& Arrangement::score() const {
  for (const std::size_t dependency : stale_) {
    is_stale_[dependency] = false;
    score_.broken_by_failures -= broken_[dependency];
    broken_[dependency] = failures_breaking(problem_.dependencies[dependency]);
    score_.broken_by_failures += broken_[dependency];
  }
  stale_.clear();
  for (const std::size_t node : stale_nodes_) {
    is_stale_node_[node] = false;
    const Load& load = loads_[node];
    std::size_t at = leaves_ + node;
    fullest_[at] = fullness(node, load.memory, load.cpu + load.most_brought);
    for (at /= 2; at > 0; at /= 2) fullest_[at] = std::max(fullest_[2 * at], fullest_[2 * at + 1]);
  }
  stale_nodes_.clear();
  score_.imbalance = fullest_[1];
  return score_;
}

std::size_t Arrangement::fullest_node() const {
  score();
  std::size_t at = 1;
  while (at < leaves_) at = fullest_[2 * at] >= fullest_[2 * at + 1] ? 2 * at : 2 * at + 1;
  return std::min(at - leaves_, loads_.size() - 1);
}

bool Arrangement::is_broken(std::size_t dependency) const {
  score();
  return broken_[dependency] > 0;
}

bool Arrangement::is_kept(std::size_t dependency) const {
  return placement::is_kept(
      problem_.dependencies[dependency], [&](std::size_t index) { return places_[index].owner; },
      [&](std::size_t one, std::size_t other, Closeness within) { return topology_.are_close(one, other, within); });
}

double Arrangement::fullness(std::size_t node, std::uint64_t memory, std::uint64_t cpu) const {
  return fullness_of({Bytes{memory}, {static_cast<std::uint32_t>(cpu)}, {}}, problem_.nodes[node].capacity);
}

// ---- Questions ----

Refusal Arrangement::room_refusal(const Demand& more, std::uint64_t brought, std::size_t node) const {
  const Demand& capacity = problem_.nodes[node].capacity;
  const Load& load = loads_[node];
  // A sum that could not be counted is the most that can be, and no node has that.
  constexpr std::uint64_t kTooMuch = std::numeric_limits<std::uint64_t>::max();
  if (more.memory.count == kTooMuch || more.memory.count > capacity.memory.count - load.memory) return Refusal::kMemory;
  if (load.cpu + more.cpu.count + brought > capacity.cpu.count) return Refusal::kProcessors;
  if (more.disk.count == kTooMuch || more.disk.count > capacity.disk.count - load.disk) return Refusal::kDisk;
  return Refusal::kNone;
}

bool Arrangement::is_new(const Part& part, std::size_t node) const {
  return std::ranges::any_of(part.members, [&](std::size_t member) {
    const PlaceContainer& it = container(member);
    const auto& owner = there_.empty() ? it.owner : there_[member].owner;
    const auto& standbys = there_.empty() ? it.present : there_[member].standbys;
    return owner != node && !std::ranges::contains(standbys, node);
  });
}

Refusal Arrangement::owner_refusal(const Part& part, std::size_t node) const {
  if (!problem_.nodes[node].takes_new && is_new(part, node)) return Refusal::kCordoned;
  if (const Refusal room = room_refusal(part.demand, loads_[node].most_brought, node); room != Refusal::kNone) return room;
  for (const std::size_t member : part.members) {
    if (meets_replica(part, member, node)) return Refusal::kTogether;
  }
  for (const std::size_t member : part.members) {
    for (const std::size_t dependency : touching_[member]) {
      if (!is_kept_at(part, problem_.dependencies[dependency], node)) return Refusal::kTooFar;
    }
  }
  return Refusal::kNone;
}

bool Arrangement::is_kept_at(const Part& part, const ContainerDependency& dependency, std::size_t node) const {
  return placement::is_kept(
      dependency, [&](std::size_t index) { return has(part, index) ? Where(node) : places_[index].owner; },
      [&](std::size_t one, std::size_t other, Closeness within) { return topology_.are_close(one, other, within); });
}

bool Arrangement::meets_replica(const Part& part, std::size_t member, std::size_t node) const {
  return std::ranges::any_of(rivals_[member], [&](std::size_t rival) {
    return has(part, rival) || (places_[rival].owner && topology_.fail_together(*places_[rival].owner, node));
  });
}

std::size_t Arrangement::moves_to(const Part& part, std::size_t node) const {
  std::size_t moves = 0;
  for (const std::size_t member : part.members) moves += moves_of(container(member), {.owner = node});
  return moves;
}

double Arrangement::fullness_owning(const Part& part, std::size_t node) const {
  const Load& load = loads_[node];
  return fullness(node, load.memory + part.demand.memory.count, load.cpu + part.demand.cpu.count + load.most_brought);
}

// The most that one failing domain would bring to the node then.
std::uint64_t Arrangement::brought_to(const Part& part, std::size_t node) const {
  const ContainerPlace& place = places_[part.members.front()];
  const Load& load = loads_[node];
  if (!place.standbys.empty()) return load.most_brought;
  const std::size_t domain = topology_.domains()[*place.owner];
  const auto there = std::ranges::find(load.brought, domain, &std::pair<std::size_t, std::uint64_t>::first);
  return std::max(load.most_brought, (there == load.brought.end() ? 0 : there->second) + part.demand.cpu.count);
}

Refusal Arrangement::standby_refusal(const Part& part, std::size_t node) const {
  for (const std::size_t member : part.members) {
    const ContainerPlace& place = places_[member];
    const auto is_with = [&](std::size_t other) { return topology_.fail_together(node, other); };
    if (is_with(*place.owner) || std::ranges::any_of(place.standbys, is_with)) return Refusal::kTogether;
  }
  if (!problem_.nodes[node].takes_new && is_new(part, node)) return Refusal::kCordoned;
  return room_refusal({part.demand.memory, {}, part.demand.disk}, brought_to(part, node), node);
}

double Arrangement::fullness_standing_by(const Part& part, std::size_t node) const {
  const Load& load = loads_[node];
  return fullness(node, load.memory + part.demand.memory.count, load.cpu + brought_to(part, node));
}

std::size_t Arrangement::moves_standing_by(const Part& part, std::size_t node) const {
  return static_cast<std::size_t>(std::ranges::count_if(part.members, [&](std::size_t member) {
    const PlaceContainer& it = container(member);
    return it.owner && it.owner != node && !std::ranges::contains(it.present, node);
  }));
}

std::size_t Arrangement::broken_at(const Part& part, std::size_t node) const {
  const std::size_t owner = *places_[part.members.front()].owner;
  const auto where = [&](std::size_t index) { return has(part, index) ? Where(node) : after_failure(index, owner); };
  const auto close = [&](std::size_t one, std::size_t other, Closeness within) { return topology_.are_close(one, other, within); };
  std::size_t broken = 0;
  for (const std::size_t member : part.members) {
    for (const std::size_t dependency : touching_[member]) broken += placement::is_kept(problem_.dependencies[dependency], where, close) ? 0 : 1;
  }
  return broken;
}

}  // namespace perdure::placement
