#include <format>

#define JSON_USE_IMPLICIT_CONVERSIONS 0
#include <nlohmann/json.hpp>

#include "deploy/availability.h"
#include "deploy/recommendation.h"
#include "deploy/what_if.h"

namespace perdure::deploy {
namespace {

using Json = nlohmann::ordered_json;

Json name_or_null(const Plan& plan, const std::optional<std::size_t>& node) {
  return node ? Json(plan.problem.nodes[*node].name.str()) : Json();
}

Json duration_or_null(const std::optional<Duration>& duration) { return duration ? Json(duration->count()) : Json(); }

Json shares_of(const ContainerAvailability& availability) {
  Json shares = Json::array();
  for (const OutageShare& share : availability.shares) {
    shares.push_back({{"cause", share.cause}, {"every_ns", share.every.count()}, {"lasts_ns", share.lasts.count()},
                      {"unavailability", share.unavailability}});
  }
  return shares;
}

Json container_of(const model::Application& application, const Plan& plan, const Availability& availability, std::size_t i) {
  const placement::PlannedContainer& planned = plan.grouping.containers[i];
  Json components = Json::array();
  for (const std::size_t member : planned.components) components.push_back(application.components[member].name());
  Json standbys = Json::array();
  for (const std::size_t node : plan.placement.places[i].standbys) standbys.push_back(plan.problem.nodes[node].name.str());
  return {{"name", planned.name.str()},
          {"components", std::move(components)},
          {"stateful", planned.state == model::StateKind::kStateful},
          {"node", name_or_null(plan, plan.placement.places[i].owner)},
          {"standbys", std::move(standbys)},
          {"address", plan.addresses[i] ? Json(model::to_string(*plan.addresses[i])) : Json()},
          {"memory_bytes", planned.demand.memory.count},
          {"millicores", planned.demand.cpu.count},
          {"disk_bytes", planned.demand.disk.count},
          {"state_sensitivity_ns", duration_or_null(planned.state_sensitivity)},
          {"outage_tolerance_ns", duration_or_null(planned.outage_tolerance)},
          {"why_together", planned.why},
          {"why_there", plan.placement.why[i]},
          {"unavailability", availability.containers[i].unavailability},
          {"counted", !availability.containers[i].hidden},
          {"shares", shares_of(availability.containers[i])}};
}

std::string word(Consequence::Kind kind) {
  switch (kind) {
    case Consequence::Kind::kGoesOn:
      return "goes_on";
    case Consequence::Kind::kServedByReplicas:
      return "served_by_replicas";
    case Consequence::Kind::kGone:
      return "gone";
  }
  return {};
}

Json failure_of(const Plan& plan, const Failure& failure) {
  Json consequences = Json::array();
  for (const Consequence& consequence : failure.consequences) {
    consequences.push_back({{"container", plan.grouping.containers[consequence.container].name.str()},
                            {"what", word(consequence.kind)},
                            {"node", name_or_null(plan, consequence.node)}});
  }
  return {{"of", failure.what}, {"consequences", std::move(consequences)}, {"broken", failure.broken}, {"without_standby", failure.unprotected}};
}

}  // namespace

std::string json_of(const model::Application& application, const Plan& plan) {
  const Availability availability = availability_of(application, plan, {});
  Json containers = Json::array();
  for (std::size_t i = 0; i < plan.grouping.containers.size(); ++i) containers.push_back(container_of(application, plan, availability, i));
  Json failures = Json::array();
  for (const Failure& failure : failures_of(plan)) failures.push_back(failure_of(plan, failure));
  const Json json = {{"application", application.name.str()},
                     {"containers", std::move(containers)},
                     {"unavailability", availability.unavailability},
                     {"nines", nines_of(availability.unavailability)},
                     {"failures", std::move(failures)},
                     {"warnings", plan.warnings}};
  return json.dump(2) + "\n";
}

}  // namespace perdure::deploy
