#include "deploy/recommendation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#define JSON_USE_IMPLICIT_CONVERSIONS 0
#include <nlohmann/json.hpp>

#include "deploy/test_support.h"

namespace perdure::deploy {
namespace {

using Json = nlohmann::json;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr const char* kShop = R"(
network: {bridge: br0, addresses: [192.0.2.20-192.0.2.29/24]}
placement: {apart: server}
components:
  - name: web
    command: [nginx, -g, daemon off;]
    environment: {A: "1"}
    user: "33:33"
    working-directory: /srv
    provides: [{name: site, port: 80, protocol: http}]
    requires: [{interface: db, delay-tolerance: 600us, outage-tolerance: 5s, on-restart: SIGHUP}]
    probe: {http: 80, path: /health, interval: 500ms}
    replicas: 2
    resources: {memory: 256MiB, cpu: 0.5, disk: 1GiB}
  - name: redis
    command: [redis-server]
    user: redis
    provides: [{name: db, port: 6379, state: stateful, state-sensitivity: 500ms}, {name: a-very-long-interface, port: 16379}]
    probe: {unix: /run/redis.sock}
)";

ClusterView racks() { return test::cluster({"a r1", "b r1", "c r2", "d r2"}); }

Json items(const Json& list, const std::string& kind) {
  Json found = Json::array();
  for (const Json& item : list.at("items")) {
    if (item.at("kind") == kind) found.push_back(item);
  }
  return found;
}

struct Written {
  model::Application application = test::application(kShop);
  Plan plan = test::plan(application, racks());
};

TEST(Kubernetes, EachContainerIsADeploymentAndReplicasAreOne) {
  const Written written;
  ASSERT_TRUE(written.plan.possible()) << written.plan.errors.front();
  const Json list = Json::parse(kubernetes_of(written.application, written.plan).text);
  const Json deployments = items(list, "Deployment");
  ASSERT_THAT(deployments, SizeIs(2));
  const Json& web = deployments[0];
  EXPECT_EQ(web["metadata"]["name"], "shop-web");
  EXPECT_EQ(web["spec"]["replicas"], 2);
  EXPECT_EQ(web["spec"]["strategy"]["type"], "RollingUpdate");
  const Json& pod = web["spec"]["template"]["spec"];
  const Json& container = pod["containers"][0];
  EXPECT_EQ(container["command"], Json::array({"nginx", "-g", "daemon off;"}));
  EXPECT_EQ(container["env"][0], (Json{{"name", "A"}, {"value", "1"}}));
  EXPECT_EQ(container["securityContext"], (Json{{"runAsUser", 33}, {"runAsGroup", 33}}));
  EXPECT_EQ(container["resources"]["requests"], (Json{{"memory", "268435456"}, {"cpu", "500m"}, {"ephemeral-storage", "1073741824"}}));
  EXPECT_EQ(container["livenessProbe"]["httpGet"], (Json{{"path", "/health"}, {"port", 80}}));
  EXPECT_EQ(container["startupProbe"]["failureThreshold"], 10);
  const Json& affinity = pod["affinity"];
  EXPECT_EQ(affinity["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0]["topologyKey"], "server");
  EXPECT_EQ(affinity["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0]["topologyKey"], "rack");
  EXPECT_EQ(affinity["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0]["labelSelector"]["matchLabels"]["app.kubernetes.io/name"],
            "shop-redis");
  EXPECT_EQ(pod["topologySpreadConstraints"][0]["topologyKey"], "server");
  EXPECT_EQ(deployments[1]["spec"]["strategy"]["type"], "Recreate") << "never two of one state";
  EXPECT_EQ(deployments[1]["spec"]["template"]["spec"]["tolerations"][0]["tolerationSeconds"], 5);
}

TEST(Kubernetes, ComponentsAreServicesAndTheMostCriticalComesFirst) {
  const Written written;
  const Json list = Json::parse(kubernetes_of(written.application, written.plan).text);
  const Json services = items(list, "Service");
  ASSERT_THAT(services, SizeIs(2));
  EXPECT_EQ(services[1]["metadata"]["name"], "redis");
  EXPECT_EQ(services[1]["spec"]["ports"][1]["name"], "port-16379") << "a name of more than 15 characters is none";
  const Json classes = items(list, "PriorityClass");
  ASSERT_THAT(classes, SizeIs(2));
  EXPECT_GT(classes[0]["value"], classes[1]["value"]);
  const Json deployments = items(list, "Deployment");
  EXPECT_EQ(deployments[1]["spec"]["template"]["spec"]["priorityClassName"], classes[0]["metadata"]["name"]) << "redis, which others miss after 5 s";
}

TEST(Kubernetes, WhatItCannotExpressIsNamed) {
  const Written written;
  const auto notes = kubernetes_of(written.application, written.plan).notes;
  EXPECT_THAT(notes, Contains(HasSubstr("'shop-redis': Kubernetes has no checkpoints")));
  EXPECT_THAT(notes, Contains(HasSubstr("'redis' runs as 'redis'")));
  EXPECT_THAT(notes, Contains(HasSubstr("'redis': Kubernetes has no probe for a socket")));
  EXPECT_THAT(notes, Contains(HasSubstr("'web' is to be told when 'redis' has been restarted")));
  EXPECT_THAT(notes, Contains(HasSubstr("at most once a second")));
  EXPECT_THAT(notes, Contains(HasSubstr("network.addresses")));
}

TEST(Nomad, EachContainerIsAGroup) {
  const Written written;
  const Recommendation recommendation = nomad_of(written.application, written.plan);
  const Json job = Json::parse(recommendation.text).at("Job");
  EXPECT_EQ(job["ID"], "shop");
  ASSERT_THAT(job["TaskGroups"], SizeIs(2));
  const Json& web = job["TaskGroups"][0];
  EXPECT_EQ(web["Count"], 2);
  EXPECT_EQ(web["Constraints"][0]["LTarget"], "${meta.server}");
  EXPECT_EQ(web["Constraints"][0]["Operand"], "distinct_property");
  EXPECT_THAT(web["Affinities"], SizeIs(2));
  EXPECT_EQ(web["Tasks"][0]["Config"]["args"], Json::array({"-g", "daemon off;"}));
  EXPECT_EQ(web["Tasks"][0]["Resources"]["MemoryMB"], 256);
  EXPECT_EQ(web["Services"][0]["Checks"][0]["Path"], "/health");
  EXPECT_EQ(job["TaskGroups"][1]["Disconnect"]["LostAfter"], 5'000'000'000);
  EXPECT_THAT(recommendation.notes, Contains(HasSubstr("'shop-web' has to be in the rack of 'shop-redis'")));
}

TEST(PlanJson, EverythingThatThePlanShows) {
  const Written written;
  const Json plan = Json::parse(json_of(written.application, written.plan));
  EXPECT_EQ(plan["application"], "shop");
  ASSERT_THAT(plan["containers"], SizeIs(3));
  EXPECT_EQ(plan["containers"][2]["name"], "shop-redis");
  EXPECT_EQ(plan["containers"][2]["stateful"], true);
  EXPECT_EQ(plan["containers"][2]["outage_tolerance_ns"], 5'000'000'000);
  EXPECT_THAT(plan["containers"][2]["standbys"], SizeIs(1));
  EXPECT_THAT(plan["failures"], SizeIs(6)) << "four nodes, two racks";
}

// For the check against the schemas of the Kubernetes API (tests/e2e/test_recommendations.py).
TEST(Kubernetes, IsWrittenForTheSchemas) {
  const char* path = std::getenv("PERDURE_WRITE_KUBERNETES");
  if (path == nullptr) return;
  const Written written;
  std::ofstream(path) << kubernetes_of(written.application, written.plan).text;
}

}  // namespace
}  // namespace perdure::deploy
