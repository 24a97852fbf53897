// The fields of containers and of all that answers are made of. A part of json_output.cc, which
// alone includes it.
#pragma once

#include "cli/json_gate.h"
#include "cli/json_parts.h"

namespace perdure::cli {
namespace {

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
      {"cause", "text or null",
       "why it is not protected, as one word: starting, stale, captures_fail, recovering, waiting, "
       "moving, failed, not_taken_over; null: it is, or should not run",
       [](const Shield& m) { return text_or_null(m.cause()); }},
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
      {"taken_from", "text or null",
       "of a takeover: the former owner, whose last sign of life is the failure; null: recovered "
       "in "
       "place",
       [](const Restored& m) { return text_or_null(m.taken_from()); }},
      {"swapped_ns", "integer or null",
       "of a takeover: from the failure until the record named this node",
       [](const Restored& m) { return number_or_null(m.has_swapped_ns(), m.swapped_ns()); }},
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

using Standby = v1::StandbyStatus;
template <>
std::span<const Field<Standby>> fields<Standby>() {
  static constexpr Field<Standby> kFields[]{
      {"node", "text", "its name", [](const Standby& m) -> Json { return m.node(); }},
      {"state", "text",
       "ready: it may take over; learning: it catches up; preparing: it fetches the root file "
       "system and checks its host; unreachable: it will be dropped; refused: it cannot be a "
       "standby; unknown",
       [](const Standby& m) { return text(word(m.state())); }},
      {"reason", "text or null", "why it is not ready",
       [](const Standby& m) { return text_or_null(m.reason()); }},
      {"newest", "generation point or null", "what it holds",
       [](const Standby& m) { return object_or_null(m.has_newest(), m.newest()); }},
      {"behind", "integer or null", "generations captured since",
       [](const Standby& m) { return number_or_null(m.has_behind(), m.behind()); }},
      {"lag_ns", "integer or null", "how far that is behind the newest generation",
       [](const Standby& m) { return number_or_null(m.has_lag_ns(), m.lag_ns()); }},
      {"acknowledged_ns", "integer or null",
       "from the thaw until it acknowledged, for the last generation",
       [](const Standby& m) {
         return number_or_null(m.has_acknowledged_ns(), m.acknowledged_ns());
       }},
      {"held_bytes", "integer", "what the generations take there",
       [](const Standby& m) -> Json { return m.held_bytes(); }},
      {"on_disk", "boolean", "they are on its disk, not in its memory",
       [](const Standby& m) -> Json { return m.on_disk(); }},
      {"shipped_bytes", "integer", "sent to it since this owner began",
       [](const Standby& m) -> Json { return m.shipped_bytes(); }},
  };
  return kFields;
}

using Reach = v1::ReachabilityRow;
template <>
std::span<const Field<Reach>> fields<Reach>() {
  static constexpr Field<Reach> kFields[]{
      {"address", "text", "of `network.reachability`",
       [](const Reach& m) -> Json { return m.address(); }},
      {"answers", "boolean or null", "in the newest round of probes; null: none could be held yet",
       [](const Reach& m) -> Json { return m.has_answers() ? Json(m.answers()) : Json(nullptr); }},
      {"last_answer_age_ns", "integer or null", "null: it has not answered this owner",
       [](const Reach& m) {
         return number_or_null(m.has_last_answer_age_ns(), m.last_answer_age_ns());
       }},
  };
  return kFields;
}

using Component = v1::ComponentStatus;
template <>
std::span<const Field<Component>> fields<Component>() {
  static constexpr Field<Component> kFields[]{
      {"name", "text", "its name", [](const Component& m) -> Json { return m.name(); }},
      {"state", "text",
       "waiting, starting, running, failing, back-off, stopping, finished, stopped, failed, or unknown: "
       "its agent has not been heard",
       [](const Component& m) -> Json { return word(m.state()); }},
      {"stateful", "boolean", "its failure is the container's",
       [](const Component& m) -> Json { return m.stateful(); }},
      {"probed", "boolean", "it has a probe", [](const Component& m) -> Json { return m.probed(); }},
      {"passed_age_ns", "integer or null",
       "since the newest probe that it passed began; null: it has passed none since its start",
       [](const Component& m) { return number_or_null(m.has_passed_age_ns(), m.passed_age_ns()); }},
      {"restarts", "integer", "by the agent, since the container was started",
       [](const Component& m) -> Json { return m.restarts(); }},
      {"failures", "integer", "of its probe, in a row",
       [](const Component& m) -> Json { return m.failures(); }},
      {"trouble", "text or null", "why it failed or was restarted last, or what its probe says",
       [](const Component& m) { return text_or_null(m.trouble()); }},
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
      {"frozen_total_ns", "integer", "the same, of all captures together",
       [](const Container& m) -> Json { return m.frozen_total_ns(); }},
      {"capture_cpu_total_ns", "integer", "processor time that they cost",
       [](const Container& m) -> Json { return m.capture_cpu_total_ns(); }},
      {"capsule_memory_bytes", "integer", "memory of the host that its generations take",
       [](const Container& m) -> Json { return m.capsule_memory_bytes(); }},
      {"capsule_disk_bytes", "integer", "the same in the durable store",
       [](const Container& m) -> Json { return m.capsule_disk_bytes(); }},
      {"failures", "integer", "of the container, since it was created",
       [](const Container& m) -> Json { return m.failures(); }},
      {"restores", "integer", "the same; restarts without state included",
       [](const Container& m) -> Json { return m.restores(); }},
      {"last_restore", "restore record or null", "the newest, takeovers among them",
       [](const Container& m) { return object_or_null(m.has_last_restore(), m.last_restore()); }},
      {"gate", "gate or null", "null: not known here",
       [](const Container& m) { return object_or_null(m.has_gate(), m.gate()); }},
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
      {"application", "text or null", "that it was made for",
       [](const Container& m) { return text_or_null(m.application()); }},
      {"sponsors", "list of text", "containers of the application that it depends on; none of one whose owner is away",
       [](const Container& m) { return texts(m.sponsors()); }},
      {"reserved_memory_bytes", "integer",
       "on its node and on each that stands by: what its application's model says, else its limit; 0: nothing",
       [](const Container& m) -> Json { return m.reserved_memory_bytes(); }},
      {"reserved_millicores", "integer", "the same of processors, on its node",
       [](const Container& m) -> Json { return m.reserved_millicores(); }},
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
      {"node", "text or null", "its owner; null: there is no cluster",
       [](const Container& m) { return text_or_null(m.node()); }},
      {"term", "integer or null", "rises with each change of its owner; null: there is no cluster",
       [](const Container& m) { return number_or_null(!m.node().empty(), m.term()); }},
      {"standbys", "list of standby", "in the order of preference",
       [](const Container& m) { return array(m.standbys()); }},
      {"standbys_wanted", "integer or null", "null: there is no cluster",
       [](const Container& m) { return number_or_null(!m.node().empty(), m.standbys_wanted()); }},
      {"standbys_reason", "text or null", "why there are fewer than wanted",
       [](const Container& m) { return text_or_null(m.standbys_reason()); }},
      {"waits_for", "text or null",
       "its owner cannot be reached from the node that answers: what is waited for",
       [](const Container& m) { return text_or_null(m.waits_for()); }},
      {"waits_remedy", "text or null", "what to do about that",
       [](const Container& m) { return text_or_null(m.waits_remedy()); }},
      {"reachability", "list of reachability",
       "the addresses of `network.reachability`, as its owner sees them",
       [](const Container& m) { return array(m.reachability()); }},
      {"reachability_reason", "text or null", "why it stays though none of them answers",
       [](const Container& m) { return text_or_null(m.reachability_reason()); }},
      {"too_far", "list of text", "of `application.near`, what it is farther from than its delay tolerance bears, as its owner sees it",
       [](const Container& m) { return texts(m.too_far()); }},
      {"too_far_reason", "text or null", "why it does not follow; null: it is about to, or near all",
       [](const Container& m) { return text_or_null(m.too_far_reason()); }},
      {"components", "list of component", "in the order of the specification; none: it has a command",
       [](const Container& m) { return array(m.components()); }},
      {"components_age_ns", "integer or null", "of what is known of them; null: its agent has not been heard",
       [](const Container& m) { return number_or_null(m.has_components_age_ns(), m.components_age_ns()); }},
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
       [](const Happening& m) { return durations(m.durations_ns()); }},
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
      {"complete", "boolean", "false: it was cut at 8 KiB, or its end has not been written",
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
      {"metrics_address", "text or null", "where metrics are served; null: they are switched off",
       [](const Daemon& m) { return text_or_null(m.metrics_address()); }},
      {"metrics_error", "text or null", "why they are not served",
       [](const Daemon& m) { return text_or_null(m.metrics_error()); }},
  };
  return kFields;
}

}  // namespace
}  // namespace perdure::cli
