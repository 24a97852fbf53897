#include "node/agent_silence.h"

#include <utility>

namespace perdure::node {

void AgentSilence::begin(Instant now) {
  since_ = looked_ = now;
  first_ = true;
  excused_ = {};
  capture_since_.reset();
}

void AgentSilence::heard(Instant now) {
  since_ = now;
  first_ = false;
  excused_ = {};
}

void AgentSilence::capture_ended(Instant now, std::optional<Duration> frozen) {
  const auto begun = std::exchange(capture_since_, std::nullopt);
  if (begun) excused_ += frozen.value_or(now - *begun);
}

std::optional<Duration> AgentSilence::look(Instant now, Counts counts) {
  const Duration passed = now - std::exchange(looked_, now);
  if (counts == Counts::kNo) {
    excused_ += passed;
  } else if (passed > 2 * kAgentLookEvery) {
    excused_ += passed - kAgentLookEvery;
  }
  // A capture under way may have frozen it all the time.
  if (!since_ || capture_since_) return std::nullopt;
  const Duration silent = now - *since_ - excused_;
  if (silent < (first_ ? kFirstReportLimit : kAgentSilenceLimit)) return std::nullopt;
  since_.reset();
  return silent;
}

}  // namespace perdure::node
