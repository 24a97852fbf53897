#include "cli/words.h"

#include <algorithm>
#include <format>

#include "base/clock.h"
#include "base/units.h"

namespace perdure::cli {

namespace v1 = control::v1;

std::string_view word(v1::Phase phase) {
  switch (phase) {
    case v1::PHASE_CREATING:
      return "creating";
    case v1::PHASE_STARTING:
      return "starting";
    case v1::PHASE_RUNNING:
      return "running";
    case v1::PHASE_RECOVERING:
      return "recovering";
    case v1::PHASE_STOPPING:
      return "stopping";
    case v1::PHASE_STOPPED:
      return "stopped";
    case v1::PHASE_EXITED:
      return "exited";
    case v1::PHASE_FAILED:
      return "failed";
    case v1::PHASE_REMOVING:
      return "removing";
    default:
      return "unknown";
  }
}

std::string_view word(v1::ProtectionState state) {
  switch (state) {
    case v1::PROTECTION_PROTECTED:
      return "protected";
    case v1::PROTECTION_PENDING:
      return "pending";
    case v1::PROTECTION_STALE:
      return "stale";
    case v1::PROTECTION_UNPROTECTED:
      return "unprotected";
    case v1::PROTECTION_STATELESS:
      return "stateless";
    default:
      return "unknown";
  }
}

std::string_view word(v1::Severity severity) {
  switch (severity) {
    case v1::SEVERITY_INFO:
      return "info";
    case v1::SEVERITY_WARNING:
      return "warning";
    case v1::SEVERITY_ERROR:
      return "error";
    default:
      return "unknown";
  }
}

std::string_view word(v1::GenerationKind kind) {
  switch (kind) {
    case v1::GENERATION_KIND_FULL:
      return "full";
    case v1::GENERATION_KIND_DELTA:
      return "delta";
    default:
      return "unknown";
  }
}

std::string_view word(v1::VolumeKind kind) {
  switch (kind) {
    case v1::VOLUME_CAPTURED:
      return "captured";
    case v1::VOLUME_SHARED:
      return "shared";
    default:
      return "unknown";
  }
}

std::string_view word(v1::CheckState state) {
  switch (state) {
    case v1::CHECK_OK:
      return "ok";
    case v1::CHECK_LIMITED:
      return "limited";
    case v1::CHECK_MISSING:
      return "missing";
    default:
      return "unknown";
  }
}

std::string_view word(v1::LogStream stream) {
  switch (stream) {
    case v1::LOG_STREAM_STDOUT:
      return "stdout";
    case v1::LOG_STREAM_STDERR:
      return "stderr";
    default:
      return "unknown";
  }
}

std::string_view word(v1::NodeState state) {
  switch (state) {
    case v1::NODE_READY:
      return "ready";
    case v1::NODE_UNREACHABLE:
      return "unreachable";
    case v1::NODE_CORDONED:
      return "cordoned";
    case v1::NODE_WITNESS:
      return "witness";
    default:
      return "unknown";
  }
}

std::string_view word(v1::StandbyState state) {
  switch (state) {
    case v1::STANDBY_READY:
      return "ready";
    case v1::STANDBY_LEARNING:
      return "learning";
    case v1::STANDBY_PREPARING:
      return "preparing";
    case v1::STANDBY_UNREACHABLE:
      return "unreachable";
    case v1::STANDBY_REFUSED:
      return "refused";
    default:
      return "unknown";
  }
}

std::string_view word(v1::ComponentState state) {
  switch (state) {
    case v1::COMPONENT_WAITING:
      return "waiting";
    case v1::COMPONENT_STARTING:
      return "starting";
    case v1::COMPONENT_RUNNING:
      return "running";
    case v1::COMPONENT_FAILING:
      return "failing";
    case v1::COMPONENT_BACK_OFF:
      return "back-off";
    case v1::COMPONENT_STOPPING:
      return "stopping";
    case v1::COMPONENT_FINISHED:
      return "finished";
    case v1::COMPONENT_STOPPED:
      return "stopped";
    case v1::COMPONENT_FAILED:
      return "failed";
    default:
      return "unknown";
  }
}

std::string_view word(v1::RecoveryScope scope) {
  switch (scope) {
    case v1::RECOVERY_SCOPE_COMPONENT:
      return "component";
    case v1::RECOVERY_SCOPE_CONTAINER:
      return "container";
    case v1::RECOVERY_SCOPE_NODE:
      return "node";
    case v1::RECOVERY_SCOPE_OPERATOR:
      return "operator";
    default:
      return "unknown";
  }
}

std::string_view word(v1::RecoveryOutcome outcome) {
  switch (outcome) {
    case v1::RECOVERY_OUTCOME_UNDER_WAY:
      return "under_way";
    case v1::RECOVERY_OUTCOME_RESTARTED:
      return "restarted";
    case v1::RECOVERY_OUTCOME_RESTORED:
      return "restored";
    case v1::RECOVERY_OUTCOME_COLD_START:
      return "cold_start";
    case v1::RECOVERY_OUTCOME_TAKEN_OVER:
      return "taken_over";
    case v1::RECOVERY_OUTCOME_FAILED_OVER:
      return "failed_over";
    case v1::RECOVERY_OUTCOME_GONE:
      return "gone";
    case v1::RECOVERY_OUTCOME_GIVEN_UP:
      return "given_up";
    case v1::RECOVERY_OUTCOME_WAITS:
      return "waits";
    case v1::RECOVERY_OUTCOME_STOPPED:
      return "stopped";
    default:
      return "unknown";
  }
}

std::string_view word(v1::RecoverAction action) {
  switch (action) {
    case v1::RECOVER_NOTHING:
      return "nothing";
    case v1::RECOVER_ADOPT_RUNNING:
      return "adopt_running";
    case v1::RECOVER_RESTORE:
      return "restore";
    case v1::RECOVER_COLD_START:
      return "cold_start";
    case v1::RECOVER_LOST:
      return "lost";
    default:
      return "unknown";
  }
}

Colour colour_of(v1::Phase phase) {
  switch (phase) {
    case v1::PHASE_RUNNING:
      return Colour::kGood;
    case v1::PHASE_FAILED:
      return Colour::kBad;
    case v1::PHASE_RECOVERING:
    case v1::PHASE_EXITED:
      return Colour::kDoubtful;
    default:
      return Colour::kNone;
  }
}

Colour colour_of(v1::ProtectionState state) {
  switch (state) {
    case v1::PROTECTION_PROTECTED:
    case v1::PROTECTION_STATELESS:
      return Colour::kGood;
    case v1::PROTECTION_UNPROTECTED:
      return Colour::kBad;
    default:
      return Colour::kDoubtful;
  }
}

Colour colour_of(v1::Severity severity) {
  switch (severity) {
    case v1::SEVERITY_ERROR:
      return Colour::kBad;
    case v1::SEVERITY_WARNING:
      return Colour::kDoubtful;
    default:
      return Colour::kNone;
  }
}

Colour colour_of(v1::CheckState state) {
  switch (state) {
    case v1::CHECK_OK:
      return Colour::kGood;
    case v1::CHECK_MISSING:
      return Colour::kBad;
    default:
      return Colour::kDoubtful;
  }
}

Colour colour_of(v1::NodeState state) {
  switch (state) {
    case v1::NODE_READY:
    case v1::NODE_WITNESS:
      return Colour::kGood;
    case v1::NODE_UNREACHABLE:
      return Colour::kBad;
    default:
      return Colour::kDoubtful;
  }
}

Colour colour_of(v1::StandbyState state) {
  switch (state) {
    case v1::STANDBY_READY:
      return Colour::kGood;
    case v1::STANDBY_UNREACHABLE:
    case v1::STANDBY_REFUSED:
      return Colour::kBad;
    default:
      return Colour::kDoubtful;
  }
}

Colour colour_of(v1::ComponentState state) {
  switch (state) {
    case v1::COMPONENT_RUNNING:
    case v1::COMPONENT_FINISHED:
      return Colour::kGood;
    case v1::COMPONENT_FAILING:
    case v1::COMPONENT_BACK_OFF:
    case v1::COMPONENT_FAILED:
      return Colour::kBad;
    default:
      return Colour::kDoubtful;
  }
}

Colour colour_of(v1::RecoveryOutcome outcome) {
  switch (outcome) {
    case v1::RECOVERY_OUTCOME_RESTARTED:
    case v1::RECOVERY_OUTCOME_RESTORED:
    case v1::RECOVERY_OUTCOME_TAKEN_OVER:
    case v1::RECOVERY_OUTCOME_FAILED_OVER:
      return Colour::kGood;
    case v1::RECOVERY_OUTCOME_GIVEN_UP:
      return Colour::kBad;
    case v1::RECOVERY_OUTCOME_STOPPED:
    case v1::RECOVERY_OUTCOME_GONE:
      return Colour::kNone;
    default:
      return Colour::kDoubtful;
  }
}

Colour colour_of(v1::RecoverAction action) {
  switch (action) {
    case v1::RECOVER_NOTHING:
    case v1::RECOVER_ADOPT_RUNNING:
      return Colour::kGood;
    case v1::RECOVER_LOST:
      return Colour::kBad;
    default:
      return Colour::kDoubtful;
  }
}

bool is_safe(v1::ProtectionState state) {
  return state == v1::PROTECTION_PROTECTED || state == v1::PROTECTION_STATELESS;
}

std::string duration_text(std::int64_t nanoseconds) {
  return format_duration(Duration(nanoseconds));
}

std::string short_duration(std::int64_t nanoseconds) {
  const std::int64_t seconds = nanoseconds / 1'000'000'000;
  if (seconds < 60) return duration_text(nanoseconds);
  if (seconds < 3600) return std::format("{} min", seconds / 60);
  if (seconds < 48 * 3600) return std::format("{} h", seconds / 3600);
  return std::format("{} d", seconds / 86400);
}

std::string bytes_text(std::uint64_t bytes) {
  return format_bytes(Bytes{bytes});
}

std::string rfc3339(std::int64_t unix_ms) {
  return format_wall_time(WallTime(std::chrono::milliseconds(unix_ms)));
}

std::string time_text(std::int64_t unix_ms) {
  std::string text = rfc3339(unix_ms);
  if (text.size() < 20) return text;
  text[10] = ' ';
  return text.substr(0, 19) + "Z";
}

std::string list_text(const google::protobuf::RepeatedPtrField<std::string>& texts) {
  std::string result;
  for (const std::string& text : texts) result += (result.empty() ? "" : ", ") + clean(text);
  return result;
}

std::string labels_text(const google::protobuf::Map<std::string, std::string>& labels) {
  const std::map<std::string, std::string> sorted(labels.begin(), labels.end());
  std::string result;
  for (const auto& [key, value] : sorted)
    result += std::format("{}{}={}", result.empty() ? "" : ", ", clean(key), clean(value));
  return result;
}

std::string count_text(std::uint64_t count, std::string_view noun) {
  return std::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::vector<std::pair<std::string, std::int64_t>> in_order_of_time(
    const google::protobuf::Map<std::string, std::int64_t>& durations) {
  std::vector<std::pair<std::string, std::int64_t>> sorted;
  for (const auto& [name, duration] : durations) {
    std::string readable = clean(name);
    std::ranges::replace(readable, '_', ' ');
    sorted.emplace_back(std::move(readable), duration);
  }
  std::ranges::sort(sorted, [](const auto& a, const auto& b) {
    return std::pair(a.second, a.first) < std::pair(b.second, b.first);
  });
  return sorted;
}

}  // namespace perdure::cli
