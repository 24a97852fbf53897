// Proves which samples follow from what is known of a node, that what is not known has none, and that every metric of the table is
// served by somebody, with the labels that the table says.
#include "node/metrics/state_metrics.h"

#include <algorithm>
#include <format>
#include <map>
#include <set>

#include "gtest/gtest.h"
#include "node/metrics/operation_metrics.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

constexpr std::int64_t kSecond = 1'000'000'000;

// "name{label="value",...}": value. Of histograms, their counts.
using Samples = std::map<std::string, double>;

Samples samples_of(const std::vector<prometheus::MetricFamily>& families) {
  Samples samples;
  for (const prometheus::MetricFamily& family : families) {
    for (const prometheus::ClientMetric& metric : family.metric) {
      std::string labels;
      for (const auto& label : metric.label) labels += std::format("{}{}=\"{}\"", labels.empty() ? "" : ",", label.name, label.value);
      const double value = family.type == prometheus::MetricType::Gauge     ? metric.gauge.value
                           : family.type == prometheus::MetricType::Counter ? metric.counter.value
                                                                            : static_cast<double>(metric.histogram.sample_count);
      const std::string key = labels.empty() ? family.name : std::format("{}{{{}}}", family.name, labels);
      EXPECT_TRUE(samples.emplace(key, value).second) << key << " twice";
    }
  }
  return samples;
}

std::vector<prometheus::MetricFamily> families_of(const NodeState& state) {
  Families families;
  add_state(families, state);
  return families.take();
}
Samples samples_of(const NodeState& state) { return samples_of(families_of(state)); }

v1::ContainerStatus web() {
  v1::ContainerStatus web;
  web.set_name("web");
  web.set_phase(v1::PHASE_RUNNING);
  web.mutable_protection()->set_state(v1::PROTECTION_PROTECTED);
  return web;
}

NodeState with(v1::ContainerStatus container) {
  NodeState state;
  state.containers.push_back(std::move(container));
  return state;
}

// Of which everything is known that can be.
v1::ContainerStatus known_web() {
  v1::ContainerStatus status = web();
  status.mutable_newest_committed()->set_age_ns(2 * kSecond);
  status.mutable_newest_durable()->set_age_ns(3 * kSecond);
  status.mutable_interval()->set_asked_ns(kSecond);
  status.mutable_interval()->set_in_force_ns(kSecond * 3 / 2);
  status.set_captures(7);
  status.set_capture_failures(1);
  status.set_frozen_total_ns(kSecond / 2);
  status.set_capture_cpu_total_ns(kSecond / 4);
  status.mutable_last_capture()->set_frozen_ns(kSecond / 50);
  status.mutable_last_capture()->set_wall_ns(kSecond / 20);
  status.mutable_last_capture()->set_full_bytes(1000);
  status.mutable_last_capture()->set_kept_bytes(100);
  status.set_capsule_memory_bytes(2000);
  status.set_capsule_disk_bytes(3000);
  status.set_failures(4);
  status.set_restores(3);
  v1::RestoreRecord& restore = *status.mutable_last_restore();
  restore.set_time_unix_ms(1'700'000'000'500);
  restore.set_noticed_ns(kSecond / 1000);
  restore.set_restored_ns(kSecond / 20);
  restore.set_first_packet_ns(kSecond / 10);
  restore.set_lost_ns(kSecond);
  v1::GateStatus& gate = *status.mutable_gate();
  gate.set_open(true);
  gate.set_closures_by_perdured(5);
  gate.set_closures_by_death(2);
  gate.mutable_traffic()->set_passed(90);
  gate.mutable_traffic()->set_dropped_deadline(1);
  gate.mutable_traffic()->set_dropped_locked(2);
  gate.mutable_traffic()->set_dropped_held(3);
  gate.mutable_traffic()->set_dropped_guard(4);
  gate.mutable_traffic()->set_dropped_arp_only(5);
  gate.mutable_traffic()->set_input_passed(80);
  gate.mutable_traffic()->set_input_dropped(6);
  status.set_node("a");
  status.set_standbys_wanted(2);
  v1::StandbyStatus& ready = *status.add_standbys();
  ready.set_node("b");
  ready.set_state(v1::STANDBY_READY);
  ready.mutable_newest()->set_generation("1.1.7");
  ready.set_behind(1);
  ready.set_lag_ns(kSecond);
  ready.set_held_bytes(500);
  ready.set_shipped_bytes(9000);
  ready.set_acknowledged_ns(kSecond / 100);
  v1::StandbyStatus& preparing = *status.add_standbys();
  preparing.set_node("c");
  preparing.set_state(v1::STANDBY_PREPARING);
  for (const auto& [address, answers] : {std::pair("192.0.2.1", true), std::pair("192.0.2.2", false)}) {
    v1::ReachabilityRow& row = *status.add_reachability();
    row.set_address(address);
    row.set_answers(answers);
  }
  status.add_reachability()->set_address("192.0.2.3");  // not asked yet
  return status;
}

