// The JSON form of every answer: stable, documented names. One table of fields (json_fields.h and its
// like, json_output.cc) makes the output and the documentation. A field is never renamed or removed; new
// ones may come. Unknown values are null.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/exit_code.h"
#include "cli/health.h"
#include "control.pb.h"

namespace perdure::cli {

// Objects over several lines, ending in '\n'.
std::string to_json(const control::v1::RunReply& reply);
std::string to_json(const control::v1::ListReply& reply);
std::string to_json(const control::v1::InspectReply& reply);
std::string to_json(const control::v1::ExplainReply& reply);
std::string to_json(const control::v1::CheckpointReply& reply);
std::string to_json(const control::v1::GenerationsReply& reply);
std::string to_json(const control::v1::RestoreReply& reply);
std::string to_json(const control::v1::ExportReply& reply);
std::string to_json(const control::v1::ImportReply& reply);
std::string to_json(const control::v1::StopReply& reply);
std::string to_json(const control::v1::StartReply& reply);
std::string to_json(const control::v1::RemoveReply& reply);
std::string to_json(const control::v1::ClusterReply& reply);
std::string to_json(const control::v1::ClusterTokenReply& reply);
std::string to_json(const control::v1::ClusterRecoverReply& reply);
std::string to_json(const control::v1::NodeListReply& reply);
std::string to_json(const control::v1::NodeDrainReply& reply);
std::string to_json(const control::v1::MoveReply& reply);
std::string to_json(const control::v1::ImageAddReply& reply);
std::string overview_to_json(const Overview& overview);
std::string to_json(const control::v1::TakeoverReply& reply);
enum class DaemonReached { kYes, kNo };
std::string doctor_to_json(const control::v1::DoctorReport& report, DaemonReached reached);
std::string version_to_json(std::string_view own_version, const control::v1::VersionReply* daemon);

// One line each, for streams.
std::string to_json_line(const control::v1::Event& event);
std::string failure_to_json_line(const Failure& failure);
struct LogLine {
  control::v1::LogStream stream = control::v1::LOG_STREAM_UNSPECIFIED;
  std::optional<std::int64_t> time_unix_ms;
  std::string text;       // without its line break
  bool complete = false;  // false: no line break came, or the line was cut because it is too long
};
std::string to_json_line(const LogLine& line);

// The documentation.
struct JsonFieldText {
  std::string name;
  std::string type;
  std::string meaning;
};
struct JsonShape {
  std::string name;  // as Command::json, or as the type of a field names it
  std::vector<JsonFieldText> fields;
};
std::vector<JsonShape> json_shapes();

}  // namespace perdure::cli
