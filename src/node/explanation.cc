#include "node/explanation.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <deque>
#include <format>
#include <ranges>
#include <string_view>
#include <utility>

namespace perdure::node {
namespace {

namespace v1 = control::v1;
using std::chrono_literals::operator""min;

constexpr Duration kEvidenceAge = 1min;  // what was seen before a failure longer ago says little of it
constexpr int kMaxEvidence = 20;
constexpr int kMaxSteps = 100;

enum class Part {
  kNone,
  kEvidence,   // says something only if a failure follows
  kRestarted,  // a whole recovery, of a component
  kFailure,
  kOperator,   // begins one that is no failure
  kStep,
  kEnd,
  kAfter,      // belongs to the one that has ended
};

struct Kind {
  std::string_view name;
  Part part;
  v1::RecoveryOutcome outcome = v1::RECOVERY_OUTCOME_UNDER_WAY;
};

constexpr auto kKinds = std::to_array<Kind>({
    {"component_failing", Part::kEvidence},
    {"process_killed", Part::kEvidence},
    {"capture_failed", Part::kEvidence},
    {"unprotected", Part::kEvidence},
    {"found", Part::kEvidence},
    {"agent_silent", Part::kEvidence},
    {"component_restarted", Part::kRestarted, v1::RECOVERY_OUTCOME_RESTARTED},
    {"component_failed", Part::kFailure},
    {"died", Part::kFailure},
    {"died_moving", Part::kFailure},
    {"passed_over", Part::kStep},
    {"restore_failed", Part::kStep},
    {"start_failed", Part::kStep},
    {"failing_over", Part::kStep},
    {"failover_failed", Part::kStep},
    {"cold_start", Part::kStep},
    {"takeover_waits", Part::kStep},
    {"takeover_turn", Part::kStep},
    {"ownership_unknown", Part::kStep},
    {"ownership_known", Part::kStep},
    {"waiting", Part::kStep, v1::RECOVERY_OUTCOME_WAITS},
    {"waiting_for_word", Part::kStep, v1::RECOVERY_OUTCOME_WAITS},
    {"takeover_ordered", Part::kFailure},
    {"restoring", Part::kOperator},  // or a step of what is open
    {"restored", Part::kEnd, v1::RECOVERY_OUTCOME_RESTORED},
    {"started", Part::kEnd, v1::RECOVERY_OUTCOME_COLD_START},
    {"taken_over", Part::kEnd, v1::RECOVERY_OUTCOME_TAKEN_OVER},
    {"failed_over", Part::kEnd, v1::RECOVERY_OUTCOME_FAILED_OVER},
    {"failed", Part::kEnd, v1::RECOVERY_OUTCOME_GIVEN_UP},
    {"moved", Part::kEnd, v1::RECOVERY_OUTCOME_GONE},
    {"gone", Part::kEnd, v1::RECOVERY_OUTCOME_GONE},
    {"stopped", Part::kEnd, v1::RECOVERY_OUTCOME_STOPPED},
    {"removed", Part::kEnd, v1::RECOVERY_OUTCOME_STOPPED},
    {"first_packet", Part::kAfter},
});

const Kind& kind_of(const v1::Event& event) {
  static constexpr Kind kOther{"", Part::kNone};
  const auto* found = std::ranges::find(kKinds, std::string_view(event.kind()), &Kind::name);
  return found == kKinds.end() ? kOther : *found;
}

bool begins_and_ends(const v1::Event& event) {
  return event.kind() == "taken_over" || event.kind() == "failed_over";
}

Duration between(const v1::Event& earlier, const v1::Event& later) {
  return std::chrono::milliseconds(later.time_unix_ms() - earlier.time_unix_ms());
}

class Story {
 public:
  explicit Story(Duration probation) : probation_(probation) {}

  void add(const v1::Event& event) {
    const Kind& kind = kind_of(event);
    switch (kind.part) {
      case Part::kNone:
        return;
      case Part::kEvidence:
        if (is_open()) {
          steps_.push_back(&event);
        } else {
          evidence_.push_back(&event);
        }
        return;
      case Part::kRestarted:
        if (is_open()) return void(steps_.push_back(&event));
        begin(v1::RECOVERY_SCOPE_COMPONENT);
        steps_.push_back(&event);
        end(kind.outcome);
        evidence_.push_back(&event);  // of what may come of it
        return;
      case Part::kFailure:
      case Part::kOperator: {
        // What a restarted perdured found dead has no death that it has seen.
        const bool asked = kind.part == Part::kOperator && event.text().starts_with("an operator");
        const bool operators = asked || event.kind() == "takeover_ordered";
        if (!is_open() && !continues(event)) begin(operators ? v1::RECOVERY_SCOPE_OPERATOR : v1::RECOVERY_SCOPE_CONTAINER);
        outcome_ = v1::RECOVERY_OUTCOME_UNDER_WAY;
        steps_.push_back(&event);
        return;
      }
      case Part::kStep:
        if (!is_open() && !continues(event)) begin(v1::RECOVERY_SCOPE_CONTAINER);
        outcome_ = kind.outcome;
        steps_.push_back(&event);
        return;
      case Part::kEnd:
        if (!is_open() && !begins_and_ends(event)) return;  // a first start, a stop of what ran
        if (!is_open()) begin(event.kind() == "taken_over" ? v1::RECOVERY_SCOPE_NODE : v1::RECOVERY_SCOPE_CONTAINER);
        steps_.push_back(&event);
        end(kind.outcome);
        return;
      case Part::kAfter:
        if (!steps_.empty() && !is_open()) steps_.push_back(&event);
        return;
    }
  }

