// Every number that a policy decides by: default, unit, range and reason stand in one table.
//
// The structs hold the defaults; option_table() names each member once more with its range and its
// reason, and docs/recovery.md is that table in print (a test compares them).
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace perdure::model {
struct ContainerSpec;
}

namespace perdure::policy {

enum class IntervalSource {
  kInterval,
  kStateSensitivity
};  // what the asked interval was taken from

struct ScheduleOptions {
  Duration interval = std::chrono::seconds(1);
  IntervalSource interval_source = IntervalSource::kInterval;
  std::uint32_t cpu_budget_percent = 20;
  std::uint32_t cost_samples = 8;
  Duration retry_first = std::chrono::milliseconds(100);
  Duration retry_limit = std::chrono::seconds(10);
};

enum class Statefulness {
  kStateful,
  kStateless
};  // stateless: restarted, never captured (paper, III-B)
enum class ColdStart { kAllowed, kNever };
// What the end of the container's own command with exit code 0 means. Any other end is a failure.
enum class RestartPolicy {
  kOnFailure,  // it has finished: it stays stopped
  kAlways,     // it is started afresh
};

// Which deaths within the probation say something against the generation restored.
enum class Blame {
  kAnyDeath,
  kNotSigkill,  // SIGKILL comes from outside, unless it is the kernel's, out of memory
};

struct ContainerOptions {
  ScheduleOptions schedule;
  Statefulness statefulness = Statefulness::kStateful;
  ColdStart cold_start = ColdStart::kAllowed;
  RestartPolicy restart = RestartPolicy::kOnFailure;
  Blame blame = Blame::kAnyDeath;

  Duration trial_delay = std::chrono::milliseconds(200);
  std::uint32_t failures_until_unprotected = 5;
  std::uint32_t age_limit_intervals = 10;
  Duration age_limit_floor = std::chrono::seconds(30);
  std::uint32_t max_uncommitted = 2;
  Duration commit_deadline = std::chrono::seconds(30);

  Duration exit_grace = std::chrono::milliseconds(20);
  Duration probation = std::chrono::seconds(10);
  std::uint32_t max_restores = 5;
  Duration restore_window = std::chrono::minutes(1);
  std::uint32_t max_in_place = 2;
  std::uint32_t max_failovers = 1;
  Duration failover_window = std::chrono::minutes(10);
  Duration restart_delay_first = std::chrono::milliseconds(100);
  Duration restart_delay_limit = std::chrono::seconds(10);
  Duration capture_end_deadline = std::chrono::seconds(5);

  Duration stop_deadline = std::chrono::seconds(10);
  Duration kill_deadline = std::chrono::seconds(10);
  Duration move_warning = std::chrono::seconds(40);

  std::uint32_t keep_generations = 3;
  std::uint32_t keep_marked = 3;
};

enum class Unit { kDuration, kPercent, kCount };

struct OptionRow {
  std::string_view name;
  Unit unit;
  std::int64_t minimum;  // nanoseconds of a duration
  std::int64_t maximum;
  std::string_view reason;
  std::int64_t (*get)(const ContainerOptions&);
};
std::span<const OptionRow> option_table();
// "1 s", "20 %", "3".
std::string format_option(Unit unit, std::int64_t value);
// The table in Markdown, a line per row.
std::string option_table_markdown();

// kInvalid names the option, its value and the range.
Status validate(const ContainerOptions& options);

// What the spec says, over the defaults. Where the operator wrote a state sensitivity (for how long
// a state is worth having), the interval is half of it.
ContainerOptions options_from(const model::ContainerSpec& spec);

}  // namespace perdure::policy
