// The only file that knows nlohmann/json (its headers cost seconds).
#include "cli/json_output.h"

#define JSON_USE_IMPLICIT_CONVERSIONS 0
#include <nlohmann/json.hpp>

#include "cli/words.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;
using Json = nlohmann::ordered_json;

template <typename T>
struct Field {
  const char* name;
  const char* type;
  const char* meaning;
  Json (*get)(const T&);
};

// Specialised for every message that has a JSON form.
template <typename T>
std::span<const Field<T>> fields();

template <typename T>
Json object(const T& message) {
  Json result = Json::object();
  for (const Field<T>& field : fields<T>()) result[field.name] = field.get(message);
  return result;
}

template <typename T>
Json array(const google::protobuf::RepeatedPtrField<T>& messages) {
  Json result = Json::array();
  for (const T& message : messages) result.push_back(object(message));
  return result;
}

Json texts(const google::protobuf::RepeatedPtrField<std::string>& values) {
  Json result = Json::array();
  for (const std::string& value : values) result.push_back(value);
  return result;
}

Json text(std::string_view value) {
  return std::string(value);
}
Json text_or_null(const std::string& value) {
  return value.empty() ? Json() : Json(value);
}
Json time_or_null(bool known, std::int64_t unix_ms) {
  return known ? Json(rfc3339(unix_ms)) : Json();
}
template <typename T>
Json number_or_null(bool known, T value) {
  return known ? Json(value) : Json();
}
template <typename T>
Json object_or_null(bool known, const T& message) {
  return known ? object(message) : Json();
}

using Point = v1::GenerationPoint;
template <>
std::span<const Field<Point>> fields<Point>() {
  static constexpr Field<Point> kFields[]{
      {"generation", "text", "\"term.incarnation.number\"",
       [](const Point& m) -> Json { return m.generation(); }},
      {"age_ns", "integer", "since its capture", [](const Point& m) -> Json { return m.age_ns(); }},
      {"created", "time", "of its capture",
       [](const Point& m) -> Json { return rfc3339(m.created_unix_ms()); }},
  };
  return kFields;
}

using Shield = v1::Protection;
template <>
std::span<const Field<Shield>> fields<Shield>() {
  static constexpr Field<Shield> kFields[]{
      {"state", "text",
       "protected: a failure loses at most the interval in force; pending: the first generation is "
       "not committed yet; "
       "stale: restorable, but the newest generation is older than it should be; unprotected: a "
       "failure loses the "
       "memory; stateless: restarted, never captured; unknown",
       [](const Shield& m) { return text(word(m.state())); }},
      {"reason", "text or null", "why it is not protected, or only in part",
       [](const Shield& m) { return text_or_null(m.reason()); }},
      {"remedy", "text or null", "what to do about it",
       [](const Shield& m) { return text_or_null(m.remedy()); }},
      {"criu_lines", "list of text", "the last error lines of CRIU, oldest first",
       [](const Shield& m) { return texts(m.criu_lines()); }},
      {"since", "time or null", "of this state",
       [](const Shield& m) { return time_or_null(m.has_since_unix_ms(), m.since_unix_ms()); }},
  };
  return kFields;
}

using Interval = v1::IntervalStatus;
template <>
std::span<const Field<Interval>> fields<Interval>() {
  static constexpr Field<Interval> kFields[]{
      {"asked_ns", "integer or null", "from freeze to freeze, by the specification",
       [](const Interval& m) { return number_or_null(m.has_asked_ns(), m.asked_ns()); }},
      {"in_force_ns", "integer or null", "what perdured keeps to",
       [](const Interval& m) { return number_or_null(m.has_in_force_ns(), m.in_force_ns()); }},
      {"why", "text or null", "why so", [](const Interval& m) { return text_or_null(m.why()); }},
  };
  return kFields;
}

