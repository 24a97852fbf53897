#include "deploy/derive_spec.h"

#include <gtest/gtest.h>

#include "deploy/addresses.h"
#include "deploy/test_support.h"
#include "model/spec_yaml.h"

namespace perdure::deploy {
namespace {

using namespace std::chrono_literals;

const std::string kDigest = "sha256:" + std::string(64, 'a');

model::ContainerSpec derived(const std::string& yaml, const std::string& name) {
  const model::Application application = test::application(yaml);
  const placement::Grouping grouping = placement::group_components(application);
  EXPECT_TRUE(grouping.conflicts.empty());
  const auto addresses = assign_addresses(application, grouping, {});
  EXPECT_TRUE(addresses) << addresses.error().message();
  for (std::size_t i = 0; i < grouping.containers.size(); ++i) {
    if (grouping.containers[i].name.str() != name) continue;
    const auto spec = derive_spec({application, grouping, *addresses, {{test::node("n")}, {test::node("m")}}}, i, kDigest);
    EXPECT_TRUE(spec) << spec.error().message();
    return *spec;
  }
  ADD_FAILURE() << "no container " << name;
  return {.name = test::container("none")};
}

TEST(DeriveSpec, EverythingFollowsFromTheModel) {
  const model::ContainerSpec web = derived(test::kPair, "shop-web");
  EXPECT_EQ(model::to_yaml(web), model::to_yaml(model::read_spec(R"(
name: shop-web
root-filesystem: {image: ")" + kDigest + R"("}
network: {bridge: br0, ipv4: 192.0.2.20/24, ipv4-gateway: 192.0.2.1, hosts: [{address: 192.0.2.21, names: [redis]}]}
components: [{name: web, command: [web], state: stateless}]
checkpoint: {standbys: 1, standby-nodes: [n]}
application: {name: shop, sponsors: [shop-redis], memory: 256MiB, cpu: 0.5}
)", "expected").value()));
  const model::ContainerSpec redis = derived(test::kPair, "shop-redis");
  EXPECT_EQ(redis.components.front().state, model::StateKind::kStateful);
  EXPECT_EQ(redis.checkpoint.interval, 500ms);
  EXPECT_EQ(redis.checkpoint.interval_source, model::IntervalSource::kStateSensitivity);
  EXPECT_EQ(redis.availability.outage_tolerance, 5s);
  EXPECT_TRUE(redis.network.hosts.empty());
  EXPECT_TRUE(redis.application.sponsors.empty());
}

TEST(DeriveSpec, WhatTheIntegratorSaysComesFirst) {
  const model::ContainerSpec redis = derived(std::string(test::kPair) + R"(
containers:
  - name: store
    components: [redis]
    network: {bridge: br7, ipv4: 198.51.100.9/24}
    checkpoint: {interval: 2s, standbys: 3}
    availability: {outage-tolerance: 1s}
    resources: {memory: 2GiB}
)", "shop-store");
  EXPECT_EQ(redis.network.attachment, model::Attachment(model::BridgeAttachment{"br7"}));
  EXPECT_EQ(model::to_string(*redis.network.ipv4), "198.51.100.9/24");
  EXPECT_EQ(redis.checkpoint.interval, 2s);
  EXPECT_EQ(redis.checkpoint.standbys, 3U);
  EXPECT_EQ(redis.availability.outage_tolerance, 1s);
  EXPECT_EQ(redis.resources.memory, Bytes{std::uint64_t{2} << 30});
}

TEST(DeriveSpec, AnAddressOfItsOwnIsInTheNetworkOfTheApplication) {
  const std::string yaml = std::string(test::kPair) + R"(
containers: [{name: store, components: [redis], network: {ipv4: 192.0.2.9/24, tcp-ports: [{port: 6379, policy: splice}]}}]
)";
  const model::ContainerSpec redis = derived(yaml, "shop-store");
  EXPECT_EQ(redis.network.attachment, model::Attachment(model::BridgeAttachment{"br0"}));
  EXPECT_EQ(model::to_string(*redis.network.ipv4), "192.0.2.9/24");
  EXPECT_EQ(redis.network.ipv4_gateway, model::Ipv4Address::parse("192.0.2.1").value());
  const model::ContainerSpec web = derived(yaml, "shop-web");
  ASSERT_EQ(web.network.hosts.size(), 1U);
  EXPECT_EQ(model::to_string(web.network.hosts.front().address), "192.0.2.9");
}

TEST(DeriveSpec, AnImageDependsOnNoAddressAndNoName) {
  const auto image_of = [](const std::string& containers) {
    const model::Application application = test::application(std::string(test::kPair) + containers);
    const placement::Grouping grouping = placement::group_components(application);
    for (std::size_t i = 0; i < grouping.containers.size(); ++i) {
      if (grouping.containers[i].components != std::vector<std::size_t>{1}) continue;
      const auto spec = derive_image_spec(application, grouping, i);
      EXPECT_TRUE(spec) << spec.error().message();
      return model::to_yaml(*spec);
    }
    return std::string("none");
  };
  const std::string plain = image_of("");
  EXPECT_EQ(plain, image_of("containers: [{name: store, components: [redis], network: {tcp-ports: [{port: 6379, policy: splice}]}}]\n"));
  EXPECT_NE(plain, image_of("containers: [{name: store, components: [redis], environment: {A: b}}]\n"));
}

constexpr const char* kTogether = R"(
network: {bridge: br0, addresses: [192.0.2.20-192.0.2.29/24]}
components:
  - name: app
    command: [app]
    provides: [{name: api, port: 8000}]
    requires: [{interface: cache, delay-tolerance: 50us, until: started, on-restart: SIGHUP}, {interface: front}]
  - name: memo
    command: [memo]
    provides: [{name: cache, port: 11211}]
  - name: proxy
    command: [proxy]
    provides: [{name: front, port: 80}]
    replicas: 2
)";

TEST(DeriveSpec, SponsorsInTheSameContainerAreStartedBeforeAndFoundOnLoopback) {
  const model::ContainerSpec app = derived(kTogether, "shop-app");
  ASSERT_EQ(app.components.size(), 2U);
  ASSERT_EQ(app.components[0].depends_on.size(), 1U);
  EXPECT_EQ(app.components[0].depends_on[0].component, "memo");
  EXPECT_EQ(app.components[0].depends_on[0].until, model::Until::kStarted);
  EXPECT_EQ(app.components[0].depends_on[0].on_restart.signal, SIGHUP);
  ASSERT_EQ(app.network.hosts.size(), 3U);
  EXPECT_EQ(app.network.hosts[0], (model::HostEntry{model::kProbeLoopback, {"memo"}}));
}

const std::string kClose = R"(
network: {bridge: br0, addresses: [192.0.2.20-192.0.2.29/24]}
placement: {latency: {host: 100us, rack: 200us, data-centre: 1ms}}
components:
  - name: app
    command: [app]
    provides: [{name: api, port: 8000}]
    requires:
      - {interface: cache, delay-tolerance: 100us}
      - {interface: front, delay-tolerance: 300us}
      - {interface: log}
  - name: memo
    command: [memo]
    provides: [{name: cache, port: 11211}]
    requires: [{interface: log, delay-tolerance: 2ms}]
  - name: proxy
    command: [proxy]
    provides: [{name: front, port: 80}]
    replicas: 2
  - name: logger
    command: [logger]
    provides: [{name: log, port: 514}]
)";

TEST(DeriveSpec, HowCloseItHasToBeFollowsFromTheDelayTolerances) {
  using model::Vicinity;
  using model::Within;
  EXPECT_EQ(derived(kClose, "shop-app").application.near,
            (std::vector<Vicinity>{{{"shop-memo"}, Within::kHost}, {{"shop-proxy-1", "shop-proxy-2"}, Within::kRack}}));
  EXPECT_EQ(derived(kClose, "shop-memo").application.near, (std::vector<Vicinity>{{{"shop-logger"}, Within::kDataCentre}}));
  EXPECT_TRUE(derived(kClose, "shop-proxy-2").application.near.empty());
}

const std::string kCircle = R"(
network: {bridge: br0, addresses: [192.0.2.20-192.0.2.29/24]}
placement: {latency: {host: 100us, rack: 200us, data-centre: 1ms}}
components:
  - name: a
    command: [a]
    provides: [{name: a, port: 1}]
    requires: [{interface: b, delay-tolerance: 100us}]
  - name: b
    command: [b]
    provides: [{name: b, port: 2}]
    requires: [{interface: c, delay-tolerance: 100us}]
  - name: c
    command: [c]
    provides: [{name: c, port: 3}]
    requires: [{interface: a2, delay-tolerance: 100us}]
  - name: a2
    command: [a2]
    provides: [{name: a2, port: 4}]
containers: [{name: pair, components: [a, a2]}]
)";

TEST(DeriveSpec, NobodyFollowsSomebodyWhoFollowsIt) {
  using model::Vicinity;
  EXPECT_TRUE(derived(kCircle, "shop-pair").application.near.empty()) << "the first of the circle leads";
  EXPECT_TRUE(derived(kCircle, "shop-b").application.near.empty());
  EXPECT_EQ(derived(kCircle, "shop-c").application.near, (std::vector<Vicinity>{{{"shop-pair"}, model::Within::kHost}}));
}

TEST(DeriveSpec, EachReplicaIsALine) {
  const model::ContainerSpec app = derived(kTogether, "shop-app");
  EXPECT_EQ(app.application.sponsors, (std::vector<std::string>{"shop-proxy-1", "shop-proxy-2"}));
  EXPECT_EQ(app.network.hosts[1].names, std::vector<std::string>{"proxy"});
  EXPECT_EQ(app.network.hosts[2].names, std::vector<std::string>{"proxy"});
  EXPECT_NE(app.network.hosts[1].address, app.network.hosts[2].address);
}

}  // namespace
}  // namespace perdure::deploy
