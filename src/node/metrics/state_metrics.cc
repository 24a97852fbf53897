#include "node/metrics/state_metrics.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <string>

namespace perdure::node {
namespace {

namespace v1 = control::v1;

// "PHASE_RUNNING", "PHASE_": "running".
std::string word_of(std::string_view name, std::string_view prefix) {
  std::string word(name.substr(prefix.size()));
  std::ranges::transform(word, word.begin(), [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  return word;
}

// ---- perdured ----

void add_daemon(Families& families, const NodeState& state) {
  const v1::VersionReply& daemon = state.daemon;
  families.add("perdure_build_info",
               {{"version", daemon.version()}, {"criu", daemon.criu()}, {"runtime", daemon.runtime()}, {"kernel", daemon.kernel()}}, 1.0);
  families.add("perdure_daemon_starts_total", {}, state.starts);
  families.add_time("process_start_time_seconds", {}, daemon.started_unix_ms());
  if (state.process) {
    families.add_seconds("process_cpu_seconds_total", {}, state.process->cpu.count());
    families.add("process_resident_memory_bytes", {}, state.process->resident_bytes);
  }
  if (state.collect) families.add_seconds("perdure_collect_seconds", {}, state.collect->count());
}

void add_phases(Families& families, const NodeState& state) {
  std::map<int, std::uint64_t> count;
  for (const v1::ContainerStatus& status : state.containers) ++count[status.phase()];
  for (int phase = v1::Phase_MIN + 1; phase <= v1::Phase_MAX; ++phase) {
    const std::string word = word_of(v1::Phase_Name(static_cast<v1::Phase>(phase)), "PHASE_");
    families.add("perdure_containers", {{"phase", word}}, count[phase]);
  }
}

// ---- One container ----

bool is_protected(const v1::Protection& protection) {
  return protection.cause().empty() &&
         (protection.state() == v1::PROTECTION_PROTECTED || protection.state() == v1::PROTECTION_STATELESS);
}

// What would be lost is said of those alone that should run: of others nothing can be.
void add_protection(Families& families, const v1::ContainerStatus& status) {
  const v1::Protection& protection = status.protection();
  const std::string& name = status.name();
  if (protection.cause().empty() && !is_protected(protection)) return;
  families.add_flag("perdure_container_protected", {{"container", name}}, is_protected(protection));
  if (!protection.cause().empty()) {
    families.add("perdure_container_unprotected", {{"container", name}, {"reason", protection.cause()}}, 1.0);
  }
  if (status.has_newest_committed()) {
    families.add_seconds("perdure_container_committed_age_seconds", {{"container", name}}, status.newest_committed().age_ns());
  }
  if (status.has_newest_durable()) {
    families.add_seconds("perdure_container_durable_age_seconds", {{"container", name}}, status.newest_durable().age_ns());
  }
}

void add_captures(Families& families, const v1::ContainerStatus& status) {
  const std::string& name = status.name();
  const v1::IntervalStatus& interval = status.interval();
  if (interval.has_asked_ns()) {
    families.add_seconds("perdure_container_interval_asked_seconds", {{"container", name}}, interval.asked_ns());
  }
  if (interval.has_in_force_ns()) {
    families.add_seconds("perdure_container_interval_seconds", {{"container", name}}, interval.in_force_ns());
  }
  families.add("perdure_container_captures_total", {{"container", name}}, status.captures());
  families.add("perdure_container_capture_failures_total", {{"container", name}}, status.capture_failures());
  families.add_seconds("perdure_container_capture_frozen_seconds_total", {{"container", name}}, status.frozen_total_ns());
  families.add_seconds("perdure_container_capture_cpu_seconds_total", {{"container", name}}, status.capture_cpu_total_ns());
  families.add("perdure_container_capsule_memory_bytes", {{"container", name}}, status.capsule_memory_bytes());
  families.add("perdure_container_capsule_disk_bytes", {{"container", name}}, status.capsule_disk_bytes());
  if (!status.has_last_capture()) return;
  const v1::Capture& last = status.last_capture();
  families.add_seconds("perdure_container_last_capture_frozen_seconds", {{"container", name}}, last.frozen_ns());
  families.add_seconds("perdure_container_last_capture_seconds", {{"container", name}}, last.wall_ns());
  families.add("perdure_container_last_capture_full_bytes", {{"container", name}}, last.full_bytes());
  // 0: it is not stored yet.
  if (last.kept_bytes() > 0) {
    families.add("perdure_container_last_capture_kept_bytes", {{"container", name}}, last.kept_bytes());
  }
}

void add_last_restore(Families& families, const std::string& name, const v1::RestoreRecord& last) {
  const auto step = [&](std::string_view word, std::int64_t duration_ns) {
    families.add_seconds("perdure_container_last_restore_seconds", {{"container", name}, {"step", word}}, duration_ns);
  };
  families.add_time("perdure_container_last_restore_timestamp_seconds", {{"container", name}}, last.time_unix_ms());
  if (last.has_noticed_ns()) step("noticed", last.noticed_ns());
  if (last.has_restored_ns()) step("restored", last.restored_ns());
  if (last.has_first_packet_ns()) step("first_packet", last.first_packet_ns());
  if (last.has_lost_ns()) {
    families.add_seconds("perdure_container_last_restore_lost_seconds", {{"container", name}}, last.lost_ns());
  }
}

void add_last_takeover(Families& families, const std::string& name, const v1::RestoreRecord& last) {
  const auto step = [&](std::string_view word, std::int64_t duration_ns) {
    families.add_seconds("perdure_container_last_takeover_seconds", {{"container", name}, {"step", word}}, duration_ns);
  };
  families.add_time("perdure_container_last_takeover_timestamp_seconds", {{"container", name}}, last.time_unix_ms());
  if (last.has_noticed_ns()) step("noticed", last.noticed_ns());
  if (last.has_swapped_ns()) step("swapped", last.swapped_ns());
  if (last.has_restored_ns()) step("restored", last.restored_ns());
  if (last.has_first_packet_ns()) step("first_packet", last.first_packet_ns());
  if (last.has_lost_ns()) {
    families.add_seconds("perdure_container_last_takeover_lost_seconds", {{"container", name}}, last.lost_ns());
  }
}

void add_recoveries(Families& families, const v1::ContainerStatus& status) {
  const std::string& name = status.name();
  families.add("perdure_container_failures_total", {{"container", name}}, status.failures());
  families.add("perdure_container_restores_total", {{"container", name}}, status.restores());
  if (!status.has_last_restore()) return;
  const v1::RestoreRecord& last = status.last_restore();
  if (last.taken_from().empty()) {
    add_last_restore(families, name, last);
  } else {
    add_last_takeover(families, name, last);
  }
}

void add_gate(Families& families, const v1::ContainerStatus& status) {
  const std::string& name = status.name();
  const v1::GateStatus& gate = status.gate();
  if (!gate.has_traffic()) return;
  families.add_flag("perdure_gate_open", {{"container", name}}, gate.open());
  families.add("perdure_gate_closures_total", {{"container", name}, {"cause", "perdured"}}, gate.closures_by_perdured());
  families.add("perdure_gate_closures_total", {{"container", name}, {"cause", "death"}}, gate.closures_by_death());
  const v1::GateTraffic& frames = gate.traffic();
  const auto dropped = [&](std::string_view reason, std::uint64_t count) {
    families.add("perdure_gate_frames_dropped_total", {{"container", name}, {"reason", reason}}, count);
  };
  families.add("perdure_gate_frames_passed_total", {{"container", name}}, frames.passed());
  dropped("deadline", frames.dropped_deadline());
  dropped("locked", frames.dropped_locked());
  dropped("held", frames.dropped_held());
  dropped("guard", frames.dropped_guard());
  dropped("arp_only", frames.dropped_arp_only());
  families.add("perdure_gate_input_frames_passed_total", {{"container", name}}, frames.input_passed());
  families.add("perdure_gate_input_frames_dropped_total", {{"container", name}}, frames.input_dropped());
}

void add_standbys(Families& families, const v1::ContainerStatus& status) {
  if (status.node().empty()) return;
  const std::string& name = status.name();
  const auto ready = std::ranges::count(status.standbys(), v1::STANDBY_READY, &v1::StandbyStatus::state);
  families.add("perdure_container_standbys", {{"container", name}}, static_cast<double>(ready));
  families.add("perdure_container_standbys_wanted", {{"container", name}}, std::uint64_t{status.standbys_wanted()});
  for (const v1::StandbyStatus& standby : status.standbys()) {
    const std::string& node = standby.node();
    families.add_flag("perdure_standby_ready", {{"container", name}, {"node", node}}, standby.state() == v1::STANDBY_READY);
    if (standby.has_behind()) {
      families.add("perdure_standby_generations_behind", {{"container", name}, {"node", node}}, standby.behind());
    }
    if (standby.has_lag_ns()) {
      families.add_seconds("perdure_standby_lag_seconds", {{"container", name}, {"node", node}}, standby.lag_ns());
    }
    if (standby.has_newest()) {
      families.add("perdure_standby_held_bytes", {{"container", name}, {"node", node}}, standby.held_bytes());
    }
    families.add("perdure_standby_shipped_bytes_total", {{"container", name}, {"node", node}}, standby.shipped_bytes());
    if (standby.has_acknowledged_ns()) {
      families.add_seconds("perdure_standby_acknowledge_seconds", {{"container", name}, {"node", node}}, standby.acknowledged_ns());
    }
  }
}

// Asked by the owner; of those alone that have been asked.
void add_reachability(Families& families, const v1::ContainerStatus& status) {
  for (const v1::ReachabilityRow& row : status.reachability()) {
    if (!row.has_answers()) continue;
    families.add_flag("perdure_container_address_answers", {{"container", status.name()}, {"address", row.address()}}, row.answers());
  }
}

// ---- The cluster ----

void add_nodes(Families& families, const v1::ClusterReply& cluster) {
  std::map<int, std::uint64_t> count;
  for (const v1::NodeRow& node : cluster.nodes()) {
    ++count[node.state()];
    families.add_flag("perdure_cluster_node_up", {{"node", node.name()}}, node.state() != v1::NODE_UNREACHABLE);
    if (node.has_round_trip_ns()) {
      families.add_seconds("perdure_cluster_node_round_trip_seconds", {{"node", node.name()}}, node.round_trip_ns());
    }
    if (node.self()) families.add("perdure_fenced_messages_total", {}, node.fenced());
    if (node.has_certificate_expires_unix_ms()) {
      families.add_time("perdure_certificate_expiry_timestamp_seconds", {}, node.certificate_expires_unix_ms());
    }
  }
  for (int state = v1::NodeState_MIN + 1; state <= v1::NodeState_MAX; ++state) {
    const std::string word = word_of(v1::NodeState_Name(static_cast<v1::NodeState>(state)), "NODE_");
    families.add("perdure_cluster_nodes", {{"state", word}}, count[state]);
  }
}

void add_cluster(Families& families, const NodeState& state) {
  const v1::ClusterReply& cluster = state.cluster;
  families.add_flag("perdure_cluster_member", {}, !cluster.id().empty());
  if (cluster.id().empty()) return;
  families.add_flag("perdure_cluster_quorum", {}, cluster.has_quorum());
  families.add("perdure_cluster_etcd_members", {}, std::uint64_t{cluster.etcd_members()});
  add_nodes(families, cluster);
  if (state.etcd_runs) families.add_flag("perdure_etcd_member_running", {}, *state.etcd_runs);
  if (cluster.has_newest_snapshot_unix_ms()) {
    families.add_time("perdure_etcd_snapshot_timestamp_seconds", {}, cluster.newest_snapshot_unix_ms());
  }
  if (!state.held) return;
  families.add("perdure_held_containers", {}, state.held->containers);
  families.add("perdure_held_memory_bytes", {}, state.held->memory_bytes);
  families.add("perdure_held_memory_limit_bytes", {}, state.held->memory_limit_bytes);
  families.add("perdure_held_disk_bytes", {}, state.held->disk_bytes);
}

}  // namespace

void add_state(Families& families, const NodeState& state) {
  add_daemon(families, state);
  add_phases(families, state);
  for (const v1::ContainerStatus& status : state.containers) {
    add_protection(families, status);
    add_captures(families, status);
    add_recoveries(families, status);
    add_gate(families, status);
    add_standbys(families, status);
    add_reachability(families, status);
  }
  add_cluster(families, state);
}

}  // namespace perdure::node
