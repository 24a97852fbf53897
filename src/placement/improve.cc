#include "placement/improve.h"

#include <algorithm>
#include <ranges>
#include <optional>
#include <set>
#include <utility>

namespace perdure::placement {
namespace {

constexpr std::size_t kMostMended = 16;        // times in a row in which something is mended
constexpr std::size_t kMostTidied = 2;         // times; each costs a mending that finds nothing
constexpr std::size_t kVeryFew = 16;           // of so many containers, other ways are tried while there are moves
constexpr std::size_t kMostTidiedOfFew = 8;
constexpr std::size_t kWaysOfMendingFew = 3;
constexpr std::size_t kMostInOneGroup = 32;    // containers that depend closely on each other and are given up together
constexpr std::size_t kPatience = 10'000;        // steps in a row that make nothing better
constexpr std::size_t kMostGivenUp = 6;        // containers of a step, besides those of their bundles
constexpr std::size_t kFewContainers = 64;     // of so many, all give up their places now and then
constexpr std::size_t kWanderers = 200;        // up to so many containers, what is as good as before stays
constexpr std::size_t kReturn = 1000;          // after so many steps they begin at the best again
constexpr double kMostDetour = 0.05;           // by so much of the best balance they may be worse on the way, less and less

// What mend() looks at.
auto lack_of(const Score& score) {
  return std::tuple(score.unplaced, score.urgency_unplaced, score.missing_standbys, score.broken_by_failures);
}

bool has_room(const PlaceNode& node, const Demand& demand) {
  return demand.memory <= node.capacity.memory && demand.cpu <= node.capacity.cpu && demand.disk <= node.capacity.disk;
}

}  // namespace

Improver::Improver(Arrangement& arrangement, const Bundles& bundles, const std::vector<Freedom>& freedom, std::uint64_t most_steps)
    : arrangement_(arrangement),
      bundles_(bundles),
      freedom_(freedom),
      most_steps_(most_steps),
      filler_(arrangement, bundles),
      is_saved_(freedom.size()) {}

bool Improver::is_of_few() const { return freedom_.size() <= kVeryFew; }

void Improver::begin_with(std::size_t way) { random_.seed(static_cast<std::mt19937::result_type>(std::mt19937::default_seed + way)); }

// What a cordoned node holds now may stay there.
void Improver::find_limits() {
  const PlacementProblem& problem = arrangement_.problem();
  has_any_node_.assign(freedom_.size(), false);
  most_standbys_.assign(freedom_.size(), 0);
  for (std::size_t i = 0; i < freedom_.size(); ++i) {
    const PlaceContainer& container = problem.containers[i];
    const ContainerPlace& place = arrangement_.places()[i];
    std::set<std::size_t> domains;
    for (std::size_t node = 0; node < problem.nodes.size() && (!has_any_node_[i] || domains.size() <= container.standbys); ++node) {
      const PlaceNode& here = problem.nodes[node];
      if (!here.takes_new && place.owner != node && !std::ranges::contains(place.standbys, node)) continue;
      if (has_room(here, container.demand)) has_any_node_[i] = true;
      if (has_room(here, {container.demand.memory, {}, container.demand.disk})) domains.insert(arrangement_.topology().domains()[node]);
    }
    if (!domains.empty()) most_standbys_[i] = std::min<std::size_t>(container.standbys, domains.size() - 1);
  }
}

void Improver::run() {
  const bool few = is_of_few();
  const std::size_t most_tidied = few ? kMostTidiedOfFew : kMostTidied;
  for (std::size_t mended = 0, tidied = 0; mended < kMostMended;) {
    bool is_mended = false;
    for (std::size_t way = 0; way < (few ? kWaysOfMendingFew : 1) && !is_mended; ++way) is_mended = mend(way);
    if (is_mended) {
      ++mended;
      continue;
    }
    bool is_better = false;
    do {
      if (tidied == most_tidied) return;
      is_better = tidy(tidied++);
    } while (!is_better && few && arrangement_.score().moves > 0);
    if (!is_better) return;
  }
}

std::vector<std::size_t> Improver::lacking() const {
  std::vector<std::size_t> all;
  for (std::size_t i = 0; i < freedom_.size(); ++i) {
    const ContainerPlace& place = arrangement_.places()[i];
    if (freedom_[i] == Freedom::kNone) continue;
    const auto is_broken = [&](std::size_t dependency) { return arrangement_.is_broken(dependency); };
    const bool lacks = place.owner ? place.standbys.size() < most_standbys_[i] || std::ranges::any_of(arrangement_.dependencies_of(i), is_broken)
                                   : bool{has_any_node_[i]};
    if (lacks) all.push_back(i);
  }
  return all;
}

bool Improver::mend(std::size_t way) {
  find_limits();
  std::vector<std::size_t> seeds = lacking();
  if (seeds.empty()) return false;
  begin_with(way);
  const auto before = lack_of(arrangement_.score());
  Places best = arrangement_.places();
  arrangement_.regard_as_there(best);
  auto least = before;
  const std::uint64_t end = filler_.steps() + most_steps_;
  const bool wanders = freedom_.size() <= kWanderers;
  for (std::size_t patience = kPatience; patience > 0 && filler_.steps() < end && !seeds.empty(); --patience) {
    const auto lack = lack_of(arrangement_.score());
    step(seeds[draw(seeds.size())], Aim::kMend);
    const auto now = lack_of(arrangement_.score());
    // Where somebody has no place, standbys and closeness may get worse on the way.
    const bool detour = wanders && std::get<0>(least) > 0 && std::get<0>(now) == std::get<0>(least) && draw(4) == 0;
    if ((now > lack && !detour) || (now == lack && !wanders) || breaks_a_rule()) {
      undo();
      continue;
    }
    seeds = lacking();
    if (now >= least) continue;
    least = now;
    best = arrangement_.places();
    patience = kPatience;
  }
  arrangement_.regard_as_given();
  arrangement_.set(best);
  return least < before;
}

bool Improver::is_tidy() const {
  if (arrangement_.score().moves > 0) return false;
  for (std::size_t i = 0; i < freedom_.size(); ++i) {
    if (freedom_[i] != Freedom::kNone && arrangement_.places()[i].owner && !arrangement_.container(i).owner) return false;
  }
  return true;
}

bool Improver::tidy(std::size_t way) {
  if (is_tidy()) return false;
  begin_with(way);
  Places best = arrangement_.places();
  const Score before = arrangement_.score();
  Score least = before;
  const std::uint64_t end = filler_.steps() + most_steps_;
  const bool wanders = freedom_.size() <= kWanderers;
  for (std::size_t patience = kPatience; patience > 0 && filler_.steps() < end; --patience) {
    const Score score = arrangement_.score();
    const std::size_t fullest = arrangement_.fullest_node();
    step(seed_of_tidying(), Aim::kTidy);
    const Score& now = arrangement_.score();
    // Of several that are the fullest, the first is so no more: one step on the way.
    bool keeps = now < score || (now == score && arrangement_.fullest_node() > fullest);
    if (wanders && lack_of(now) == lack_of(least)) {
      const double detour = least.imbalance * (1 + kMostDetour * static_cast<double>(patience) / kPatience);
      if (now.moves == least.moves) keeps = now < least || now.imbalance <= detour;
      const std::size_t detour_moves = is_of_few() && way % 2 == 1 ? 2 + way % 4 : 1;
      if (now.moves > least.moves && now.moves <= least.moves + detour_moves) keeps = keeps || draw(4) == 0;
    }
    if (!keeps || breaks_a_rule()) {
      undo();
    } else if (now < least) {
      least = now;
      best = arrangement_.places();
      patience = kPatience;
    }
    if (wanders && patience % kReturn == 0) arrangement_.set(best);
  }
  arrangement_.set(best);
  return least < before;
}

std::size_t Improver::seed_of_tidying() {
  const std::size_t containers = freedom_.size();
  const std::size_t begin = draw(containers);
  switch (draw(8)) {
    case 0:
      return begin;
    case 1:
    case 2:
    case 3:
    case 4: {
      std::vector<std::size_t> holders = std::ranges::to<std::vector>(arrangement_.holders(arrangement_.fullest_node()));
      std::ranges::sort(holders);
      return holders.empty() ? begin : holders[draw(holders.size())];
    }
    default:
      break;
  }
  for (std::size_t i = 0; i < containers; ++i) {  // one that moves
    const std::size_t at = (begin + i) % containers;
    if (moves_of(arrangement_.container(at), arrangement_.places()[at]) > 0) return at;
  }
  return begin;
}

// Where it was, before this step, and is no more.
std::optional<std::size_t> Improver::home_left_by(std::size_t container) {
  const PlaceContainer& it = arrangement_.container(container);
  const ContainerPlace& place = saved_.empty() || saved_.front().container != container ? arrangement_.places()[container] : saved_.front().place;
  std::vector<std::size_t> left;
  if (it.owner && place.owner != it.owner) left.push_back(*it.owner);
  for (const std::size_t node : it.present) {
    if (place.owner != node && !std::ranges::contains(place.standbys, node)) left.push_back(node);
  }
  if (left.empty()) return std::nullopt;
  return left[draw(left.size())];
}

void Improver::step(std::size_t seed, Aim aim) {
  give_up(seed, aim);
  place_again(order_of_return(seed, aim), aim);
}

// ---- Giving up ----

void Improver::give_up(std::size_t seed, Aim aim) {
  for (const Saved& it : saved_) is_saved_[it.container] = 0;
  saved_.clear();
  const std::size_t containers = freedom_.size();
  const std::size_t nodes = arrangement_.problem().nodes.size();
  if (containers <= kFewContainers && draw(16) == 0) {
    for (std::size_t i = 0; i < containers; ++i) give_up_bundle(i);
    return;
  }
  switch (draw(6)) {
    case 0:
    case 1:
      give_up_standbys(seed);
      break;
    case 2:
      give_up_group(seed);
      break;
    default:
      give_up_bundle(seed);
  }
  if (is_of_few() && draw(3) == 0) give_up_what_lacks();
  const auto home = aim == Aim::kTidy && draw(4) != 0 ? home_left_by(seed) : std::nullopt;
  const std::size_t node = home ? *home : draw(nodes);
  for (std::size_t more = draw(kMostGivenUp); more > 0; --more) {
    switch (draw(6)) {
      case 0:
        give_up_bundle(draw(containers));
        break;
      case 1:
        give_up_something_on(draw(nodes));
        break;
      case 2:
        give_up_something_near(saved_.empty() ? seed : saved_[draw(saved_.size())].container);
        break;
      default:
        give_up_something_on(node);
    }
  }
}

bool Improver::save(std::size_t container) {
  if (freedom_[container] == Freedom::kNone) return false;
  if (is_saved_[container] == 0) saved_.push_back({container, arrangement_.places()[container]});
  is_saved_[container] = 1;
  return true;
}

void Improver::give_up_bundle(std::size_t container) {
  for (const std::size_t member : bundles_.members(bundles_.of(container))) {
    if (!save(member)) continue;
    if (freedom_[member] == Freedom::kAll) {
      arrangement_.clear(member);
    } else {
      arrangement_.clear_standbys(member);
    }
  }
}

// With those that have to be close to it, and those that have to be close to them.
void Improver::give_up_group(std::size_t container) {
  give_up_bundle(container);
  const std::vector<ContainerDependency>& dependencies = arrangement_.problem().dependencies;
  for (std::size_t at = 0; at < saved_.size() && saved_.size() < kMostInOneGroup; ++at) {
    for (const std::size_t index : arrangement_.dependencies_of(saved_[at].container)) {
      give_up_bundle(dependencies[index].dependent);
      for (const std::size_t sponsor : dependencies[index].sponsors) give_up_bundle(sponsor);
    }
  }
}

void Improver::give_up_standbys(std::size_t container) {
  for (const std::size_t member : bundles_.members(bundles_.of(container))) {
    if (save(member)) arrangement_.clear_standbys(member);
  }
}

// Others may have their places instead, for fewer moves.
void Improver::give_up_what_lacks() {
  for (std::size_t i = 0; i < freedom_.size(); ++i) {
    const ContainerPlace& place = arrangement_.places()[i];
    if (!place.owner || place.standbys.size() < arrangement_.container(i).standbys) give_up_bundle(i);
  }
}

void Improver::give_up_something_on(std::size_t node) {
  std::vector<std::size_t> holders = std::ranges::to<std::vector>(arrangement_.holders(node));
  if (holders.empty()) return;
  std::ranges::sort(holders);
  const std::size_t one = holders[draw(holders.size())];
  if (arrangement_.places()[one].owner == node || draw(3) == 0) {
    give_up_bundle(one);
  } else {
    give_up_standbys(one);
  }
}

void Improver::give_up_something_near(std::size_t container) {
  const auto dependencies = arrangement_.dependencies_of(container);
  if (dependencies.empty()) return;
  const ContainerDependency& dependency = arrangement_.problem().dependencies[dependencies[draw(dependencies.size())]];
  const std::size_t sponsor = dependency.sponsors[draw(dependency.sponsors.size())];
  give_up_bundle(sponsor == container ? dependency.dependent : sponsor);
}

// ---- Coming back ----

std::vector<std::size_t> Improver::order_of_return(std::size_t seed, Aim aim) {
  std::vector<std::size_t> order;
  for (const Saved& it : saved_) {
    if (!std::ranges::contains(order, bundles_.of(it.container))) order.push_back(bundles_.of(it.container));
  }
  const std::size_t way = draw(4);
  if (way == 0) return order;
  std::ranges::sort(order, {}, [&](std::size_t bundle) { return bundles_.rank(bundle); });
  if (way == 1) return order;
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[draw(i)]);
  if (aim == Aim::kMend && draw(2) == 0) {
    const auto found = std::ranges::find(order, bundles_.of(seed));
    if (found != order.end()) std::rotate(order.begin(), found, found + 1);
  }
  return order;
}

