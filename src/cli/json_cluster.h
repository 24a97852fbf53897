// The fields of answers about a cluster. A part of json_output.cc, which alone includes it.
#pragma once

#include "cli/json_fields.h"

namespace perdure::cli {
namespace {

using Labels = google::protobuf::Map<std::string, std::string>;
Json object_of_texts(const Labels& values) {
  Json result = Json::object();
  const std::map<std::string, std::string> sorted(values.begin(), values.end());
  for (const auto& [key, value] : sorted) result[key] = value;
  return result;
}

using Node = v1::NodeRow;
template <>
std::span<const Field<Node>> fields<Node>() {
  static constexpr Field<Node> kFields[]{
      {"name", "text", "its name", [](const Node& m) -> Json { return m.name(); }},
      {"state", "text",
       "ready; unreachable from the node that answers; cordoned: it takes nothing new; witness: it "
       "runs no containers; unknown",
       [](const Node& m) { return text(word(m.state())); }},
      {"reason", "text or null", "why it is not ready",
       [](const Node& m) { return text_or_null(m.reason()); }},
      {"self", "boolean", "it is the node that answers",
       [](const Node& m) -> Json { return m.self(); }},
      {"addresses", "list of text", "with ports; the first is what other nodes connect to",
       [](const Node& m) { return texts(m.addresses()); }},
      {"labels", "object of texts", "e.g. data-centre, rack, server",
       [](const Node& m) { return object_of_texts(m.labels()); }},
      {"memory_bytes", "integer", "of the host; 0: not known", [](const Node& m) -> Json { return m.memory_bytes(); }},
      {"processors", "integer", "the same", [](const Node& m) -> Json { return m.processors(); }},
      {"manager", "boolean", "it holds the key of the cluster's certificate authority",
       [](const Node& m) -> Json { return m.manager(); }},
      {"etcd_member", "boolean", "a member of the embedded etcd runs there",
       [](const Node& m) -> Json { return m.etcd_member(); }},
      {"owned", "integer", "containers that run there",
       [](const Node& m) -> Json { return m.owned(); }},
      {"held", "integer", "containers that it stands by for",
       [](const Node& m) -> Json { return m.held(); }},
      {"held_bytes", "integer", "what their generations take there",
       [](const Node& m) -> Json { return m.held_bytes(); }},
      {"round_trip_ns", "integer or null", "from the node that answers and back",
       [](const Node& m) { return number_or_null(m.has_round_trip_ns(), m.round_trip_ns()); }},
      {"last_seen", "time or null", "by the node that answers",
       [](const Node& m) {
         return time_or_null(m.has_last_seen_unix_ms(), m.last_seen_unix_ms());
       }},
      {"certificate_expires", "time or null", "of the node that answers",
       [](const Node& m) {
         return time_or_null(m.has_certificate_expires_unix_ms(), m.certificate_expires_unix_ms());
       }},
      {"fenced", "integer", "messages of lower terms that it has refused",
       [](const Node& m) -> Json { return m.fenced(); }},
      {"version", "text or null", "of its perdured",
       [](const Node& m) { return text_or_null(m.version()); }},
      {"incarnation", "text or null", "of this life of its perdured",
       [](const Node& m) { return text_or_null(m.incarnation()); }},
  };
  return kFields;
}

using Times = v1::LeaseTiming;
template <>
std::span<const Field<Times>> fields<Times>() {
  static constexpr Field<Times> kFields[]{
      {"heartbeat_ns", "integer", "from one to the next",
       [](const Times& m) -> Json { return m.heartbeat_ns(); }},
      {"grant_ns", "integer", "how long an answered heartbeat lets a container speak",
       [](const Times& m) -> Json { return m.grant_ns(); }},
      {"margin_ns", "integer", "what a standby waits beyond its last grant",
       [](const Times& m) -> Json { return m.margin_ns(); }},
      {"notice_ns", "integer", "grant and margin: until a dead node is noticed",
       [](const Times& m) -> Json { return m.grant_ns() + m.margin_ns(); }},
  };
  return kFields;
}

using ClusterAnswer = v1::ClusterReply;
template <>
std::span<const Field<ClusterAnswer>> fields<ClusterAnswer>() {
  static constexpr Field<ClusterAnswer> kFields[]{
      {"id", "text or null", "of the cluster; null: this host is in none",
       [](const ClusterAnswer& m) { return text_or_null(m.id()); }},
      {"has_quorum", "boolean", "ownership can change",
       [](const ClusterAnswer& m) -> Json { return m.has_quorum(); }},
      {"etcd_error", "text or null", "why there is no quorum",
       [](const ClusterAnswer& m) { return text_or_null(m.etcd_error()); }},
      {"etcd_members", "integer", "how many etcd has",
       [](const ClusterAnswer& m) -> Json { return m.etcd_members(); }},
      {"etcd_version", "text or null", "of etcd",
       [](const ClusterAnswer& m) { return text_or_null(m.etcd_version()); }},
      {"external_etcd", "boolean", "false: perdured runs it",
       [](const ClusterAnswer& m) -> Json { return m.external_etcd(); }},
      {"newest_snapshot", "time or null", "of etcd",
       [](const ClusterAnswer& m) {
         return time_or_null(m.has_newest_snapshot_unix_ms(), m.newest_snapshot_unix_ms());
       }},
      {"durable_directory", "text or null", "null: each node keeps its own",
       [](const ClusterAnswer& m) { return text_or_null(m.durable_directory()); }},
      {"key_id", "integer or null", "of the key that stored generations are encrypted with",
       [](const ClusterAnswer& m) { return number_or_null(m.key_id() > 0, m.key_id()); }},
      {"timing", "timing or null", "of heartbeats and grants; null: etcd has not said it yet",
       [](const ClusterAnswer& m) { return object_or_null(m.has_timing(), m.timing()); }},
      {"nodes", "list of node", "by name", [](const ClusterAnswer& m) { return array(m.nodes()); }},
      {"warnings", "list of text", "what is not as it should be",
       [](const ClusterAnswer& m) { return texts(m.warnings()); }},
      {"token", "text or null", "of cluster init: a secret, with which the next node joins",
       [](const ClusterAnswer& m) { return text_or_null(m.token()); }},
  };
  return kFields;
}

using TokenAnswer = v1::ClusterTokenReply;
template <>
std::span<const Field<TokenAnswer>> fields<TokenAnswer>() {
  static constexpr Field<TokenAnswer> kFields[]{
      {"token", "text", "a secret", [](const TokenAnswer& m) -> Json { return m.token(); }},
      {"expires", "time", "not valid from then on",
       [](const TokenAnswer& m) -> Json { return rfc3339(m.expires_unix_ms()); }},
      {"uses", "integer", "how many nodes may join with it",
       [](const TokenAnswer& m) -> Json { return m.uses(); }},
  };
  return kFields;
}

using RecoverLine = v1::RecoverRow;
template <>
std::span<const Field<RecoverLine>> fields<RecoverLine>() {
  static constexpr Field<RecoverLine> kFields[]{
      {"name", "text", "of the container", [](const RecoverLine& m) -> Json { return m.name(); }},
      {"action", "text", "nothing, adopt_running, restore, cold_start, lost, unknown",
       [](const RecoverLine& m) { return text(word(m.action())); }},
      {"node", "text or null", "where",
       [](const RecoverLine& m) { return text_or_null(m.node()); }},
      {"generation", "text or null", "that comes back",
       [](const RecoverLine& m) { return text_or_null(m.generation()); }},
      {"age_ns", "integer or null", "of that generation",
       [](const RecoverLine& m) { return number_or_null(m.has_age_ns(), m.age_ns()); }},
      {"risk", "text or null", "what may go wrong or be lost",
       [](const RecoverLine& m) { return text_or_null(m.risk()); }},
      {"durable", "boolean", "that generation lies in the durable directory",
       [](const RecoverLine& m) -> Json { return m.durable(); }},
      {"done", "boolean", "it has been done",
       [](const RecoverLine& m) -> Json { return m.done(); }},
      {"error", "text or null", "why it could not be done",
       [](const RecoverLine& m) { return text_or_null(m.error()); }},
  };
  return kFields;
}

using RecoverAnswer = v1::ClusterRecoverReply;
template <>
std::span<const Field<RecoverAnswer>> fields<RecoverAnswer>() {
  static constexpr Field<RecoverAnswer> kFields[]{
      {"applied", "boolean", "false: a report, nothing was changed",
       [](const RecoverAnswer& m) -> Json { return m.applied(); }},
      {"etcd", "text or null", "what would be, or was, done to etcd",
       [](const RecoverAnswer& m) { return text_or_null(m.etcd()); }},
      {"containers", "list of recovery", "by name",
       [](const RecoverAnswer& m) { return array(m.rows()); }},
  };
  return kFields;
}

using Nodes = v1::NodeListReply;
template <>
std::span<const Field<Nodes>> fields<Nodes>() {
  static constexpr Field<Nodes> kFields[]{
      {"nodes", "list of node", "by name; of cordon, uncordon and label: the node alone",
       [](const Nodes& m) { return array(m.nodes()); }},
  };
  return kFields;
}

using Drained = v1::NodeDrainReply;
template <>
std::span<const Field<Drained>> fields<Drained>() {
  static constexpr Field<Drained> kFields[]{
      {"node", "text", "that was drained", [](const Drained& m) -> Json { return m.node(); }},
      {"moved", "list of text", "containers, in the order of their moves",
       [](const Drained& m) { return texts(m.moved()); }},
      {"failures", "list of text", "\"web: ...\"; not empty: containers are left on the node",
       [](const Drained& m) { return texts(m.failures()); }},
  };
  return kFields;
}

using Moved = v1::MoveReply;
template <>
std::span<const Field<Moved>> fields<Moved>() {
  static constexpr Field<Moved> kFields[]{
      {"container", "container", "as it runs now",
       [](const Moved& m) { return object(m.status()); }},
      {"from", "text", "the node it was on", [](const Moved& m) -> Json { return m.from(); }},
      {"to", "text", "the node it is on", [](const Moved& m) -> Json { return m.to(); }},
      {"frozen_ns", "integer", "how long it stood still",
       [](const Moved& m) -> Json { return m.frozen_ns(); }},
      {"bytes", "integer", "sent while it stood still",
       [](const Moved& m) -> Json { return m.bytes(); }},
      {"generation", "text or null", "that it went with",
       [](const Moved& m) { return text_or_null(m.generation()); }},
  };
  return kFields;
}

using TakenBack = v1::TakeoverReply;
template <>
std::span<const Field<TakenBack>> fields<TakenBack>() {
  static constexpr Field<TakenBack> kFields[]{
      {"container", "container", "as it runs now",
       [](const TakenBack& m) { return object(m.status()); }},
      {"from", "text", "the owner before", [](const TakenBack& m) -> Json { return m.from(); }},
      {"to", "text", "the node it is on", [](const TakenBack& m) -> Json { return m.to(); }},
      {"generation", "text", "that it came back with",
       [](const TakenBack& m) -> Json { return m.generation(); }},
      {"age_ns", "integer or null", "of that generation: what it did since is lost",
       [](const TakenBack& m) { return number_or_null(m.has_age_ns(), m.age_ns()); }},
      {"durable", "boolean", "it was read from the durable directory",
       [](const TakenBack& m) -> Json { return m.durable(); }},
      {"risk", "text or null", "what was known to speak against it",
       [](const TakenBack& m) { return text_or_null(m.risk()); }},
  };
  return kFields;
}

}  // namespace
}  // namespace perdure::cli
