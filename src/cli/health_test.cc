// Proves: what counts as a problem and what as advice, with what to do about it; what `perdure
// status` shows of it at 80 columns (golden files in testdata/), and with which exit code it ends.
#include "cli/health.h"

#include <gtest/gtest.h>

#include <format>

#include "cli/cluster_test_support.h"
#include "cli/json_output.h"
#include "cli/render_overview.h"
#include "cli/test_support.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;

constexpr std::int64_t kMs = 1'000'000;
constexpr std::int64_t kNoon = 1'790'000'000'000;  // as in test_support.cc
constexpr Style kWide{.width = 80};

v1::VersionReply daemon() {
  v1::VersionReply reply;
  reply.set_version("0.2.0");
  reply.set_node("alpha");
  reply.set_incarnation("2f");
  reply.set_pid(712);
  reply.set_started_unix_ms(kNoon - 86'400'000);
  reply.set_kernel("6.18.0");
  reply.set_criu("4.2.1");
  reply.set_runtime("runc 1.1.5");
  reply.set_metrics_address("127.0.0.1:7480");
  return reply;
}

Overview single_host() {
  Overview overview{.daemon = daemon(), .cluster = {}, .list = {}, .now_unix_ms = kNoon};
  *overview.list.add_containers() = protected_web();
  return overview;
}

