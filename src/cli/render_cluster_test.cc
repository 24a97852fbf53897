// Proves: what people see of a cluster, at 80 and 120 columns, as golden files in testdata/; no
// table is wider than the terminal, and what came from outside cannot drive it.
#include "cli/render_cluster.h"

#include <gtest/gtest.h>

#include <format>

#include "cli/cluster_test_support.h"
#include "cli/render.h"
#include "cli/test_support.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;
constexpr Style kWide{.width = 80};

v1::NodeListReply nodes_of(const v1::ClusterReply& cluster) {
  v1::NodeListReply reply;
  *reply.mutable_nodes() = cluster.nodes();
  return reply;
}

v1::NodeListReply only(const v1::NodeRow& node) {
  v1::NodeListReply reply;
  *reply.add_nodes() = node;
  return reply;
}

TEST(RenderClusterTest, NodeList) {
  const auto reply = nodes_of(three_node_cluster());
  expect_golden("node-list-80.txt", render_node_list(reply, kWide));
  expect_golden("node-list-120.txt", render_node_list(reply, Style{.width = 120}));
  for (const int width : {50, 60, 70, 80, 100, 120, 150})
    EXPECT_LE(widest_line(render_node_list(reply, Style{.width = width})), width);
}

TEST(RenderClusterTest, ALongNameOfANodeIsNotCut) {
  auto reply = nodes_of(three_node_cluster());
  const std::string name(63, 'n');
  reply.mutable_nodes(1)->set_name(name);
  const std::string text = render_node_list(reply, kWide);
  EXPECT_TRUE(text.contains("\n" + name + "  cordoned\n")) << text;
}

TEST(RenderClusterTest, Status) {
  auto reply = three_node_cluster();
  expect_golden("cluster-status-80.txt", render_cluster_status(reply, kWide));
  expect_golden("cluster-status-120.txt", render_cluster_status(reply, Style{.width = 120}));
  reply.set_has_quorum(false);
  reply.set_etcd_error("2 of 3 members do not answer: beta, gamma");
  reply.set_external_etcd(true);
  reply.set_durable_directory("/mnt/shared/perdure");
  reply.clear_newest_snapshot_unix_ms();
  reply.clear_warnings();
  expect_golden("cluster-status-no-quorum.txt", render_cluster_status(reply, kWide));
}

TEST(RenderClusterTest, TextFromOutsideIsCleaned) {
  auto reply = three_node_cluster();
  reply.set_id("\x1b[2J");
  reply.add_warnings("\x1b[31mred\nline");
  reply.mutable_nodes(0)->set_name("a\x1b[0m");
  (*reply.mutable_nodes(0)->mutable_labels())["\x1b"] = "\x07";
  reply.mutable_nodes(2)->set_reason("\xFF\x1b[1m");
  const std::string text = render_cluster_status(reply, Style{.width = 200});
  EXPECT_EQ(text.find('\x1b'), std::string::npos) << text;
  EXPECT_EQ(text.find('\x07'), std::string::npos) << text;
  EXPECT_EQ(text.find('\xFF'), std::string::npos) << text;
}

TEST(RenderClusterTest, ListShowsWhereContainersRunAndWhoStandsBy) {
  v1::ListReply reply;
  *reply.add_containers() = unprotected_db();
  reply.mutable_containers(0)->set_node("beta");
  *reply.add_containers() = replicated_web();
  *reply.add_containers() = protected_web();
  reply.mutable_containers(2)->set_name("web2");
  reply.mutable_containers(2)->set_node("alpha");
  reply.mutable_containers(2)->set_standbys_wanted(1);
  *reply.mutable_containers(2)->add_standbys() = replicated_web().standbys(0);
  expect_golden("list-cluster-80.txt", render_list(reply, kWide));
  expect_golden("list-cluster-120.txt", render_list(reply, Style{.width = 120}));
  for (const int width : {50, 60, 70, 80, 100, 120})
    EXPECT_LE(widest_line(render_list(reply, Style{.width = width})), width);
  EXPECT_TRUE(render_list(reply, Style{.width = 160}).contains("  beta, delta (preparing)\n"))
      << "a refused one holds nothing";
}