using Measured = v1::Capture;
template <>
std::span<const Field<Measured>> fields<Measured>() {
  static constexpr Field<Measured> kFields[]{
      {"time", "time", "of the freeze",
       [](const Measured& m) -> Json { return rfc3339(m.time_unix_ms()); }},
      {"frozen_ns", "integer", "how long the container stood still",
       [](const Measured& m) -> Json { return m.frozen_ns(); }},
      {"wall_ns", "integer", "from the freeze to the encoded capsule",
       [](const Measured& m) -> Json { return m.wall_ns(); }},
      {"cpu_ns", "integer", "processor time it cost",
       [](const Measured& m) -> Json { return m.cpu_ns(); }},
      {"full_bytes", "integer", "the generation, written out in full",
       [](const Measured& m) -> Json { return m.full_bytes(); }},
      {"kept_bytes", "integer", "what had to be stored for it",
       [](const Measured& m) -> Json { return m.kept_bytes(); }},
      {"dirty_pages", "integer", "pages of memory that differ from the generation before",
       [](const Measured& m) -> Json { return m.dirty_pages(); }},
      {"total_pages", "integer", "pages of memory",
       [](const Measured& m) -> Json { return m.total_pages(); }},
  };
  return kFields;
}

using Restored = v1::RestoreRecord;
template <>
std::span<const Field<Restored>> fields<Restored>() {
  static constexpr Field<Restored> kFields[]{
      {"time", "time", "when", [](const Restored& m) -> Json { return rfc3339(m.time_unix_ms()); }},
      {"reason", "text or null", "why", [](const Restored& m) { return text_or_null(m.reason()); }},
      {"generation", "text or null", "null: it was started afresh, without state",
       [](const Restored& m) { return text_or_null(m.generation()); }},
      {"noticed_ns", "integer or null", "from the failure until perdured noticed",
       [](const Restored& m) { return number_or_null(m.has_noticed_ns(), m.noticed_ns()); }},
      {"restored_ns", "integer or null", "from the failure until its processes ran again",
       [](const Restored& m) { return number_or_null(m.has_restored_ns(), m.restored_ns()); }},
      {"first_packet_ns", "integer or null",
       "from the failure until the first packet from its address",
       [](const Restored& m) {
         return number_or_null(m.has_first_packet_ns(), m.first_packet_ns());
       }},
      {"lost_ns", "integer or null",
       "age of the generation at the failure: the state that was lost",
       [](const Restored& m) { return number_or_null(m.has_lost_ns(), m.lost_ns()); }},
  };
  return kFields;
}

using Vol = v1::Volume;
template <>
std::span<const Field<Vol>> fields<Vol>() {
  static constexpr Field<Vol> kFields[]{
      {"name", "text", "as in the specification", [](const Vol& m) -> Json { return m.name(); }},
      {"host_path", "text", "on the host", [](const Vol& m) -> Json { return m.host_path(); }},
      {"container_path", "text", "in the container",
       [](const Vol& m) -> Json { return m.container_path(); }},
      {"kind", "text",
       "captured: part of every generation; shared: outside, never taken back; unknown",
       [](const Vol& m) { return text(word(m.kind())); }},
      {"read_only", "boolean", "mounted so", [](const Vol& m) -> Json { return m.read_only(); }},
  };
  return kFields;
}

