#include "policy/lease_granter.h"

#include <algorithm>
#include <utility>

namespace perdure::policy::lease {

void LeaseGranter::watch(const ContainerName& container, const std::optional<Charge>& charge, Instant now) {
  const auto found = held_.find(container);
  if (found == held_.end() && !charge) return;
  Held& held = held_[container];
  if (held.charge == charge) return;
  const bool same_owner = held.charge && charge && held.charge->owner == charge->owner && held.charge->term == charge->term;
  held.charge = charge;
  if (!same_owner) {
    held.former_until = granted_until(held);
    held.wait_until = Instant::min();
    held.former_long_told = held.former_long_told || held.long_told;
    held.since = now;
    held.last_heard = {};
    held.answered = 0;
    held.heard_by_owner = now;
    held.withheld = held.heard_told = held.long_told = false;
  }
  std::erase_if(held_, [&](const auto& row) { return !row.second.charge && granted_until(row.second) <= now; });
}

void LeaseGranter::resume(const ContainerName& container, Instant now) {
  const auto found = held_.find(container);
  if (found == held_.end()) return;
  found->second.withheld = found->second.heard_told = false;
  found->second.since = found->second.heard_by_owner = now;
}

bool LeaseGranter::withholds(const ContainerName& container) const {
  const auto found = held_.find(container);
  return found != held_.end() && found->second.withheld;
}

std::vector<GranterEffect> LeaseGranter::on(const Heartbeat& heartbeat, Instant now) {
  std::vector<GranterEffect> effects;
  const Duration granted = std::min(heartbeat.grant, kLongestGrant);
  Grant grant{.from = self_, .to = heartbeat.from.incarnation, .sequence = heartbeat.sequence, .grant = granted, .rows = {}};
  for (const Row& row : heartbeat.rows) {
    const auto found = held_.find(row.container);
    if (found == held_.end() || !found->second.charge) continue;
    Held& held = found->second;
    if (row.term > held.charge->term) {
      effects.push_back(TermUnknown{row.container, row.term});
      continue;
    }
    if (held.charge->owner != heartbeat.from || row.term < held.charge->term) continue;
    if (held.withheld) {
      if (!std::exchange(held.heard_told, true)) effects.push_back(OwnerHeard{row.container});
      continue;
    }
    if (heartbeat.answered > held.answered) {
      held.answered = heartbeat.answered;
      held.heard_by_owner = now;
    }
    const bool was_asked = held.last_heard != Instant{};
    if (!was_asked) held.heard_by_owner = now;
    const bool is_deaf = now - held.heard_by_owner >= 2 * std::max(granted, timing_.grant);
    if (is_deaf && held.charge->role == Charge::Role::kStandby) continue;
    held.last_heard = now;
    held.wait_until = std::max(held.wait_until, now + wait_after(granted, timing_.margin));
    // It has shut its gate for them before it said so; what is waited for is the grant that it gets now.
    if (row.former_given_back) {
      held.former_until = Instant::min();
      if (std::exchange(held.former_long_told, false)) effects.push_back(LongGrantGivenBack{row.container, held.charge->owner});
    }
    grant.rows.push_back({row.container, row.term});
    const bool is_long = granted >= kShortestLongGrant && granted > 2 * timing_.grant;
    if (is_long && !std::exchange(held.long_told, true)) {
      effects.push_back(LongGrantGiven{row.container, held.charge->owner, granted});
    }
  }
  if (!grant.rows.empty()) effects.push_back(SendGrant{heartbeat.from.node, std::move(grant)});
  return effects;
}

// Who has not been heard of since it became the owner may be about to speak: it is given the time of a grant.
Instant LeaseGranter::silent_at(const Held& held) const {
  const Instant expected = held.since + wait_after(timing_.grant, timing_.margin);
  return std::max({granted_until(held), expected, patient_until_});
}

std::optional<Instant> LeaseGranter::waits_long_until(const ContainerName& container, Instant now) const {
  const auto found = held_.find(container);
  if (found == held_.end() || !is_waited_for(found->second)) return std::nullopt;
  const Instant until = granted_until(found->second);
  const Instant usual = now + wait_after(timing_.grant, timing_.margin);
  return until > usual ? std::optional(until) : std::nullopt;
}

std::vector<GranterEffect> LeaseGranter::tick(Instant now) {
  std::vector<GranterEffect> effects;
  if (last_tick_ && now - *last_tick_ >= timing_.grant / 2) patient_until_ = now + timing_.heartbeat;
  last_tick_ = now;
  for (auto& [container, held] : held_) {
    if (!is_waited_for(held) || now < silent_at(held)) continue;
    held.withheld = true;
    held.heard_told = false;
    effects.push_back(OwnerSilent{container, *held.charge, std::max(held.last_heard, held.since)});
  }
  return effects;
}

Instant LeaseGranter::next_tick() const {
  Instant next = Instant::max();
  for (const auto& [container, held] : held_) {
    if (is_waited_for(held)) next = std::min(next, silent_at(held));
  }
  if (next == Instant::max()) return next;
  return last_tick_ ? std::min(next, *last_tick_ + timing_.heartbeat) : Instant::min();
}

}  // namespace perdure::policy::lease
