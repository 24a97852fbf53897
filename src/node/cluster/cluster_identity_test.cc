// Proves that what a node remembers of its cluster is read as it was written, and that damage is named with its file and member.
#include "node/cluster/cluster_identity.h"

#include <string>

#include "gmock/gmock.h"

namespace perdure::node {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kPath = "/var/lib/perdure/cluster/cluster.json";

ClusterIdentity some_identity() {
  return {.cluster_id = "00112233445566778899aabbccddeeff",
          .node = NodeName::parse("a").value(),
          .listen = {"192.0.2.1:7400", "[2001:db8::1]:7400"},
          .labels = {{"rack", "r1"}},
          .manager = true,
          .witness = false,
          .external = {},
          .endpoints = {"https://192.0.2.1:7401"},
          .durable_directory = "/srv/capsules",
          .history = {.cluster_id = 0xfedcba9876543210U, .revision = 42}};
}

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  const std::size_t at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what;
  return text.replace(at, what.size(), with);
}

void expect_corrupt(const std::string& text, const std::string& says) {
  const auto read = identity_from_json(text, kPath);
  ASSERT_FALSE(read) << text;
  EXPECT_EQ(read.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(read.error().message(), AllOf(HasSubstr(kPath), HasSubstr(says)));
}

TEST(ClusterIdentityTest, IsReadAsItWasWritten) {
  const ClusterIdentity identity = some_identity();
  EXPECT_EQ(identity_from_json(to_json(identity), kPath).value(), identity);
  ClusterIdentity other = identity;
  other.witness = true;
  other.manager = false;
  other.external = ExternalEtcd{{"https://192.0.2.9:2379"}, "/etc/ca.crt", "/etc/node.crt", "/etc/node.key"};
  EXPECT_EQ(identity_from_json(to_json(other), kPath).value(), other);
}

TEST(ClusterIdentityTest, DamageIsNamed) {
  const std::string good = to_json(some_identity());
  expect_corrupt("", "");
  expect_corrupt("{", "");
  expect_corrupt("[]", "");
  expect_corrupt(good.substr(0, good.size() / 2), "");
  expect_corrupt(replaced(good, "\"version\": 1", "\"version\": 2"), "unknown version");
  expect_corrupt(replaced(good, "\"node\": \"a\"", "\"node\": \"A b\""), "A b");
  expect_corrupt(replaced(good, "\"manager\": true", "\"manager\": 3"), "");
  expect_corrupt(replaced(good, "\"labels\"", "\"label\""), "labels");
  expect_corrupt(replaced(good, "\"store_revision\"", "\"revision\""), "store_revision");
  ClusterIdentity without = some_identity();
  without.listen.clear();
  expect_corrupt(to_json(without), "listen");
  ClusterIdentity many = some_identity();
  many.endpoints.assign(17, "https://192.0.2.1:7401");
  expect_corrupt(to_json(many), "etcd_endpoints");
}

TEST(ClusterIdentityTest, EtcdIsWhereTheNodeListens) {
  EXPECT_EQ(etcd_client_url("192.0.2.1:9000"), "https://192.0.2.1:7401");
  EXPECT_EQ(etcd_peer_url("192.0.2.1"), "https://192.0.2.1:7402");
  EXPECT_EQ(etcd_client_url("[2001:db8::1]:7400"), "https://[2001:db8::1]:7401");
}

}  // namespace
}  // namespace perdure::node