using Container = v1::ContainerStatus;
template <>
std::span<const Field<Container>> fields<Container>() {
  static constexpr Field<Container> kFields[]{
      {"name", "text", "its name", [](const Container& m) -> Json { return m.name(); }},
      {"phase", "text",
       "creating, starting, running, recovering, stopping, stopped, exited, failed, removing, "
       "unknown",
       [](const Container& m) { return text(word(m.phase())); }},
      {"phase_since", "time or null", "of this phase",
       [](const Container& m) {
         return time_or_null(m.has_phase_since_unix_ms(), m.phase_since_unix_ms());
       }},
      {"phase_reason", "text or null", "e.g. why recovery was given up",
       [](const Container& m) { return text_or_null(m.phase_reason()); }},
      {"exit_status", "integer or null", "of the last init that ended: 0 to 255, or 128 + signal",
       [](const Container& m) { return number_or_null(m.has_exit_status(), m.exit_status()); }},
      {"protection", "protection", "whether a failure now would be recovered with the state",
       [](const Container& m) { return object(m.protection()); }},
      {"init_pid", "integer or null", "on the host; null: nothing runs",
       [](const Container& m) { return number_or_null(m.has_init_pid(), m.init_pid()); }},
      {"interval", "interval", "between captures",
       [](const Container& m) { return object(m.interval()); }},
      {"newest_committed", "generation point or null",
       "what a failure of the container would come back to",
       [](const Container& m) {
         return object_or_null(m.has_newest_committed(), m.newest_committed());
       }},
      {"newest_durable", "generation point or null", "what survives a power cut",
       [](const Container& m) {
         return object_or_null(m.has_newest_durable(), m.newest_durable());
       }},
      {"last_capture", "capture or null", "measured",
       [](const Container& m) { return object_or_null(m.has_last_capture(), m.last_capture()); }},
      {"captures", "integer", "since perdured started",
       [](const Container& m) -> Json { return m.captures(); }},
      {"capture_failures", "integer", "the same",
       [](const Container& m) -> Json { return m.capture_failures(); }},
      {"capsule_memory_bytes", "integer", "memory of the host that its generations take",
       [](const Container& m) -> Json { return m.capsule_memory_bytes(); }},
      {"capsule_disk_bytes", "integer", "the same in the durable store",
       [](const Container& m) -> Json { return m.capsule_disk_bytes(); }},
      {"failures", "integer", "of the container, since it was created",
       [](const Container& m) -> Json { return m.failures(); }},
      {"restores", "integer", "the same; restarts without state included",
       [](const Container& m) -> Json { return m.restores(); }},
      {"last_restore", "restore record or null", "the newest",
       [](const Container& m) { return object_or_null(m.has_last_restore(), m.last_restore()); }},
      {"addresses", "list of text", "with prefix lengths: \"10.88.0.5/24\"",
       [](const Container& m) { return texts(m.addresses()); }},
      {"mac_address", "text or null", "of its interface",
       [](const Container& m) { return text_or_null(m.mac_address()); }},
      {"bridge", "text or null", "it is attached to",
       [](const Container& m) { return text_or_null(m.bridge()); }},
      {"ports", "list of text", "published ones",
       [](const Container& m) { return texts(m.ports()); }},
      {"volumes", "list of volume", "in the order of the specification",
       [](const Container& m) { return array(m.volumes()); }},
      {"image_name", "text or null", "as in the specification",
       [](const Container& m) { return text_or_null(m.image_name()); }},
      {"image_digest", "text or null", "of its root file system",
       [](const Container& m) { return text_or_null(m.image_digest()); }},
      {"spec_digest", "text or null", "of its specification",
       [](const Container& m) { return text_or_null(m.spec_digest()); }},
      {"cgroup_path", "text or null", "of its cgroup (version 2)",
       [](const Container& m) { return text_or_null(m.cgroup_path()); }},
      {"created", "time or null", "when run or import made it",
       [](const Container& m) {
         return time_or_null(m.has_created_unix_ms(), m.created_unix_ms());
       }},
  };
  return kFields;
}

using Row = v1::GenerationRow;
template <>
std::span<const Field<Row>> fields<Row>() {
  static constexpr Field<Row> kFields[]{
      {"generation", "text", "\"term.incarnation.number\"",
       [](const Row& m) -> Json { return m.generation(); }},
      {"parent", "text or null", "what a delta builds on",
       [](const Row& m) { return text_or_null(m.parent()); }},
      {"committed", "boolean", "complete and safe to come back to",
       [](const Row& m) -> Json { return m.committed(); }},
      {"durable", "boolean", "in the durable store",
       [](const Row& m) -> Json { return m.durable(); }},
      {"in_memory", "boolean", "held in memory",
       [](const Row& m) -> Json { return m.in_memory(); }},
      {"bad", "text or null", "why it does not verify; such a one is never restored",
       [](const Row& m) { return text_or_null(m.bad()); }},
      {"created", "time", "of its capture",
       [](const Row& m) -> Json { return rfc3339(m.created_unix_ms()); }},
      {"age_ns", "integer", "since its capture", [](const Row& m) -> Json { return m.age_ns(); }},
      {"kind", "text", "full, delta, unknown", [](const Row& m) { return text(word(m.kind())); }},
      {"full_bytes", "integer", "written out in full",
       [](const Row& m) -> Json { return m.full_bytes(); }},
      {"kept_bytes", "integer", "what is stored for it",
       [](const Row& m) -> Json { return m.kept_bytes(); }},
      {"frozen_ns", "integer", "how long the container stood still for it",
       [](const Row& m) -> Json { return m.frozen_ns(); }},
  };
  return kFields;
}

