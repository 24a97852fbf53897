#include "cli/cluster_test_support.h"

namespace perdure::cli {

namespace v1 = control::v1;

namespace {

constexpr std::int64_t kMs = 1'000'000;
constexpr std::int64_t kNoon = 1'790'000'000'000;  // as in test_support.cc

v1::NodeRow node_row(std::string name, v1::NodeState state, std::string address) {
  v1::NodeRow row;
  row.set_name(std::move(name));
  row.set_state(state);
  row.add_addresses(std::move(address));
  row.set_manager(true);
  row.set_etcd_member(true);
  row.set_version("0.2.0");
  row.set_incarnation("2f");
  return row;
}

void add_recovery(v1::ClusterRecoverReply& reply, std::string name, v1::RecoverAction action,
                  std::string node, std::string risk) {
  v1::RecoverRow& row = *reply.add_rows();
  row.set_name(std::move(name));
  row.set_action(action);
  row.set_node(std::move(node));
  row.set_risk(std::move(risk));
}

void fill_nodes(v1::NodeListReply& reply) {
  *reply.mutable_nodes() = three_node_cluster().nodes();
}

}  // namespace

v1::ClusterReply three_node_cluster() {
  v1::ClusterReply reply;
  reply.set_id("8c1f0b6e9a424b7fb3d1c2a49e07d511");
  reply.set_has_quorum(true);
  reply.set_etcd_members(3);
  reply.set_etcd_version("3.5.16");
  reply.set_newest_snapshot_unix_ms(kNoon - 240'000);
  reply.set_key_id(4);
  reply.mutable_timing()->set_heartbeat_ns(50 * kMs);
  reply.mutable_timing()->set_grant_ns(250 * kMs);
  reply.mutable_timing()->set_margin_ns(50 * kMs);
  v1::NodeRow& alpha = *reply.add_nodes() = node_row("alpha", v1::NODE_READY, "192.0.2.1:7400");
  alpha.set_self(true);
  (*alpha.mutable_labels())["server"] = "s1";
  (*alpha.mutable_labels())["rack"] = "r1";
  alpha.set_owned(12);
  alpha.set_held(3);
  alpha.set_held_bytes(94'000'000);
  alpha.set_certificate_expires_unix_ms(kNoon + 57'600'000);
  v1::NodeRow& beta = *reply.add_nodes() = node_row("beta", v1::NODE_CORDONED, "192.0.2.2:7400");
  (*beta.mutable_labels())["rack"] = "r2";
  beta.set_round_trip_ns(310'000);
  beta.set_fenced(2);
  v1::NodeRow& gamma = *reply.add_nodes() =
      node_row("gamma", v1::NODE_UNREACHABLE, "[2001:db8::3]:7400");
  gamma.set_reason("connect to '[2001:db8::3]:7400': connection timed out");
  gamma.set_last_seen_unix_ms(kNoon - 65'000);
  gamma.set_owned(1);
  gamma.set_held(12);
  reply.add_warnings(
      "gamma is unreachable: the loss of another manager stops changes of ownership");
  return reply;
}

v1::ContainerStatus replicated_web() {
  v1::ContainerStatus web = protected_web();
  web.set_node("alpha");
  web.set_term(7);
  web.set_standbys_wanted(2);
  web.set_standbys_reason("gamma is refused: its CPU lacks avx512f");
  v1::StandbyStatus& ready = *web.add_standbys();
  ready.set_node("beta");
  ready.set_state(v1::STANDBY_READY);
  ready.mutable_newest()->set_generation("7.2f.42");
  ready.mutable_newest()->set_age_ns(420 * kMs);
  ready.mutable_newest()->set_created_unix_ms(kNoon - 420);
  ready.set_lag_ns(12 * kMs);
  ready.set_acknowledged_ns(3'400'000);
  ready.set_held_bytes(31'400'000);
  ready.set_shipped_bytes(2'300'000'000);
  v1::StandbyStatus& learner = *web.add_standbys();
  learner.set_node("delta");
  learner.set_state(v1::STANDBY_PREPARING);
  learner.set_reason("fetches the root file system, 41 %");
  v1::StandbyStatus& refused = *web.add_standbys();
  refused.set_node("gamma");
  refused.set_state(v1::STANDBY_REFUSED);
  refused.set_reason("its CPU lacks avx512f");
  v1::ReachabilityRow& router = *web.add_reachability();
  router.set_address("192.0.2.1");
  router.set_answers(true);
  router.set_last_answer_age_ns(640 * kMs);
  v1::ReachabilityRow& other = *web.add_reachability();
  other.set_address("192.0.2.254");
  other.set_answers(false);
  web.add_too_far("'shop-db' on node 'beta', not on the same host");
  web.set_too_far_reason("no standby is ready to take it");
  return web;
}

v1::ClusterRecoverReply recovery_report() {
  v1::ClusterRecoverReply reply;
  reply.set_etcd("this node's member goes on alone; the members of beta and gamma are given up");
  add_recovery(reply, "batch", v1::RECOVER_COLD_START, "beta", "no generation of it is left");
  add_recovery(reply, "db", v1::RECOVER_ADOPT_RUNNING, "alpha", "");
  add_recovery(reply, "mail", v1::RECOVER_LOST, "", "its specification is not in etcd either");
  add_recovery(reply, "queue", v1::RECOVER_NOTHING, "alpha", "");
  add_recovery(reply, "web", v1::RECOVER_RESTORE, "alpha",
               "gamma, which is unreachable, may hold a newer generation");
  v1::RecoverRow& web = *reply.mutable_rows(4);
  web.set_generation("7.2f.40");
  web.set_age_ns(125'000 * kMs);
  return reply;
}

v1::TakeoverReply taken_back() {
  v1::TakeoverReply reply;
  *reply.mutable_status() = replicated_web();
  reply.set_from("alpha");
  reply.set_to("beta");
  reply.set_generation("7.2f.40");
  reply.set_age_ns(125'000 * kMs);
  reply.set_durable(true);
  reply.set_risk("node 'gamma', which stood by, cannot be reached and may hold a newer generation");
  return reply;
}

v1::ContainerStatus waiting_web() {
  v1::ContainerStatus web;
  web.set_name("web");
  web.set_node("alpha");
  web.set_term(7);
  web.set_waits_for(
      "its owner 'alpha' cannot be reached from 'beta', and no standby that can be reached takes "
      "it over by itself: it waits for that node, or for an operator's word");
  web.set_waits_remedy("'perdure takeover web' says what would come back, and what is risked");
  v1::StandbyStatus& standby = *web.add_standbys();
  standby.set_node("gamma");
  standby.set_state(v1::STANDBY_UNREACHABLE);
  return web;
}

std::vector<v1::Response> cluster_daemon(const v1::Request& request, int) {
  v1::Response response;
  switch (request.body_case()) {
    case v1::Request::kList:
      *response.mutable_list()->add_containers() = protected_web();
      break;
    case v1::Request::kClusterInit:
    case v1::Request::kClusterJoin:
    case v1::Request::kClusterLeave:
    case v1::Request::kClusterStatus:
    case v1::Request::kClusterRotateKeys:
    case v1::Request::kClusterTiming:
      *response.mutable_cluster() = three_node_cluster();
      break;
    case v1::Request::kClusterToken:
      response.mutable_cluster_token()->set_token(kToken);
      response.mutable_cluster_token()->set_uses(1);
      break;
    case v1::Request::kClusterRecover:
      *response.mutable_cluster_recover() = recovery_report();
      response.mutable_cluster_recover()->set_applied(request.cluster_recover().apply());
      for (auto& row : *response.mutable_cluster_recover()->mutable_rows())
        row.set_done(request.cluster_recover().apply());
      break;
    case v1::Request::kNodeList:
    case v1::Request::kNodeCordon:
    case v1::Request::kNodeRemove:
    case v1::Request::kNodeLabel:
      fill_nodes(*response.mutable_node_list());
      break;
    case v1::Request::kNodeDrain:
      response.mutable_node_drain()->set_node(request.node_drain().node());
      response.mutable_node_drain()->add_moved("web");
      break;
    case v1::Request::kMove:
      *response.mutable_move()->mutable_status() = replicated_web();
      response.mutable_move()->set_to(request.move().node());
      break;
    case v1::Request::kTakeover:
      if (!request.takeover().confirmed())
        return {error_response(v1::ERROR_CONFIRMATION_REQUIRED,
                               "web comes back on beta; its owner alpha cannot be reached")};
      *response.mutable_takeover() = taken_back();
      break;
    default:
      response = error_response(v1::ERROR_UNSUPPORTED, "not here");
      break;
  }
  return {response};
}

}  // namespace perdure::cli
