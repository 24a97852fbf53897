#include "placement/explain.h"

#include <algorithm>
#include <array>
#include <format>
#include <optional>
#include <string_view>

namespace perdure::placement {
namespace {

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
  std::array<std::size_t, kRefusals> counts_{};
};

std::string_view what_is_worse(const Score& there, const Score& here) {
  if (there.missing_standbys != here.missing_standbys) return there.missing_standbys > here.missing_standbys ? "fewer standbys would find room" : "";
  if (there.broken_by_failures != here.broken_by_failures) {
    return there.broken_by_failures > here.broken_by_failures ? "a failure would part more from what they depend on" : "";
  }
  if (there.moves != here.moves) return there.moves > here.moves ? "more would have to move" : "";
  return there.imbalance > here.imbalance ? "the fullest node would be fuller" : "";
}

class Explainer {
 public:
  Explainer(Arrangement& arrangement, const Bundles& bundles) : arrangement_(arrangement), bundles_(bundles), why_(arrangement.places().size()) {}

  std::vector<std::string> run() {
    for (const std::size_t bundle : bundles_.order()) {
      for (const std::size_t member : bundles_.members(bundle)) {
        if (why_[member].empty()) explain_owner(together_with(member));
        if (arrangement_.places()[member].owner && arrangement_.places()[member].standbys.size() < arrangement_.container(member).standbys) {
          explain_missing_standbys(member);
        }
      }
    }
    return std::move(why_);
  }

 private:
  // Those of its bundle that share its place, or have none either.
  std::vector<std::size_t> together_with(std::size_t container) const {
    std::vector<std::size_t> members = bundles_.members(bundles_.of(container));
    const auto& places = arrangement_.places();
    std::erase_if(members, [&](std::size_t member) { return places[member].owner != places[container].owner; });
    return members;
  }

  const std::string& name_of(std::size_t node) const { return arrangement_.problem().nodes[node].name.str(); }

  void explain_owner(const std::vector<std::size_t>& members) {
    const auto owner = arrangement_.places()[members.front()].owner;
    const auto is_home = [&](std::size_t member) { return owner && arrangement_.container(member).owner == owner; };
    std::string text;
    if (!std::ranges::all_of(members, is_home)) text = owner ? why_here(members, *owner) : why_nowhere(members);
    for (const std::size_t member : members) {
      const PlaceContainer& container = arrangement_.container(member);
      why_[member] = is_home(member) ? container.owner_is_gone ? "its owner is gone, and it stands by there" : "it runs there"
                     : owner && container.owner ? why_not_stay(member, *owner) + text
                                                : text;
    }
  }

  // All at once; where they find no place together, the first one by itself.
  std::string why_nowhere(const std::vector<std::size_t>& members) const {
    Refusals refusals;
    const Part part = arrangement_.part_of(members);
    for (std::size_t node = 0; node < arrangement_.problem().nodes.size(); ++node) {
      const Refusal refusal = arrangement_.owner_refusal(part, node);
      if (refusal != Refusal::kNone) refusals.count(refusal);
    }
    return std::format("no node can take it: {}", refusals.text());
  }

  std::string why_here(const std::vector<std::size_t>& members, std::size_t owner) {
    const Places before = give_up(members);
    const Part part = arrangement_.part_of(members);
    std::size_t able = 0;
    std::size_t emptiest = owner;
    double least = arrangement_.fullness_owning(part, owner);
    for (std::size_t node = 0; node < arrangement_.problem().nodes.size(); ++node) {
      if (arrangement_.owner_refusal(part, node) != Refusal::kNone) continue;
      ++able;
      const double fullness = arrangement_.fullness_owning(part, node);
      if (fullness >= least) continue;
      least = fullness;
      emptiest = node;
    }
    give_back(members, before);
    if (able == 1) return "the only one that can take it";
    if (emptiest == owner) return std::format("the emptiest of {} that can take it", able);
    const std::string_view worse = why_not_at(members, emptiest, before);
    if (worse.empty()) return std::format("one of {} that can take it", able);
    return std::format("one of {} that can take it: '{}' is emptier, but {}", able, name_of(emptiest), worse);
  }

  // With the same standbys, as far as they may be then.
  std::string_view why_not_at(const std::vector<std::size_t>& members, std::size_t node, const Places& before) {
    const Score here = arrangement_.score();
    give_up(members);
    for (const std::size_t member : members) arrangement_.set_owner(member, node);
    for (std::size_t i = 0; i < members.size(); ++i) {
      const Part part = arrangement_.part_of({members[i]});
      for (const std::size_t standby : before[i].standbys) {
        if (arrangement_.standby_refusal(part, standby) == Refusal::kNone) arrangement_.add_standby(members[i], standby);
      }
    }
    const std::string_view worse = what_is_worse(arrangement_.score(), here);
    give_back(members, before);
    return worse;
  }

  std::string why_not_stay(std::size_t member, std::size_t owner) {
    const std::size_t home = *arrangement_.container(member).owner;
    const Places before = give_up({member});
    const Refusal refusal = arrangement_.owner_refusal(arrangement_.part_of({member}), home);
    give_back({member}, before);
    if (refusal == Refusal::kNone) return std::format("it leaves '{}' for '{}', so that all is better; ", name_of(home), name_of(owner));
    return std::format("it cannot stay on '{}', which is {}; ", name_of(home), words_of(refusal));
  }

  void explain_missing_standbys(std::size_t member) {
    Refusals refusals;
    const Part part = arrangement_.part_of({member});
    bool room = false;
    for (std::size_t node = 0; node < arrangement_.problem().nodes.size(); ++node) {
      const Refusal refusal = arrangement_.standby_refusal(part, node);
      room = room || refusal == Refusal::kNone;
      if (refusal != Refusal::kNone) refusals.count(refusal);
    }
    why_[member] += std::format("; {} of {} standbys, since of the other nodes {}", arrangement_.places()[member].standbys.size(),
                                arrangement_.container(member).standbys, refusals.text());
  }

  Places give_up(const std::vector<std::size_t>& members) {
    Places before;
    for (const std::size_t member : members) before.push_back(arrangement_.places()[member]);
    for (const std::size_t member : members) arrangement_.clear(member);
    return before;
  }

  void give_back(const std::vector<std::size_t>& members, const Places& before) {
    for (std::size_t i = 0; i < members.size(); ++i) arrangement_.set(members[i], before[i]);
  }

  Arrangement& arrangement_;
  const Bundles& bundles_;
  std::vector<std::string> why_;
};

}  // namespace

std::vector<std::string> explain(Arrangement& arrangement, const Bundles& bundles) { return Explainer(arrangement, bundles).run(); }

}  // namespace perdure::placement
