// Fields are those of Nomad's HTTP API (JSON Jobs): times in nanoseconds, memory in MiB, processors in MHz unless Cores is given.
#include <algorithm>
#include <chrono>
#include <format>

#define JSON_USE_IMPLICIT_CONVERSIONS 0
#include <nlohmann/json.hpp>

#include "deploy/recommendation.h"
#include "deploy/workloads.h"
#include "model/application/derive.h"

namespace perdure::deploy {
namespace {

using Json = nlohmann::ordered_json;
using placement::Closeness;

constexpr int kPriority = 50;           // Nomad's default; a job has one
constexpr std::uint64_t kMhzPerCore = 2000;  // of a processor that nobody has described

std::string attribute_of(model::FailureDomain domain) {
  switch (domain) {
    case model::FailureDomain::kNode:
      return "${node.unique.name}";
    case model::FailureDomain::kServer:
      return "${meta.server}";
    case model::FailureDomain::kRack:
      return "${meta.rack}";
    case model::FailureDomain::kDataCentre:
      return "${node.datacenter}";
  }
  return {};
}

class Nomad {
 public:
  Nomad(const model::Application& application, const Plan& plan)
      : application_(application), plan_(plan), workloads_(workloads_of(application, plan)) {}

  Recommendation run() {
    notes_ = notes_of(application_, plan_, workloads_, "Nomad");
    Json groups = Json::array();
    for (std::size_t i = 0; i < workloads_.size(); ++i) groups.push_back(group(i));
    const Json job = {{"Job",
                       {{"ID", application_.name.str()},
                        {"Name", application_.name.str()},
                        {"Type", "service"},
                        {"Datacenters", Json::array({"*"})},
                        {"Priority", kPriority},
                        {"TaskGroups", std::move(groups)}}}};
    note("Nomad has one priority for a job: that some containers are more critical than others is lost");
    return {job.dump(2) + "\n", std::move(notes_)};
  }

 private:
  const placement::PlannedContainer& first_of(const Workload& workload) const { return plan_.grouping.containers[workload.containers.front()]; }

  Json group(std::size_t index) {
    const Workload& workload = workloads_[index];
    Json json = {{"Name", workload.name}, {"Count", workload.containers.size()}, {"Networks", Json::array({network(workload)})}};
    if (workload.containers.size() > 1) {
      // With an attribute: no two of the group share its value (distinct_property).
      json["Constraints"] = Json::array({{{"LTarget", attribute_of(application_.placement.apart)}, {"RTarget", "1"}, {"Operand", "distinct_property"}}});
    }
    for (const std::string& node : workload.nodes) {
      json["Affinities"].push_back({{"LTarget", "${node.unique.name}"}, {"RTarget", node}, {"Operand", "="}, {"Weight", 100}});
    }
    for (const auto& [sponsor, within] : sponsors_of(plan_, workloads_, index)) {
      if (within == Closeness::kAnywhere || sponsor == index) continue;
      note(std::format("'{}' has to be in the {} of '{}': Nomad places groups by nodes, not by each other; only the preference for the planned "
                       "node says so",
                       workload.name, placement::to_string(within), workloads_[sponsor].name));
    }
    if (const auto tolerance = first_of(workload).outage_tolerance) {
      json["Disconnect"] = {{"LostAfter", std::max<std::int64_t>(std::chrono::nanoseconds(std::chrono::seconds(1)).count(), tolerance->count())}};
    }
    for (const std::size_t member : first_of(workload).components) json["Tasks"].push_back(task(workload, application_.components[member]));
    for (const std::size_t member : first_of(workload).components) add_services(json, application_.components[member]);
    return json;
  }

  static std::string label_of(const model::ProvidedInterface& provided) {
    std::string label = provided.name;
    std::ranges::replace(label, '-', '_');
    return label;
  }

  Json network(const Workload& workload) const {
    Json json = {{"Mode", "bridge"}};
    for (const std::size_t member : first_of(workload).components) {
      for (const model::ProvidedInterface& provided : application_.components[member].provides) {
        if (provided.port) json["DynamicPorts"].push_back({{"Label", label_of(provided)}, {"To", *provided.port}});
      }
    }
    return json;
  }

  Json task(const Workload& workload, const model::Component& component) {
    const model::ComponentSpec& program = component.program;
    Json json = {{"Name", component.name()},
                 {"Driver", "docker"},
                 {"Config", {{"image", workload.name + ":latest"}, {"command", program.command.front()},
                             {"args", std::vector<std::string>(program.command.begin() + 1, program.command.end())}}},
                 {"KillTimeout", program.stop.deadline.count()}};
    if (program.working_directory) json["Config"]["work_dir"] = *program.working_directory;
    if (program.user) json["User"] = *program.user;
    for (const auto& [name, value] : program.environment) json["Env"][name] = value;
    if (component.resources.memory) json["Resources"]["MemoryMB"] = std::max<std::uint64_t>(1, component.resources.memory->count >> 20);
    if (component.resources.cpu) json["Resources"]["CPU"] = std::max<std::uint64_t>(1, component.resources.cpu->count * kMhzPerCore / 1000);
    return json;
  }

  void add_services(Json& group, const model::Component& component) {
    bool probed = false;
    for (const model::ProvidedInterface& provided : component.provides) {
      if (!provided.port) continue;
      Json service = {{"Name", component.name()}, {"PortLabel", label_of(provided)}, {"Provider", "nomad"}};
      if (component.program.probe) {
        if (Json check = check_of(*component.program.probe, *provided.port); !check.empty()) {
          service["Checks"] = Json::array({std::move(check)});
          probed = true;
        }
      }
      group["Services"].push_back(std::move(service));
    }
    if (component.program.probe && !probed) {
      note(std::format("'{}': Nomad's own checks are of TCP and HTTP at a port of the service: its probe is not written", component.name()));
    }
  }

  // Of the port that the probe asks; empty: another one, or Nomad has no such check.
  static Json check_of(const model::ProbeSpec& probe, std::uint16_t port) {
    Json json = {{"Name", "probe"}, {"Interval", probe.interval.count()}, {"Timeout", probe.timeout.count()}};
    if (const auto* tcp = std::get_if<model::TcpProbe>(&probe.kind); tcp != nullptr && tcp->port == port) {
      json["Type"] = "tcp";
    } else if (const auto* http = std::get_if<model::HttpProbe>(&probe.kind); http != nullptr && http->port == port) {
      json["Type"] = "http";
      json["Path"] = http->path;
    } else {
      return {};
    }
    json["CheckRestart"] = {{"Limit", probe.failures}, {"Grace", probe.grace.count()}};
    return json;
  }

  void note(std::string text) { notes_.push_back(std::move(text)); }

  const model::Application& application_;
  const Plan& plan_;
  const std::vector<Workload> workloads_;
  std::vector<std::string> notes_;
};

}  // namespace

Recommendation nomad_of(const model::Application& application, const Plan& plan) { return Nomad(application, plan).run(); }

}  // namespace perdure::deploy
