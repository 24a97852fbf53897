// Fields are those of the Kubernetes API: apps/v1 Deployment, v1 Service, scheduling.k8s.io/v1 PriorityClass.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <format>
#include <set>

#define JSON_USE_IMPLICIT_CONVERSIONS 0
#include <nlohmann/json.hpp>

#include "deploy/recommendation.h"
#include "deploy/workloads.h"
#include "model/application/derive.h"

namespace perdure::deploy {
namespace {

using Json = nlohmann::ordered_json;
using placement::Closeness;

// The most critical has this priority, each next one less; those of the system begin at 10^9.
constexpr int kHighestPriority = 1'000'000;
constexpr int kPriorityStep = 1000;
constexpr const char* kHostKey = "kubernetes.io/hostname";
constexpr const char* kZoneKey = "topology.kubernetes.io/zone";

std::string topology_key(model::FailureDomain domain) {
  switch (domain) {
    case model::FailureDomain::kNode:
      return kHostKey;
    case model::FailureDomain::kServer:
      return "server";
    case model::FailureDomain::kRack:
      return "rack";
    case model::FailureDomain::kDataCentre:
      return kZoneKey;
  }
  return kHostKey;
}

std::string topology_key(Closeness within) {
  switch (within) {
    case Closeness::kContainer:
    case Closeness::kHost:
      return kHostKey;
    case Closeness::kRack:
      return "rack";
    case Closeness::kDataCentre:
    case Closeness::kAnywhere:
      return kZoneKey;
  }
  return kHostKey;
}

// At least one: the API takes no less.
std::int64_t whole_seconds(Duration duration) {
  return std::max<std::int64_t>(1, std::chrono::ceil<std::chrono::seconds>(duration).count());
}

std::optional<std::int64_t> number_in(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(number) : std::nullopt;
}

class Kubernetes {
 public:
  Kubernetes(const model::Application& application, const Plan& plan)
      : application_(application), plan_(plan), workloads_(workloads_of(application, plan)), ranks_(criticality_of(plan, workloads_)) {}

  Recommendation run() {
    notes_ = notes_of(application_, plan_, workloads_, "Kubernetes");
    Json items = Json::array();
    add_priorities(items);
    for (std::size_t i = 0; i < workloads_.size(); ++i) items.push_back(deployment(i));
    for (std::size_t i = 0; i < workloads_.size(); ++i) add_services(items, workloads_[i]);
    const Json list = {{"apiVersion", "v1"}, {"kind", "List"}, {"items", std::move(items)}};
    return {list.dump(2) + "\n", std::move(notes_)};
  }

 private:
  const placement::PlannedContainer& first_of(const Workload& workload) const { return plan_.grouping.containers[workload.containers.front()]; }

  std::string priority_name(std::size_t rank) const { return std::format("{}-{}", application_.name.str(), rank + 1); }

  Json labels(const Workload& workload) const {
    return {{"app.kubernetes.io/name", workload.name}, {"app.kubernetes.io/part-of", application_.name.str()}};
  }

  void add_priorities(Json& items) const {
    for (const std::size_t rank : std::set<std::size_t>(ranks_.begin(), ranks_.end())) {
      items.push_back({{"apiVersion", "scheduling.k8s.io/v1"},
                       {"kind", "PriorityClass"},
                       {"metadata", {{"name", priority_name(rank)}}},
                       {"value", kHighestPriority - kPriorityStep * static_cast<int>(rank)},
                       {"description", std::format("{}: number {} in the order of outage tolerances", application_.name.str(), rank + 1)}});
    }
  }

