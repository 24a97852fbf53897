// Ownership: who is made a learner, who stands by, who is dropped, and who is sent away.
#include <algorithm>
#include <format>
#include <ranges>
#include <utility>

#include "policy/ownership.h"

namespace perdure::policy::ownership {

namespace {

std::size_t rank(const std::vector<NodeName>& order, const NodeName& node) {
  return static_cast<std::size_t>(std::ranges::find(order, node) - order.begin());
}

}  // namespace

void Ownership::on(const Candidates& event) {
  candidates_ = event.order;
  not_candidates_ = event.refused;
  candidates_known_ = true;
}

void Ownership::on(const Enlisted& event) {
  const auto found = peers_.find(event.life.node);
  if (found == peers_.end()) return;
  Peer& p = found->second;
  if (!p.up || p.incarnation != event.life.incarnation || p.role != Role::kEnlisting) return;
  p.role = Role::kLearner;
  p.progress = now_;
  p.goal = newest();
  if (event.held) acknowledge(p, *event.held);
}

void Ownership::on(const EnlistRefused& event) {
  const auto found = peers_.find(event.node);
  if (found == peers_.end() || found->second.role != Role::kEnlisting) return;
  refuse_peer(found->second, event.reason);
  emit(Severity::kWarning, "standby_refused",
       std::format("'{}' cannot stand by: {}", event.node.str(), event.reason));
}

void Ownership::on(const Dismissed& event) {
  const auto found = peers_.find(event.node);
  if (found == peers_.end() || !found->second.dismissing) return;
  Peer& p = found->second;
  p.dismissing = p.has_ours = false;
  p.dismissed = p.dismissing_everything;
  p.held.clear();
}

void Ownership::on(const DismissRefused& event) {
  const auto found = peers_.find(event.node);
  if (found == peers_.end() || !found->second.dismissing) return;
  found->second.dismissing = false;
  found->second.dismiss_after = now_ + options_.readmission_first;
}

// A node that was dropped or refused waits twice as long each time, unless it has stood by long
// enough since.
void Ownership::refuse_peer(Peer& p, std::string reason) {
  const bool stood_long =
      p.recorded_since != Instant{} && now_ - p.recorded_since >= options_.readmission_limit;
  p.back_off = p.back_off == Duration{} || stood_long
                   ? options_.readmission_first
                   : std::min(2 * p.back_off, options_.readmission_limit);
  p.recorded_since = {};
  p.not_before = now_ + p.back_off;
  p.refusal = std::move(reason);
  p.role = Role::kNone;
  p.goal.reset();
}

// ---- The standbys that the record should name ----

bool Ownership::acceptable(const NodeName& node) const {
  return !candidates_known_ || std::ranges::contains(candidates_, node);
}

bool Ownership::silent(const NodeName& node) const {
  const Peer* p = find_peer(node);
  return p != nullptr && !p->up && now_ - p->since >= options_.standby_silence;
}

// Who may be counted on to hold what it has acknowledged: standbys of the record and learners.
std::vector<model::NodeLife> Ownership::holders() const {
  std::vector<Life> all = record_->standbys;
  for (const auto& [node, p] : peers_) {
    if (p.role == Role::kLearner) all.push_back({node, *p.incarnation});
  }
  return all;
}

// Those that give no reason to be dropped themselves, so that no two of them go because each has the other.
std::vector<model::NodeLife> Ownership::steady_holders() const {
  std::vector<Life> all = holders();
  std::erase_if(all, [&](const Life& life) {
    const Peer* p = find_peer(life.node);
    return p != nullptr && p->incarnation == life.incarnation && (p->grants == Grants::kStopped || p->ends);
  });
  return all;
}

// One of the others that can be reached has what it has, or it is durable: it is not the last one.
// One that was not seen since this life began may hold anything from before; whoever stands beside
// it in the record holds what was committed then.
bool Ownership::covered(const Life& standby, const std::vector<Life>& others) const {
  const Peer* p = find_peer(standby.node);
  if (p == nullptr || p->incarnation != standby.incarnation) return p != nullptr;
  const auto held =
      p->unseen ? std::optional(Generation{term_, identity_.self.incarnation, 0}) : holds(*p);
  if (!held || identity_.statefulness == Statefulness::kStateless) return true;
  if (!durable_.empty() && *durable_.rbegin() >= *held) return true;
  return std::ranges::any_of(others, [&](const Life& other) {
    const Peer* o = live_peer(other);
    if (other.node == standby.node || o == nullptr) return false;
    return holds(*o) >= held ||
           (p->unseen && !o->held.empty() && std::ranges::contains(record_->standbys, other));
  });
}

// Something was captured long ago that it has not acknowledged, and another standby has more.
bool Ownership::slow(const Life& standby) const {
  const Peer* p = live_peer(standby);
  if (p == nullptr) return false;
  const auto held = holds(*p);
  const auto missed = generations_.upper_bound(held.value_or(Generation{}));
  if (missed == generations_.end()) return false;
  const auto when = captured_at_.find(*missed);
  if (when == captured_at_.end() || now_ - when->second < options_.acknowledge_limit) return false;
  return std::ranges::any_of(record_->standbys, [&](const Life& other) {
    const Peer* o = live_peer(other);
    return other != standby && o != nullptr && holds(*o) > held;
  });
}

// Why it must go; empty: it may stay.
std::string Ownership::drop_reason(const Life& standby) const {
  const Peer* p = find_peer(standby.node);
  if (p == nullptr) return {};
  if (record_->desired == DesiredState::kRemoved) {
    return silent(standby.node) && !p->dismissed ? "it cannot be reached" : "";
  }
  if (p->up && p->incarnation != standby.incarnation) return "it was restarted";
  // Before its last grant runs out, or the container falls silent: whatever it holds. What does not run here cannot fall silent,
  // and may have to be brought back from what it holds.
  const bool stopped = p->incarnation == standby.incarnation && p->grants == Grants::kStopped;
  const bool may_go = runs_ || covered(standby, steady_holders());
  // While it still answers: nobody is silenced by an end that is announced.
  if (p->incarnation == standby.incarnation && p->ends && may_go) return "its perdured is being restarted";
  if (stopped && may_go) {
    return "it has not answered the heartbeats";
  }
  if (silent(standby.node) && covered(standby, holders())) {
    return std::format("it has not been reachable for {}",
                       format_duration(options_.standby_silence));
  }
  if (p->up && committed_ && holds(*p) < committed_) {
    return "it has lost the newest committed generation";
  }
  if (slow(standby)) {
    return std::format("it has not acknowledged for {} what another one has",
                       format_duration(options_.acknowledge_limit));
  }
  return {};
}

bool Ownership::must_drop(const Life& standby) const {
  return !drop_reason(standby).empty();
}

bool Ownership::ready(const Peer& p) const {
  if (!p.up || p.role != Role::kLearner || p.grants != Grants::kFlow) return false;
  if (identity_.statefulness == Statefulness::kStateless) return true;
  const auto held = holds(p);
  return p.goal && held >= p.goal && held >= committed_ && held >= newest_of_earlier_life_;
}

std::vector<model::NodeLife> Ownership::wanted_standbys() const {
  std::vector<Life> standbys;
  std::ranges::copy_if(record_->standbys, std::back_inserter(standbys),
                       [&](const Life& s) { return !must_drop(s); });
  if (record_->desired == DesiredState::kRemoved) return standbys;
  const auto counts = [&](const Life& s) { return acceptable(s.node) && !silent(s.node); };
  auto present = static_cast<std::size_t>(std::ranges::count_if(standbys, counts));
  for (const NodeName& node : candidates_) {
    const Peer* p = find_peer(node);
    if (present >= wanted_ || p == nullptr || !ready(*p)) continue;
    if (std::ranges::contains(record_->standbys, node, &Life::node)) continue;
    standbys.push_back({node, *p->incarnation});
    ++present;
  }
  // More than are wanted: first those that placement does not want, then its last. One that holds
  // what nothing else does stays.
  while (candidates_known_ && standbys.size() > wanted_) {
    const auto worth = [&](const Life& s) {
      const bool stays = is_target(s.node) || !covered(s, standbys);
      return std::pair(!stays, rank(candidates_, s.node));
    };
    const auto last = std::ranges::max_element(standbys, {}, worth);
    if (!worth(*last).first) break;
    standbys.erase(last);
  }
  return standbys;
}

std::size_t Ownership::missing_standbys() const {
  if (record_->desired == DesiredState::kRemoved) return 0;
  const auto present =
      static_cast<std::size_t>(std::ranges::count_if(record_->standbys, [&](const Life& s) {
        return acceptable(s.node) && !silent(s.node) && !must_drop(s);
      }));
  return wanted_ > present ? wanted_ - present : 0;
}

// Of one that was dropped; empty: none.
std::string Ownership::fault_of(const Peer& p, const Life& standby) const {
  if (p.up && p.incarnation != standby.incarnation) return "it was restarted";
  if (p.grants == Grants::kStopped) return "it has not answered the heartbeats";
  if (silent(standby.node)) return "it cannot be reached";
  return p.up && holds(p) < newest() ? "it is behind" : "";
}

void Ownership::note_standbys(const std::vector<Life>& before, const std::vector<Life>& after) {
  for (const Life& standby : before) {
    if (standby.node == identity_.self.node || std::ranges::contains(after, standby)) continue;
    Peer& p = peer(standby.node);
    const bool announced = p.ends && p.incarnation == standby.incarnation;
    const std::string fault = announced ? "" : fault_of(p, standby);
    if (!fault.empty()) refuse_peer(p, fault);
    p.recorded_since = {};
    emit(fault.empty() ? Severity::kInfo : Severity::kWarning, "standby_dropped",
         std::format("'{}' does not stand by any more: {}", standby.node.str(),
                     announced       ? "its perdured is being restarted"
                     : fault.empty() ? "it is not needed"
                                     : fault));
  }
  for (const Life& standby : after) {
    if (standby.node == identity_.self.node || std::ranges::contains(before, standby)) continue;
    Peer& p = peer(standby.node);
    p.has_ours = true;
    p.role = Role::kNone;
    p.goal.reset();
    p.refusal.clear();
    p.lag_told = false;
    p.recorded_since = now_;
    if (!p.incarnation) p.incarnation = standby.incarnation;
    if (begun_ && owning()) {
      emit(Severity::kInfo, "standby_added", std::format("'{}' stands by", standby.node.str()));
    }
  }
}

// ---- Learners ----

void Ownership::advance_learners() {
  const bool may = owning() && !frozen() && record_->desired != DesiredState::kRemoved;
  const auto learning = [&](const NodeName& node) {
    const Peer* p = find_peer(node);
    return p != nullptr && p->role != Role::kNone && !is_target(node);
  };
  if (!may) {
    if (owning() && !frozen()) {
      for (auto& [node, p] : peers_) p.role = Role::kNone;
    }
    return;
  }
  for (auto& [node, p] : peers_) {
    if (p.role != Role::kLearner) continue;
    const bool nothing_to_say = !newest() || holds(p) >= newest();
    if (nothing_to_say) p.progress = now_;
    if (now_ - p.progress < options_.learner_limit) continue;
    const std::string why =
        std::format("it has acknowledged nothing for {}", format_duration(options_.learner_limit));
    emit(Severity::kWarning, "standby_refused",
         std::format("'{}' cannot stand by: {}", node.str(), why));
    refuse_peer(p, why);
  }
  const std::size_t missing = missing_standbys();
  std::size_t under_way = 0;
  for (auto& [node, p] : peers_) {
    if (!learning(node)) continue;
    if (acceptable(node)) {
      ++under_way;
    } else {
      p.role = Role::kNone;
    }
  }
  const auto possible = possible_standbys();
  for (const NodeName& node : candidates_) {
    if (under_way >= missing) break;
    const auto found = peers_.find(node);
    if (found == peers_.end() || possible.contains(node)) continue;
    Peer& p = found->second;
    if (!p.up || p.ends || p.role != Role::kNone || p.dismissing || p.not_before > now_) continue;
    p.role = Role::kEnlisting;
    p.has_ours = true;
    effects_.push_back(Enlist{node});
    ++under_way;
  }
  for (const NodeName& node : candidates_ | std::views::reverse) {
    if (under_way <= missing) break;
    if (!learning(node) || possible.contains(node)) continue;
    peer(node).role = Role::kNone;
    --under_way;
  }
}

void Ownership::advance_paces() {
  // Once the record names the target, this node ships nothing.
  if (move_.step >= MoveStep::kTaking) {
    for (auto& [node, p] : peers_) {
      if (std::exchange(p.pace, Pace::kNone) == Pace::kNone) continue;
      effects_.push_back(SetPace{node, Pace::kNone});
    }
  }
  if (!owning() || frozen()) return;
  const auto possible = possible_standbys();
  const bool removed = record_->desired == DesiredState::kRemoved;
  for (auto& [node, p] : peers_) {
    Pace pace = Pace::kNone;
    if (p.role == Role::kLearner) pace = is_target(node) ? Pace::kEvery : Pace::kNewest;
    for (const auto& standbys : configurations()) {
      const bool named =
          p.incarnation && std::ranges::contains(standbys, Life{node, *p.incarnation});
      if (named) pace = Pace::kEvery;
    }
    if (removed || identity_.statefulness == Statefulness::kStateless) pace = Pace::kNone;
    if (pace == p.pace) continue;
    p.pace = pace;
    effects_.push_back(SetPace{node, pace});
  }
}

// Whoever holds something and is not to: unless it is about to be made a learner again, when what
// it holds is worth a full capsule.
void Ownership::advance_dismissals() {
  if (!owning() || frozen()) return;
  const bool removal = removed_ && record_->desired == DesiredState::kRemoved;
  if (!removal && (!candidates_known_ || record_->desired == DesiredState::kRemoved)) return;
  const auto possible = possible_standbys();
  const std::size_t missing = missing_standbys();
  for (auto& [node, p] : peers_) {
    if (!p.up || p.dismissing || p.dismiss_after > now_) continue;
    const bool recorded = possible.contains(node);
    if (removal ? !p.has_ours && !recorded : !p.has_ours || recorded) continue;
    if (removal && p.dismissed) continue;
    if (!removal && (p.role != Role::kNone || is_target(node))) continue;
    if (!removal && missing > 0 && acceptable(node)) continue;
    p.dismissing = true;
    p.dismissing_everything = removal;
    p.goal.reset();
    effects_.push_back(Dismiss{node, removal,
                               removal             ? "the container is being removed"
                               : p.refusal.empty() ? "it is not needed"
                                                   : p.refusal});
  }
}

// The last one that holds what nothing else holds stays, however late it is: that is worth a word.
void Ownership::note_lag() {
  if (!owning() || record_->desired == DesiredState::kRemoved) return;
  for (const Life& standby : record_->standbys) {
    Peer& p = peer(standby.node);
    const bool kept = silent(standby.node) && !covered(standby, holders());
    if (kept && !p.lag_told) {
      emit(Severity::kWarning, "standby_kept",
           std::format("'{}' cannot be reached, but nothing else holds what it holds: it stays a "
                       "standby, and nothing is committed until it is back or has been replaced",
                       standby.node.str()));
    }
    p.lag_told = kept;
  }
}

}  // namespace perdure::policy::ownership
