// Proves that values come back from the messages between nodes as they were, and that what no node would send is refused by name.
#include "node/cluster/peer_codec.h"

#include <string>
#include <vector>

#include "capsule/format/test_capsules.h"
#include "coord/cluster_codec.h"
#include "gmock/gmock.h"

namespace perdure::node {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr Generation kFirst{Term{3}, Incarnation{2}, 7};
constexpr Generation kSecond{Term{3}, Incarnation{2}, 8};

peer::v1::Ship ship() {
  peer::v1::Ship message;
  message.set_container("web");
  message.set_term(3);
  *message.mutable_generation() = to_peer(kSecond);
  return message;
}

TEST(PeerCodecTest, GenerationsAndHoldingsComeBack) {
  EXPECT_EQ(from_peer(to_peer(kFirst)), kFirst);
  const replica::Holding holding{kFirst, {0x0123456789abcdefU, 0xfedcba9876543210U}};
  const peer::v1::Holding message = to_peer(holding);
  EXPECT_EQ(message.digest().size(), 16U);
  EXPECT_EQ(message.digest().front(), '\x01') << "most significant byte first";
  EXPECT_EQ(from_peer(message).value(), holding);
}

TEST(PeerCodecTest, ADigestOfAnotherLengthIsRefused) {
  for (const std::size_t size : {0U, 15U, 17U}) {
    peer::v1::Holding message = to_peer(replica::Holding{kFirst, {}});
    message.set_digest(std::string(size, 'd'));
    const auto read = from_peer(message);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code(), ErrorCode::kInvalid);
    EXPECT_THAT(read.error().message(), HasSubstr("digest"));
  }
}

TEST(PeerCodecTest, AShipmentIsReadWhole) {
  peer::v1::Ship message = ship();
  *message.mutable_base() = to_peer(replica::Holding{kFirst, {1, 2}});
  *message.mutable_committed() = to_peer(kFirst);
  message.set_provisional(true);
  const auto bytes = capsule::testing::slab_of("capsule");
  const auto received = received_from(message, bytes).value();
  EXPECT_EQ(received.container.str(), "web");
  EXPECT_EQ(received.term, Term{3});
  EXPECT_EQ(received.generation, kSecond);
  EXPECT_EQ(received.base, (replica::Holding{kFirst, {1, 2}}));
  EXPECT_EQ(received.committed, kFirst);
  EXPECT_TRUE(received.provisional);
  EXPECT_EQ(received.bytes, bytes);

  const auto full = received_from(ship(), bytes).value();
  EXPECT_FALSE(full.base);
  EXPECT_FALSE(full.committed);
  EXPECT_FALSE(full.provisional);
}

TEST(PeerCodecTest, AShipmentThatMakesNoSenseIsRefused) {
  const auto bytes = capsule::testing::slab_of("capsule");
  const auto refused = [](const peer::v1::Ship& message, capsule::SlabRef body, const std::string& says) {
    const auto read = received_from(message, std::move(body));
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code(), ErrorCode::kInvalid);
    EXPECT_THAT(read.error().message(), HasSubstr(says));
  };
  refused(ship(), nullptr, "body");
  peer::v1::Ship message = ship();
  message.set_container("../etc");
  refused(message, bytes, "../etc");
  message = ship();
  message.mutable_base()->set_digest("short");
  refused(message, bytes, "digest");
}

TEST(PeerCodecTest, KeysOfTheRingComeBack) {
  const pki::SealingKey key = pki::KeyRing::make_key(5, SystemClock().wall()).value();
  const pki::SealingKey back = from_peer(to_peer(key)).value();
  EXPECT_EQ(back.id, key.id);
  EXPECT_EQ(back.key, key.key);
  EXPECT_EQ(back.created, key.created);
  peer::v1::KeyOfRing message = to_peer(key);
  message.set_key(std::string(31, 'k'));
  ASSERT_FALSE(from_peer(message));
  EXPECT_THAT(from_peer(message).error().message(), HasSubstr("key of 31 bytes"));
}

