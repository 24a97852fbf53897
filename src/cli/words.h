// The words for the protocol's enumerations and numbers, the same in tables and in JSON.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/text.h"
#include "control.pb.h"

namespace perdure::cli {

// Lower case, one word with underscores; "unknown" for a value of a newer daemon. Each list of
// words is part of the documented JSON form (json_fields.h).
std::string_view word(control::v1::Phase phase);
std::string_view word(control::v1::ProtectionState state);
std::string_view word(control::v1::Severity severity);
std::string_view word(control::v1::GenerationKind kind);
std::string_view word(control::v1::VolumeKind kind);
std::string_view word(control::v1::CheckState state);
std::string_view word(control::v1::LogStream stream);
std::string_view word(control::v1::NodeState state);
std::string_view word(control::v1::ComponentState state);
std::string_view word(control::v1::StandbyState state);
std::string_view word(control::v1::RecoverAction action);
std::string_view word(control::v1::RecoveryScope scope);
std::string_view word(control::v1::RecoveryOutcome outcome);

Colour colour_of(control::v1::Phase phase);
Colour colour_of(control::v1::ProtectionState state);
Colour colour_of(control::v1::Severity severity);
Colour colour_of(control::v1::CheckState state);
Colour colour_of(control::v1::NodeState state);
Colour colour_of(control::v1::ComponentState state);
Colour colour_of(control::v1::StandbyState state);
Colour colour_of(control::v1::RecoverAction action);
Colour colour_of(control::v1::RecoveryOutcome outcome);

// A failure now would lose nothing that the specification wants kept.
bool is_safe(control::v1::ProtectionState state);

std::string duration_text(std::int64_t nanoseconds);   // "18.3 ms"
std::string short_duration(std::int64_t nanoseconds);  // "3 min": one unit, for tables
std::string bytes_text(std::uint64_t bytes);           // "31.4 MB"
std::string time_text(std::int64_t unix_ms);           // "2026-01-31 12:00:00Z"
std::string rfc3339(std::int64_t unix_ms);             // "2026-01-31T12:00:00.000Z"

// "a, b, c", each cleaned.
std::string list_text(const google::protobuf::RepeatedPtrField<std::string>& texts);
// "rack=r1, server=s2", by key, each cleaned.
std::string labels_text(const google::protobuf::Map<std::string, std::string>& labels);
// "1 container", "3 containers".
std::string count_text(std::uint64_t count, std::string_view noun);

// "noticed", 1.2 ms, ...: in the order of time, names readable.
std::vector<std::pair<std::string, std::int64_t>> in_order_of_time(
    const google::protobuf::Map<std::string, std::int64_t>& durations);

}  // namespace perdure::cli
