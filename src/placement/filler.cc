#include "placement/filler.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

namespace perdure::placement {
namespace {

constexpr unsigned kOverlookedInverse = 8;  // one of so many

// The best of what it is shown, by a cost whose last part follows the taste.
class Choice {
 public:
  explicit Choice(const Taste& taste) : taste_(taste) {}
  bool overlooks() const {
    return taste_.random != nullptr && taste_.fit != Taste::Fit::kAny && (*taste_.random)() % kOverlookedInverse == 0;
  }
  void show(std::size_t node, std::size_t broken, std::size_t moves, double fullness) {
    const std::tuple cost(broken, taste_.minds_moves ? moves : 0, wish(fullness));
    if (best_ && cost >= least_) return;
    best_ = node;
    least_ = cost;
  }
  std::optional<std::size_t> best() const { return best_; }

 private:
  double wish(double fullness) const {
    switch (taste_.fit) {
      case Taste::Fit::kEmptiest:
        break;
      case Taste::Fit::kFullest:
        return -fullness;
      case Taste::Fit::kAny:
        return static_cast<double>((*taste_.random)());
    }
    return fullness;
  }

  const Taste& taste_;
  std::optional<std::size_t> best_{};
  std::tuple<std::size_t, std::size_t, double> least_{};
};

}  // namespace

Filler::Filler(Arrangement& arrangement, const Bundles& bundles) : arrangement_(arrangement), bundles_(bundles) {}

void Filler::keep() {
  keep_owners();
  for (const std::size_t bundle : bundles_.order()) {
    for (const std::size_t member : bundles_.members(bundle)) keep_standbys(member);
  }
}

// Who runs comes before who has to be taken over. Dependencies are looked at once all are there: with several sponsors, each by
// itself may be too far.
void Filler::keep_owners() {
  for (const bool gone : {false, true}) {
    for (const std::size_t bundle : bundles_.order()) {
      for (const std::size_t member : bundles_.members(bundle)) {
        const PlaceContainer& container = arrangement_.container(member);
        if (!container.owner || container.owner_is_gone != gone) continue;
        const Refusal refusal = arrangement_.owner_refusal(arrangement_.part_of({member}), *container.owner);
        if (refusal == Refusal::kNone || refusal == Refusal::kTooFar) arrangement_.set_owner(member, *container.owner);
      }
    }
  }
  const std::vector<ContainerDependency>& dependencies = arrangement_.problem().dependencies;
  for (bool again = true; again;) {
    again = false;
    for (std::size_t i = 0; i < dependencies.size(); ++i) {
      if (arrangement_.is_kept(i)) continue;
      arrangement_.clear(dependencies[i].dependent);
      again = true;  // somebody else may have had but this sponsor near
    }
  }
}

void Filler::keep_standbys(std::size_t container) {
  const ContainerPlace& place = arrangement_.places()[container];
  if (!place.owner) return;
  for (const std::size_t node : arrangement_.container(container).present) {
    if (place.standbys.size() >= arrangement_.container(container).standbys) return;
    if (arrangement_.standby_refusal(arrangement_.part_of({container}), node) != Refusal::kNone) continue;
    arrangement_.add_standby(container, node);
  }
}

void Filler::fill() {
  for (const std::size_t bundle : bundles_.order()) {
    std::vector<std::size_t> members = bundles_.members(bundle);
    std::erase_if(members, [&](std::size_t member) { return arrangement_.places()[member].owner.has_value(); });
    if (!members.empty()) place_owners(members, {});
  }
  for (const std::size_t bundle : bundles_.order()) add_standbys(bundles_.members(bundle), {});
}

void Filler::place_owners(const std::vector<std::size_t>& members, const Taste& taste) {
  if (place_owner(arrangement_.part_of(members), taste) || members.size() == 1) return;
  for (const std::size_t member : members) place_owner(arrangement_.part_of({member}), taste);
}

bool Filler::place_owner(const Part& part, const Taste& taste) {
  Choice choice(taste);
  const std::size_t nodes = arrangement_.problem().nodes.size();
  steps_ += nodes;
  for (std::size_t node = 0; node < nodes; ++node) {
    if (arrangement_.owner_refusal(part, node) != Refusal::kNone || choice.overlooks()) continue;
    choice.show(node, 0, arrangement_.moves_to(part, node), arrangement_.fullness_owning(part, node));
  }
  if (!choice.best()) return false;
  for (const std::size_t member : part.members) arrangement_.set_owner(member, *choice.best());
  return true;
}

void Filler::add_standbys(const std::vector<std::size_t>& members, const Taste& taste) {
  std::map<std::size_t, std::vector<std::size_t>> by_owner;
  for (const std::size_t member : members) {
    if (const auto& owner = arrangement_.places()[member].owner) by_owner[*owner].push_back(member);
  }
  for (const auto& [owner, of_it] : by_owner) add_standbys_of_one_owner(of_it, taste);
}

void Filler::add_standbys_of_one_owner(const std::vector<std::size_t>& members, const Taste& taste) {
  for (std::size_t have = 0;; ++have) {
    std::vector<std::size_t> lacking;
    bool more = false;
    for (const std::size_t member : members) {
      const std::size_t wanted = arrangement_.container(member).standbys;
      if (arrangement_.places()[member].standbys.size() == have && wanted > have) lacking.push_back(member);
      more = more || wanted > have;
    }
    if (!more) return;
    if (lacking.empty() || add_standby(arrangement_.part_of(lacking), taste) || lacking.size() == 1) continue;
    for (const std::size_t member : lacking) add_standby(arrangement_.part_of({member}), taste);
  }
}

bool Filler::add_standby(const Part& part, const Taste& taste) {
  Choice choice(taste);
  const bool first = arrangement_.places()[part.members.front()].standbys.empty();
  const std::size_t nodes = arrangement_.problem().nodes.size();
  steps_ += nodes;
  for (std::size_t node = 0; node < nodes; ++node) {
    if (arrangement_.standby_refusal(part, node) != Refusal::kNone || choice.overlooks()) continue;
    choice.show(node, first ? arrangement_.broken_at(part, node) : 0, arrangement_.moves_standing_by(part, node),
                arrangement_.fullness_standing_by(part, node));
  }
  if (!choice.best()) return false;
  for (const std::size_t member : part.members) arrangement_.add_standby(member, *choice.best());
  return true;
}

}  // namespace perdure::placement
