// For tests of this room: models in a few lines, clusters by their nodes.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "deploy/cluster_view.h"
#include "deploy/plan.h"
#include "model/application/application_yaml.h"

namespace perdure::deploy::test {

inline model::Application application(const std::string& yaml) {
  auto read = model::read_application("application: shop\n" + yaml, "shop.yaml", "/srv");
  EXPECT_TRUE(read) << read.error().message();
  return *read;
}

inline NodeName node(const std::string& name) { return NodeName::parse(name).value(); }
inline ContainerName container(const std::string& name) { return ContainerName::parse(name).value(); }

// "name" or "name rack".
inline ClusterView cluster(const std::vector<std::string>& nodes) {
  ClusterView view;
  for (const std::string& text : nodes) {
    const std::size_t space = text.find(' ');
    NodeFacts facts{.name = node(text.substr(0, space)), .memory = Bytes{std::uint64_t{10} << 30}, .processors = {8000}};
    if (space != std::string::npos) facts.domains[1] = text.substr(space + 1);
    view.nodes.push_back(std::move(facts));
  }
  return view;
}

inline Plan plan(const model::Application& application, const ClusterView& view) { return make_plan(application, view); }

inline std::size_t index_of(const Plan& plan, const std::string& name) {
  for (std::size_t i = 0; i < plan.grouping.containers.size(); ++i) {
    if (plan.grouping.containers[i].name.str() == name) return i;
  }
  ADD_FAILURE() << "no container " << name;
  return 0;
}

inline std::string owner_of(const Plan& plan, const std::string& name) {
  const auto owner = plan.placement.places[index_of(plan, name)].owner;
  return owner ? plan.problem.nodes[*owner].name.str() : "";
}

// A web server before a stateful database.
inline constexpr const char* kPair = R"(
network: {bridge: br0, addresses: [192.0.2.20-192.0.2.29/24], ipv4-gateway: 192.0.2.1}
components:
  - name: web
    command: [web]
    provides: [{name: site, port: 80}]
    requires: [{interface: db, outage-tolerance: 5s}]
    resources: {memory: 256MiB, cpu: 0.5}
  - name: redis
    command: [redis-server]
    provides: [{name: db, port: 6379, state: stateful, state-sensitivity: 500ms}]
    resources: {memory: 1GiB}
)";

}  // namespace perdure::deploy::test