  Json deployment(std::size_t index) {
    const Workload& workload = workloads_[index];
    const bool stateful = first_of(workload).state == model::StateKind::kStateful;
    Json pod = {{"priorityClassName", priority_name(ranks_[index])}, {"containers", Json::array()}};
    for (const std::size_t member : first_of(workload).components) pod["containers"].push_back(container(workload, application_.components[member]));
    if (Json affinity = affinity_of(index); !affinity.empty()) pod["affinity"] = std::move(affinity);
    if (workload.containers.size() > 1) {
      pod["topologySpreadConstraints"] = Json::array({{{"maxSkew", 1},
                                                       {"topologyKey", topology_key(application_.placement.apart)},
                                                       {"whenUnsatisfiable", "DoNotSchedule"},
                                                       {"labelSelector", {{"matchLabels", labels(workload)}}}}});
    }
    add_tolerations(pod, workload);
    return {{"apiVersion", "apps/v1"},
            {"kind", "Deployment"},
            {"metadata", {{"name", workload.name}, {"labels", labels(workload)}}},
            {"spec",
             {{"replicas", workload.containers.size()},
              // Never two of one state at once.
              {"strategy", {{"type", stateful ? "Recreate" : "RollingUpdate"}}},
              {"selector", {{"matchLabels", labels(workload)}}},
              {"template", {{"metadata", {{"labels", labels(workload)}}}, {"spec", std::move(pod)}}}}}};
  }