TEST(PeerCodecTest, FactsOfAHostComeBackWithinTheirBounds) {
  const model::HostFacts facts{.kernel_release = "6.12.0",
                               .machine = "x86_64",
                               .criu_version = "4.1",
                               .cpu_features = {"avx", "sse2"},
                               .memory_bytes = 1 << 30,
                               .processors = 8,
                               .can_restore_other_users = true};
  EXPECT_EQ(from_peer(to_peer(facts)).value(), facts);

  cluster::v1::HostFacts message = to_peer(facts);
  message.set_kernel_release(std::string(10'000, 'x'));
  message.clear_cpu_features();
  message.add_cpu_features("sse2");
  message.add_cpu_features("avx");
  const model::HostFacts bounded = from_peer(message).value();
  EXPECT_EQ(bounded.kernel_release.size(), coord::kMaxShortText);
  EXPECT_THAT(bounded.cpu_features, ElementsAre("avx", "sse2")) << "sorted, as they are compared";

  message.add_cpu_features(std::string(coord::kMaxShortText + 1, 'x'));
  EXPECT_EQ(from_peer(message).error().code(), ErrorCode::kInvalid) << "no record could hold it";
  message.clear_cpu_features();
  for (std::size_t i = 0; i <= coord::kMaxCpuFeatures; ++i) message.add_cpu_features("x");
  ASSERT_FALSE(from_peer(message));
  EXPECT_EQ(from_peer(message).error().code(), ErrorCode::kInvalid);
}

peer::v1::ConnectionsNotice connections() {
  const network::TcpTuple v4{{{network::IpFamily::kV4, {192, 0, 2, 1}}, 80}, {{network::IpFamily::kV4, {192, 0, 2, 9}}, 40'000}};
  network::TcpTuple v6{{{network::IpFamily::kV6, {0xfd, 1}}, 65'535}, {{network::IpFamily::kV6, {0xfd, 2}}, 1}};
  v6.remote.address.bytes[15] = 7;
  const std::vector<network::TcpTuple> all{v4, v6};
  peer::v1::ConnectionsNotice notice;
  to_peer(all, notice);
  EXPECT_EQ(from_peer(notice).value(), all);
  return notice;
}

TEST(PeerCodecTest, ConnectionsComeBack) {
  const peer::v1::ConnectionsNotice notice = connections();
  EXPECT_EQ(notice.rows(0).local_address().size(), 4U);
  EXPECT_EQ(notice.rows(1).remote_address().size(), 16U);
}

TEST(PeerCodecTest, ConnectionsThatNoGateTellsOfAreRefused) {
  const auto refused = [](const auto& change, const std::string& why) {
    peer::v1::ConnectionsNotice notice = connections();
    change(notice);
    const auto read = from_peer(notice);
    ASSERT_FALSE(read) << why;
    EXPECT_EQ(read.error().code(), ErrorCode::kInvalid);
    EXPECT_THAT(read.error().message(), HasSubstr(why));
  };
  refused([](auto& notice) { notice.mutable_rows(0)->set_local_address("abc"); }, "an address of 3 bytes");
  refused([](auto& notice) { notice.mutable_rows(1)->clear_remote_address(); }, "an address of 0 bytes");
  refused([](auto& notice) { notice.mutable_rows(0)->set_remote_address(std::string(16, 'x')); }, "two families");
  refused([](auto& notice) { notice.mutable_rows(0)->set_local_port(65'536); }, "port 65536");
  refused([](auto& notice) { notice.mutable_rows(0)->clear_remote_port(); }, "port 0");
  refused([](auto& notice) {
    while (notice.rows_size() <= 1024) *notice.add_rows() = notice.rows(0);
  }, "1025 connections");
}

}  // namespace
}  // namespace perdure::node
