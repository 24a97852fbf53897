#include "policy/lease_holder.h"

#include <algorithm>
#include <utility>

namespace perdure::policy::lease {

// ---- What is needed ----

std::vector<HolderEffect> LeaseHolder::need(const ContainerName& container, const Needs& needs, Instant now) {
  std::vector<HolderEffect> effects;
  Lease& lease = leases_[container];
  const bool another_term = lease.needs.term != needs.term;
  lease.needs = needs;
  std::map<model::NodeLife, Given> before = std::exchange(lease.given, {});
  const auto keep = [&](const model::NodeLife& life) {
    const auto known = before.find(life);
    Given& given = lease.given[life];
    if (known != before.end()) given = known->second;
    if (known == before.end() || another_term) {
      given = Given{.asked_since = now};
      next_tick_ = std::min(next_tick_, now);
    }
  };
  std::ranges::for_each(needs.required, keep);
  std::ranges::for_each(needs.asked, keep);
  if (needs.inherited && *needs.inherited > now) {
    lease.had_inherited = true;
    for (const model::NodeLife& life : needs.required) {
      Given& given = lease.given[life];
      if (given.answered != Instant{}) continue;  // what it has given since is what counts
      given.end = std::max(given.end, *needs.inherited);
      given.inherited = true;
    }
  }
  set_deadline(container, lease, effects);
  std::erase_if(peers_, [&](const auto& row) {
    return std::ranges::none_of(leases_, [&](const auto& other) {
      return std::ranges::any_of(other.second.given, [&](const auto& given) { return given.first.node == row.first; });
    });
  });
  return effects;
}

void LeaseHolder::forget(const ContainerName& container) {
  leases_.erase(container);
}

std::vector<HolderEffect> LeaseHolder::shut(const ContainerName& container) {
  leases_.erase(container);
  return {SetGate{container, kShut}};
}

void LeaseHolder::use(const Timing& timing, Instant now) {
  if (timing == timing_) return;
  settling_pace_ = std::min(now < settled_at_ ? settling_pace_ : timing_.heartbeat, timing.heartbeat);
  settled_at_ = now + std::max(timing_.grant, timing.grant);
  timing_ = timing;
  for (auto& [container, lease] : leases_) {
    for (auto& [life, given] : lease.given) given.asked_since = now;
  }
  next_tick_ = kShut;
}

void LeaseHolder::ask_long(Duration grant) {
  long_grant_ = std::clamp(grant, timing_.grant, std::max(timing_.grant, kLongestGrant));
  long_told_ = false;
  next_tick_ = kShut;
}

void LeaseHolder::set_deadline(const ContainerName& container, Lease& lease, std::vector<HolderEffect>& effects) {
  // Whom the earlier life was about to name is not known yet: nothing beyond what it has left is believed.
  Instant deadline = lease.needs.inherited.value_or(kOpen);
  for (const model::NodeLife& life : lease.needs.required) deadline = std::min(deadline, lease.given.at(life).end);
  lease.deadline = deadline;
  effects.push_back(SetGate{container, deadline});
}

// ---- Grants ----

std::vector<HolderEffect> LeaseHolder::on(const Grant& grant, Instant now) {
  std::vector<HolderEffect> effects;
  const auto peer = peers_.find(grant.from.node);
  if (grant.to != self_.incarnation || peer == peers_.end()) return effects;
  const auto& beats = peer->second.sent;
  const auto sent = std::ranges::find(beats, grant.sequence, &Sent::sequence);
  if (sent == beats.end() || grant.sequence == 0) return effects;
  peer->second.answered = std::max(peer->second.answered, grant.sequence);
  const Instant end = sent->at + std::min(grant.grant, sent->asked);
  for (const Row& row : grant.rows) {
    const auto found = leases_.find(row.container);
    if (found == leases_.end() || found->second.needs.term != row.term) continue;
    Lease& lease = found->second;
    const auto given = lease.given.find(grant.from);
    if (given == lease.given.end()) continue;
    given->second.answered = std::max(given->second.answered, sent->at);
    // In place of what an earlier life was given: the gate goes by this life's grants from now on, and by them alone.
    const bool in_place = given->second.inherited && end > now;
    given->second.end = in_place ? end : std::max(given->second.end, end);
    if (in_place) given->second.inherited = false;
    set_deadline(row.container, lease, effects);
    if (end > now && (!given->second.flows || !given->second.told)) {
      given->second.flows = given->second.told = true;
      effects.push_back(GrantsFlow{row.container, grant.from});
    }
  }
  note_long_grants(now, effects);
  return effects;
}

std::vector<LeaseHolder::Missing> LeaseHolder::missing_long_grants(Instant now) const {
  std::vector<Missing> missing;
  if (!long_grant_) return missing;
  // Answered with the last heartbeats, or with those before.
  const Instant wanted = now + *long_grant_ - timing_.grant;
  for (const auto& [container, lease] : leases_) {
    for (const model::NodeLife& life : lease.needs.required) {
      if (lease.given.at(life).end < wanted) missing.push_back({container, life});
    }
  }
  return missing;
}

void LeaseHolder::note_long_grants(Instant now, std::vector<HolderEffect>& effects) {
  if (!long_grant_ || long_told_ || !missing_long_grants(now).empty()) return;
  long_told_ = true;
  effects.push_back(LongGrantsHeld{});
}

// ---- Time ----

std::vector<HolderEffect> LeaseHolder::tick(Instant now) {
  std::vector<HolderEffect> effects;
  if (now < next_tick_) return effects;
  // This thread has not run for so long that nobody had anything to answer.
  if (last_tick_ && now - *last_tick_ >= timing_.grant / 2) {
    for (auto& [container, lease] : leases_) {
      for (auto& [life, given] : lease.given) given.asked_since = now;
    }
  }
  last_tick_ = now;
  next_tick_ = now + pace(now);
  send_heartbeats(now, effects);
  tell_silence(now, effects);
  note_long_grants(now, effects);
  return effects;
}

void LeaseHolder::send_heartbeats(Instant now, std::vector<HolderEffect>& effects) {
  std::map<NodeName, std::vector<Row>> rows;
  for (const auto& [container, lease] : leases_) {
    for (const auto& [life, given] : lease.given) {
      std::vector<Row>& to = rows[life.node];
      if (to.empty() || to.back().container != container) {
        to.push_back({container, lease.needs.term, lease.had_inherited});
      }
      if (given.inherited) to.back().former_given_back = false;
    }
  }
  const Duration asked = long_grant_.value_or(timing_.grant);
  for (auto& [node, all] : rows) {
    Peer& peer = peers_[node];
    peer.sent[beat_ % kRemembered] = {.sequence = ++sequence_, .at = now, .asked = asked};
    effects.push_back(SendHeartbeat{node, Heartbeat{.from = self_,
                                                    .sequence = sequence_,
                                                    .grant = asked,
                                                    .answered = peer.answered,
                                                    .rows = std::move(all)}});
  }
  ++beat_;
}

void LeaseHolder::tell_silence(Instant now, std::vector<HolderEffect>& effects) {
  for (auto& [container, lease] : leases_) {
    for (auto& [life, given] : lease.given) {
      if (now < silent_at(given) || (!given.flows && given.told)) continue;
      given.flows = false;
      given.told = true;
      effects.push_back(GrantsStopped{container, life});
    }
  }
}

// What was inherited may last: nobody is in a hurry.
Instant LeaseHolder::silent_at(const Given& given) const {
  const Instant silent = std::max(given.answered, given.asked_since) + timing_.grant / 2;
  if (!given.inherited) return silent;
  return std::max(silent, std::min(given.asked_since + kFirstAnswer, given.end - timing_.grant));
}

std::optional<Instant> LeaseHolder::deadline(const ContainerName& container) const {
  const auto found = leases_.find(container);
  if (found == leases_.end()) return std::nullopt;
  return found->second.deadline;
}

}  // namespace perdure::policy::lease