using Happening = v1::Event;
template <>
std::span<const Field<Happening>> fields<Happening>() {
  static constexpr Field<Happening> kFields[]{
      {"sequence", "integer", "rises by one from event to event, also over restarts of perdured",
       [](const Happening& m) -> Json { return m.sequence(); }},
      {"time", "time", "when",
       [](const Happening& m) -> Json { return rfc3339(m.time_unix_ms()); }},
      {"severity", "text", "info, warning, error, unknown",
       [](const Happening& m) { return text(word(m.severity())); }},
      {"container", "text or null", "null: the node itself",
       [](const Happening& m) { return text_or_null(m.container()); }},
      {"kind", "text", "one stable word, e.g. started, failed, restored, unprotected",
       [](const Happening& m) -> Json { return m.kind(); }},
      {"text", "text or null", "for people",
       [](const Happening& m) { return text_or_null(m.text()); }},
      {"reason", "text or null", "for people",
       [](const Happening& m) { return text_or_null(m.reason()); }},
      {"generation", "text or null", "that it is about",
       [](const Happening& m) { return text_or_null(m.generation()); }},
      {"durations_ns", "object of integers",
       "e.g. noticed, restored, first_packet: counted from the failure",
       [](const Happening& m) {
         Json durations = Json::object();
         std::map<std::string, std::int64_t> sorted(m.durations_ns().begin(),
                                                    m.durations_ns().end());
         for (const auto& [name, duration] : sorted) durations[name] = duration;
         return durations;
       }},
  };
  return kFields;
}

using Line = LogLine;
template <>
std::span<const Field<Line>> fields<Line>() {
  static constexpr Field<Line> kFields[]{
      {"time", "time or null", "when perdured received its beginning",
       [](const Line& m) {
         return time_or_null(m.time_unix_ms.has_value(), m.time_unix_ms.value_or(0));
       }},
      {"stream", "text", "stdout, stderr, unknown",
       [](const Line& m) { return text(word(m.stream)); }},
      {"text", "text", "without the line break; bytes that are no UTF-8 are replaced by U+FFFD",
       [](const Line& m) -> Json { return m.text; }},
      {"complete", "boolean", "false: it was cut at 64 KiB, or its end has not been written",
       [](const Line& m) -> Json { return m.complete; }},
  };
  return kFields;
}

using Check = v1::DoctorLine;
template <>
std::span<const Field<Check>> fields<Check>() {
  static constexpr Field<Check> kFields[]{
      {"check", "text", "what was looked at", [](const Check& m) -> Json { return m.check(); }},
      {"state", "text",
       "ok; limited: works, with less; missing: no container can be protected without it; unknown",
       [](const Check& m) { return text(word(m.state())); }},
      {"found", "text or null", "what is there",
       [](const Check& m) { return text_or_null(m.found()); }},
      {"follows", "text or null", "what cannot be done because of it",
       [](const Check& m) { return text_or_null(m.follows()); }},
      {"remedy", "text or null", "what to do",
       [](const Check& m) { return text_or_null(m.remedy()); }},
  };
  return kFields;
}

