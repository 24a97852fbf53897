// What the store answers about a record, in the words of the machines that ask (policy/ownership_events.h): Ownership's and
// Taking's events hold the same answers.
#pragma once

#include <optional>

#include "base/result.h"
#include "coord/record_store.h"
#include "policy/ownership_events.h"

namespace perdure::node {

// `store`: the revision up to which the store has been seen, where there is no record to tell one.
template <typename Event>
Event read_event(policy::ownership::Request request, const Result<std::optional<coord::StoredRecord>>& read,
                 coord::Revision store) {
  if (!read) return policy::ownership::ReadFailed{request, read.error().message()};
  if (!*read) return policy::ownership::RecordRead{request, std::nullopt, store};
  return policy::ownership::RecordRead{request, (*read)->record, (*read)->revision};
}

template <typename Event>
Event swap_event(policy::ownership::Request request, const coord::SwapOutcome& outcome, coord::Revision store) {
  const coord::Revision revision = outcome.now ? outcome.now->revision : store;
  switch (outcome.kind) {
    case coord::SwapOutcome::Kind::kApplied:
      return policy::ownership::SwapApplied{request, revision};
    case coord::SwapOutcome::Kind::kRefused:
      return policy::ownership::SwapRefused{request, outcome.now ? std::optional(outcome.now->record) : std::nullopt, revision};
    case coord::SwapOutcome::Kind::kUnknown:
      break;
  }
  return policy::ownership::SwapUnknown{request, outcome.error ? outcome.error->message() : "no answer"};
}

}  // namespace perdure::node
