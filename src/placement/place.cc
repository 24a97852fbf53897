#include "placement/place.h"

#include <algorithm>
#include <array>
#include <format>
#include <limits>
#include <map>
#include <numeric>
#include <tuple>
#include <utility>

#include "placement/partition.h"
#include "placement/topology.h"

namespace perdure::placement {
namespace {

constexpr std::size_t kMostAttempts = 16;

// Why a node cannot take something.
enum class Refusal : std::uint8_t { kNone, kCordoned, kMemory, kProcessors, kDisk, kTooFar, kTogether };

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

class Refusals {
 public:
  void count(Refusal refusal) { ++counts_.at(static_cast<std::size_t>(refusal)); }
  std::string text() const {
    std::string all;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      if (counts_.at(i) == 0) continue;
      all += std::format("{}{} {}", all.empty() ? "" : ", ", counts_.at(i), words_of(static_cast<Refusal>(i)));
    }
    return all.empty() ? "there is no node" : all;
  }

 private:
  std::array<std::size_t, static_cast<std::size_t>(Refusal::kTogether) + 1> counts_{};
};

// What a node bears so far.
struct Load {
  Demand held{};                                 // memory and disk of all, processors of what it owns
  std::map<std::size_t, std::uint32_t> brought;  // processors, by the domain whose failure would bring them

  std::uint32_t most_brought = 0;                // of `brought`

  void bring(std::size_t domain, std::uint32_t cpu) {
    std::uint32_t& all = brought[domain];
    all = sum_of(all, cpu);
    most_brought = std::max(most_brought, all);
  }
};

// Containers that have to share a host.
struct Bundle {
  std::vector<std::size_t> members{};
  Demand demand{};
  std::uint32_t standbys = 0;
};

// What has a place so far; `order`: of the bundles, once all owners have been placed.
struct Attempt {
  Places places{};
  std::vector<std::string> why{};
  std::vector<Load> loads{};
  std::vector<std::size_t> order{};
};

class Placer {
 public:
  explicit Placer(const PlacementProblem& problem) : problem_(problem), topology_(problem), touching_(problem.containers.size()) {
    for (std::size_t i = 0; i < problem.containers.size(); ++i) {
      if (const auto& group = problem.containers[i].replica_group) replicas_[*group].push_back(i);
    }
    for (std::size_t i = 0; i < problem.dependencies.size(); ++i) {
      touching_[problem.dependencies[i].dependent].push_back(i);
      for (const std::size_t sponsor : problem.dependencies[i].sponsors) touching_[sponsor].push_back(i);
    }
    by_name_.resize(problem.nodes.size());
    std::iota(by_name_.begin(), by_name_.end(), std::size_t{0});
    std::ranges::sort(by_name_, {}, [&](std::size_t node) { return problem.nodes[node].name; });
    domain_of_ = failing_domains_of(problem);
    make_bundles();
  }

