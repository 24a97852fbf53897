// Proves by which port a connection has its policy. What follows from it, tests/e2e/test_connections.py shows.
#include "node/rolled_back_connections.h"

#include "gtest/gtest.h"

namespace perdure::node {
namespace {

using model::TcpPolicy;

capsule::CapturedConnection between(std::uint16_t local, std::uint16_t remote) {
  capsule::CapturedConnection connection;
  connection.local_port = local;
  connection.remote_port = remote;
  return connection;
}
capsule::CapturedConnection accepted(std::uint16_t local, std::uint16_t remote) {
  auto connection = between(local, remote);
  connection.listens = true;
  return connection;
}

TEST(TcpPolicyOf, IsTheContainersWhereNoPortIsNamed) {
  model::NetworkSpec network;
  EXPECT_EQ(tcp_policy_of(network, accepted(80, 40'000)), TcpPolicy::kReset);
  network.tcp_policy = TcpPolicy::kSplice;
  EXPECT_EQ(tcp_policy_of(network, accepted(80, 40'000)), TcpPolicy::kSplice);
  EXPECT_EQ(tcp_policy_of(network, between(40'000, 80)), TcpPolicy::kSplice);
}

TEST(TcpPolicyOf, IsThatOfThePortAtWhichTheServiceIs) {
  model::NetworkSpec network;
  network.tcp_ports = {{80, TcpPolicy::kReset}, {8554, TcpPolicy::kSplice}};
  network.tcp_policy = TcpPolicy::kReset;
  EXPECT_EQ(tcp_policy_of(network, accepted(8554, 40'000)), TcpPolicy::kSplice);
  EXPECT_EQ(tcp_policy_of(network, accepted(80, 40'000)), TcpPolicy::kReset);
  EXPECT_EQ(tcp_policy_of(network, between(40'000, 8554)), TcpPolicy::kSplice) << "opened by the container";
  EXPECT_EQ(tcp_policy_of(network, accepted(81, 8554)), TcpPolicy::kReset) << "a client's own port says nothing";
  EXPECT_EQ(tcp_policy_of(network, accepted(80, 8554)), TcpPolicy::kReset);
}

TEST(TcpPolicyOf, ListedPortsCountThoughNobodyListensThereAnyMore) {
  model::NetworkSpec network;
  network.tcp_ports = {{8554, TcpPolicy::kSplice}};
  EXPECT_EQ(tcp_policy_of(network, between(8554, 40'000)), TcpPolicy::kSplice);
  network.tcp_ports.insert(network.tcp_ports.begin(), {80, TcpPolicy::kReset});
  EXPECT_EQ(tcp_policy_of(network, between(8554, 80)), TcpPolicy::kReset) << "the other end's port comes first";
}

}  // namespace
}  // namespace perdure::node