  // A pod on a node that is away is replaced after the time that others survive, instead of five minutes.
  void add_tolerations(Json& pod, const Workload& workload) const {
    const auto tolerance = first_of(workload).outage_tolerance;
    if (!tolerance) return;
    pod["tolerations"] = Json::array();
    for (const char* key : {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"}) {
      pod["tolerations"].push_back(
          {{"key", key}, {"operator", "Exists"}, {"effect", "NoExecute"}, {"tolerationSeconds", whole_seconds(*tolerance)}});
    }
  }

  Json affinity_of(std::size_t index) const {
    const Workload& workload = workloads_[index];
    Json affinity = Json::object();
    if (!workload.nodes.empty()) {
      affinity["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"] = Json::array(
          {{{"weight", 100},
            {"preference", {{"matchExpressions", Json::array({{{"key", kHostKey}, {"operator", "In"}, {"values", workload.nodes}}})}}}}});
    }
    Json close = Json::array();
    for (const auto& [sponsor, within] : sponsors_of(plan_, workloads_, index)) {
      if (within == Closeness::kAnywhere || sponsor == index) continue;
      close.push_back({{"labelSelector", {{"matchLabels", labels(workloads_[sponsor])}}}, {"topologyKey", topology_key(within)}});
    }
    if (!close.empty()) affinity["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] = std::move(close);
    if (workload.containers.size() > 1) {
      affinity["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] = Json::array(
          {{{"labelSelector", {{"matchLabels", labels(workload)}}}, {"topologyKey", topology_key(application_.placement.apart)}}});
    }
    return affinity;
  }

  Json container(const Workload& workload, const model::Component& component) {
    const model::ComponentSpec& program = component.program;
    Json json = {{"name", component.name()}, {"image", workload.name + ":latest"}, {"command", program.command}};
    for (const auto& [name, value] : program.environment) json["env"].push_back({{"name", name}, {"value", value}});
    if (program.working_directory) json["workingDir"] = *program.working_directory;
    if (program.user) add_user(json, component);
    for (const model::ProvidedInterface& provided : component.provides) {
      if (!provided.port) continue;
      json["ports"].push_back({{"name", port_name(provided)}, {"containerPort", *provided.port}, {"protocol", protocol(provided)}});
    }
    if (component.resources.memory) json["resources"]["requests"]["memory"] = std::to_string(component.resources.memory->count);
    if (component.resources.cpu) json["resources"]["requests"]["cpu"] = std::format("{}m", component.resources.cpu->count);
    if (component.resources.disk) json["resources"]["requests"]["ephemeral-storage"] = std::to_string(component.resources.disk->count);
    if (program.probe) add_probe(json, component, *program.probe);
    return json;
  }

  void add_user(Json& json, const model::Component& component) {
    const std::string& user = *component.program.user;
    const std::size_t colon = user.find(':');
    const auto uid = number_in(std::string_view(user).substr(0, colon));
    if (!uid) {
      return note(std::format("'{}' runs as '{}': Kubernetes knows users by their numbers only", component.name(), user));
    }
    json["securityContext"]["runAsUser"] = *uid;
    if (colon == std::string::npos) return;
    if (const auto gid = number_in(std::string_view(user).substr(colon + 1))) json["securityContext"]["runAsGroup"] = *gid;
  }

  // IANA_SVC_NAME: 15 characters at most, no two dashes in a row.
  static std::string port_name(const model::ProvidedInterface& provided) {
    constexpr std::size_t kMost = 15;
    return provided.name.size() <= kMost && !provided.name.contains("--") && provided.name.find_first_not_of("0123456789-") != std::string::npos
               ? provided.name
               : std::format("port-{}", *provided.port);
  }
  static std::string protocol(const model::ProvidedInterface& provided) { return provided.protocol == model::Protocol::kUdp ? "UDP" : "TCP"; }

  void add_probe(Json& json, const model::Component& component, const model::ProbeSpec& probe) {
    Json how = Json::object();
    if (const auto* exec = std::get_if<model::ExecProbe>(&probe.kind)) how["exec"]["command"] = exec->command;
    if (const auto* tcp = std::get_if<model::TcpProbe>(&probe.kind)) how["tcpSocket"]["port"] = tcp->port;
    if (const auto* http = std::get_if<model::HttpProbe>(&probe.kind)) how["httpGet"] = {{"path", http->path}, {"port", http->port}};
    if (const auto* rtsp = std::get_if<model::RtspProbe>(&probe.kind)) {
      how["tcpSocket"]["port"] = rtsp->port;
      note(std::format("'{}': Kubernetes has no probe for RTSP: only the connection is tried", component.name()));
    }
    if (how.empty()) {
      return note(std::format("'{}': Kubernetes has no probe for a socket or a file: write it as a program (exec)", component.name()));
    }
    if (probe.interval < std::chrono::seconds(1) || probe.timeout < std::chrono::seconds(1)) {
      note(std::format("'{}': Kubernetes probes at most once a second and waits at least a second", component.name()));
    }
    how["periodSeconds"] = whole_seconds(probe.interval);
    how["timeoutSeconds"] = whole_seconds(probe.timeout);
    how["failureThreshold"] = probe.failures;
    json["livenessProbe"] = how;  // whose success threshold has to be 1
    json["readinessProbe"] = how;
    json["readinessProbe"]["successThreshold"] = probe.successes;
    if (probe.grace < std::chrono::seconds(1)) return;
    json["startupProbe"] = how;
    const std::int64_t period = whole_seconds(probe.interval);
    json["startupProbe"]["failureThreshold"] = std::max<std::int64_t>(1, (whole_seconds(probe.grace) + period - 1) / period);
  }

  // By the components' names, as the others know them.
  void add_services(Json& items, const Workload& workload) const {
    for (const std::size_t member : first_of(workload).components) {
      const model::Component& component = application_.components[member];
      Json ports = Json::array();
      for (const model::ProvidedInterface& provided : component.provides) {
        if (!provided.port) continue;
        ports.push_back({{"name", port_name(provided)}, {"port", *provided.port}, {"targetPort", *provided.port}, {"protocol", protocol(provided)}});
      }
      if (ports.empty()) continue;
      items.push_back({{"apiVersion", "v1"},
                       {"kind", "Service"},
                       {"metadata", {{"name", component.name()}, {"labels", labels(workload)}}},
                       {"spec", {{"selector", labels(workload)}, {"ports", std::move(ports)}}}});
    }
  }

  void note(std::string text) { notes_.push_back(std::move(text)); }

  const model::Application& application_;
  const Plan& plan_;
  const std::vector<Workload> workloads_;
  const std::vector<std::size_t> ranks_;
  std::vector<std::string> notes_;
};

}  // namespace

Recommendation kubernetes_of(const model::Application& application, const Plan& plan) { return Kubernetes(application, plan).run(); }

}  // namespace perdure::deploy