TEST(RenderClusterTest, InspectShowsOwnerAndStandbys) {
  v1::InspectReply reply;
  *reply.mutable_status() = replicated_web();
  expect_golden("inspect-cluster.txt", render_inspect(reply, kWide));
  reply.mutable_status()->mutable_standbys(0)->set_on_disk(true);
  EXPECT_TRUE(render_inspect(reply, Style{.width = 200}).contains("31.4 MB on its disk"));
  reply.mutable_status()->clear_standbys();
  reply.mutable_status()->clear_standbys_reason();
  reply.mutable_status()->set_standbys_wanted(0);
  EXPECT_TRUE(render_inspect(reply, kWide).contains("standbys      none wanted\n"));
}

TEST(RenderClusterTest, Recovery) {
  auto reply = recovery_report();
  expect_golden("recover-report-80.txt", render_recover(reply, kWide));
  expect_golden("recover-report-120.txt", render_recover(reply, Style{.width = 120}));
  reply.set_applied(true);
  for (auto& row : *reply.mutable_rows()) row.set_done(row.action() != v1::RECOVER_NOTHING);
  reply.mutable_rows(2)->set_done(false);
  reply.mutable_rows(4)->set_done(false);
  reply.mutable_rows(4)->set_error("generation 7.2f.40: digest of pages.3 does not match");
  expect_golden("recover-applied.txt", render_recover(reply, kWide));
  EXPECT_EQ(render_recover({}, kWide), "no containers\n\nnothing was changed; --apply does this\n");
}

TEST(RenderClusterTest, Timing) {
  expect_golden("cluster-timing.txt", render_timing(three_node_cluster(), kWide));
  EXPECT_TRUE(render_timing({}, kWide).contains("etcd has not said yet"));
}

TEST(RenderClusterTest, ATakeoverAndWhatWaitsForOne) {
  expect_golden("takeover.txt", render_takeover(taken_back(), kWide));
  v1::InspectReply inspect;
  *inspect.mutable_status() = waiting_web();
  v1::ListReply list;
  *list.add_containers() = waiting_web();
  expect_golden("waiting.txt", render_list(list, kWide) + "\n" + render_inspect(inspect, kWide));
}

TEST(RenderClusterTest, Changes) {
  auto made = three_node_cluster();
  made.mutable_nodes()->DeleteSubrange(1, 2);
  made.clear_warnings();
  made.set_token("0123456789ab." + std::string(64, 'a') + "." + std::string(64, 'b'));
  auto joined = three_node_cluster();
  joined.mutable_nodes(0)->set_self(false);
  joined.mutable_nodes(1)->set_self(true);
  v1::ClusterTokenReply token;
  token.set_token("0123456789ab.cc.dd");
  token.set_uses(1);
  token.set_expires_unix_ms(1'790'003'600'000);
  v1::ClusterReply left;
  expect_golden("cluster-changes.txt", render_cluster_init(made, kWide) + "\n" +
                                           render_cluster_join(joined, kWide) + "\n" +
                                           render_token(token, "192.0.2.1:7400", kWide) + "\n" +
                                           render_token(token, "", kWide) + "\n" +
                                           render_rotate_keys(three_node_cluster(), kWide) + "\n" +
                                           render_cluster_leave(left, kWide));
}

