#include "policy/nearness.h"

#include <algorithm>
#include <format>
#include <utility>

namespace perdure::policy::nearness {

std::vector<Effect> Nearness::handle(const Event& event, Instant now) {
  effects_.clear();
  if (const auto* look = std::get_if<Looked>(&event)) {
    looked(*look, now);
  } else if (const auto* failed = std::get_if<MoveFailed>(&event)) {
    moving_ = false;
    no_move_before_ = now + options_.move_again;
    move_failure_ = failed->reason;
  } else {
    was_placed_ = true;
  }
  return std::exchange(effects_, {});
}

void Nearness::looked(const Looked& event, Instant now) {
  if (sponsors_at_ != event.sponsors_at) {
    sponsors_at_ = event.sponsors_at;
    settled_since_.reset();
  }
  // One that is nowhere for a while, stopped or not read yet, has gone nowhere.
  for (const auto& [sponsor, node] : event.sponsors_at) {
    const auto [known, is_new] = last_known_.emplace(sponsor, node);
    if (is_new || known->second == node) continue;
    known->second = node;
    was_placed_ = false;
  }
  if (!event.settled) settled_since_.reset();
  if (event.settled && !settled_since_) settled_since_ = now;
  too_far_ = event.too_far;
  if (too_far_.empty()) {
    far_since_.reset();
    held_back_.clear();
    if (std::exchange(told_, false)) {
      effects_.emplace_back(Emit{Severity::kInfo, "near_sponsors", "it is close to all that it depends on again", {}});
    }
    return;
  }
  if (!far_since_) far_since_ = now;
  if (moving_) return;
  follow(event, now);
  if (moving_ || told_ || now - *far_since_ < options_.tell_after) return;
  told_ = true;
  effects_.emplace_back(Emit{Severity::kWarning, "far_from_sponsors",
                             std::format("it is farther from what it depends on than its delay tolerance bears: {}", list()),
                             std::format("it stays: {}", held_back_)});
}

void Nearness::follow(const Looked& event, Instant now) {
  if (was_placed_) {
    held_back_ = "it was put here, by an operator or because it did not hold elsewhere, or perdured has begun anew; it follows when one of "
                 "them goes elsewhere";
    return;
  }
  if (!settled_since_) {
    held_back_ = "one of those that it depends on is on its way";
    return;
  }
  if (no_move_before_ && now < *no_move_before_) {
    held_back_ = std::format("it could not be moved: {}", move_failure_);
    return;
  }
  if (now - *settled_since_ < options_.settle) {
    held_back_.clear();
    return;
  }
  const auto best = std::ranges::min_element(event.candidates, {}, &Candidate::too_far);
  if (best == event.candidates.end()) {
    held_back_ = "no standby is ready to take it";
    return;
  }
  if (best->too_far >= too_far_.size()) {
    held_back_ = "no ready standby is closer to them";
    return;
  }
  moving_ = true;
  held_back_.clear();
  effects_.emplace_back(Emit{Severity::kInfo, "follows_sponsors",
                             std::format("it is moved to node '{}', to be close to what it depends on", best->node.str()), list()});
  effects_.emplace_back(HandOver{best->node});
}

std::string Nearness::list() const {
  std::string text;
  for (const std::string& one : too_far_) text += (text.empty() ? "" : "; ") + one;
  return text;
}

// ---- For logs ----

std::string to_string(const Event& event) {
  if (const auto* look = std::get_if<Looked>(&event)) {
    return std::format("looked: {} too far, {}{} candidates", look->too_far.size(), look->settled ? "" : "not settled, ",
                       look->candidates.size());
  }
  if (const auto* failed = std::get_if<MoveFailed>(&event)) return "move failed: " + failed->reason;
  return "was placed";
}

std::string to_string(const Effect& effect) {
  if (const auto* go = std::get_if<HandOver>(&effect)) return std::format("hand over to '{}'", go->target.str());
  const Emit& it = std::get<Emit>(effect);
  return std::format("emit {}: {}", it.kind, it.text);
}

}  // namespace perdure::policy::nearness
