#include "policy/standing_by.h"

#include <algorithm>
#include <format>

namespace perdure::policy {

namespace {

HolderDecision undecided(Term term, std::string reason) {
  return {.role = HolderRole::kUndecided,
          .sender = {},
          .term = term,
          .drop = false,
          .reason = std::move(reason)};
}

HolderRole role_in(const HolderQuestion& question, const model::OwnershipRecord& record) {
  const auto listed =
      std::ranges::find(record.standbys, question.self.node, &model::NodeLife::node);
  const bool enlisted = question.enlistment && question.enlistment->owner == record.owner &&
                        question.enlistment->term <= record.term;
  if (listed == record.standbys.end()) {
    return enlisted ? HolderRole::kLearner : HolderRole::kNone;
  }
  if (*listed == question.self) return HolderRole::kStandby;
  return enlisted ? HolderRole::kLearner : HolderRole::kFormerLife;
}

}  // namespace

HolderDecision decide_holder(const HolderQuestion& question) {
  if (!question.store_known) {
    return undecided(question.term, "the store has not been reached yet");
  }
  if (!question.record) {
    if (question.revision < question.highest_revision) {
      return undecided(question.term,
                       std::format("the store has no record of it, but it has gone back from "
                                   "revision {} to {}: run 'perdure cluster recover'",
                                   question.highest_revision, question.revision));
    }
    return {.role = HolderRole::kNone,
            .sender = {},
            .term = question.term,
            .drop = question.holds,
            .reason = question.holds ? "the container was removed" : ""};
  }
  const model::OwnershipRecord& record = *question.record;
  if (record.term < question.term) {
    return undecided(question.term,
                     std::format("the record's term is {}, but {} is known here: run 'perdure "
                                 "cluster recover'",
                                 record.term.value, question.term.value));
  }
  if (record.owner.node == question.self.node) {
    return {
        .role = HolderRole::kOwner, .sender = {}, .term = record.term, .drop = false, .reason = {}};
  }
  const HolderRole role = role_in(question, record);
  const bool takes = role == HolderRole::kStandby || role == HolderRole::kLearner;
  return {.role = role,
          .sender = takes ? std::optional(record.owner) : std::nullopt,
          .term = record.term,
          .drop = false,
          .reason = {}};
}

std::optional<lease::Charge> charge_of(const HolderDecision& decision) {
  using Role = lease::Charge::Role;
  if (!decision.sender) return std::nullopt;
  return lease::Charge{.owner = *decision.sender,
                       .term = decision.term,
                       .role = decision.role == HolderRole::kStandby ? Role::kStandby : Role::kLearner};
}

std::string_view to_string(HolderRole role) {
  switch (role) {
    case HolderRole::kNone:
      return "none";
    case HolderRole::kOwner:
      return "owner";
    case HolderRole::kFormerLife:
      return "former life";
    case HolderRole::kLearner:
      return "learner";
    case HolderRole::kStandby:
      return "standby";
    case HolderRole::kUndecided:
      return "undecided";
  }
  return "?";
}

}  // namespace perdure::policy