using Daemon = v1::VersionReply;
template <>
std::span<const Field<Daemon>> fields<Daemon>() {
  static constexpr Field<Daemon> kFields[]{
      {"version", "text", "of perdured", [](const Daemon& m) -> Json { return m.version(); }},
      {"build", "text or null", "of perdured",
       [](const Daemon& m) { return text_or_null(m.build()); }},
      {"node", "text", "the host's name in Perdure",
       [](const Daemon& m) -> Json { return m.node(); }},
      {"incarnation", "text", "of this life of perdured",
       [](const Daemon& m) -> Json { return m.incarnation(); }},
      {"pid", "integer", "of perdured", [](const Daemon& m) -> Json { return m.pid(); }},
      {"started", "time", "when perdured started",
       [](const Daemon& m) -> Json { return rfc3339(m.started_unix_ms()); }},
      {"kernel", "text", "release", [](const Daemon& m) -> Json { return m.kernel(); }},
      {"criu", "text", "version", [](const Daemon& m) -> Json { return m.criu(); }},
      {"runtime", "text", "name and version", [](const Daemon& m) -> Json { return m.runtime(); }},
  };
  return kFields;
}

// --- Answers
// --------------------------------------------------------------------------------------------------

template <>
std::span<const Field<v1::RunReply>> fields<v1::RunReply>() {
  static constexpr Field<v1::RunReply> kFields[]{
      {"container", "container", "as it runs now",
       [](const v1::RunReply& m) { return object(m.status()); }},
      {"warnings", "list of text", "about the specification",
       [](const v1::RunReply& m) { return texts(m.warnings()); }},
  };
  return kFields;
}

template <>
std::span<const Field<v1::ListReply>> fields<v1::ListReply>() {
  static constexpr Field<v1::ListReply> kFields[]{
      {"containers", "list of container", "by name",
       [](const v1::ListReply& m) { return array(m.containers()); }},
  };
  return kFields;
}

template <>
std::span<const Field<v1::InspectReply>> fields<v1::InspectReply>() {
  static constexpr Field<v1::InspectReply> kFields[]{
      {"container", "container", "everything about it",
       [](const v1::InspectReply& m) { return object(m.status()); }},
      {"spec_yaml", "text", "the specification it was made from",
       [](const v1::InspectReply& m) -> Json { return m.spec_yaml(); }},
      {"recent_events", "list of event", "oldest first",
       [](const v1::InspectReply& m) { return array(m.recent_events()); }},
  };
  return kFields;
}

template <>
std::span<const Field<v1::CheckpointReply>> fields<v1::CheckpointReply>() {
  static constexpr Field<v1::CheckpointReply> kFields[]{
      {"name", "text", "of the container",
       [](const v1::CheckpointReply& m) -> Json { return m.name(); }},
      {"generation", "generation", "the one that was taken",
       [](const v1::CheckpointReply& m) { return object(m.generation()); }},
      {"capture", "capture", "measured",
       [](const v1::CheckpointReply& m) { return object(m.capture()); }},
  };
  return kFields;
}

template <>
std::span<const Field<v1::GenerationsReply>> fields<v1::GenerationsReply>() {
  static constexpr Field<v1::GenerationsReply> kFields[]{
      {"name", "text", "of the container",
       [](const v1::GenerationsReply& m) -> Json { return m.name(); }},
      {"generations", "list of generation", "newest first",
       [](const v1::GenerationsReply& m) { return array(m.generations()); }},
  };
  return kFields;
}

template <>
std::span<const Field<v1::RestoreReply>> fields<v1::RestoreReply>() {
  static constexpr Field<v1::RestoreReply> kFields[]{
      {"container", "container", "as it runs now",
       [](const v1::RestoreReply& m) { return object(m.status()); }},
      {"restore", "restore record", "what was done",
       [](const v1::RestoreReply& m) { return object(m.restore()); }},
  };
  return kFields;
}

template <>
std::span<const Field<v1::ExportReply>> fields<v1::ExportReply>() {
  static constexpr Field<v1::ExportReply> kFields[]{
      {"name", "text", "of the container",
       [](const v1::ExportReply& m) -> Json { return m.name(); }},
      {"generation", "text", "that was written",
       [](const v1::ExportReply& m) -> Json { return m.generation(); }},
      {"bytes", "integer", "size of the archive",
       [](const v1::ExportReply& m) -> Json { return m.bytes(); }},
      {"digest", "text or null", "of the archive",
       [](const v1::ExportReply& m) { return text_or_null(m.digest()); }},
  };
  return kFields;
}

