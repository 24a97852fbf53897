// Placing containers on nodes, as values: what is asked, what was found, and how good it is (paper III-B). Pure.
//
// A node is an index into `nodes`, a container one into `containers`. Whoever solves it (place.h), and whoever judges a
// solution, stands on the functions here.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "model/application/application.h"
#include "model/cluster.h"
#include "placement/grouping.h"

namespace perdure::placement {

struct PlaceNode {
  NodeName name;
  // Labels in the order of model::kDomainLabels; empty: the node is a domain of its own.
  std::array<std::string, model::kDomainLabels.size()> domains{};
  Demand capacity{};
  bool takes_new = true;  // false: cordoned; what is there stays
};

struct PlaceContainer {
  ContainerName name;
  Demand demand{};
  std::uint32_t standbys = 0;
  // How long it may be missed: of as many that find no place, those are left out that bear it longest. nullopt: nobody says.
  std::optional<Duration> outage_tolerance{};
  std::optional<std::size_t> replica_group{};  // those of one group are kept apart from each other
  std::optional<std::size_t> owner{};          // where it runs now, or what its moves are counted from
  std::vector<std::size_t> present{};          // its standbys now
  bool owner_is_gone = false;                  // it runs nowhere, and `owner` is the standby that takes over

  // Its owner is gone: of `present`, the first one takes over, if there is one.
  void take_over();
};

struct PlacementProblem {
  std::vector<PlaceNode> nodes{};
  std::vector<PlaceContainer> containers{};
  std::vector<ContainerDependency> dependencies{};
  // What an owner and its standbys, its standbys among themselves, and replicas must not share; also what is thought to
  // fail as a whole.
  model::FailureDomain apart = model::FailureDomain::kNode;
};

struct ContainerPlace {
  std::optional<std::size_t> owner{};    // nullopt: it has no place
  std::vector<std::size_t> standbys{};   // the first one takes over first
  bool operator==(const ContainerPlace&) const = default;
};
using Places = std::vector<ContainerPlace>;  // one for each container

// Index into the labels, whose first is the widest; of kNode their number.
std::size_t label_of(model::FailureDomain domain);

// Whether two nodes are in one domain: the same node, or both have its label and all wider ones that both have agree.
bool share_domain(const PlaceNode& one, const PlaceNode& other, model::FailureDomain domain);
// Whether programs on them are that close. kContainer is never between two containers.
bool are_close(const PlaceNode& one, const PlaceNode& other, Closeness closeness);

// Whether the dependent is close enough to one of its sponsors; also if it or all of them are nowhere. `where(container)`: an
// optional node. `close(one, other, closeness)`: whether two nodes are.
template <typename Where, typename Close>
bool is_kept(const ContainerDependency& dependency, const Where& where, const Close& close) {
  if (dependency.within == Closeness::kAnywhere) return true;
  const std::optional<std::size_t> dependent = where(dependency.dependent);
  if (!dependent) return true;
  bool somewhere = false;
  for (const std::size_t sponsor : dependency.sponsors) {
    const std::optional<std::size_t> at = where(sponsor);
    if (!at) continue;
    if (close(*dependent, *at, dependency.within)) return true;
    somewhere = true;
  }
  return !somewhere;
}
// The same, with each container at `where`.
bool is_kept(const PlacementProblem& problem, const ContainerDependency& dependency,
             const std::vector<std::optional<std::size_t>>& where);

// By node: the first by name that fails with it, which stands for their domain.
std::vector<std::size_t> failing_domains_of(const PlacementProblem& problem);

// The fuller of memory and processors, as a share of what there is.
double fullness_of(const Demand& load, const Demand& capacity);

// By what is worse: lower is better, the first difference decides.
struct Score {
  std::size_t unplaced = 0;          // containers without a place
  std::size_t urgency_unplaced = 0;  // of these, the sum of urgencies_of()
  std::size_t missing_standbys = 0;
  // Pairs of a failing domain and a dependency that is not close enough any more once the first standbys have taken over.
  std::size_t broken_by_failures = 0;
  // Owners that change, and nodes that get a state that they do not hold: a container that goes to one of its standbys is one
  // move, to another node two. Of containers that run nowhere, none.
  std::size_t moves = 0;
  double imbalance = 0;              // the fullest node's share, of memory or processors, whichever is more
  auto operator<=>(const Score&) const = default;
};
Score score_of(const PlacementProblem& problem, const Places& places);

// By container: 0 if nobody says how long it may be missed, else 1 for the longest, 2 for the next shorter, …
std::vector<std::size_t> urgencies_of(const PlacementProblem& problem);
// Those of one container with these places.
std::size_t moves_of(const PlaceContainer& container, const ContainerPlace& place);

// What a solution must never do; one line each, for people: capacity, also for what a takeover needs; closeness; apart; a
// new place on a cordoned node. Empty: nothing.
std::vector<std::string> violations_of(const PlacementProblem& problem, const Places& places);

// By node: memory and disk of what it owns and stands by for; processors of what it owns, and of the most that one failing
// domain would bring it.
std::vector<Demand> loads_of(const PlacementProblem& problem, const Places& places);

}  // namespace perdure::placement
