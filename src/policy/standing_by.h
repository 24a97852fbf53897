// What a node that does not own a container makes of its record: whose capsules it takes, and
// whether it lets go of what it holds. One pure function; asked again whenever the record, the
// owner or what is held changes.
//
// A holder lets go only when the owner says so (Dismiss) or when the container is removed for sure:
// its record is gone from a store that has not gone back. Whatever is in doubt is kept.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "model/cluster.h"
#include "policy/lease_granter.h"
#include "policy/ownership_events.h"

namespace perdure::policy {

struct Enlistment {  // by whom, under which term, this node was made a learner
  model::NodeLife owner;
  Term term;
};

struct HolderQuestion {
  model::NodeLife self;
  bool holds = false;  // generations, a prepared surrounding, a term
  Term term;           // highest known of this container
  std::optional<Enlistment> enlistment;
  // Of the newest snapshot or change of the store. `revision`: the store's, at which the record is
  // (not) there.
  std::optional<model::OwnershipRecord> record;
  ownership::Revision revision = 0;
  ownership::Revision highest_revision =
      0;                     // of the store, ever seen by this node, in earlier lives too
  bool store_known = false;  // a snapshot of this cluster's store has come
};

enum class HolderRole {
  kNone,        // holds nothing, or nothing that counts
  kOwner,       // this node itself: not a holder's business
  kFormerLife,  // the record names an earlier life of this node as standby; the owner drops it and
                // enlists it anew
  kLearner,
  kStandby,
  kUndecided,  // the store says nothing yet, or what cannot be
};
std::string_view to_string(HolderRole role);

struct HolderDecision {
  HolderRole role = HolderRole::kNone;
  std::optional<model::NodeLife> sender;  // whose capsules are taken; absent: nobody's
  Term term;                              // to be raised to
  bool drop = false;   // everything that is held, image included if nobody else needs it
  std::string reason;  // why dropped or undecided; for people
  bool operator==(const HolderDecision&) const = default;
};

HolderDecision decide_holder(const HolderQuestion& question);

// Whom a holder answers: whoever's capsules are taken, and nobody else. Not to be asked of kUndecided: owner and standby go on as
// they are then.
std::optional<lease::Charge> charge_of(const HolderDecision& decision);

}  // namespace perdure::policy