template <>
std::span<const Field<v1::ImportReply>> fields<v1::ImportReply>() {
  static constexpr Field<v1::ImportReply> kFields[]{
      {"container", "container", "stopped",
       [](const v1::ImportReply& m) { return object(m.status()); }},
      {"generation", "text", "that was read",
       [](const v1::ImportReply& m) -> Json { return m.generation(); }},
      {"bytes", "integer", "size of the archive",
       [](const v1::ImportReply& m) -> Json { return m.bytes(); }},
      {"original_name", "text or null", "in the archive",
       [](const v1::ImportReply& m) { return text_or_null(m.original_name()); }},
  };
  return kFields;
}

template <>
std::span<const Field<v1::StopReply>> fields<v1::StopReply>() {
  static constexpr Field<v1::StopReply> kFields[]{
      {"container", "container", "stopped",
       [](const v1::StopReply& m) { return object(m.status()); }},
      {"killed", "boolean", "the deadline passed before it ended by itself",
       [](const v1::StopReply& m) -> Json { return m.killed(); }},
  };
  return kFields;
}

template <>
std::span<const Field<v1::StartReply>> fields<v1::StartReply>() {
  static constexpr Field<v1::StartReply> kFields[]{
      {"container", "container", "as it runs now",
       [](const v1::StartReply& m) { return object(m.status()); }},
  };
  return kFields;
}

template <>
std::span<const Field<v1::RemoveReply>> fields<v1::RemoveReply>() {
  static constexpr Field<v1::RemoveReply> kFields[]{
      {"name", "text", "of what was the container",
       [](const v1::RemoveReply& m) -> Json { return m.name(); }},
      {"was_running", "boolean", "it was killed",
       [](const v1::RemoveReply& m) -> Json { return m.was_running(); }},
      {"freed_bytes", "integer", "files and generations",
       [](const v1::RemoveReply& m) -> Json { return m.freed_bytes(); }},
      {"kept_capsules", "text or null", "directory of the generations that were kept",
       [](const v1::RemoveReply& m) { return text_or_null(m.kept_capsules()); }},
  };
  return kFields;
}

struct DoctorAnswer {
  const v1::DoctorReport* report;
  DaemonReached reached;
};
template <>
std::span<const Field<DoctorAnswer>> fields<DoctorAnswer>() {
  static constexpr Field<DoctorAnswer> kFields[]{
      {"daemon_reached", "boolean", "false: only what can be checked without perdured",
       [](const DoctorAnswer& m) -> Json { return m.reached == DaemonReached::kYes; }},
      {"lines", "list of check", "in the order of importance",
       [](const DoctorAnswer& m) { return array(m.report->lines()); }},
  };
  return kFields;
}

struct VersionAnswer {
  std::string_view own_version;
  const v1::VersionReply* daemon;
};
template <>
std::span<const Field<VersionAnswer>> fields<VersionAnswer>() {
  static constexpr Field<VersionAnswer> kFields[]{
      {"client", "text", "version of this program",
       [](const VersionAnswer& m) { return text(m.own_version); }},
      {"daemon", "daemon or null", "null: it cannot be reached",
       [](const VersionAnswer& m) { return m.daemon == nullptr ? Json() : object(*m.daemon); }},
  };
  return kFields;
}

template <>
std::span<const Field<Failure>> fields<Failure>() {
  static constexpr Field<Failure> kFields[]{
      {"code", "text", "the name of the exit code, see there",
       [](const Failure& m) { return text(name_of(m.code)); }},
      {"exit_code", "integer", "the same as a number",
       [](const Failure& m) -> Json { return static_cast<int>(m.code); }},
      {"message", "text", "what happened, to which object",
       [](const Failure& m) -> Json { return m.message; }},
      {"remedy", "text or null", "what to do",
       [](const Failure& m) { return text_or_null(m.remedy); }},
      {"detail", "list of text", "further findings",
       [](const Failure& m) -> Json { return m.detail; }},
  };
  return kFields;
}