v1::ContainerStatus taken_over_db() {
  v1::ContainerStatus db = protected_web();
  db.set_name("db");
  db.set_node("beta");
  db.set_standbys_wanted(1);
  v1::StandbyStatus& standby = *db.add_standbys();
  standby.set_node("alpha");
  standby.set_state(v1::STANDBY_READY);
  v1::RestoreRecord& taken = *db.mutable_last_restore();
  taken.set_time_unix_ms(kNoon - 120'000);
  taken.set_reason("'gamma' is silent");
  taken.set_taken_from("gamma");
  taken.set_noticed_ns(300 * kMs);
  taken.set_swapped_ns(331 * kMs);
  taken.set_restored_ns(408 * kMs);
  taken.set_first_packet_ns(412 * kMs);
  return db;
}

// Three nodes, one of which is silent; web lacks a standby, mail's owner is the silent one.
Overview troubled_cluster() {
  Overview overview{
      .daemon = daemon(), .cluster = three_node_cluster(), .list = {}, .now_unix_ms = kNoon};
  *overview.list.add_containers() = taken_over_db();
  v1::ContainerStatus& mail = *overview.list.add_containers();
  mail.set_name("mail");
  mail.set_phase(v1::PHASE_RUNNING);
  mail.set_node("gamma");
  *overview.list.add_containers() = stopped_job();
  overview.list.mutable_containers(2)->set_node("alpha");
  *overview.list.add_containers() = replicated_web();
  return overview;
}

Overview healthy_cluster() {
  Overview overview = troubled_cluster();
  overview.cluster.mutable_nodes(2)->set_state(v1::NODE_READY);
  overview.cluster.clear_warnings();
  overview.list.clear_containers();
  *overview.list.add_containers() = taken_over_db();
  return overview;
}

std::vector<std::string> lines(const std::vector<Problem>& problems) {
  std::vector<std::string> lines;
  for (const Problem& problem : problems) lines.push_back(problem.object + ": " + problem.what);
  return lines;
}

TEST(HealthTest, AContainerThatWaitsForAWordSaysWhichCommandGivesIt) {
  Overview overview = single_host();
  *overview.list.mutable_containers(0) = waiting_web();
  const auto problems = problems_of(overview);
  ASSERT_FALSE(problems.empty());
  EXPECT_EQ(problems[0].what, waiting_web().waits_for());
  EXPECT_EQ(problems[0].remedy, waiting_web().waits_remedy());
}

TEST(HealthTest, AContainerThatIsCutOffAndStaysIsOne) {
  Overview overview = healthy_cluster();
  v1::ContainerStatus& cut_off = *overview.list.mutable_containers(0);
  v1::ReachabilityRow& row = *cut_off.add_reachability();
  row.set_address("192.0.2.1");
  row.set_answers(false);
  EXPECT_TRUE(problems_of(overview).empty()) << "it is about to be moved";
  cut_off.set_reachability_reason("no standby reaches them either");
  EXPECT_EQ(lines(problems_of(overview)),
            std::vector<std::string>{"container " + cut_off.name() +
                                     ": it reaches none of its network.reachability, and stays: no standby reaches them either"});
}

TEST(HealthTest, AContainerThatIsTooFarAndStaysIsOne) {
  Overview overview = healthy_cluster();
  v1::ContainerStatus& far = *overview.list.mutable_containers(0);
  far.add_too_far("'shop-db' on node 'b', not on the same host");
  EXPECT_TRUE(problems_of(overview).empty()) << "it is about to follow";
  far.set_too_far_reason("no standby is ready to take it");
  EXPECT_EQ(lines(problems_of(overview)),
            std::vector<std::string>{"container " + far.name() + ": it is too far from what it depends on: 'shop-db' on node 'b', " +
                                     "not on the same host; no standby is ready to take it"});
}

TEST(HealthTest, WhatIsWellIsNoProblem) {
  EXPECT_TRUE(problems_of(single_host()).empty());
  EXPECT_TRUE(advice_of(single_host()).empty());
  EXPECT_TRUE(problems_of(healthy_cluster()).empty());
  EXPECT_TRUE(problems_of(Overview{}).empty()) << "no containers are no problem";
}

TEST(HealthTest, WhatWasStoppedIsNoProblem) {
  for (const v1::Phase phase :
       {v1::PHASE_STOPPED, v1::PHASE_EXITED, v1::PHASE_STOPPING, v1::PHASE_REMOVING}) {
    Overview overview = single_host();
    overview.list.mutable_containers(0)->set_phase(phase);
    overview.list.mutable_containers(0)->mutable_protection()->Clear();
    EXPECT_TRUE(problems_of(overview).empty()) << v1::Phase_Name(phase);
  }
}

TEST(HealthTest, EveryContainerThatShouldRunAndIsNotProtectedIsOne) {
  struct Case {
    v1::Phase phase;
    v1::ProtectionState state;
    const char* cause;
    const char* what;
  };
  for (const Case& it :
       {Case{v1::PHASE_RUNNING, v1::PROTECTION_UNPROTECTED, "captures_fail", "unprotected: R"},
        Case{v1::PHASE_RUNNING, v1::PROTECTION_STALE, "stale", "stale: R"},
        Case{v1::PHASE_RUNNING, v1::PROTECTION_PENDING, "starting",
             "its first generation is not committed yet: R"},
        Case{v1::PHASE_RUNNING, v1::PROTECTION_UNSPECIFIED, "moving",
             "it stands still for its move"},
        Case{v1::PHASE_RECOVERING, v1::PROTECTION_UNSPECIFIED, "waiting", "recovering: P"},
        Case{v1::PHASE_CREATING, v1::PROTECTION_PENDING, "starting", "creating: P"},
        Case{v1::PHASE_FAILED, v1::PROTECTION_UNSPECIFIED, "failed",
             "it does not run, recovery was given up: P"}}) {
    Overview overview = single_host();
    v1::ContainerStatus& web = *overview.list.mutable_containers(0);
    web.set_phase(it.phase);
    web.set_phase_reason("P");
    web.mutable_protection()->set_state(it.state);
    web.mutable_protection()->set_cause(it.cause);
    web.mutable_protection()->set_reason("R");
    const auto problems = problems_of(overview);
    ASSERT_EQ(problems.size(), 1U) << it.what;
    EXPECT_EQ(problems[0].object, "container web");
    EXPECT_EQ(problems[0].what, it.what);
    EXPECT_FALSE(problems[0].remedy.empty());
  }
}

TEST(HealthTest, TheRemedyOfPerduredComesFirst) {
  Overview overview = single_host();
  v1::Protection& protection = *overview.list.mutable_containers(0)->mutable_protection();
  protection.set_state(v1::PROTECTION_UNPROTECTED);
  protection.set_cause("captures_fail");
  EXPECT_EQ(problems_of(overview)[0].remedy, "'perdure inspect web' says more");
  protection.set_remedy("do this");
  EXPECT_EQ(problems_of(overview)[0].remedy, "do this");
}

TEST(HealthTest, AStatelessContainerIsAsSafeAsItsSpecificationWants) {
  Overview overview = single_host();
  overview.list.mutable_containers(0)->mutable_protection()->set_state(v1::PROTECTION_STATELESS);
  EXPECT_TRUE(problems_of(overview).empty());
}

TEST(HealthTest, ACluster) {
  EXPECT_EQ(
      lines(problems_of(troubled_cluster())),
      (std::vector<std::string>{
          "container mail: nothing is known of it but its record: its node 'gamma' does not answer",
          "container nightly-report: it does not run, recovery was given up: it was restored 5 "
          "times within 1 min and failed again",
          "container web: it is too far from what it depends on: 'shop-db' on node 'beta', not on the same host; no standby is "
          "ready to take it",
          "container web: 1 of 2 standbys ready: gamma is refused: its CPU lacks avx512f",
          "node gamma: it cannot be reached: connect to '[2001:db8::3]:7400': connection timed "
          "out"}));
  Overview overview = healthy_cluster();
  overview.cluster.set_has_quorum(false);
  overview.cluster.set_etcd_error("no leader");
  EXPECT_EQ(lines(problems_of(overview)),
            (std::vector<std::string>{
                "cluster: no quorum, so that no container can change its owner: no leader"}));
}

TEST(HealthTest, ACertificateThatWasNotRenewedIsOne) {
  Overview overview = healthy_cluster();
  v1::NodeRow& self = *overview.cluster.mutable_nodes(0);
  self.set_certificate_expires_unix_ms(kNoon + 7 * 3'600'000);
  EXPECT_TRUE(problems_of(overview).empty());
  self.set_certificate_expires_unix_ms(kNoon + 5 * 3'600'000);
  ASSERT_EQ(problems_of(overview).size(), 1U);
  EXPECT_EQ(problems_of(overview)[0].object, "node alpha");
}

TEST(HealthTest, AdviceIsNoProblemAndSaysNothingTwice) {
  Overview overview = healthy_cluster();
  overview.daemon.set_metrics_error("listen on 127.0.0.1:7480: another program listens there");
  overview.cluster.add_warnings("two nodes: add a third one");
  overview.cluster.add_warnings("node 'gamma' cannot be reached from here: silence");
  EXPECT_EQ(advice_of(overview).size(), 3U);
  overview.cluster.mutable_nodes(2)->set_state(v1::NODE_UNREACHABLE);
  EXPECT_EQ(advice_of(overview),
            (std::vector<std::string>{
                "two nodes: add a third one",
                "metrics are not served: listen on 127.0.0.1:7480: another program listens there; "
                "'perdure doctor' says what to do"}));
}

// ---- What is shown ----

TEST(OverviewTest, OneScreenOfEightyColumns) {
  expect_golden("status-host.txt", render_overview(single_host(), kWide));
  expect_golden("status-cluster.txt", render_overview(healthy_cluster(), kWide));
  const std::string troubled = render_overview(troubled_cluster(), kWide);
  expect_golden("status-troubled.txt", troubled);
  EXPECT_LE(widest_line(troubled), 80);
  Overview off{.daemon = daemon(), .cluster = {}, .list = {}, .now_unix_ms = kNoon};
  off.daemon.clear_metrics_address();
  expect_golden("status-empty.txt", render_overview(off, kWide));
}

TEST(OverviewTest, EveryWidthHoldsTheTable) {
  Overview overview = troubled_cluster();
  overview.list.mutable_containers(0)->set_name(std::string(63, 'x'));
  for (const int width : {80, 100, 120, 160}) {
    const std::string text = render_overview(overview, Style{.width = width});
    EXPECT_LE(widest_line(text), std::max(width, 63 + 2 + 9 + 2 + 6)) << text;
  }
}

TEST(OverviewTest, ARecoveryIsShownWithItsKindItsTimeAndItsAge) {
  Overview overview = healthy_cluster();
  v1::ContainerStatus& db = *overview.list.mutable_containers(0);
  EXPECT_TRUE(render_overview(overview, kWide).contains("takeover 408 ms, 2 min ago"));
  db.mutable_last_restore()->clear_restored_ns();
  EXPECT_TRUE(render_overview(overview, kWide).contains("takeover 2 min ago"));
  db.mutable_last_restore()->set_time_unix_ms(kNoon - 3'000);
  db.mutable_last_restore()->clear_taken_from();
  db.mutable_last_restore()->set_restored_ns(44 * kMs);
  EXPECT_TRUE(render_overview(overview, kWide).contains("  44 ms, 3 s ago"));
  db.mutable_last_restore()->clear_generation();
  EXPECT_TRUE(render_overview(overview, kWide).contains("afresh 44 ms, 3 s ago"));
  db.mutable_last_restore()->set_time_unix_ms(kNoon + 5'000);  // another node's clock
  EXPECT_TRUE(render_overview(overview, kWide).contains("afresh 44 ms, just now"));
}

TEST(OverviewTest, Json) {
  expect_golden("status.json", overview_to_json(troubled_cluster()));
  const std::string host = overview_to_json(single_host());
  EXPECT_TRUE(host.contains("\"well\": true")) << host;
  EXPECT_TRUE(host.contains("\"cluster\": null"));
}

// ---- The command ----

struct StatusCommandTest : testing::Test {
  StatusCommandTest() {
    program.behaviour = [this](const v1::Request& request, int) {
      v1::Response response;
      if (request.has_version()) *response.mutable_version() = overview.daemon;
      if (request.has_cluster_status()) *response.mutable_cluster() = overview.cluster;
      if (request.has_list()) *response.mutable_list() = overview.list;
      return std::vector{response};
    };
  }
  Overview overview = single_host();
  ProgramRun program;
};

TEST_F(StatusCommandTest, TheExitCodeSaysWhetherAllIsWell) {
  EXPECT_EQ(program.run({"status"}), ExitCode::kOk) << program.terminal.err_text;
  EXPECT_TRUE(program.terminal.out_text.starts_with("all is well\n")) << program.terminal.out_text;
  overview.list.mutable_containers(0)->mutable_protection()->set_state(v1::PROTECTION_STALE);
  program.terminal.out_text.clear();
  EXPECT_EQ(program.run({"status"}), ExitCode::kUnprotected);
  EXPECT_TRUE(program.terminal.out_text.starts_with("1 problem\n")) << program.terminal.out_text;
  program.terminal.out_text.clear();
  EXPECT_EQ(program.run({"status", "--json"}), ExitCode::kUnprotected);
  EXPECT_TRUE(program.terminal.out_text.starts_with("{\n  \"well\": false"))
      << program.terminal.out_text;
  EXPECT_EQ(program.terminal.err_text, "");
}

TEST_F(StatusCommandTest, APerduredThatDoesNotRunIsSaid) {
  program.daemon.connect_error = Error(ErrorCode::kNotFound, "no such socket");
  EXPECT_EQ(program.run({"status"}), ExitCode::kUnreachable);
  EXPECT_EQ(program.terminal.out_text, "");
  EXPECT_NE(program.terminal.err_text, "");
}

}  // namespace
}  // namespace perdure::cli