  Placement run() {
    std::vector<std::size_t> order(bundles_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    Attempt best;
    std::size_t least = std::numeric_limits<std::size_t>::max();
    for (std::size_t attempt = 0; attempt < kMostAttempts && least > 0; ++attempt) {
      begin();
      const auto first_left_out = place_owners(order);
      const auto left_out = static_cast<std::size_t>(std::ranges::count_if(now_.places, [](const ContainerPlace& it) { return !it.owner; }));
      if (left_out < least) {
        least = left_out;
        best = now_;
        best.order = order;
      }
      if (!first_left_out) break;
      std::rotate(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(*first_left_out),
                  order.begin() + static_cast<std::ptrdiff_t>(*first_left_out) + 1);
      if (*first_left_out == 0) break;  // it had the first choice
    }
    now_ = std::move(best);
    for (const std::size_t bundle : now_.order) place_standbys(bundles_[bundle]);
    Placement placement{.places = std::move(now_.places), .score = {}, .why = std::move(now_.why)};
    placement.score = score_of(problem_, placement.places);
    return placement;
  }

 private:
  const PlaceContainer& container(std::size_t index) const { return problem_.containers[index]; }

  void make_bundles() {
    Partition together(problem_.containers.size());
    for (const ContainerDependency& dependency : problem_.dependencies) {
      if (dependency.within > Closeness::kHost || dependency.sponsors.size() != 1) continue;
      together.join(dependency.dependent, dependency.sponsors.front());
    }
    std::map<std::size_t, Bundle> by_root;
    for (std::size_t i = 0; i < problem_.containers.size(); ++i) {
      Bundle& bundle = by_root[together.root_of(i)];
      bundle.members.push_back(i);
      bundle.demand = sum_of(bundle.demand, container(i).demand);
      bundle.standbys = std::max(bundle.standbys, container(i).standbys);
    }
    for (auto& [root, bundle] : by_root) bundles_.push_back(std::move(bundle));
    // The shortest tolerance first, then the largest, then by name.
    const auto rank = [this](const Bundle& bundle) {
      Duration tolerance = Duration::max();
      const ContainerName* name = &container(bundle.members.front()).name;
      for (const std::size_t member : bundle.members) {
        tolerance = std::min(tolerance, container(member).outage_tolerance.value_or(Duration::max()));
        if (container(member).name < *name) name = &container(member).name;
      }
      return std::tuple(tolerance, ~bundle.demand.memory.count, ~bundle.demand.cpu.count, name->str());
    };
    std::ranges::sort(bundles_, {}, rank);
  }

  void begin() {
    now_.places.assign(problem_.containers.size(), {});
    now_.why.assign(problem_.containers.size(), {});
    now_.loads.assign(problem_.nodes.size(), {});
  }

  // The place in the order of the first bundle that found none.
  std::optional<std::size_t> place_owners(const std::vector<std::size_t>& order) {
    std::optional<std::size_t> first_left_out;
    for (std::size_t at = 0; at < order.size(); ++at) {
      if (!place_owner(bundles_[order[at]]) && !first_left_out) first_left_out = at;
    }
    for (std::size_t at = 0; at < order.size(); ++at) {
      if (!take_back_what_is_too_far(bundles_[order[at]])) continue;
      first_left_out = std::min(first_left_out.value_or(at), at);
      at = static_cast<std::size_t>(-1);  // who depends on it may be too far from the other sponsors now
    }
    return first_left_out;
  }

  // A sponsor that was to come close has found no place.
  bool take_back_what_is_too_far(const Bundle& bundle) {
    const auto owner = now_.places[bundle.members.front()].owner;
    if (!owner) return false;
    const bool kept = std::ranges::all_of(bundle.members, [&](std::size_t member) { return keeps_dependencies(member, *owner, false); });
    if (kept) return false;
    now_.loads[*owner].held.memory.count -= bundle.demand.memory.count;
    now_.loads[*owner].held.cpu.count -= bundle.demand.cpu.count;
    now_.loads[*owner].held.disk.count -= bundle.demand.disk.count;
    for (const std::size_t member : bundle.members) {
      now_.places[member].owner.reset();
      now_.why[member] = "no node is close enough to a sponsor that has a place";
    }
    return true;
  }

  bool place_owner(const Bundle& bundle) {
    Refusals refusals;
    std::optional<std::size_t> best;
    std::size_t able = 0;
    std::tuple<std::size_t, double> least;
    for (const std::size_t node : by_name_) {
      const Refusal refusal = owner_refusal(bundle, node);
      if (refusal != Refusal::kNone) {
        refusals.count(refusal);
        continue;
      }
      ++able;
      const std::tuple cost(moves_to(bundle, node), fullness(node, bundle.demand, 0));
      if (best && cost >= least) continue;
      best = node;
      least = cost;
    }
    for (const std::size_t member : bundle.members) {
      now_.why[member] = !best ? std::format("no node can take it: {}", refusals.text())
                     : container(member).owner == best
                         ? "it runs there"
                         : std::format("the emptiest of {} that can take it", able);
    }
    if (!best) return false;
    for (const std::size_t member : bundle.members) now_.places[member].owner = best;
    Load& load = now_.loads[*best];
    load.held = sum_of(load.held, bundle.demand);
    return true;
  }

  std::size_t moves_to(const Bundle& bundle, std::size_t node) const {
    return static_cast<std::size_t>(std::ranges::count_if(
        bundle.members, [&](std::size_t member) { return container(member).owner && container(member).owner != node; }));
  }

  double fullness(std::size_t node, const Demand& more, std::uint32_t brought) const {
    return fullness_of(sum_of(sum_of(now_.loads[node].held, more), {{}, {brought}, {}}), problem_.nodes[node].capacity);
  }

  Refusal room_refusal(std::size_t node, const Demand& more, std::uint32_t brought) const {
    const Demand& capacity = problem_.nodes[node].capacity;
    const Demand held = sum_of(now_.loads[node].held, more);
    if (held.memory > capacity.memory) return Refusal::kMemory;
    if (std::uint64_t{held.cpu.count} + brought > capacity.cpu.count) return Refusal::kProcessors;
    if (held.disk > capacity.disk) return Refusal::kDisk;
    return Refusal::kNone;
  }

  bool is_new(std::size_t member, std::size_t node) const {
    return container(member).owner != node && !std::ranges::contains(container(member).present, node);
  }

  Refusal owner_refusal(const Bundle& bundle, std::size_t node) const {
    const bool new_here = std::ranges::any_of(bundle.members, [&](std::size_t member) { return is_new(member, node); });
    if (new_here && !problem_.nodes[node].takes_new) return Refusal::kCordoned;
    if (const Refusal room = room_refusal(node, bundle.demand, now_.loads[node].most_brought); room != Refusal::kNone) return room;
    for (const std::size_t member : bundle.members) {
      if (!keeps_dependencies(member, node, true)) return Refusal::kTooFar;
      if (meets_replica(bundle, member, node)) return Refusal::kTogether;
    }
    return Refusal::kNone;
  }

  bool meets_replica(const Bundle& bundle, std::size_t member, std::size_t node) const {
    const auto& group = container(member).replica_group;
    if (!group) return false;
    for (const std::size_t other : replicas_.at(*group)) {
      if (other == member) continue;
      if (std::ranges::contains(bundle.members, other)) return true;
      if (now_.places[other].owner && topology_.fail_together(*now_.places[other].owner, node)) return true;
    }
    return false;
  }

  // With what is placed already. One that is not may still come close, while there is hope; without it, only the member's
  // own dependencies count, and those of which a sponsor has a place.
  bool keeps_dependencies(std::size_t member, std::size_t node, bool hope) const {
    return std::ranges::all_of(touching_[member], [&](std::size_t index) {
      const ContainerDependency& dependency = problem_.dependencies[index];
      if (dependency.within == Closeness::kAnywhere || (!hope && dependency.dependent != member)) return true;
      const bool any = std::ranges::any_of(dependency.sponsors, [&](std::size_t sponsor) { return now_.places[sponsor].owner.has_value(); });
      if (!hope && !any) return true;
      const auto where = [&](std::size_t it) { return it == member ? std::optional(node) : now_.places[it].owner; };
      const auto dependent = where(dependency.dependent);
      if (!dependent) return true;
      return std::ranges::any_of(dependency.sponsors, [&](std::size_t sponsor) {
        const auto at = where(sponsor);
        return at ? topology_.are_close(*dependent, *at, dependency.within) : hope;
      });
    });
  }

  // ---- Standbys ----

  void place_standbys(const Bundle& bundle) {
    if (!now_.places[bundle.members.front()].owner) return;
    for (std::uint32_t rank = 0; rank < bundle.standbys; ++rank) {
      Bundle part;
      for (const std::size_t member : bundle.members) {
        if (container(member).standbys <= rank) continue;
        part.members.push_back(member);
        part.demand = sum_of(part.demand, container(member).demand);
      }
      if (!place_standby(part, rank == 0)) return;
    }
  }

  bool place_standby(const Bundle& part, bool first) {
    const std::size_t owner = *now_.places[part.members.front()].owner;
    Refusals refusals;
    std::optional<std::size_t> best;
    std::tuple<std::size_t, std::size_t, double> least;
    for (const std::size_t node : by_name_) {
      const Refusal refusal = standby_refusal(part, node, owner, first);
      if (refusal != Refusal::kNone) {
        refusals.count(refusal);
        continue;
      }
      const auto fresh = static_cast<std::size_t>(std::ranges::count_if(part.members, [&](std::size_t member) { return is_new(member, node); }));
      const Demand stored{part.demand.memory, {}, part.demand.disk};
      const std::tuple cost(first ? broken_without(part, owner, node) : 0, fresh, fullness(node, stored, brought_to(part, node, owner, first)));
      if (best && cost >= least) continue;
      best = node;
      least = cost;
    }
    if (!best) {
      for (const std::size_t member : part.members) {
        now_.why[member] += std::format("; {} of {} standbys, since of the other nodes {}", now_.places[member].standbys.size(),
                                    container(member).standbys, refusals.text());
      }
      return false;
    }
    Load& load = now_.loads[*best];
    load.held = sum_of(load.held, {part.demand.memory, {}, part.demand.disk});
    if (first) load.bring(domain_of_[owner], part.demand.cpu.count);
    for (const std::size_t member : part.members) now_.places[member].standbys.push_back(*best);
    return true;
  }

  // The most that one failing domain would bring to the node then.
  std::uint32_t brought_to(const Bundle& part, std::size_t node, std::size_t owner, bool first) const {
    const Load& load = now_.loads[node];
    if (!first) return load.most_brought;
    const auto there = load.brought.find(domain_of_[owner]);
    const std::uint32_t by_this_one = sum_of(there == load.brought.end() ? 0 : there->second, part.demand.cpu.count);
    return std::max(load.most_brought, by_this_one);
  }

  Refusal standby_refusal(const Bundle& part, std::size_t node, std::size_t owner, bool first) const {
    const PlaceNode& here = problem_.nodes[node];
    const auto is_with = [&](std::size_t other) { return topology_.fail_together(node, other); };
    if (is_with(owner) || std::ranges::any_of(now_.places[part.members.front()].standbys, is_with)) return Refusal::kTogether;
    const bool new_here = std::ranges::any_of(part.members, [&](std::size_t member) { return is_new(member, node); });
    if (new_here && !here.takes_new) return Refusal::kCordoned;
    const Demand stored{part.demand.memory, {}, part.demand.disk};
    return room_refusal(node, stored, brought_to(part, node, owner, first));
  }

  // Dependencies that would not be kept if the owner's domain failed and the part went on at the node.
  std::size_t broken_without(const Bundle& part, std::size_t owner, std::size_t node) const {
    const auto where = [&](std::size_t it) -> std::optional<std::size_t> {
      if (std::ranges::contains(part.members, it)) return node;
      const ContainerPlace& place = now_.places[it];
      if (!place.owner || !topology_.fail_together(*place.owner, owner)) return place.owner;
      if (place.standbys.empty()) return std::nullopt;
      return place.standbys.front();
    };
    std::size_t broken = 0;
    for (const std::size_t member : part.members) {
      for (const std::size_t index : touching_[member]) {
        const ContainerDependency& dependency = problem_.dependencies[index];
        if (dependency.within == Closeness::kAnywhere) continue;
        const auto dependent = where(dependency.dependent);
        if (!dependent) continue;
        const bool kept = std::ranges::any_of(dependency.sponsors, [&](std::size_t sponsor) {
          const auto at = where(sponsor);
          return !at || topology_.are_close(*dependent, *at, dependency.within);
        });
        if (!kept) ++broken;
      }
    }
    return broken;
  }

  const PlacementProblem& problem_;
  const Topology topology_;
  std::map<std::size_t, std::vector<std::size_t>> replicas_{};  // by group: containers
  std::vector<std::vector<std::size_t>> touching_;  // by container: dependencies
  std::vector<std::size_t> by_name_;                // nodes, in the order in which they are looked at
  std::vector<std::size_t> domain_of_;              // by node: the first by name that fails with it
  std::vector<Bundle> bundles_;
  Attempt now_;
};

}  // namespace

Placement place(const PlacementProblem& problem) { return Placer(problem).run(); }

}  // namespace perdure::placement