  std::optional<v1::Recovery> told() const {
    if (steps_.empty()) return std::nullopt;
    v1::Recovery recovery;
    recovery.set_scope(scope_);
    recovery.set_outcome(outcome_);
    recovery.set_began_unix_ms(steps_.front()->time_unix_ms());
    const auto first = std::ranges::find_if(told_evidence_, [&](const v1::Event* event) {
      return between(*event, *steps_.front()) <= kEvidenceAge;
    });
    const auto seen = std::ranges::subrange(first, told_evidence_.end());
    const auto skipped = std::max<std::ptrdiff_t>(0, std::ranges::ssize(seen) - kMaxEvidence);
    for (const v1::Event* event : seen | std::views::drop(skipped)) *recovery.add_evidence() = *event;
    const auto left_out = std::max<std::ptrdiff_t>(0, std::ranges::ssize(steps_) - kMaxSteps);
    for (std::ptrdiff_t n = 0; n < std::ranges::ssize(steps_); ++n) {
      if (n == 0 || n > left_out) *recovery.add_steps() = *steps_[static_cast<std::size_t>(n)];
    }
    add_result(recovery);
    return recovery;
  }

 private:
  bool is_open() const {
    return !steps_.empty() && (outcome_ == v1::RECOVERY_OUTCOME_UNDER_WAY || outcome_ == v1::RECOVERY_OUTCOME_WAITS);
  }

  // It has failed again before it was known to hold.
  bool continues(const v1::Event& event) const {
    const bool held = outcome_ == v1::RECOVERY_OUTCOME_RESTORED || outcome_ == v1::RECOVERY_OUTCOME_FAILED_OVER ||
                      outcome_ == v1::RECOVERY_OUTCOME_TAKEN_OVER;
    return !steps_.empty() && held && event.kind() != "restoring" && between(*ended_, event) <= probation_;
  }

  void begin(v1::RecoveryScope scope) {
    scope_ = scope;
    outcome_ = v1::RECOVERY_OUTCOME_UNDER_WAY;
    steps_.clear();
    told_evidence_ = std::exchange(evidence_, {});
  }

  void end(v1::RecoveryOutcome outcome) {
    outcome_ = outcome;
    ended_ = steps_.back();
  }

  void add_result(v1::Recovery& recovery) const {
    const v1::Event& last = *steps_.back();
    const v1::Event& ended = is_open() ? last : *ended_;
    recovery.set_took_ns(between(*steps_.front(), ended).count());
    const auto restore = std::ranges::find_last_if(
        steps_, [](const v1::Event* step) { return step->kind() == "restored" || begins_and_ends(*step); });
    if (!restore.empty()) {
      const v1::Event& it = *restore.front();
      recovery.set_generation(it.generation());
      recovery.mutable_durations_ns()->insert(it.durations_ns().begin(), it.durations_ns().end());
    }
    if (last.kind() == "first_packet") recovery.mutable_durations_ns()->insert(last.durations_ns().begin(), last.durations_ns().end());
    for (const v1::Event* step : steps_ | std::views::reverse) {
      const std::string_view kind = step->kind();
      const bool says = kind == "restoring" || kind == "cold_start" || kind == "failing_over" || kind == "failed_over" ||
                        kind == "taken_over" || kind == "failed" || kind == "component_restarted" || kind == "waiting";
      if (!says) continue;
      const bool in_its_text = kind == "restoring" || kind == "taken_over" || kind == "failed" || kind == "component_restarted" ||
                               kind == "waiting";
      const bool with_its_reason = kind == "component_restarted" && !step->reason().empty();
      recovery.set_decision(with_its_reason ? std::format("{}: it {}", step->text(), step->reason())
                            : in_its_text   ? step->text()
                                            : step->reason());
      return;
    }
  }

  const Duration probation_;
  v1::RecoveryScope scope_ = v1::RECOVERY_SCOPE_UNSPECIFIED;
  v1::RecoveryOutcome outcome_ = v1::RECOVERY_OUTCOME_UNSPECIFIED;
  std::deque<const v1::Event*> evidence_;  // of what has not failed yet
  std::deque<const v1::Event*> told_evidence_;
  std::deque<const v1::Event*> steps_;
  const v1::Event* ended_ = nullptr;
};

}  // namespace

std::optional<v1::Recovery> last_recovery(std::span<const v1::Event* const> events, Duration probation) {
  Story story(probation);
  for (const v1::Event* event : events) story.add(*event);
  return story.told();
}

}  // namespace perdure::node