v1::ContainerStatus taken_over() {
  v1::ContainerStatus status = web();
  status.set_name("mail");
  v1::RestoreRecord& takeover = *status.mutable_last_restore();
  takeover.set_taken_from("b");
  takeover.set_time_unix_ms(1'700'000'001'000);
  takeover.set_noticed_ns(kSecond * 3 / 10);
  takeover.set_swapped_ns(kSecond * 4 / 10);
  takeover.set_restored_ns(kSecond / 2);
  takeover.set_first_packet_ns(kSecond * 6 / 10);
  takeover.set_lost_ns(kSecond);
  return status;
}

NodeState known_state() {
  NodeState state = with(known_web());
  state.containers.push_back(taken_over());
  state.daemon.set_version("0.1.0");
  state.daemon.set_criu("4.2");
  state.daemon.set_runtime("runc 1.1.5");
  state.daemon.set_kernel("6.18.0");
  state.daemon.set_started_unix_ms(1'700'000'000'000);
  state.starts = 31;
  state.process = ProcessUse{.cpu = 1500ms, .resident_bytes = 4096};
  state.collect = 2ms;
  state.cluster.set_id("c1");
  state.cluster.set_has_quorum(true);
  state.cluster.set_etcd_members(3);
  state.cluster.set_newest_snapshot_unix_ms(1'700'000'002'000);
  v1::NodeRow& self = *state.cluster.add_nodes();
  self.set_name("a");
  self.set_state(v1::NODE_READY);
  self.set_self(true);
  self.set_fenced(8);
  self.set_certificate_expires_unix_ms(1'700'000'003'000);
  v1::NodeRow& other = *state.cluster.add_nodes();
  other.set_name("b");
  other.set_state(v1::NODE_UNREACHABLE);
  other.set_round_trip_ns(kSecond / 1000);
  state.held = HeldForOthers{.containers = 2, .memory_bytes = 10, .memory_limit_bytes = 20, .disk_bytes = 30};
  state.etcd_runs = true;
  return state;
}