// Bytes that are no UTF-8 come from containers and files; they must not break the output.
std::string dump(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n";
}
constexpr int kIndent = 2;
constexpr int kOneLine = -1;

template <typename T>
void document(std::vector<JsonShape>& shapes, std::string name) {
  JsonShape shape{.name = std::move(name), .fields = {}};
  for (const Field<T>& field : fields<T>()) {
    shape.fields.push_back({field.name, field.type, field.meaning});
  }
  shapes.push_back(std::move(shape));
}

}  // namespace

std::string to_json(const v1::RunReply& reply) {
  return dump(object(reply), kIndent);
}
std::string to_json(const v1::ListReply& reply) {
  return dump(object(reply), kIndent);
}
std::string to_json(const v1::InspectReply& reply) {
  return dump(object(reply), kIndent);
}
std::string to_json(const v1::CheckpointReply& reply) {
  return dump(object(reply), kIndent);
}
std::string to_json(const v1::GenerationsReply& reply) {
  return dump(object(reply), kIndent);
}
std::string to_json(const v1::RestoreReply& reply) {
  return dump(object(reply), kIndent);
}
std::string to_json(const v1::ExportReply& reply) {
  return dump(object(reply), kIndent);
}
std::string to_json(const v1::ImportReply& reply) {
  return dump(object(reply), kIndent);
}
std::string to_json(const v1::StopReply& reply) {
  return dump(object(reply), kIndent);
}
std::string to_json(const v1::StartReply& reply) {
  return dump(object(reply), kIndent);
}
std::string to_json(const v1::RemoveReply& reply) {
  return dump(object(reply), kIndent);
}

std::string doctor_to_json(const v1::DoctorReport& report, DaemonReached reached) {
  return dump(object(DoctorAnswer{&report, reached}), kIndent);
}
std::string version_to_json(std::string_view own_version, const v1::VersionReply* daemon) {
  return dump(object(VersionAnswer{own_version, daemon}), kIndent);
}
std::string to_json_line(const v1::Event& event) {
  return dump(object(event), kOneLine);
}
std::string to_json_line(const LogLine& line) {
  return dump(object(line), kOneLine);
}
std::string failure_to_json_line(const Failure& failure) {
  Json json = Json::object();
  json["error"] = object(failure);
  return dump(json, kOneLine);
}

std::vector<JsonShape> json_shapes() {
  std::vector<JsonShape> shapes;
  document<v1::RunReply>(shapes, "run");
  document<v1::ListReply>(shapes, "list");
  document<v1::InspectReply>(shapes, "inspect");
  document<LogLine>(shapes, "log line");
  document<v1::CheckpointReply>(shapes, "checkpoint");
  document<v1::GenerationsReply>(shapes, "generations");
  document<v1::RestoreReply>(shapes, "restore");
  document<v1::ExportReply>(shapes, "export");
  document<v1::ImportReply>(shapes, "import");
  document<v1::StopReply>(shapes, "stop");
  document<v1::StartReply>(shapes, "start");
  document<v1::RemoveReply>(shapes, "rm");
  document<v1::Event>(shapes, "event");
  document<DoctorAnswer>(shapes, "doctor");
  document<VersionAnswer>(shapes, "version");
  document<v1::ContainerStatus>(shapes, "container");
  document<v1::Protection>(shapes, "protection");
  document<v1::IntervalStatus>(shapes, "interval");
  document<v1::GenerationPoint>(shapes, "generation point");
  document<v1::Capture>(shapes, "capture");
  document<v1::RestoreRecord>(shapes, "restore record");
  document<v1::Volume>(shapes, "volume");
  document<v1::GenerationRow>(shapes, "generation");
  document<v1::DoctorLine>(shapes, "check");
  document<v1::VersionReply>(shapes, "daemon");
  document<Failure>(shapes, "error");
  return shapes;
}

}  // namespace perdure::cli
