// Every metric of perdured, said once: what serves them, docs/monitoring.md, the alert rules and the dashboard go by this table,
// and tests compare them.
//
// Names follow Prometheus' rules: base units, _total for what only rises, _seconds and _bytes. A metric that is not known has no
// sample; none is 0 for want of knowledge. Values of labels are names of containers and nodes, or words from a list in our code.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

namespace perdure::node {

enum class MetricKind { kGauge, kCounter, kHistogram };

struct MetricRow {
  std::string_view name;
  MetricKind kind;
  std::string_view labels;  // "container, node"; empty: none
  std::string_view help;    // one line
};

inline constexpr auto kMetricTable = std::to_array<MetricRow>({
    // ---- perdured ----
    {"perdure_build_info", MetricKind::kGauge, "version, criu, runtime, kernel", "Always 1; what runs here, in its labels."},
    {"perdure_daemon_starts_total", MetricKind::kCounter, "", "Lives of perdured on this host, the present one included."},
    {"process_start_time_seconds", MetricKind::kGauge, "", "When perdured started, in seconds since 1970."},
    {"process_cpu_seconds_total", MetricKind::kCounter, "", "Processor time of perdured itself, without CRIU and etcd."},
    {"process_resident_memory_bytes", MetricKind::kGauge, "", "Memory of perdured, capsules included."},
    {"perdure_collect_seconds", MetricKind::kGauge, "", "How long the collection of the scrape before this one took."},
    {"perdure_events_total", MetricKind::kCounter, "kind, severity", "What perdure events shows, since perdured started."},
    {"perdure_containers", MetricKind::kGauge, "phase", "Containers that this node has, by phase."},

    // ---- A container, on the node that owns it ----
    {"perdure_container_protected", MetricKind::kGauge, "container",
     "1: a failure now loses at most the interval in force. 0: it loses more. Absent: it should not run."},
    {"perdure_container_unprotected", MetricKind::kGauge, "container, reason",
     "1 while perdure_container_protected is 0: starting, stale, captures_fail, recovering, waiting, moving, failed or not_taken_over."},
    {"perdure_container_committed_age_seconds", MetricKind::kGauge, "container",
     "Age of the newest committed generation: what a failure now would lose."},
    {"perdure_container_durable_age_seconds", MetricKind::kGauge, "container",
     "Age of the newest generation in the durable directory: what a power cut of all nodes now would lose."},
    {"perdure_container_interval_asked_seconds", MetricKind::kGauge, "container",
     "Interval between captures that the specification asks for."},
    {"perdure_container_interval_seconds", MetricKind::kGauge, "container", "Interval between captures that is in force."},
    {"perdure_container_captures_total", MetricKind::kCounter, "container", "Captures that succeeded, since perdured started."},
    {"perdure_container_capture_failures_total", MetricKind::kCounter, "container",
     "Captures and commits that failed, since perdured started."},
    {"perdure_container_capture_frozen_seconds_total", MetricKind::kCounter, "container",
     "How long captures kept the container frozen, since perdured started."},
    {"perdure_container_capture_cpu_seconds_total", MetricKind::kCounter, "container",
     "Processor time that captures took, since perdured started."},
    {"perdure_container_last_capture_frozen_seconds", MetricKind::kGauge, "container", "How long the last capture kept it frozen."},
    {"perdure_container_last_capture_seconds", MetricKind::kGauge, "container",
     "The last capture, from the freeze to the generation in memory."},
    {"perdure_container_last_capture_full_bytes", MetricKind::kGauge, "container",
     "Size of the last captured generation, written out in full."},
    {"perdure_container_last_capture_kept_bytes", MetricKind::kGauge, "container",
     "What the durable directory had to store for it."},
    {"perdure_container_capsule_memory_bytes", MetricKind::kGauge, "container",
     "Memory of this node that the container's generations take."},
    {"perdure_container_capsule_disk_bytes", MetricKind::kGauge, "container",
     "What the container's generations take in the durable directory."},
    {"perdure_container_failures_total", MetricKind::kCounter, "container", "Failures of the container since it was created."},
    {"perdure_container_restores_total", MetricKind::kCounter, "container",
     "Recoveries in place since it was created; starts without state included."},
    {"perdure_container_last_restore_timestamp_seconds", MetricKind::kGauge, "container",
     "When the last recovery in place was, in seconds since 1970; absent: none since perdured started, or a takeover came after it."},
    {"perdure_container_last_restore_seconds", MetricKind::kGauge, "container, step",
     "The last recovery in place, from the failure: noticed, restored, first_packet."},
    {"perdure_container_last_restore_lost_seconds", MetricKind::kGauge, "container",
     "Age of the generation that the last recovery went back to, at the failure: what was lost."},
    {"perdure_container_last_takeover_timestamp_seconds", MetricKind::kGauge, "container",
     "When this node took it over, in seconds since 1970; absent: not since perdured started, or it was recovered in place since."},
    {"perdure_container_last_takeover_seconds", MetricKind::kGauge, "container, step",
     "That takeover, from the last sign of life of the former owner: noticed, swapped, restored, first_packet."},
    {"perdure_container_last_takeover_lost_seconds", MetricKind::kGauge, "container",
     "Age of the generation that the takeover went back to, at the last sign of life: what was lost."},

    // ---- Its gate ----
    {"perdure_gate_open", MetricKind::kGauge, "container", "1: perdured lets the container's frames out, as far as its standbys' grants allow."},
    {"perdure_gate_closures_total", MetricKind::kCounter, "container, cause",
     "How often the gate was closed since perdured started, by perdured or by a death (the kernel); captures are not counted."},
    {"perdure_gate_frames_passed_total", MetricKind::kCounter, "container", "Frames out of the container, since it has its gate."},
    {"perdure_gate_frames_dropped_total", MetricKind::kCounter, "container, reason",
     "Frames out of the container that were dropped: deadline, locked, held, guard or arp_only."},
    {"perdure_gate_input_frames_passed_total", MetricKind::kCounter, "container", "Frames into the container."},
    {"perdure_gate_input_frames_dropped_total", MetricKind::kCounter, "container", "Frames into the container that were dropped."},
    {"perdure_container_address_answers", MetricKind::kGauge, "container, address",
     "1: the address of its network.reachability answers its node; 0: not within the last second."},

    // ---- Its standbys, on the node that owns it ----
    {"perdure_container_standbys", MetricKind::kGauge, "container", "Standbys that are ready."},
    {"perdure_container_standbys_wanted", MetricKind::kGauge, "container", "Standbys that the specification or the cluster asks for."},
    {"perdure_standby_ready", MetricKind::kGauge, "container, node", "1: the node may take the container over."},
    {"perdure_standby_generations_behind", MetricKind::kGauge, "container, node",
     "Generations captured since the newest one that the standby holds."},
    {"perdure_standby_lag_seconds", MetricKind::kGauge, "container, node",
     "How much older the newest generation of the standby is than the newest of all."},
    {"perdure_standby_held_bytes", MetricKind::kGauge, "container, node", "What the container's generations take at the standby."},
    {"perdure_standby_shipped_bytes_total", MetricKind::kCounter, "container, node", "Sent to the standby since this owner began."},
    {"perdure_standby_acknowledge_seconds", MetricKind::kGauge, "container, node",
     "From the thaw to the standby's acknowledgement, for the last generation."},

    // ---- What happens on this node ----
    {"perdure_capture_frozen_seconds", MetricKind::kHistogram, "", "How long captures kept containers frozen."},
    {"perdure_restore_seconds", MetricKind::kHistogram, "step",
     "Recoveries in place, from the failure: noticed, restored, first_packet."},
    {"perdure_takeovers_total", MetricKind::kCounter, "result",
     "Takeovers by this node: completed, lost (another node was first, or the owner lives) or failed."},
    {"perdure_takeover_seconds", MetricKind::kHistogram, "step",
     "Takeovers, from the last sign of life of the former owner: noticed, swapped, restored, first_packet."},
    {"perdure_moves_total", MetricKind::kCounter, "result", "Moves from this node to another: moved or failed."},
    {"perdure_move_frozen_seconds", MetricKind::kHistogram, "", "How long containers stood still for their moves."},
    {"perdure_held_containers", MetricKind::kGauge, "", "Containers of other nodes whose generations are held here."},
    {"perdure_held_memory_bytes", MetricKind::kGauge, "", "Memory that these generations take."},
    {"perdure_held_memory_limit_bytes", MetricKind::kGauge, "", "Memory they may take; what does not fit goes to the disk."},
    {"perdure_held_disk_bytes", MetricKind::kGauge, "", "What of them went to the disk."},
    {"perdure_fenced_messages_total", MetricKind::kCounter, "", "Messages of lower terms that were refused."},

    // ---- The cluster, as this node sees it ----
    {"perdure_cluster_member", MetricKind::kGauge, "", "1: this host is a node of a cluster."},
    {"perdure_cluster_quorum", MetricKind::kGauge, "", "1: etcd answers this node and has a quorum, so that ownership can change."},
    {"perdure_cluster_nodes", MetricKind::kGauge, "state", "Nodes by state: ready, unreachable, cordoned or witness."},
    {"perdure_cluster_node_up", MetricKind::kGauge, "node", "1: this node reaches that one."},
    {"perdure_cluster_node_round_trip_seconds", MetricKind::kGauge, "node", "To that node and back."},
    {"perdure_cluster_etcd_members", MetricKind::kGauge, "", "Members of the etcd that perdured runs; 0: another etcd is used."},
    {"perdure_etcd_member_running", MetricKind::kGauge, "", "1: the member of etcd of this node runs; absent: it has none."},
    {"perdure_etcd_snapshot_timestamp_seconds", MetricKind::kGauge, "", "When the newest snapshot of etcd was taken, in seconds since 1970."},
    {"perdure_certificate_expiry_timestamp_seconds", MetricKind::kGauge, "",
     "Until when the certificate of this node is valid, in seconds since 1970."},
});

// A row of the table, found when this is compiled: a name that is not in it is no program.
class Metric {
 public:
  consteval Metric(const char* name) : row_(index_of(name)) {}
  constexpr std::size_t index() const { return row_; }
  constexpr const MetricRow& row() const { return kMetricTable[row_]; }

 private:
  static consteval std::size_t index_of(std::string_view name) {
    for (std::size_t i = 0; i < kMetricTable.size(); ++i) {
      if (kMetricTable[i].name == name) return i;
    }
    throw "no such metric in kMetricTable";
  }
  std::size_t row_;
};

}  // namespace perdure::node
