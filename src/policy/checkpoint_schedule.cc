#include "policy/checkpoint_schedule.h"

#include <algorithm>
#include <format>

#include "base/assert.h"

namespace perdure::policy {
namespace {

// No measured time is believed beyond these. CPU: it keeps the arithmetic far from overflow. Wall:
// a capture's own deadline is seconds; what took longer hung, which says nothing of the next one.
constexpr Duration kLongestCpu = std::chrono::hours(1);
constexpr Duration kLongestWall = std::chrono::seconds(30);
// The container is left alone for at least as long as a capture takes.
constexpr int kWallShare = 2;
// A stretched interval is a multiple of a twentieth of the asked one: small changes of the cost
// change nothing.
constexpr int kStepsPerInterval = 20;

std::uint32_t hash_of(std::string_view text) {  // FNV-1a, the same on every host
  std::uint32_t hash = 2166136261U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return hash ^ (hash >> 16);
}

Duration clamp_measured(Duration duration, Duration longest) {
  return std::clamp(duration, Duration::zero(), longest);
}

Duration round_up(Duration duration, Duration step) {
  return (duration + step - Duration(1)) / step * step;
}

}  // namespace

CheckpointSchedule::CheckpointSchedule(const ContainerName& name, const ScheduleOptions& options)
    : options_(options), name_hash_(hash_of(name.str())) {
  PERDURE_ASSERT(options_.interval > Duration::zero() && options_.cpu_budget_percent > 0);
  samples_.reserve(options_.cost_samples);
}

// In (0, interval]: a share of the asked interval that the name decides.
Duration CheckpointSchedule::phase() const {
  constexpr std::int64_t kShares = 1024;
  const std::int64_t share = 1 + static_cast<std::int64_t>(name_hash_ % kShares);
  return std::max(Duration(1), options_.interval / kShares * share);
}

void CheckpointSchedule::enable(Instant now, std::optional<Instant> first) {
  enabled_ = true;
  requested_ = false;
  failures_in_row_ = 0;
  beat_ = first.value_or(now + phase());
  due_ = beat_;
}

void CheckpointSchedule::disable() {
  enabled_ = false;
  requested_ = false;
  failures_in_row_ = 0;
}

void CheckpointSchedule::started(Instant now) {
  PERDURE_ASSERT(!in_flight_);
  in_flight_ = true;
  requested_ = false;
  last_start_ = now;
  const Duration interval = demand().interval;
  if (now > beat_) beat_ += (now - beat_) / interval * interval;
}

void CheckpointSchedule::end_capture(Instant now, Duration cpu) {
  PERDURE_ASSERT(in_flight_);
  in_flight_ = false;
  last_cost_ = clamp_measured(cpu, kLongestCpu);
  due_ = next_beat(now);
}

void CheckpointSchedule::finished(Instant now, Duration cpu) {
  if (samples_.size() >= options_.cost_samples) samples_.erase(samples_.begin());
  samples_.push_back(
      {clamp_measured(cpu, kLongestCpu), clamp_measured(now - last_start_, kLongestWall)});
  end_capture(now, cpu);
}

void CheckpointSchedule::failed(Instant now, Duration cpu, FailureClass failure) {
  end_capture(now, cpu);
  count_failure(now, failure);
}

void CheckpointSchedule::committed(Instant now) {
  if (failures_in_row_ == 0) return;
  failures_in_row_ = 0;
  if (!in_flight_) due_ = next_beat(now);
}

void CheckpointSchedule::commit_failed(Instant now, FailureClass failure) {
  count_failure(now, failure);
}

void CheckpointSchedule::count_failure(Instant now, FailureClass failure) {
  last_failure_ = failure;
  ++failures_in_row_;
  if (!in_flight_) due_ = next_beat(now);
}

void CheckpointSchedule::request(Instant now) {
  if (!enabled_) return;
  requested_ = true;
  if (!in_flight_) due_ = std::min(due_, now);
}

// The first beat that leaves at least half of the interval between two captures.
Instant CheckpointSchedule::next_beat(Instant now) const {
  if (requested_) return now;
  if (failures_in_row_ > 0) return now + back_off();
  const Duration interval = demand().interval;
  const Instant earliest = std::max(now, last_start_ + interval / 2);
  if (beat_ >= earliest) return beat_;  // the first one, after a request before it
  if (beat_ + interval >= earliest) return beat_ + interval;
  const auto beats = (earliest - beat_ + interval - Duration(1)) / interval;
  return beat_ + beats * interval;
}

Duration CheckpointSchedule::back_off() const {
  // Never slower than the schedule would be anyway, unless failed attempts eat the CPU budget.
  const Duration limit = std::max(options_.retry_limit, options_.interval);
  Duration delay = std::min(options_.retry_first, limit);
  for (std::uint32_t n = 1; n < failures_in_row_ && delay < limit; ++n)
    delay = std::min(delay * 2, limit);
  if (last_failure_ == FailureClass::kPermanent) delay = limit;
  return std::max(delay, last_cost_ * 100 / options_.cpu_budget_percent);
}

Duration CheckpointSchedule::median_of(Duration Sample::* member) const {
  std::vector<Duration> values;
  values.reserve(samples_.size());
  for (const auto& sample : samples_) values.push_back(sample.*member);
  if (values.empty()) return Duration::zero();
  // The upper median: with two samples the dearer one counts.
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

CheckpointSchedule::Demand CheckpointSchedule::demand() const {
  const Duration step = std::max(Duration(1), options_.interval / kStepsPerInterval);
  const Duration by_cpu = median_of(&Sample::cpu) * 100 / options_.cpu_budget_percent;
  const Duration by_wall = median_of(&Sample::wall) * kWallShare;
  if (std::max(by_cpu, by_wall) <= options_.interval)
    return {options_.interval, PaceReason::kAsked};
  if (by_cpu >= by_wall) return {round_up(by_cpu, step), PaceReason::kCpuBudget};
  return {round_up(by_wall, step), PaceReason::kDuration};
}

std::optional<Instant> CheckpointSchedule::next() const {
  if (!enabled_ || in_flight_) return std::nullopt;
  return due_;
}

Duration CheckpointSchedule::interval() const {
  return demand().interval;
}

Pace CheckpointSchedule::pace() const {
  if (!enabled_) return {options_.interval, PaceReason::kOff, "nothing to capture"};
  const auto [interval, reason] = demand();
  const std::string every = std::format("every {} instead of {}", format_duration(interval),
                                        format_duration(options_.interval));
  std::string text;
  switch (reason) {
    case PaceReason::kCpuBudget:
      text = std::format("{}: a capture costs {} CPU, budget {} %", every,
                         format_duration(median_of(&Sample::cpu)), options_.cpu_budget_percent);
      break;
    case PaceReason::kDuration:
      text = std::format("{}: a capture takes {}, and the container gets as much time to itself",
                         every, format_duration(median_of(&Sample::wall)));
      break;
    default:
      text = std::format("every {}: {}", format_duration(interval),
                         options_.interval_source == IntervalSource::kStateSensitivity
                             ? "half of the state sensitivity"
                             : "as the spec asks for");
  }
  if (requested_) return {interval, PaceReason::kRequested, "now: an operator asked; then " + text};
  if (failures_in_row_ == 0) return {interval, reason, std::move(text)};
  return {interval, PaceReason::kRetry,
          std::format("again {} after the last failure ({} in a row); then {}",
                      format_duration(back_off()), failures_in_row_, text)};
}

}  // namespace perdure::policy
