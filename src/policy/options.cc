#include "policy/options.h"

#include <array>
#include <format>

#include "model/spec.h"

namespace perdure::policy {
namespace {

using std::chrono_literals::operator""h;
using std::chrono_literals::operator""min;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

constexpr std::int64_t ns(Duration duration) {
  return duration.count();
}

template <auto Member>
std::int64_t schedule_duration(const ContainerOptions& options) {
  return (options.schedule.*Member).count();
}
template <auto Member>
std::int64_t schedule_number(const ContainerOptions& options) {
  return options.schedule.*Member;
}
template <auto Member>
std::int64_t duration(const ContainerOptions& options) {
  return (options.*Member).count();
}
template <auto Member>
std::int64_t number(const ContainerOptions& options) {
  return options.*Member;
}

using S = ScheduleOptions;
using C = ContainerOptions;
constexpr auto kTable = std::to_array<OptionRow>({
    {"interval", Unit::kDuration, ns(5ms), ns(24h),
     "what a failure may lose; a capture takes longer than the shortest ones, which are stretched",
     schedule_duration<&S::interval>},
    {"cpu_budget_percent", Unit::kPercent, 1, 100,
     "of one core; what protection may cost, the interval gives way to it",
     schedule_number<&S::cpu_budget_percent>},
    {"cost_samples", Unit::kCount, 1, 64,
     "the median of so many captures is the cost: one outlier changes nothing, a real change is "
     "followed after half of them",
     schedule_number<&S::cost_samples>},
    {"retry_first", Unit::kDuration, ns(10ms), ns(10s),
     "an in-flight connection is gone after a round trip; each failed dump costs a freeze",
     schedule_duration<&S::retry_first>},
    {"retry_limit", Unit::kDuration, ns(100ms), ns(10min),
     "doubled up to here, or to the interval if that is longer; the pace after permanent failures",
     schedule_duration<&S::retry_limit>},
    {"trial_delay", Unit::kDuration, 0, ns(10min),
     "a command needs a moment before its state is worth a trial", duration<&C::trial_delay>},
    {"failures_until_unprotected", Unit::kCount, 1, 100, "fewer would cry wolf at busy connections",
     number<&C::failures_until_unprotected>},
    {"age_limit_intervals", Unit::kCount, 2, 1000,
     "a newest generation older than so many intervals is no protection any more",
     number<&C::age_limit_intervals>},
    {"age_limit_floor", Unit::kDuration, ns(1s), ns(24h),
     "short intervals are not judged by a few lost beats", duration<&C::age_limit_floor>},
    {"max_uncommitted", Unit::kCount, 1, 8,
     "captures that may wait for their commit at once; each is held in memory",
     number<&C::max_uncommitted>},
    {"commit_deadline", Unit::kDuration, ns(100ms), ns(10min),
     "from the freeze; a capture not acknowledged by then counts as failed; a slow shared "
     "directory "
     "needs seconds",
     duration<&C::commit_deadline>},
    {"exit_grace", Unit::kDuration, 0, ns(1s),
     "init follows a killed child within a scheduling delay or lives on; the gate is held "
     "meanwhile",
     duration<&C::exit_grace>},
    {"probation", Unit::kDuration, 0, ns(1h),
     "a restored state that carries its own death shows it soon; 0: never blame a generation",
     duration<&C::probation>},
    {"max_restores", Unit::kCount, 1, 100,
     "restores and cold starts per restore_window; one more and recovery is given up",
     number<&C::max_restores>},
    {"restore_window", Unit::kDuration, ns(1s), ns(24h),
     "see max_restores; failures further apart than this are independent",
     duration<&C::restore_window>},
    {"max_in_place", Unit::kCount, 1, 100,
     "restores in a row here that fail or are not outlived for the probation, before another node goes on: the newest generation, and "
     "the one before it",
     number<&C::max_in_place>},
    {"max_failovers", Unit::kCount, 0, 100,
     "failovers of this kind per failover_window; what fails on a second host, too, is not the host's; 0: never",
     number<&C::max_failovers>},
    {"failover_window", Unit::kDuration, ns(1s), ns(24h), "see max_failovers; long enough that it does not go to and fro",
     duration<&C::failover_window>},
    {"restart_delay_first", Unit::kDuration, ns(1ms), ns(1min),
     "before a cold start after a life shorter than restart_delay_limit, and after a failure of "
     "the "
     "host's own",
     duration<&C::restart_delay_first>},
    {"restart_delay_limit", Unit::kDuration, ns(1ms), ns(1h), "doubled up to here",
     duration<&C::restart_delay_limit>},
    {"capture_end_deadline", Unit::kDuration, ns(100ms), ns(10min),
     "a cancelled capture ends in milliseconds; longer means CRIU hangs in the kernel",
     duration<&C::capture_end_deadline>},
    {"stop_deadline", Unit::kDuration, 0, ns(1h), "from the stop signal to the kill",
     duration<&C::stop_deadline>},
    {"kill_deadline", Unit::kDuration, ns(100ms), ns(1h),
     "a killed process ends at once unless it hangs in the kernel; then an operator must know",
     duration<&C::kill_deadline>},
    {"move_warning", Unit::kDuration, ns(1s), ns(1h),
     "a move that fails is taken back after 30 s; longer means that the record cannot be read, and "
     "an operator is told so again and again",
     duration<&C::move_warning>},
    {"keep_generations", Unit::kCount, 2, 100,
     "committed ones: the newest, and those to go back to when it is bad",
     number<&C::keep_generations>},
    {"keep_marked", Unit::kCount, 0, 16, "suspect and corrupt ones, kept for inspection",
     number<&C::keep_marked>},
});

}  // namespace

std::span<const OptionRow> option_table() {
  return kTable;
}

std::string format_option(Unit unit, std::int64_t value) {
  switch (unit) {
    case Unit::kDuration:
      return value == 0 ? "0" : format_duration(Duration(value));
    case Unit::kPercent:
      return std::format("{} %", value);
    case Unit::kCount:
      break;
  }
  return std::to_string(value);
}

std::string option_table_markdown() {
  const ContainerOptions defaults;
  std::string text = "| option | default | range | reason |\n|---|---|---|---|\n";
  for (const auto& row : kTable) {
    text += std::format(
        "| {} | {} | {} to {} | {} |\n", row.name, format_option(row.unit, row.get(defaults)),
        format_option(row.unit, row.minimum), format_option(row.unit, row.maximum), row.reason);
  }
  return text;
}

Status validate(const ContainerOptions& options) {
  for (const auto& row : kTable) {
    const std::int64_t value = row.get(options);
    if (value >= row.minimum && value <= row.maximum) continue;
    return fail(ErrorCode::kInvalid,
                std::format("option {} is {}: allowed are {} to {}", row.name,
                            format_option(row.unit, value), format_option(row.unit, row.minimum),
                            format_option(row.unit, row.maximum)));
  }
  return {};
}

ContainerOptions options_from(const model::ContainerSpec& spec) {
  ContainerOptions options;
  options.schedule.interval = spec.checkpoint.interval;
  if (spec.checkpoint.interval_source == model::IntervalSource::kStateSensitivity) {
    // A state that is restored is at most an interval and a capture old, and has to be worth
    // something.
    options.schedule.interval /= 2;
    options.schedule.interval_source = IntervalSource::kStateSensitivity;
  }
  options.schedule.cpu_budget_percent = spec.checkpoint.cpu_budget_percent;
  options.keep_generations = spec.checkpoint.generations_kept;
  options.max_restores = spec.restart.max_restores;
  options.restore_window = spec.restart.window;
  options.probation = spec.restart.probation;
  options.max_in_place = spec.restart.in_place.value_or(options.max_in_place);
  options.max_failovers = spec.restart.failovers.value_or(options.max_failovers);
  options.failover_window = spec.restart.failover_window.value_or(options.failover_window);
  options.cold_start =
      spec.restart.cold_start == model::ColdStart::kNever ? ColdStart::kNever : ColdStart::kAllowed;
  options.stop_deadline = spec.stop.deadline;
  return options;
}

}  // namespace perdure::policy
