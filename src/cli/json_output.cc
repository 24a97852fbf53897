// The answers and their documentation.
#include "cli/json_cluster.h"
#include "cli/json_fields.h"

namespace perdure::cli {
namespace {

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
std::span<const Field<v1::ImageAddReply>> fields<v1::ImageAddReply>() {
  static constexpr Field<v1::ImageAddReply> kFields[]{
      {"digest", "text", "that a specification names it by", [](const v1::ImageAddReply& m) -> Json { return m.digest(); }},
      {"source", "text", "what it was made from", [](const v1::ImageAddReply& m) { return text(m.source()); }},
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
std::span<const Field<v1::Recovery>> fields<v1::Recovery>() {
  static constexpr Field<v1::Recovery> kFields[]{
      {"scope", "text", "of the failure: component, container, node; operator: none, an operator wanted it restored",
       [](const v1::Recovery& m) { return text(word(m.scope())); }},
      {"outcome", "text",
       "under_way, restarted (the component), restored (in place), cold_start, taken_over (by this node), failed_over (to this node), "
       "gone (another node goes on with it), given_up, waits, stopped",
       [](const v1::Recovery& m) { return text(word(m.outcome())); }},
      {"decision", "text", "why its last step was taken", [](const v1::Recovery& m) -> Json { return m.decision(); }},
      {"generation", "text or null", "it went back to", [](const v1::Recovery& m) { return text_or_null(m.generation()); }},
      {"began", "time", "of its first step", [](const v1::Recovery& m) -> Json { return rfc3339(m.began_unix_ms()); }},
      {"took_ns", "integer", "to its last step", [](const v1::Recovery& m) -> Json { return m.took_ns(); }},
      {"durations_ns", "object of integers", "measured by its last restore, since that failure",
       [](const v1::Recovery& m) { return durations(m.durations_ns()); }},
      {"evidence", "list of event", "seen in the minute before, oldest first",
       [](const v1::Recovery& m) { return array(m.evidence()); }},
      {"steps", "list of event", "oldest first", [](const v1::Recovery& m) { return array(m.steps()); }},
  };
  return kFields;
}

template <>
std::span<const Field<v1::ExplainReply>> fields<v1::ExplainReply>() {
  static constexpr Field<v1::ExplainReply> kFields[]{
      {"name", "text", "of the container", [](const v1::ExplainReply& m) -> Json { return m.name(); }},
      {"node", "text or null", "its owner, whose events these are; null: of no cluster, or of a node that does not own it",
       [](const v1::ExplainReply& m) { return text_or_null(m.node()); }},
      {"recovery", "explanation or null", "its last one; null: none, as far back as the events go",
       [](const v1::ExplainReply& m) { return object_or_null(m.has_recovery(), m.recovery()); }},
      {"if_it_died", "text or null", "what would follow a death now; null: it does not run here",
       [](const v1::ExplainReply& m) { return text_or_null(m.if_it_died()); }},
      {"container", "container or null", "as it is now; null: it is not here",
       [](const v1::ExplainReply& m) { return object_or_null(m.has_status(), m.status()); }},
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
      {"still_claimed", "boolean",
       "a standby has not confirmed: name and addresses are not free yet",
       [](const v1::RemoveReply& m) -> Json { return m.still_claimed(); }},
  };
  return kFields;
}

template <>
std::span<const Field<Problem>> fields<Problem>() {
  static constexpr Field<Problem> kFields[]{
      {"object", "text", "container NAME, node NAME or cluster",
       [](const Problem& m) -> Json { return m.object; }},
      {"what", "text", "what is not as it should be",
       [](const Problem& m) -> Json { return m.what; }},
      {"remedy", "text or null", "what to do",
       [](const Problem& m) { return text_or_null(m.remedy); }},
  };
  return kFields;
}

template <>
std::span<const Field<Overview>> fields<Overview>() {
  static constexpr Field<Overview> kFields[]{
      {"well", "boolean", "there is no problem",
       [](const Overview& m) -> Json { return problems_of(m).empty(); }},
      {"problems", "list of problem", "what is not as it should be",
       [](const Overview& m) {
         Json result = Json::array();
         for (const Problem& problem : problems_of(m)) result.push_back(object(problem));
         return result;
       }},
      {"advice", "list of text", "what could be better and harms nobody now",
       [](const Overview& m) -> Json { return advice_of(m); }},
      {"daemon", "daemon", "that answers", [](const Overview& m) { return object(m.daemon); }},
      {"cluster", "cluster or null", "null: this host is in none",
       [](const Overview& m) { return object_or_null(!m.cluster.id().empty(), m.cluster); }},
      {"containers", "list of container", "of all nodes, by name",
       [](const Overview& m) { return array(m.list.containers()); }},
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
std::string to_json(const v1::ExplainReply& reply) {
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
std::string to_json(const v1::ClusterReply& reply) {
  return dump(object(reply), kIndent);
}
std::string to_json(const v1::ClusterTokenReply& reply) {
  return dump(object(reply), kIndent);
}
std::string to_json(const v1::ClusterRecoverReply& reply) {
  return dump(object(reply), kIndent);
}
std::string to_json(const v1::NodeListReply& reply) {
  return dump(object(reply), kIndent);
}
std::string to_json(const v1::NodeDrainReply& reply) {
  return dump(object(reply), kIndent);
}
std::string to_json(const v1::ImageAddReply& reply) {
  return dump(object(reply), kIndent);
}
std::string to_json(const v1::MoveReply& reply) {
  return dump(object(reply), kIndent);
}
std::string to_json(const v1::TakeoverReply& reply) {
  return dump(object(reply), kIndent);
}

std::string overview_to_json(const Overview& overview) {
  return dump(object(overview), kIndent);
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
  document<Overview>(shapes, "status");
  document<v1::ListReply>(shapes, "list");
  document<v1::InspectReply>(shapes, "inspect");
  document<v1::ExplainReply>(shapes, "explain");
  document<v1::Recovery>(shapes, "explanation");
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
  document<v1::ClusterReply>(shapes, "cluster");
  document<v1::ClusterTokenReply>(shapes, "token");
  document<v1::ClusterRecoverReply>(shapes, "recover");
  document<v1::NodeListReply>(shapes, "node list");
  document<v1::NodeDrainReply>(shapes, "drain");
  document<v1::MoveReply>(shapes, "move");
  document<v1::ImageAddReply>(shapes, "image add");
  document<Problem>(shapes, "problem");
  document<v1::TakeoverReply>(shapes, "takeover");
  document<v1::ContainerStatus>(shapes, "container");
  document<v1::Protection>(shapes, "protection");
  document<v1::IntervalStatus>(shapes, "interval");
  document<v1::GenerationPoint>(shapes, "generation point");
  document<v1::Capture>(shapes, "capture");
  document<v1::RestoreRecord>(shapes, "restore record");
  document<v1::GateStatus>(shapes, "gate");
  document<v1::GateTraffic>(shapes, "gate traffic");
  document<v1::Volume>(shapes, "volume");
  document<v1::StandbyStatus>(shapes, "standby");
  document<v1::ReachabilityRow>(shapes, "reachability");
  document<v1::ComponentStatus>(shapes, "component");
  document<v1::GenerationRow>(shapes, "generation");
  document<v1::LeaseTiming>(shapes, "timing");
  document<v1::DoctorLine>(shapes, "check");
  document<v1::VersionReply>(shapes, "daemon");
  document<v1::NodeRow>(shapes, "node");
  document<v1::RecoverRow>(shapes, "recovery");
  document<Failure>(shapes, "error");
  return shapes;
}

}  // namespace perdure::cli
