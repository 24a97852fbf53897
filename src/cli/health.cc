#include "cli/health.h"

#include <algorithm>
#include <chrono>
#include <format>

#include "cli/words.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;

// A node's certificate is valid for a day and renewed when a third of that is left: then it has not
// worked for two hours.
constexpr std::int64_t kCertificateLateMs =
    std::chrono::milliseconds(std::chrono::hours(6)).count();

// Of a container whose owner does not answer only the record is known.
bool is_record_alone(const v1::ContainerStatus& status) {
  return status.protection().state() == v1::PROTECTION_UNSPECIFIED &&
         status.protection().cause().empty();
}

std::string with_reason(std::string text, const std::string& reason) {
  return reason.empty() ? text : text + ": " + reason;
}

std::string without_protection(const v1::ContainerStatus& status) {
  const v1::Protection& protection = status.protection();
  if (!status.waits_for().empty()) return status.waits_for();
  if (is_record_alone(status))
    return with_reason("nothing is known of it but its record",
                       std::format("its node '{}' does not answer", status.node()));
  if (status.phase() == v1::PHASE_FAILED)
    return with_reason("it does not run, recovery was given up", status.phase_reason());
  if (protection.cause() == "moving") return "it stands still for its move";
  if (status.phase() != v1::PHASE_RUNNING)
    return with_reason(std::string(word(status.phase())), status.phase_reason());
  if (protection.state() == v1::PROTECTION_PENDING)
    return with_reason("its first generation is not committed yet", protection.reason());
  return with_reason(std::string(word(protection.state())), protection.reason());
}

std::string remedy_of(const v1::ContainerStatus& status) {
  if (!status.waits_remedy().empty()) return status.waits_remedy();
  if (!status.protection().remedy().empty()) return status.protection().remedy();
  if (is_record_alone(status)) return "bring that node back";
  if (status.phase() == v1::PHASE_FAILED)
    return std::format("mend that, then 'perdure start {}'", status.name());
  return std::format("'perdure inspect {}' says more", status.name());
}

void add_container(std::vector<Problem>& problems, const v1::ContainerStatus& status) {
  if (!should_run(status)) return;
  const std::string object = "container " + status.name();
  if (!is_protected(status))
    problems.push_back({object, without_protection(status), remedy_of(status)});
  if (!status.reachability_reason().empty()) {
    problems.push_back({object,
                        with_reason("it reaches none of its network.reachability, and stays",
                                    status.reachability_reason()),
                        std::format("mend the network of node '{}'", status.node())});
  }
  if (status.too_far_size() > 0 && !status.too_far_reason().empty()) {
    problems.push_back({object,
                        with_reason("it is too far from what it depends on", status.too_far(0) + "; " + status.too_far_reason()),
                        std::format("'perdure move {} NODE' moves it closer; 'perdure apply' places the whole application anew",
                                    status.name())});
  }
  if (ready_standbys(status) >= static_cast<std::int64_t>(status.standbys_wanted())) return;
  problems.push_back({object,
                      with_reason(std::format("{} of {} ready", ready_standbys(status),
                                              count_text(status.standbys_wanted(), "standby")),
                                  status.standbys_reason()),
                      "'perdure node list' shows which nodes could stand by"});
}

void add_node(std::vector<Problem>& problems, const v1::NodeRow& node, std::int64_t now_unix_ms) {
  const std::string object = "node " + node.name();
  if (node.state() == v1::NODE_UNREACHABLE) {
    problems.push_back(
        {object, with_reason("it cannot be reached", node.reason()),
         std::format("bring it back; if it is gone for good: 'perdure node remove {}'",
                     node.name())});
  }
  if (!node.has_certificate_expires_unix_ms() ||
      node.certificate_expires_unix_ms() - now_unix_ms > kCertificateLateMs)
    return;
  problems.push_back({object,
                      std::format("its certificate was not renewed and is valid until {}",
                                  time_text(node.certificate_expires_unix_ms())),
                      "a manager must be reachable: 'perdure events' says why it is not renewed"});
}

// Said already, as a problem with its remedy.
bool is_about_unreachable(const std::string& warning, const v1::ClusterReply& cluster) {
  return std::ranges::any_of(cluster.nodes(), [&](const v1::NodeRow& node) {
    return node.state() == v1::NODE_UNREACHABLE &&
           warning.starts_with(std::format("node '{}' cannot be reached", node.name()));
  });
}

}  // namespace

bool should_run(const v1::ContainerStatus& status) {
  switch (status.phase()) {
    case v1::PHASE_STOPPING:
    case v1::PHASE_STOPPED:
    case v1::PHASE_EXITED:
    case v1::PHASE_REMOVING:
      return false;
    default:
      return true;
  }
}

bool is_protected(const v1::ContainerStatus& status) {
  return status.phase() == v1::PHASE_RUNNING && status.protection().cause().empty() &&
         is_safe(status.protection().state());
}

std::int64_t ready_standbys(const v1::ContainerStatus& status) {
  return std::ranges::count(status.standbys(), v1::STANDBY_READY, &v1::StandbyStatus::state);
}

std::vector<Problem> problems_of(const Overview& overview) {
  std::vector<Problem> problems;
  for (const v1::ContainerStatus& status : overview.list.containers())
    add_container(problems, status);
  const v1::ClusterReply& cluster = overview.cluster;
  if (cluster.id().empty()) return problems;
  if (!cluster.has_quorum()) {
    problems.push_back(
        {"cluster",
         with_reason("no quorum, so that no container can change its owner", cluster.etcd_error()),
         "if members of etcd are lost for good: 'perdure cluster recover'"});
  }
  for (const v1::NodeRow& node : cluster.nodes()) add_node(problems, node, overview.now_unix_ms);
  return problems;
}

std::vector<std::string> advice_of(const Overview& overview) {
  std::vector<std::string> advice;
  for (const std::string& warning : overview.cluster.warnings())
    if (!is_about_unreachable(warning, overview.cluster)) advice.push_back(warning);
  if (!overview.daemon.metrics_error().empty()) {
    advice.push_back("metrics are not served: " + overview.daemon.metrics_error() +
                     "; 'perdure doctor' says what to do");
  }
  return advice;
}

}  // namespace perdure::cli
