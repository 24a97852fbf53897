#include "node/cluster/lease_engine.h"

#include <algorithm>
#include <mutex>
#include <type_traits>
#include <utility>

namespace perdure::node {

namespace lease = policy::lease;

LeaseEngine::LeaseEngine(model::NodeLife self, const lease::Timing& timing, const Clock& clock)
    : clock_(clock), holder_(self, timing), granter_(std::move(self), timing) {}

// ---- The owner's side ----

LeaseOutput LeaseEngine::need(const ContainerName& container, const lease::Needs& needs, std::shared_ptr<GateDeadline> gate) {
  LeaseOutput output;
  const std::lock_guard lock(mutex_);
  gates_.insert_or_assign(container, std::move(gate));
  perform(holder_.need(container, needs, clock_.now()), output);
  return output;
}

void LeaseEngine::forget(const ContainerName& container) {
  const std::lock_guard lock(mutex_);
  holder_.forget(container);
  gates_.erase(container);
}

void LeaseEngine::shut(const ContainerName& container, const std::shared_ptr<GateDeadline>& gate) {
  const std::lock_guard lock(mutex_);
  (void)holder_.shut(container);
  gates_.erase(container);
  if (gate) gate->set(lease::kShut);
}

void LeaseEngine::ask_long(Duration grant) {
  const std::lock_guard lock(mutex_);
  holder_.ask_long(grant);
}

std::vector<lease::LeaseHolder::Missing> LeaseEngine::missing_long_grants() const {
  const std::lock_guard lock(mutex_);
  return holder_.missing_long_grants(clock_.now());
}

void LeaseEngine::use(const lease::Timing& timing) {
  const std::lock_guard lock(mutex_);
  holder_.use(timing, clock_.now());
  granter_.use(timing);
}

// ---- The standby's side ----

void LeaseEngine::watch(const ContainerName& container, const std::optional<lease::Charge>& charge) {
  const std::lock_guard lock(mutex_);
  granter_.watch(container, charge, clock_.now());
}

void LeaseEngine::resume(const ContainerName& container) {
  const std::lock_guard lock(mutex_);
  granter_.resume(container, clock_.now());
}

bool LeaseEngine::withholds(const ContainerName& container) const {
  const std::lock_guard lock(mutex_);
  return granter_.withholds(container);
}

std::optional<Instant> LeaseEngine::waits_long_until(const ContainerName& container) const {
  const std::lock_guard lock(mutex_);
  return granter_.waits_long_until(container, clock_.now());
}

// ---- What comes ----

LeaseOutput LeaseEngine::on(const lease::Heartbeat& heartbeat) {
  LeaseOutput output;
  const std::lock_guard lock(mutex_);
  perform(granter_.on(heartbeat, clock_.now()), output);
  return output;
}

LeaseOutput LeaseEngine::on(const lease::Grant& grant) {
  LeaseOutput output;
  const std::lock_guard lock(mutex_);
  perform(holder_.on(grant, clock_.now()), output);
  return output;
}

LeaseOutput LeaseEngine::tick() {
  LeaseOutput output;
  const std::lock_guard lock(mutex_);
  const Instant now = clock_.now();
  perform(holder_.tick(now), output);
  perform(granter_.tick(now), output);
  return output;
}

Instant LeaseEngine::next_tick() const {
  const std::lock_guard lock(mutex_);
  const Instant beat = holder_.containers() > 0 ? holder_.next_tick() : Instant::max();
  return std::min(beat, granter_.next_tick());
}

// ---- Effects ----

void LeaseEngine::perform(std::vector<lease::HolderEffect> effects, LeaseOutput& output) {
  for (lease::HolderEffect& effect : effects) {
    if (const auto* set = std::get_if<lease::SetGate>(&effect)) {
      const auto gate = gates_.find(set->container);
      if (gate != gates_.end() && gate->second) gate->second->set(set->deadline);
    } else if (auto* heartbeat = std::get_if<lease::SendHeartbeat>(&effect)) {
      output.messages.push_back({std::move(heartbeat->to), std::move(heartbeat->heartbeat)});
    } else if (auto* flow = std::get_if<lease::GrantsFlow>(&effect)) {
      output.news.emplace_back(std::move(*flow));
    } else if (auto* stopped = std::get_if<lease::GrantsStopped>(&effect)) {
      output.news.emplace_back(std::move(*stopped));
    } else if (std::holds_alternative<lease::LongGrantsHeld>(effect)) {
      output.news.emplace_back(lease::LongGrantsHeld{});
    }
  }
}

void LeaseEngine::perform(std::vector<lease::GranterEffect> effects, LeaseOutput& output) {
  for (lease::GranterEffect& effect : effects) {
    if (auto* grant = std::get_if<lease::SendGrant>(&effect)) {
      output.messages.push_back({std::move(grant->to), std::move(grant->grant)});
    } else if (auto* silent = std::get_if<lease::OwnerSilent>(&effect)) {
      output.news.emplace_back(std::move(*silent));
    } else if (auto* heard = std::get_if<lease::OwnerHeard>(&effect)) {
      output.news.emplace_back(std::move(*heard));
    } else if (auto* given = std::get_if<lease::LongGrantGiven>(&effect)) {
      output.news.emplace_back(std::move(*given));
    } else if (auto* back = std::get_if<lease::LongGrantGivenBack>(&effect)) {
      output.news.emplace_back(std::move(*back));
    } else if (auto* unknown = std::get_if<lease::TermUnknown>(&effect)) {
      output.news.emplace_back(std::move(*unknown));
    }
  }
}

void tell(const LeaseHandlers& handlers, const LeaseNews& news) {
  std::visit(
      [&](const auto& it) {
        using News = std::decay_t<decltype(it)>;
        if constexpr (std::is_same_v<News, lease::GrantsFlow>) handlers.grants_flow(it.container, it.from);
        if constexpr (std::is_same_v<News, lease::GrantsStopped>) handlers.grants_stopped(it.container, it.from);
        if constexpr (std::is_same_v<News, lease::LongGrantsHeld>) handlers.long_grants_held();
        if constexpr (std::is_same_v<News, lease::OwnerSilent>) handlers.owner_silent(it);
        if constexpr (std::is_same_v<News, lease::OwnerHeard>) handlers.owner_heard(it.container);
        if constexpr (std::is_same_v<News, lease::LongGrantGiven>) handlers.long_grant_given(it);
        if constexpr (std::is_same_v<News, lease::LongGrantGivenBack>) handlers.long_grant_given_back(it);
        if constexpr (std::is_same_v<News, lease::TermUnknown>) handlers.term_unknown(it.container, it.term);
      },
      news);
}

}  // namespace perdure::node