void Improver::place_again(const std::vector<std::size_t>& bundles, Aim aim) {
  Taste taste{.minds_moves = aim == Aim::kTidy, .random = &random_};
  switch (draw(8)) {
    case 0:
      taste.fit = Taste::Fit::kFullest;
      break;
    case 1:
    case 2:
      taste.fit = Taste::Fit::kAny;
      break;
    case 3:
    case 4:
      taste.random = nullptr;
      break;
    default:
      break;
  }
  const auto given_up = [&](std::size_t bundle, auto&& holds) {
    std::vector<std::size_t> members = bundles_.members(bundle);
    std::erase_if(members, [&](std::size_t member) { return is_saved_[member] == 0 || !holds(arrangement_.places()[member]); });
    return members;
  };
  for (const std::size_t bundle : bundles) {
    const auto members = given_up(bundle, [](const ContainerPlace& place) { return !place.owner; });
    if (!members.empty()) filler_.place_owners(members, taste);
  }
  for (const std::size_t bundle : bundles) {
    filler_.add_standbys(given_up(bundle, [](const ContainerPlace& place) { return place.owner.has_value(); }), taste);
  }
}

// Who depends on one that has lost its place may be too far from the other sponsors.
bool Improver::breaks_a_rule() const {
  return std::ranges::any_of(saved_, [&](const Saved& it) {
    return it.place.owner && !arrangement_.places()[it.container].owner &&
           !std::ranges::all_of(arrangement_.dependencies_of(it.container), [&](std::size_t index) { return arrangement_.is_kept(index); });
  });
}

void Improver::undo() {
  for (const Saved& it : saved_) arrangement_.clear(it.container);
  for (const Saved& it : saved_) arrangement_.set(it.container, it.place);
}

}  // namespace perdure::placement
