// What commands of a cluster are about to do.
#include <algorithm>
#include <format>

#include "cli/render_cluster.h"
#include "cli/render_parts.h"
#include "cli/words.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;

std::string with_points(std::string_view title, const std::vector<std::string>& points,
                        const Style& style) {
  std::string result = wrap(title, style.width, "", "  ");
  for (const std::string& point : points) {
    if (!point.empty()) result += wrap(point, style.width, "  - ", "    ");
  }
  return result;
}

// "its containers (db, web and 1 more)"; empty: there are none.
std::string containers_of(const v1::ListReply& here) {
  constexpr int kShown = 8;
  if (here.containers().empty()) return "";
  std::string names;
  for (int i = 0; i < std::min(here.containers_size(), kShown); ++i)
    names += (i == 0 ? "" : ", ") + clean(here.containers(i).name());
  if (here.containers_size() > kShown)
    names += std::format(" and {} more", here.containers_size() - kShown);
  return std::format("its containers ({})", names);
}

std::string ports_point(std::string_view ports,
                        const google::protobuf::RepeatedPtrField<std::string>& listen) {
  return std::format(
      "{} opened to other nodes, {}; only those with a certificate of this cluster "
      "get in",
      ports, listen.empty() ? "on the address of the default route" : "on " + list_text(listen));
}

}  // namespace

std::string describe_cluster_init(const v1::ClusterInitRequest& request, const v1::ListReply& here,
                                  const Style& style) {
  const bool own_etcd = request.etcd_endpoints().empty();
  const std::string containers = containers_of(here);
  return with_points(
      "this host becomes the first node of a new cluster:",
      {containers.empty() ? "" : containers + " become the cluster's, and go on running",
       own_etcd ? "perdured starts etcd, which keeps who owns which container"
                : "the etcd at " + list_text(request.etcd_endpoints()) +
                      " keeps who owns which container",
       ports_point(own_etcd ? "the ports 7400 to 7402 are" : "the port 7400 is", request.listen()),
       request.durable_directory().empty()
           ? ""
           : "durable generations go to " + clean(request.durable_directory())},
      style);
}

std::string describe_cluster_join(const v1::ClusterJoinRequest& request, const v1::ListReply& here,
                                  const Style& style) {
  const std::string containers = containers_of(here);
  return with_points(
      std::format("this host becomes a {} of the cluster of {}:",
                  request.witness() ? "witness" : "node", clean(request.address())),
      {containers.empty()
           ? ""
           : containers + " become the cluster's; perdured refuses if a name or an address "
                          "is taken there",
       ports_point("the ports 7400 to 7402 are", request.listen()),
       request.witness() ? "perdured starts etcd here; containers never run here"
                         : "containers of other nodes may come to run here, and their memory to be "
                           "held here"},
      style);
}

std::string describe_cluster_leave(const v1::ClusterLeaveRequest& request,
                                   const v1::ClusterReply& cluster, const Style& style) {
  const v1::NodeRow* own = own_row(cluster);
  const std::string name = own == nullptr ? "this host" : clean(own->name());
  std::vector<std::string> points;
  if (own != nullptr && own->owned() > 0) {
    const std::string owned = count_text(own->owned(), "container");
    points.push_back(
        request.force()
            ? std::format("the {} that it owns run on here, in no cluster and without standbys; their names and "
                          "addresses are free for others there: see that none is used twice",
                          owned)
            : std::format("it owns {}, and while it does perdured refuses: 'perdure "
                          "node drain {}' moves them away",
                          owned, name));
  }
  if (own != nullptr && own->held() > 0) {
    points.push_back(std::format("what it holds of {} as a standby is deleted",
                                 count_text(own->held(), "container")));
  }
  if (own != nullptr && own->etcd_member()) points.push_back("its member of etcd is removed");
  points.push_back(cluster.nodes_size() == 1
                       ? "it is the last node: the cluster is gone with it"
                       : "its certificate is revoked: it comes back only with a new token");
  return with_points(std::format("{} leaves cluster {}:", name, clean(cluster.id())), points,
                     style);
}

std::string describe_rotate_keys(const Style& style) {
  return wrap(
      "a new key is made and given to all nodes; generations are stored with it from now "
      "on; the old keys are kept for reading",
      style.width, "", "  ");
}

std::string describe_recover(const v1::ClusterRecoverRequest& request,
                             const v1::ClusterRecoverReply& report, const Style& style) {
  std::vector<std::string> points;
  if (request.force_new_cluster()) {
    points.push_back(
        "this node's member of etcd goes on alone. The other members must never start "
        "again as they are: there would be two clusters, each sure that it owns the "
        "containers");
  }
  if (!request.snapshot_file().empty()) {
    points.push_back(
        std::format("etcd is made anew from {}. Changes of owners since that snapshot "
                    "are forgotten: make sure that no node that is not reachable now "
                    "still runs a container",
                    clean(request.snapshot_file())));
  }
  if (!report.rows().empty()) {
    points.push_back(
        "the containers above come back as the table says; what happened after their "
        "generations is lost");
  }
  return recover_report(report, style) + "\n" +
         with_points("this cannot be taken back:", points, style);
}

std::string describe_drain(const v1::NodeRow& node, const Style& style) {
  const std::string what = node.owned() == 0
                               ? "it owns no containers"
                               : std::format(
                                     "the {} it owns move to other nodes, one after the other; "
                                     "each stands still for a fraction of a second",
                                     count_text(node.owned(), "container"));
  return wrap(std::format("{} takes nothing new from now on; {}", clean(node.name()), what),
              style.width, "", "  ");
}

std::string describe_node_remove(const v1::NodeRemoveRequest& request, const v1::NodeRow& node,
                                 const Style& style) {
  std::string state(word(node.state()));
  if (node.has_last_seen_unix_ms()) state += ", last seen " + time_text(node.last_seen_unix_ms());
  std::vector<std::string> points{
      "its certificates are revoked: it comes back only with a new "
      "token"};
  if (node.held() > 0) {
    points.push_back(std::format(
        "{} it as a standby",
        node.held() == 1 ? "1 container loses" : std::format("{} containers lose", node.held())));
  }
  if (node.owned() > 0) {
    points.push_back(std::format("it owns {}", count_text(node.owned(), "container")) +
                     (request.force() ? "" : ", and while it does perdured refuses"));
  }
  if (request.force()) {
    points.push_back(
        "make sure that it is switched off: a container that it still runs would "
        "answer at the same address as the one that is started elsewhere");
  }
  return with_points(std::format("{} ({}) is taken out of the cluster:", clean(node.name()), state),
                     points, style) +
         manager_warning(node, style);
}

}  // namespace perdure::cli
