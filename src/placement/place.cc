#include "placement/place.h"

#include <algorithm>
#include <numeric>
#include <tuple>
#include <utility>

#include "placement/arrangement.h"
#include "placement/bundles.h"
#include "placement/explain.h"
#include "placement/filler.h"
#include "placement/improve.h"
#include "placement/solve.h"

namespace perdure::placement {
namespace {

// The indices of things, by name.
template <typename Things>
std::vector<std::size_t> sorted(const Things& things) {
  std::vector<std::size_t> order(things.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t index) -> const auto& { return things[index].name; });
  return order;
}

std::vector<std::size_t> inverse_of(const std::vector<std::size_t>& order) {
  std::vector<std::size_t> inverse(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) inverse[order[i]] = i;
  return inverse;
}

// The same problem in an order that depends on names alone, so that whoever solves it need not care.
struct InOrder {
  explicit InOrder(const PlacementProblem& given) : nodes(sorted(given.nodes)), containers(sorted(given.containers)) {
    const std::vector<std::size_t> new_node = inverse_of(nodes);
    const std::vector<std::size_t> new_container = inverse_of(containers);
    problem.apart = given.apart;
    for (const std::size_t node : nodes) problem.nodes.push_back(given.nodes[node]);
    for (const std::size_t index : containers) {
      PlaceContainer& container = problem.containers.emplace_back(given.containers[index]);
      if (container.owner) container.owner = new_node[*container.owner];
      for (std::size_t& node : container.present) node = new_node[node];
    }
    problem.dependencies = given.dependencies;
    for (ContainerDependency& dependency : problem.dependencies) {
      dependency.dependent = new_container[dependency.dependent];
      for (std::size_t& sponsor : dependency.sponsors) sponsor = new_container[sponsor];
      std::ranges::sort(dependency.sponsors);
    }
    std::ranges::sort(problem.dependencies, {}, [](const ContainerDependency& it) { return std::tie(it.dependent, it.sponsors, it.within); });
  }

  Places given_order(const Places& places) const {
    Places all(places.size());
    for (std::size_t i = 0; i < places.size(); ++i) {
      ContainerPlace& place = all[containers[i]] = places[i];
      if (place.owner) place.owner = nodes[*place.owner];
      for (std::size_t& node : place.standbys) node = nodes[node];
    }
    return all;
  }

  std::vector<std::string> given_order(std::vector<std::string> texts) const {
    std::vector<std::string> all(texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i) all[containers[i]] = std::move(texts[i]);
    return all;
  }

  PlacementProblem problem{};
  std::vector<std::size_t> nodes;       // by new index: as given
  std::vector<std::size_t> containers;  // the same
};

// Of what has kept its places so far.
std::vector<Freedom> freedom_of(const Arrangement& arrangement, MayChange may_change) {
  std::vector<Freedom> freedom(arrangement.places().size(), Freedom::kAll);
  if (may_change == MayChange::kAll) return freedom;
  for (std::size_t i = 0; i < freedom.size(); ++i) {
    const PlaceContainer& container = arrangement.container(i);
    const ContainerPlace& place = arrangement.places()[i];
    if (container.owner_is_gone || !place.owner) continue;
    freedom[i] = place.standbys.size() < container.standbys ? Freedom::kStandbys : Freedom::kNone;
  }
  return freedom;
}

}  // namespace

Placement solve(const PlacementProblem& problem, const Effort& effort, MayChange may_change) {
  const InOrder in_order(problem);
  const Bundles bundles(in_order.problem);
  Arrangement arrangement(in_order.problem);
  Filler filler(arrangement, bundles);
  filler.keep();
  const std::vector<Freedom> freedom = freedom_of(arrangement, may_change);
  filler.fill();
  Improver(arrangement, bundles, freedom, effort.steps).run();
  Placement placement{.places = in_order.given_order(arrangement.places()), .score = arrangement.score(), .why = {}};
  placement.why = in_order.given_order(explain(arrangement, bundles));
  return placement;
}

Placement place(const PlacementProblem& problem, const Effort& effort) { return solve(problem, effort, MayChange::kAll); }

}  // namespace perdure::placement