TEST(RenderClusterTest, ChangesOfNodes) {
  const auto cluster = three_node_cluster();
  v1::NodeDrainReply drained;
  drained.set_node("beta");
  drained.add_moved("db");
  drained.add_moved("web");
  v1::NodeDrainReply stuck = drained;
  stuck.add_failures("mail: no other node has the address 192.0.2.77 in its network");
  auto remaining = nodes_of(cluster);
  remaining.mutable_nodes()->DeleteSubrange(2, 1);
  auto bare = cluster.nodes(1);
  bare.clear_labels();
  v1::MoveReply move;
  *move.mutable_status() = replicated_web();
  move.set_from("beta");
  move.set_to("alpha");
  move.set_frozen_ns(84'000'000);
  move.set_bytes(1'240'000);
  move.set_generation("8.2f.43");
  v1::MoveReply exposed = move;
  exposed.mutable_status()->mutable_protection()->set_state(v1::PROTECTION_UNPROTECTED);
  exposed.mutable_status()->mutable_protection()->set_reason("no standby is ready");
  expect_golden("node-changes.txt",
                render_drain(drained, kWide) + "\n" + render_drain(stuck, kWide) + "\n" +
                    render_cordon(only(cluster.nodes(1)), kWide) +
                    render_cordon(only(cluster.nodes(0)), kWide) + "\n" +
                    render_node_labels(only(cluster.nodes(0)), kWide) +
                    render_node_labels(only(bare), kWide) + "\n" +
                    render_node_remove(remaining, "gamma", kWide) + "\n" +
                    render_move(move, kWide) + "\n" + render_move(exposed, kWide));
}

TEST(RenderClusterTest, WhatIsAboutToHappen) {
  v1::ListReply here;
  *here.add_containers() = unprotected_db();
  *here.add_containers() = protected_web();
  v1::ClusterInitRequest init;
  v1::ClusterInitRequest other_etcd;
  other_etcd.add_etcd_endpoints("https://192.0.2.9:2379");
  other_etcd.add_listen("192.0.2.1");
  other_etcd.set_durable_directory("/mnt/shared");
  v1::ClusterJoinRequest join;
  join.set_address("192.0.2.1");
  v1::ClusterJoinRequest witness = join;
  witness.set_witness(true);
  expect_golden("cluster-questions.txt", describe_cluster_init(init, here, kWide) + "\n" +
                                             describe_cluster_init(other_etcd, {}, kWide) + "\n" +
                                             describe_cluster_join(join, here, kWide) + "\n" +
                                             describe_cluster_join(witness, {}, kWide) + "\n" +
                                             describe_rotate_keys(kWide));
  for (int i = 0; i < 20; ++i) here.add_containers()->set_name(std::format("job-{}", i));
  EXPECT_TRUE(
      describe_cluster_init(init, here, Style{.width = 200}).contains("job-5 and 14 more)"));
}

TEST(RenderClusterTest, WhatWouldBeLost) {
  const auto cluster = three_node_cluster();
  v1::ClusterLeaveRequest leave;
  v1::ClusterLeaveRequest forced;
  forced.set_force(true);
  v1::ClusterReply last = cluster;
  last.mutable_nodes()->DeleteSubrange(1, 2);
  last.mutable_nodes(0)->set_owned(0);
  v1::NodeRemoveRequest remove;
  v1::NodeRemoveRequest remove_forced;
  remove_forced.set_force(true);
  auto plain = cluster.nodes(1);
  plain.set_manager(false);
  EXPECT_EQ(manager_warning(plain, kWide), "");
  expect_golden("cluster-losses.txt",
                describe_cluster_leave(leave, cluster, kWide) + "\n" +
                    describe_cluster_leave(forced, cluster, kWide) + "\n" +
                    describe_cluster_leave(leave, last, kWide) + "\n" +
                    describe_drain(cluster.nodes(0), kWide) + "\n" +
                    describe_drain(cluster.nodes(1), kWide) + "\n" +
                    describe_node_remove(remove, plain, kWide) + "\n" +
                    describe_node_remove(remove_forced, cluster.nodes(2), kWide));
}

TEST(RenderClusterTest, ARecoveryIsShownBeforeItIsDone) {
  v1::ClusterRecoverRequest alone;
  alone.set_force_new_cluster(true);
  v1::ClusterRecoverRequest snapshot;
  snapshot.set_snapshot_file("/var/lib/perdure/etcd-snapshots/12.db");
  v1::ClusterRecoverReply empty;
  expect_golden("recover-questions.txt", describe_recover(alone, recovery_report(), kWide) + "\n" +
                                             describe_recover(snapshot, empty, kWide));
}

}  // namespace
}  // namespace perdure::cli
