// What people see of a cluster. Pure, as render.h: golden files in testdata/, whole lines, text
// from outside is cleaned.
#pragma once

#include <string>

#include "cli/text.h"
#include "control.pb.h"

namespace perdure::cli {

std::string render_node_list(const control::v1::NodeListReply& reply, const Style& style);
std::string render_cluster_status(const control::v1::ClusterReply& reply, const Style& style);
// The table and its remarks, without what follows from it.
std::string recover_report(const control::v1::ClusterRecoverReply& reply, const Style& style);
std::string render_recover(const control::v1::ClusterRecoverReply& reply, const Style& style);

// Results of commands that change something.
std::string render_cluster_init(const control::v1::ClusterReply& reply, const Style& style);
std::string render_cluster_join(const control::v1::ClusterReply& reply, const Style& style);
std::string render_cluster_leave(const control::v1::ClusterReply& reply, const Style& style);
std::string render_rotate_keys(const control::v1::ClusterReply& reply, const Style& style);
// `address`: of a node that the new one can reach; empty: not known.
std::string render_token(const control::v1::ClusterTokenReply& reply, std::string_view address,
                         const Style& style);
std::string render_drain(const control::v1::NodeDrainReply& reply, const Style& style);
std::string render_cordon(const control::v1::NodeListReply& reply, const Style& style);
std::string render_node_remove(const control::v1::NodeListReply& reply, std::string_view removed,
                               const Style& style);
std::string render_node_labels(const control::v1::NodeListReply& reply, const Style& style);
std::string render_timing(const control::v1::ClusterReply& reply, const Style& style);
std::string render_takeover(const control::v1::TakeoverReply& reply, const Style& style);
std::string render_move(const control::v1::MoveReply& reply, const Style& style);

// What is about to happen, for the question before it.
std::string describe_cluster_init(const control::v1::ClusterInitRequest& request,
                                  const control::v1::ListReply& here, const Style& style);
std::string describe_cluster_join(const control::v1::ClusterJoinRequest& request,
                                  const control::v1::ListReply& here, const Style& style);
std::string describe_cluster_leave(const control::v1::ClusterLeaveRequest& request,
                                   const control::v1::ClusterReply& cluster, const Style& style);
std::string describe_rotate_keys(const Style& style);
// `report`: the answer to the same request without `apply`.
std::string describe_recover(const control::v1::ClusterRecoverRequest& request,
                             const control::v1::ClusterRecoverReply& report, const Style& style);
std::string describe_drain(const control::v1::NodeRow& node, const Style& style);
std::string describe_node_remove(const control::v1::NodeRemoveRequest& request,
                                 const control::v1::NodeRow& node, const Style& style);
// Of a node that is removed and was a manager; empty: it was none.
std::string manager_warning(const control::v1::NodeRow& node, const Style& style);

// What the node that answers is called and where others reach it; nullptr: it is not in the answer.
const control::v1::NodeRow* own_row(const control::v1::ClusterReply& reply);

}  // namespace perdure::cli