TEST(StateMetricsTest, WhatIsKnownIsSaid) {
  const Samples samples = samples_of(known_state());
  const Samples expected{
      {"perdure_container_protected{container=\"web\"}", 1},
      {"perdure_container_committed_age_seconds{container=\"web\"}", 2},
      {"perdure_container_durable_age_seconds{container=\"web\"}", 3},
      {"perdure_container_interval_asked_seconds{container=\"web\"}", 1},
      {"perdure_container_interval_seconds{container=\"web\"}", 1.5},
      {"perdure_container_captures_total{container=\"web\"}", 7},
      {"perdure_container_capture_failures_total{container=\"web\"}", 1},
      {"perdure_container_capture_frozen_seconds_total{container=\"web\"}", 0.5},
      {"perdure_container_last_capture_frozen_seconds{container=\"web\"}", 0.02},
      {"perdure_container_last_capture_kept_bytes{container=\"web\"}", 100},
      {"perdure_container_last_restore_timestamp_seconds{container=\"web\"}", 1'700'000'000.5},
      {"perdure_container_last_restore_seconds{container=\"web\",step=\"first_packet\"}", 0.1},
      {"perdure_container_last_takeover_seconds{container=\"mail\",step=\"swapped\"}", 0.4},
      {"perdure_container_last_takeover_lost_seconds{container=\"mail\"}", 1},
      {"perdure_container_address_answers{container=\"web\",address=\"192.0.2.1\"}", 1},
      {"perdure_container_address_answers{container=\"web\",address=\"192.0.2.2\"}", 0},
      {"perdure_gate_open{container=\"web\"}", 1},
      {"perdure_gate_closures_total{container=\"web\",cause=\"death\"}", 2},
      {"perdure_gate_frames_dropped_total{container=\"web\",reason=\"deadline\"}", 1},
      {"perdure_gate_frames_dropped_total{container=\"web\",reason=\"arp_only\"}", 5},
      {"perdure_container_standbys{container=\"web\"}", 1},
      {"perdure_container_standbys_wanted{container=\"web\"}", 2},
      {"perdure_standby_ready{container=\"web\",node=\"b\"}", 1},
      {"perdure_standby_ready{container=\"web\",node=\"c\"}", 0},
      {"perdure_standby_generations_behind{container=\"web\",node=\"b\"}", 1},
      {"perdure_standby_held_bytes{container=\"web\",node=\"b\"}", 500},
      {"perdure_containers{phase=\"running\"}", 2},
      {"perdure_containers{phase=\"failed\"}", 0},
      {"perdure_cluster_quorum", 1},
      {"perdure_cluster_nodes{state=\"unreachable\"}", 1},
      {"perdure_cluster_nodes{state=\"witness\"}", 0},
      {"perdure_cluster_node_up{node=\"a\"}", 1},
      {"perdure_cluster_node_up{node=\"b\"}", 0},
      {"perdure_daemon_starts_total", 31},
      {"process_start_time_seconds", 1'700'000'000},
      {"process_cpu_seconds_total", 1.5},
      {"perdure_certificate_expiry_timestamp_seconds", 1'700'000'003},
      {"perdure_build_info{version=\"0.1.0\",criu=\"4.2\",runtime=\"runc 1.1.5\",kernel=\"6.18.0\"}", 1},
  };
  for (const auto& [key, value] : expected) {
    ASSERT_TRUE(samples.contains(key)) << key;
    EXPECT_DOUBLE_EQ(samples.at(key), value) << key;
  }
  EXPECT_FALSE(samples.contains("perdure_container_last_restore_timestamp_seconds{container=\"mail\"}")) << "it was a takeover";
}

TEST(StateMetricsTest, WhatIsNotKnownHasNoSample) {
  v1::ContainerStatus fresh = web();
  fresh.mutable_protection()->set_state(v1::PROTECTION_PENDING);
  fresh.mutable_protection()->set_cause("starting");
  const Samples samples = samples_of(with(fresh));
  const std::set<std::string> known{
      "perdure_container_protected{container=\"web\"}",
      "perdure_container_unprotected{container=\"web\",reason=\"starting\"}",
      "perdure_container_captures_total{container=\"web\"}",
      "perdure_container_capture_failures_total{container=\"web\"}",
      "perdure_container_capture_frozen_seconds_total{container=\"web\"}",
      "perdure_container_capture_cpu_seconds_total{container=\"web\"}",
      "perdure_container_capsule_memory_bytes{container=\"web\"}",
      "perdure_container_capsule_disk_bytes{container=\"web\"}",
      "perdure_container_failures_total{container=\"web\"}",
      "perdure_container_restores_total{container=\"web\"}",
  };
  for (const auto& [key, value] : samples) {
    if (!key.contains("container=\"web\"")) continue;
    EXPECT_TRUE(known.contains(key)) << key << " " << value;
  }
  EXPECT_EQ(samples.at("perdure_container_protected{container=\"web\"}"), 0);
  EXPECT_EQ(samples.at("perdure_cluster_member"), 0);
  for (const char* unknown : {"perdure_cluster_quorum", "perdure_held_memory_bytes", "perdure_etcd_member_running",
                              "process_resident_memory_bytes", "perdure_collect_seconds"}) {
    EXPECT_FALSE(samples.contains(unknown)) << unknown;
  }
}

TEST(StateMetricsTest, AContainerThatShouldNotRunIsNeitherProtectedNorNot) {
  v1::ContainerStatus stopped = known_web();
  stopped.set_phase(v1::PHASE_STOPPED);
  stopped.mutable_protection()->Clear();
  const Samples samples = samples_of(with(stopped));
  for (const auto& [key, value] : samples) {
    EXPECT_FALSE(key.starts_with("perdure_container_protected") || key.starts_with("perdure_container_unprotected") ||
                 key.contains("_age_seconds"))
        << key;
  }
  EXPECT_EQ(samples.at("perdure_containers{phase=\"stopped\"}"), 1);
}

TEST(StateMetricsTest, WhatIsFrozenForAMoveOrFailedIsNotProtectedWhateverItsStateWas) {
  for (const char* cause : {"moving", "failed", "recovering", "waiting", "stale", "captures_fail", "not_taken_over"}) {
    v1::ContainerStatus status = web();
    status.mutable_protection()->set_cause(cause);
    const Samples samples = samples_of(with(status));
    EXPECT_EQ(samples.at("perdure_container_protected{container=\"web\"}"), 0) << cause;
    EXPECT_EQ(samples.at(std::format("perdure_container_unprotected{{container=\"web\",reason=\"{}\"}}", cause)), 1);
  }
}

TEST(StateMetricsTest, AStatelessContainerIsAsSafeAsItsSpecificationWants) {
  v1::ContainerStatus status = web();
  status.mutable_protection()->set_state(v1::PROTECTION_STATELESS);
  EXPECT_EQ(samples_of(with(status)).at("perdure_container_protected{container=\"web\"}"), 1);
}

TEST(StateMetricsTest, EveryMetricOfTheTableIsServedWithItsLabels) {
  NodeState state = known_state();
  v1::ContainerStatus failed = web();
  failed.set_name("db");
  failed.mutable_protection()->set_cause("failed");
  state.containers.push_back(std::move(failed));
  OperationMetrics operations;
  v1::Event event;
  event.set_kind("restored");
  operations.happened(event);
  std::vector<prometheus::MetricFamily> families = families_of(state);
  for (prometheus::MetricFamily& family : operations.collect()) families.push_back(std::move(family));

  std::set<std::string> names;
  for (const prometheus::MetricFamily& family : families) EXPECT_TRUE(names.insert(family.name).second) << family.name << " twice";
  for (const MetricRow& row : kMetricTable) {
    const auto family = std::ranges::find(families, row.name, &prometheus::MetricFamily::name);
    ASSERT_NE(family, families.end()) << row.name;
    EXPECT_EQ(family->type, type_of(row.kind)) << row.name;
    EXPECT_EQ(family->help, row.help);
    for (const prometheus::ClientMetric& metric : family->metric) {
      std::string labels;
      std::set<std::string> seen;
      for (const auto& label : metric.label) {
        labels += (labels.empty() ? "" : ", ") + label.name;
        seen.insert(label.name);
      }
      if (row.name == "perdure_events_total") {
        EXPECT_EQ(seen, (std::set<std::string>{"kind", "severity"}));  // prometheus-cpp keeps no order
      } else {
        EXPECT_EQ(labels, row.labels) << row.name;
      }
    }
  }
  EXPECT_EQ(names.size(), kMetricTable.size()) << "something is served that is not in the table";
}

TEST(StateMetricsTest, TheTextIsThatOfPrometheus) {
  Families families;
  families.add("perdure_container_unprotected", {{"container", "a\"b\\c\nd"}, {"reason", "failed"}}, 1.0);
  families.add("perdure_cluster_quorum", {}, 0.0);
  EXPECT_EQ(to_text(families.take()),
            "# HELP perdure_container_unprotected 1 while perdure_container_protected is 0: starting, stale, captures_fail, recovering, "
            "waiting, moving, failed or not_taken_over.\n"
            "# TYPE perdure_container_unprotected gauge\n"
            "perdure_container_unprotected{container=\"a\\\"b\\\\c\\nd\",reason=\"failed\"} 1\n"
            "# HELP perdure_cluster_quorum 1: etcd answers this node and has a quorum, so that ownership can change.\n"
            "# TYPE perdure_cluster_quorum gauge\n"
            "perdure_cluster_quorum 0\n");
}

// ---- What happens ----

TEST(OperationMetricsTest, WhatHasNotHappenedIsKnownToBeNothing) {
  const Samples samples = samples_of(OperationMetrics().collect());
  for (const char* key : {"perdure_takeovers_total{result=\"completed\"}", "perdure_takeovers_total{result=\"lost\"}",
                          "perdure_takeovers_total{result=\"failed\"}", "perdure_moves_total{result=\"moved\"}",
                          "perdure_moves_total{result=\"failed\"}", "perdure_capture_frozen_seconds", "perdure_move_frozen_seconds",
                          "perdure_restore_seconds{step=\"restored\"}", "perdure_takeover_seconds{step=\"swapped\"}"}) {
    ASSERT_TRUE(samples.contains(key)) << key;
    EXPECT_EQ(samples.at(key), 0) << key;
  }
}

TEST(OperationMetricsTest, RecoveriesAreMeasuredByTheirEvents) {
  OperationMetrics operations;
  v1::Event restored;
  restored.set_kind("restored");
  restored.set_severity(v1::SEVERITY_INFO);
  (*restored.mutable_durations_ns())["noticed"] = 1'000'000;
  (*restored.mutable_durations_ns())["restored"] = 44'000'000;
  (*restored.mutable_durations_ns())["lost"] = 9 * kSecond;
  operations.happened(restored);
  v1::Event packet;
  packet.set_kind("first_packet");
  packet.set_severity(v1::SEVERITY_INFO);
  (*packet.mutable_durations_ns())["first_packet"] = 46'000'000;
  operations.happened(packet);
  operations.happened(packet);
  const Samples samples = samples_of(operations.collect());
  EXPECT_EQ(samples.at("perdure_restore_seconds{step=\"noticed\"}"), 1);
  EXPECT_EQ(samples.at("perdure_restore_seconds{step=\"restored\"}"), 1);
  EXPECT_EQ(samples.at("perdure_restore_seconds{step=\"first_packet\"}"), 2);
  const std::string text = to_text(operations.collect());
  EXPECT_TRUE(text.contains("perdure_events_total{")) << text;
  EXPECT_TRUE(text.contains("perdure_restore_seconds_sum{step=\"restored\"} 0.044")) << text;
  EXPECT_TRUE(text.contains("perdure_restore_seconds_bucket{step=\"restored\",le=\"0.05\"} 1")) << text;
  EXPECT_TRUE(text.contains("perdure_restore_seconds_bucket{step=\"restored\",le=\"0.025\"} 0")) << text;
}

TEST(OperationMetricsTest, TheFirstPacketOfATakeoverIsNoneOfARecoveryInPlace) {
  OperationMetrics operations;
  v1::Event packet;
  packet.set_kind("first_packet");
  (*packet.mutable_durations_ns())["first_packet"] = 46'000'000;
  (*packet.mutable_durations_ns())["swapped"] = 40'000'000;
  operations.happened(packet);
  EXPECT_EQ(samples_of(operations.collect()).at("perdure_restore_seconds{step=\"first_packet\"}"), 0);
}

TEST(OperationMetricsTest, CapturesTakeoversAndMovesAreMeasured) {
  OperationMetrics operations;
  CaptureReport report;
  report.stats.frozen = 12ms;
  operations.captured(report);
  operations.takeover_step(TakeoverMeter::Step::kSwapped, 310ms);
  operations.takeover_ended(TakeoverMeter::End::kCompleted);
  MoveResult moved{.target = NodeName::parse("b").value(), .failure = {}, .frozen = 90ms, .generation = Generation{Term{1}, Incarnation{1}, 1}};
  operations.moved(moved);
  MoveResult found_moved = moved;
  found_moved.generation.reset();  // its freeze was not seen
  operations.moved(found_moved);
  MoveResult failed{.target = moved.target, .failure = "no answer", .generation = {}};
  operations.moved(failed);
  const Samples samples = samples_of(operations.collect());
  EXPECT_EQ(samples.at("perdure_capture_frozen_seconds"), 1);
  EXPECT_EQ(samples.at("perdure_takeover_seconds{step=\"swapped\"}"), 1);
  EXPECT_EQ(samples.at("perdure_takeovers_total{result=\"completed\"}"), 1);
  EXPECT_EQ(samples.at("perdure_takeovers_total{result=\"lost\"}"), 0);
  EXPECT_EQ(samples.at("perdure_moves_total{result=\"moved\"}"), 2);
  EXPECT_EQ(samples.at("perdure_moves_total{result=\"failed\"}"), 1);
  EXPECT_EQ(samples.at("perdure_move_frozen_seconds"), 1);
}

}  // namespace
}  // namespace perdure::node
